"""Frames on the wire: COBS and CRC-32, one text for both ends, without allocation.

    frame = 0x00 + COBS(body + CRC-32 of the body, little-endian) + 0x00

COBS (Cheshire, Baker 1999) makes the zero byte occur nowhere within a frame, so a receiver that lost its place finds it
again at the next zero; with one at each end, no fault of a single byte costs more than the frame that it hit. The CRC
is that of zlib, crc32(body, key): the key is 0 for a frame outside a session and that of the session within, so that a
frame of another session is not merely refused but does not decode.

CRC registers are kept in 16-bit halves: a 32-bit number would not fit MicroPython's small ints on a 32-bit chip.
"""

try:
    from micropython import const
except ImportError:  # CPython: constants are plain numbers, and viper's types mere labels in the signatures
    ptr8 = ptr16 = int

    def const(x):
        """Return x: MicroPython's compiler folds it into the code, CPython need not."""
        return x


_MAX_BODY = const(240)  # with its CRC below 254: one COBS code byte suffices if no byte is zero
_MAX_FRAME = const(247)  # body, CRC, COBS code byte, two delimiters
MAX = (_MAX_BODY, _MAX_FRAME)


def fill_crc_table(table: ptr16):
    """512 half-words: entry i of the reflected CRC-32 (polynomial 0xEDB88320) as (low, high) at 2 i."""
    for i in range(256):
        low = i
        high = 0
        for _ in range(8):
            odd = low & 1
            low = (low >> 1) | ((high & 1) << 15)
            high = high >> 1
            if odd:
                low = low ^ 0x8320
                high = high ^ 0xEDB8
        table[2 * i] = low
        table[2 * i + 1] = high


def crc32(body: ptr8, n: int, key: ptr16, table: ptr16, crc: ptr16):
    """crc (low, high half) = zlib.crc32(body[:n], key)."""
    low = key[0] ^ 0xFFFF
    high = key[1] ^ 0xFFFF
    for k in range(n):
        i = ((low ^ body[k]) & 255) << 1
        low = ((low >> 8) | ((high & 255) << 8)) ^ table[i]
        high = (high >> 8) ^ table[i + 1]
    crc[0] = low ^ 0xFFFF
    crc[1] = high ^ 0xFFFF


def encode(body: ptr8, n: int, frame: ptr8) -> int:
    """COBS-encode body[:n] into frame, between two delimiters; return the frame's length. n <= 253."""
    frame[0] = 0
    code = 1
    k = 2
    for i in range(n):
        b = body[i]
        if b == 0:
            frame[code] = k - code
            code = k
        else:
            frame[k] = b
        k = k + 1
    frame[code] = k - code
    frame[k] = 0
    return k + 1


def decode(frame: ptr8, n: int) -> int:
    """Undo COBS in place: frame[:n], n <= 254, without the delimiter; return the body's length, or -1 if it is none."""
    i = 0
    k = 0
    while i < n:
        code = frame[i]
        if code == 0 or i + code > n:
            return 0 - 1
        if i:
            frame[k] = 0
            k = k + 1
        i = i + 1
        for _ in range(code - 1):
            frame[k] = frame[i]
            k = k + 1
            i = i + 1
    return k


def put32(body: ptr8, at: int, value: int):
    """Write 0 <= value < 2**30 at body[at:at+4]."""
    body[at] = value & 255
    body[at + 1] = (value >> 8) & 255
    body[at + 2] = (value >> 16) & 255
    body[at + 3] = (value >> 24) & 255


def get32(body: ptr8, at: int) -> int:
    """Read a number below 2**30 from body[at:at+4]; a larger one becomes -1 (it would allocate on a chip)."""
    if body[at + 3] >= 64:
        return 0 - 1
    return body[at] | (body[at + 1] << 8) | (body[at + 2] << 16) | (body[at + 3] << 24)


def take(chunk: ptr8, start: int, end: int, frame: ptr8, length: ptr16) -> int:
    """Move chunk[start:end] to the end of frame up to a delimiter; return the index behind it, or -1 if none came.

    length[0] counts the frame's bytes; of a frame too long to be one only the count goes on (and stops at 65535).
    """
    n = length[0]
    for k in range(start, end):
        b = chunk[k]
        if b == 0:
            length[0] = n
            return k + 1
        if n < _MAX_FRAME:
            frame[n] = b
        if n < 65535:
            n = n + 1
    length[0] = n
    return 0 - 1


def fill(buffer: ptr8, size: int, byte: ptr8, one, readinto, ipoll) -> int:
    """Fill buffer with the bytes that are there, at least one and at most `size`; return how many.

    readinto(one) waits for a byte and puts it into `one`, of which `byte` is the pointer; ipoll(0) has an item for each
    stream that can be read at once. Byte by byte, because MicroPython's stdin has no read that returns what is there.
    """
    n = 0
    more = 1
    while more:
        readinto(one)
        buffer[n] = byte[0]
        n = n + 1
        more = 0
        if n < size:
            for _ in ipoll(0):
                more = 1
    return n


def stretch(packed: ptr8, offset: int, pixels: ptr8, n: int, bits: int):
    """Unpack n pixels of 8, 4 or 1 bits (first pixel in the highest bits) and stretch them to 0..255."""
    if bits == 8:
        for k in range(n):
            pixels[k] = packed[offset + k]
    if bits == 4:
        for k in range(n):
            pixels[k] = ((packed[offset + (k >> 1)] >> (4 - ((k & 1) << 2))) & 15) * 17
    if bits == 1:
        for k in range(n):
            pixels[k] = ((packed[offset + (k >> 3)] >> (7 - (k & 7))) & 1) * 255
