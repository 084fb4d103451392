"""The checkpoint on the device: parameters and step counter in one file that is old or new, never neither, never mixed.

    "SHL1", session, step, number of words, parameters (int32 each), CRC-32 of all before      little-endian

It is written under another name and renamed. On littlefs the rename replaces the old file atomically. FAT refuses to
replace, so there the old file has to go first; a cut between the two leaves the new one under its first name, where
load() finds it.
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
    header = struct.pack(HEADER, MAGIC, session, step, len(words))
    with open(root + ASIDE, "wb") as file:
        file.write(header)
        file.write(words)
        file.write(struct.pack("<I", crc32(words, crc32(header))))
    try:
        os.rename(root + ASIDE, root + NAME)
    except OSError:  # FAT
        os.remove(root + NAME)
        os.rename(root + ASIDE, root + NAME)


def load(words=None, root=""):
    """Read the checkpoint into `words`, or only check it (None); return (session, step, number of words), or None.

    None means that there is no good checkpoint, or that it does not have len(words) parameters.
    """
    for name in (NAME, ASIDE):
        try:
            with open(root + name, "rb") as file:
                header = file.read(16)
                magic, session, step, count = struct.unpack(HEADER, header)
                if magic != MAGIC or (words is not None and count != len(words)):
                    continue
                crc = crc32(header)
                for i in range(0, count, 64):
                    crc = crc32(file.read(4 * min(64, count - i)), crc)
                if file.read(5) != struct.pack("<I", crc):
                    continue
                if words is not None:  # good to its end: only now is a word taken over
                    file.seek(16)
                    for i in range(count):
                        words[i] = struct.unpack("<i", file.read(4))[0]
                return session, step, count
        except (OSError, ValueError):  # not there, or too short to be one
            pass
    return None
