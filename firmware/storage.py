"""The checkpoint on the device: parameters and step counter in one file that is old or new, never neither, never mixed.

    "SHL1", session, step, number of words, parameters (int32 each), CRC-32 of all before      little-endian

It is written under another name and renamed. On littlefs the rename replaces the old file atomically. On FAT
MicroPython removes the old file first: a cut after that leaves the new one under its first name, where load() finds it
and save() does not overwrite it.

replace() and read() do so for any file of a header, words and a CRC, whose header begins with four letters and ends
with the number of words: firmware.model has one, too.
"""

import os
import struct
from binascii import crc32

NAME = "shoreline.ckp"
ASIDE = "shoreline.new"
MAGIC = b"SHL1"
HEADER = "<4sIII"


def save(session, step, words, root=""):
    """Write a checkpoint of the array of int32 `words`. Raises OSError if the file system refuses."""
    replace(root + NAME, root + ASIDE, struct.pack(HEADER, MAGIC, session, step, len(words)), words)


def load(words=None, root=""):
    """Read the checkpoint into `words`, or only check it (None); return (session, step, number of words), or None.

    None means that there is no good checkpoint, or that it does not have len(words) parameters; words are as they were,
    unless reading itself fails halfway.
    """
    for name in (NAME, ASIDE):
        header = read(root + name, MAGIC, struct.calcsize(HEADER), words)
        if header is not None:
            return struct.unpack(HEADER, header)[1:]
    return None


def remove(root=""):
    """Forget the checkpoint."""
    for name in (ASIDE, NAME):
        try:  # noqa: SIM105 - MicroPython has no contextlib
            os.remove(root + name)
        except OSError:  # not there
            pass


def replace(name, aside, header, words):
    """Write a file as `aside`, then rename it to `name`; the only good one of the two is never overwritten."""
    magic, size = header[:4], len(header)
    if read(name, magic, size) is None and read(aside, magic, size) is not None:
        os.rename(aside, name)
    with open(aside, "wb") as file:
        file.write(header)
        file.write(words)
        file.write(struct.pack("<I", crc32(words, crc32(header))))
    os.rename(aside, name)


def read(path, magic, size, words=None):
    """The header, `size` bytes, of a good file, whose words are taken over unless None is given; or None, as load()."""
    try:
        length = os.stat(path)[6]
        with open(path, "rb") as file:
            header = file.read(size)
            if len(header) < size or header[:4] != magic:
                return None
            count = struct.unpack("<I", header[-4:])[0]
            if length != size + 4 * count + 4 or (words is not None and count != len(words)):
                return None
            crc = crc32(header)
            for i in range(0, count, 64):
                crc = crc32(file.read(4 * min(64, count - i)), crc)
            if file.read(4) != struct.pack("<I", crc):
                return None
            if words is not None:  # good to its end: only now is a word taken over
                file.seek(size)
                for i in range(count):
                    words[i] = struct.unpack("<i", file.read(4))[0]
            return header
    except OSError:  # not there, or not to be read
        return None
