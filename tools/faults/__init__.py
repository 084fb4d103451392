"""A world in one process, with a clock of its own: host, line, board and flash, and everything that can go wrong.

The host's and the board's programs are the real ones (host.board.learner, .link, host.runs; firmware.device, .storage,
.codec, .wire). What is simulated is what lies between and around them: time, the line, the board's input buffer and
its file system. Whatever happens there comes from one seed, so that a failure can be run again.

Every step is compared with the golden model at once: the board's digest after n steps, each prediction, each line of
epochs.jsonl; so is what a board has for a checkpoint when it starts. A difference raises Violation.

Rooms: injector (what happens on the line), flash and board (what hangs on it), golden (what should come out), world
(all of them together, and time), episode (one run in it, from its start to its end), changed (how the programs are put
into it).
"""
