"""The checkpoint on the device: parameters and step counter in one file that is old or new, never neither, never mixed.

    "SHL1", session, step, number of words, parameters (int32 each), CRC-32 of all before      little-endian

It is written under another name and renamed. On littlefs the rename replaces the old file atomically. On FAT
MicroPython removes the old file first: a cut after that leaves the new one under its first name, where load() finds it
and save() does not overwrite it.
"""

import os
import struct
from binascii import crc32

NAME = "shoreline.ckp"
ASIDE = "shoreline.new"
MAGIC = b"SHL1"
HEADER = "<4sIII"
FRAME = 20  # bytes of a file that are not parameters


def save(session, step, words, root=""):
    """Write a checkpoint of the array of int32 `words`. Raises OSError if the file system refuses."""
    header = struct.pack(HEADER, MAGIC, session, step, len(words))
    if check(root + NAME) is None and check(root + ASIDE) is not None:
        os.rename(root + ASIDE, root + NAME)
    with open(root + ASIDE, "wb") as file:
        file.write(header)
        file.write(words)
        file.write(struct.pack("<I", crc32(words, crc32(header))))
    os.rename(root + ASIDE, root + NAME)


def load(words=None, root=""):
    """Read the checkpoint into `words`, or only check it (None); return (session, step, number of words), or None.

    None means that there is no good checkpoint, or that it does not have len(words) parameters; words are as they were,
    unless reading itself fails halfway.
    """
    for name in (NAME, ASIDE):
        found = check(root + name, words)
        if found is not None:
            return found
    return None


def remove(root=""):
    """Forget the checkpoint."""
    for name in (ASIDE, NAME):
        try:  # noqa: SIM105 - MicroPython has no contextlib
            os.remove(root + name)
        except OSError:  # not there
            pass


def check(path, words=None):
    """load() of one file."""
    try:
        size = os.stat(path)[6]
        with open(path, "rb") as file:
            header = file.read(16)
            if size < FRAME or len(header) < 16:
                return None
            magic, session, step, count = struct.unpack(HEADER, header)
            if magic != MAGIC or size != FRAME + 4 * count or (words is not None and count != len(words)):
                return None
            crc = crc32(header)
            for i in range(0, count, 64):
                crc = crc32(file.read(4 * min(64, count - i)), crc)
            if file.read(4) != struct.pack("<I", crc):
                return None
            if words is not None:  # good to its end: only now is a word taken over
                file.seek(16)
                for i in range(count):
                    words[i] = struct.unpack("<i", file.read(4))[0]
            return session, step, count
    except OSError:  # not there, or not to be read
        return None
