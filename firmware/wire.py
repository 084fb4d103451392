"""Messages between host and board, one text for both ends. Byte by byte: firmware/README.md.

All numbers are little-endian. A body starts with its type; types from SEALED on carry the conversation in their CRC:
what an earlier one left on the line does not decode. Within it, the second byte of a request (RATES, QUERY, READ,
WRITE, COMMIT, CHECKPOINT, CLOSE) is a tag that its answer repeats, lest a late answer be taken for another request's.
"""

import struct
from array import array

from firmware import codec

VERSION = 2  # of the wire: both ends must have the same
MAX_BODY, MAX_FRAME = codec.MAX
BEAT_MS = 500  # a board without a session says HELLO this often

# host -> board, outside a session
ATTACH = 0x21  # as text, see GREETING
OPEN = 0x22
EXIT = 0x23
STATISTICS = 0x24
# board -> host, outside a session
HELLO = 0x41
REFUSED = 0x42
COUNTERS = 0x43
WORKING = 0x44
# host -> board, in a session
SEALED = 0x80
TRAIN = 0x81
TEST = 0x82
RATES = 0x83
QUERY = 0x84
READ = 0x85
WRITE = 0x86
COMMIT = 0x87
CHECKPOINT = 0x88
CLOSE = 0x89
# board -> host, in a session
ACK = 0xC1
RESULT = 0xC2
TESTED = 0xC3
STATE = 0xC4
WORDS = 0xC5

# HELLO: type, wire version, firmware version (3), flags, window, .mpy word, free heap, self-test digest,
#        session and step in memory, session and step of the checkpoint
HELLO_FORMAT = "<BBBBBBHHIIIIII"
# OPEN: type, wire version, flags, graph, rule, rows, cols, steps, scale, gain, cool, units, share, seed of the wiring,
#       pixel bits, session, seed, init (9), bounds (6), conversation: a number that the host draws anew for every OPEN
OPEN_FORMAT = "<BBBBBBBHHBBHHIBII15hI"
REFUSED_FORMAT = "<BBIIH"  # type, reason, session, step, detail
# COUNTERS: type, free heap, images trained, images tested, time in the last training step (us),
#           time waiting for data, time computing (ms), frames accepted, repeated, damaged, overlong
COUNTERS_FORMAT = "<BIIIIIIIIII"
WORKING_FORMAT = "<BI"  # type, session: OPEN has come and is being worked on; STATE or REFUSED follows
ROWS_FORMAT = "<BIBBB"  # TRAIN, TEST: type, sequence number, first row, rows, label | WITH_DIGEST; then pixels
RATES_FORMAT = "<BBIHBHBHBHB"  # type, tag, step, (multiplier, shift) of l, w, b, V
ASK_FORMAT = "<BB"  # QUERY, CHECKPOINT, CLOSE: type, tag
READ_FORMAT = "<BBHB"  # READ, WRITE, WORDS: type, tag, first word, words; WRITE and WORDS: then int32 each
COMMIT_FORMAT = "<BBII"  # type, tag, step, digest
ACK_FORMAT = "<BBIBBH"  # type, TRAIN or TEST, its sequence number and first row wanted next, flags, credit (bytes)
RESULT_FORMAT = "<BIBBII"  # RESULT, TESTED: type, step after / sequence number, label, prediction, us, digest or 0
STATE_FORMAT = "<BBIIB"  # type, tag (0 after OPEN), step, digest, flags

HEADER = struct.calcsize(ROWS_FORMAT)
MAX_WORDS = 56  # parameters in one READ or WRITE

FLAG_ATTACHED, FLAG_SESSION, FLAG_CHECKPOINT, FLAG_SELF_TEST_FAILED = 1, 2, 4, 8  # HELLO
FLAG_REPLACE, FLAG_RESTART = 1, 2  # OPEN: discard another session; forget this session's progress
# ACK, STATE: out of order; rates are set; WRITE without COMMIT; the result of the last step is still here
FLAG_REFUSED, FLAG_RATES, FLAG_LOADING, FLAG_RESULT = 1, 2, 4, 8
WITH_DIGEST = 0x80  # TRAIN: the RESULT shall carry the digest
REASONS = ("wire version", "another session", "self-test", "configuration", "memory", "no session", "storage")
BAD_VERSION, OTHER_SESSION, SELF_TEST, BAD_CONFIG, NO_MEMORY, NO_SESSION, STORAGE = range(7)

# The body of ATTACH. The frame made of it is "$!hello board, a host is here: 55!D7" and a zero: a board that is not
# running the firmware but its REPL sees no control character, and comes to no harm.
GREETING = b"!hello board, a host is here: 5"

CRC_TABLE = array("H", bytes(1024))
codec.fill_crc_table(CRC_TABLE)
NO_KEY = array("H", (0, 0))
RESIDUE = 0xDF1C, 0x2144  # (low, high half) of the CRC-32 of whatever its own CRC-32 follows, with any key


def key_of(session, conversation):
    """The CRC key of a conversation (32 bits) within a session (32 bits), as (low, high) half."""
    key = session ^ conversation
    return array("H", (key & 0xFFFF, key >> 16))


class Sender:
    """Seals bodies into frames. body is the buffer to fill, frame the one that comes out; nothing is allocated."""

    def __init__(self):
        self.body = bytearray(MAX_BODY + 4)
        self.frame = bytearray(MAX_FRAME)
        self.crc = array("H", (0, 0))

    def seal(self, n, key):
        """Encode body[:n] into frame; return the frame's length."""
        body, crc = self.body, self.crc
        codec.crc32(body, n, key if body[0] >= SEALED else NO_KEY, CRC_TABLE, crc)
        body[n], body[n + 1] = crc[0] & 255, crc[0] >> 8
        body[n + 2], body[n + 3] = crc[1] & 255, crc[1] >> 8
        return codec.encode(body, n + 4, self.frame)


class Receiver:
    """Finds frames in a stream of bytes and unseals them in place. damaged, overlong count what was thrown away."""

    def __init__(self):
        self.body = bytearray(MAX_FRAME)
        self.length = array("H", (0,))
        self.crc = array("H", (0, 0))
        self.damaged = self.overlong = 0

    def take(self, chunk, start, end):
        """Read on in chunk[start:end]; return the index behind the next delimiter, or -1 if there is none.

        After an index, unseal() tells whether a frame ended there.
        """
        return codec.take(chunk, start, end, self.body, self.length)

    def unseal(self, key):
        """Return the length of the body now in self.body, or 0 if what came is no frame (or the void between two)."""
        n = self.length[0]
        self.length[0] = 0
        if n == 0:
            return 0
        if n > MAX_FRAME - 2:
            self.overlong += 1
            return 0
        body, crc = self.body, self.crc
        n = codec.decode(body, n)
        if n > 4:
            codec.crc32(body, n, key if body[0] >= SEALED else NO_KEY, CRC_TABLE, crc)
            if crc[0] == RESIDUE[0] and crc[1] == RESIDUE[1]:
                return n - 4
        self.damaged += 1
        return 0
