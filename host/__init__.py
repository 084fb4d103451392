"""The computer's side: float64 oracle, data, simulation, streaming. Never runs on the device."""

import contextlib
import os
import signal
import sys


def _leave(number: int, frame: object) -> None:
    """Ctrl-C while a command is still being imported: nothing has begun yet, so nothing has to be ended."""
    with contextlib.suppress(OSError):
        os.write(2, b"interrupted\n")
    os._exit(128 + number)


# As soon as Python gets here, for imports take half a second; but only in `python -m host.something` (argv[0] is "-m"
# until that is found). cli.run() has handlers of its own, and puts this one back for the interpreter's last moments.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _leave)
