"""The checkpoint file: power that fails at every operation of the flash, damaged files, a full file system.

The power cuts run in MicroPython, with its own littlefs and FAT on a block device in RAM.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from interpreters import interpreter

ROOT = Path(__file__).resolve().parent.parent


def run(script: str, job: dict[str, Any], arch: str = "x64", firmware: Path = ROOT) -> dict[str, Any]:
    """Run a script that finds the firmware and a job; return what it prints, which is JSON."""
    argv = [*interpreter(arch), "-c", script, str(firmware), json.dumps(job)]
    if arch == "cpython":
        argv.insert(1, "-B")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


# A block device in RAM whose power fails, and what all scripts do with it.
FLASH = """
import json, os, sys
sys.path.insert(0, sys.argv[-2])
job = json.loads(sys.argv[-1])
from array import array
import vfs
from firmware import storage

class Flash:
    # `cut`: number of the write or erase that is torn; from then on the device is dead, as its data will be found.
    def __init__(self, data, cut=-1, tear=None):
        self.data, self.cut, self.tear = bytearray(data), cut, tear
        self.count, self.dead, self.full = 0, False, False

    def change(self, at, new):
        if self.dead:
            return -5
        if self.count == self.cut:
            self.dead = True
            new = self.tear(bytes(self.data[at : at + len(new)]), bytes(new))
        self.count += 1
        self.data[at : at + len(new)] = new
        return -5 if self.dead else 0

    def readblocks(self, block, buffer, offset=0):
        if self.dead:
            return -5
        at = block * SIZE + offset
        buffer[:] = self.data[at : at + len(buffer)]
        return 0

    def writeblocks(self, block, buffer, offset=0):
        return self.change(block * SIZE + offset, buffer)

    def ioctl(self, operation, argument):
        if operation == 4:
            return BLOCKS
        if operation == 5:
            return SIZE
        if operation == 6:
            return self.change(argument * SIZE, ERASED) if LITTLEFS else 0
        return -5 if self.dead else 0

LITTLEFS = job["kind"] == "littlefs"
SIZE, BLOCKS = (4096, 16) if LITTLEFS else (512, 128)
ERASED = b"\\xff" * SIZE
KIND, OPTIONS = (vfs.VfsLfs2, {"progsize": job.get("progsize", 32)}) if LITTLEFS else (vfs.VfsFat, {})

def blank():
    flash = Flash(b"\\xff" * (SIZE * BLOCKS))
    KIND.mkfs(flash, **OPTIONS)
    return flash.data

def on(flash, action):
    # Mount the flash, act, take it away again.
    try:
        vfs.mount(KIND(flash, **OPTIONS), "/flash")
        return action()
    finally:
        flash.dead = True
        try:
            vfs.umount("/flash")
        except OSError:
            pass
"""

CUTS = """
WORDS, FILES = job["words"], job.get("files", 0)

def content(step):  # no word of one checkpoint is the same in another
    return array("i", [step * 1000003 + i * 40503 for i in range(WORDS)])

def save(data, step, cut=-1, tear=None):
    # The data after save(), and whether the power failed in it.
    flash = Flash(data, cut, tear)
    try:
        on(flash, lambda: storage.save(7, step, content(step), "/flash/"))
    except OSError:
        if flash.count <= cut:
            raise
    return flash.data, flash.count > cut >= 0, flash.count

def load(data):
    # The step of the checkpoint; None if there is none, or not one that was saved.
    words = array("i", bytes(4 * WORDS))
    found = on(Flash(data), lambda: storage.load(words, "/flash/"))
    if found is None or found != (7, found[1], WORDS) or words != content(found[1]):
        return None
    return found[1]

def random(n):
    return os.urandom(n)

def nothing(old, new): return old
def all(old, new): return new
def first(old, new): return new[:1] + old[1:]
def half(old, new): return new[: len(new) // 2] + old[len(new) // 2 :]
def most(old, new): return new[:-1] + old[-1:]
def noise(old, new): return random(len(new))
def half_noise(old, new): return new[: len(new) // 2] + random(len(new) - len(new) // 2)
def sector(old, new): return new[:512] + old[512:]

TORN = (nothing, all, first, half, most, noise, half_noise)
TEARS = TORN if job["torn"] else (nothing, all, sector)

def files():
    for i in range(FILES):
        open("/flash/%d" % i, "w").close()
    if job["old"]:
        storage.save(7, 100, content(100), "/flash/")

bad, points, again, tears = [], 0, 0, 0
start = Flash(blank())
on(start, files)
old = load(start.data)
assert old == (100 if job["old"] else None)
operations = save(start.data, 101)[2]
for cut in range(operations):
    for tear in TEARS:
        data, failed, _ = save(start.data, 101, cut, tear)
        assert failed
        points += 1
        step = load(data)
        if step not in (old, 101):
            bad.append([cut, tear.__name__, step])
        if not job["twice"]:
            after, _, _ = save(data, 102)
            if load(after) != 102:  # the board is usable after the cut
                bad.append([cut, tear.__name__, "then", load(after)])
            continue
        second = 0
        while True:  # the power fails again in the next save, at every operation
            after, failed, _ = save(data, 102, second, TEARS[tears % len(TEARS)])
            tears += 1
            if load(after) not in ((step, 102) if failed else (102,)):
                bad.append([cut, tear.__name__, second, load(after)])
            if not failed:
                break
            again += 1
            second += 1
print(json.dumps({"operations": operations, "points": points, "again": again, "bad": len(bad), "first": bad[:5]}))
"""


@pytest.mark.parametrize("progsize", [32, 256])
@pytest.mark.parametrize("old", [True, False], ids=["old", "none"])
def test_littlefs_cut_at_every_operation_leaves_the_old_or_the_new(progsize: int, old: bool) -> None:
    """A lattice of 28 x 10 cells; each write and erase torn in seven ways, from not begun to noise."""
    job = {"kind": "littlefs", "progsize": progsize, "words": 1120, "old": old, "torn": True, "twice": False}
    found = run(FLASH + CUTS, job)
    assert found["bad"] == 0, found
    assert found["operations"] >= (30 if progsize == 32 else 10) and found["points"] == 7 * found["operations"], found


def test_littlefs_cut_twice_in_a_row_leaves_one_of_the_last_two() -> None:
    """What the first cut left, whatever it is, must not make the second one worse."""
    found = run(FLASH + CUTS, {"kind": "littlefs", "words": 120, "old": True, "torn": True, "twice": True})
    assert found["bad"] == 0, found
    assert found["points"] >= 50 and found["again"] >= 400, found


@pytest.mark.parametrize("files", [0, 12, 13, 14, 15])
def test_fat_cut_between_sectors_leaves_the_old_or_the_new(files: int) -> None:
    """FAT keeps the promise if a sector is written or not, even twice in a row.

    The other files shift the names within the directory: those that straddle two sectors are removed in two writes.
    """
    job = {"kind": "fat", "words": 1120 if files == 0 else 120, "files": files, "old": True, "torn": False}
    found = run(FLASH + CUTS, {**job, "twice": True})
    assert found["bad"] == 0, found
    assert found["points"] >= 20 and found["again"] >= 100, found


def test_fat_does_not_survive_a_torn_directory_sector() -> None:
    """The limit of the promise, so that the documentation states it: the sector holds both names."""
    job = {"kind": "fat", "words": 120, "files": 5, "old": True, "torn": True, "twice": False}
    assert run(FLASH + CUTS, job)["bad"] > 0


DAMAGE = """
import json, os, struct, sys
sys.path.insert(0, sys.argv[-2])
job = json.loads(sys.argv[-1])
from array import array
from firmware import storage
root = job["directory"] + "/"

def content(step):
    return array("i", [step * 1000003 + i * 40503 for i in range(30)])

def put(name, data):
    with open(root + name, "wb") as file:
        file.write(data)

def get(name):
    with open(root + name, "rb") as file:
        return file.read()

def load():
    # With and without taking over the words; these must be untouched if there is no good file.
    words = array("i", bytes(120))
    found = storage.load(words, root)
    if storage.load(None, root) != found or words != (array("i", bytes(120)) if found is None else content(found[1])):
        return "mixed"
    return found

storage.save(7, 100, content(100), root)
old = get(storage.NAME)
storage.save(7, 101, content(101), root)
new = get(storage.NAME)
assert len(new) == 140 and load() == (7, 101, 30)

damaged = [new[:n] for n in range(len(new))]
for i in range(len(new)):
    for bit in range(8):
        damaged.append(new[:i] + bytes([new[i] ^ 1 << bit]) + new[i + 1 :])
damaged += [new + b"\\0", new + new, b"\\0" * 140, b"\\xff" * 140]
for n in (0, 1 << 29, 1 << 30, (1 << 32) - 1):
    damaged.append(struct.pack(storage.HEADER, storage.MAGIC, 7, 101, n) + new[16:])
wrong = []
for number, data in enumerate(damaged):
    for good, expected in ((None, None), (old, (7, 100, 30))):
        for names in ((storage.NAME, storage.ASIDE), (storage.ASIDE, storage.NAME)):
            for name in names:
                try:
                    os.remove(root + name)
                except OSError:
                    pass
            put(names[0], data)
            if good:
                put(names[1], good)
            if load() != expected and len(wrong) < 5:
                wrong.append([number, names[0], good is not None, load()])

put(storage.NAME, new)
sizes = [storage.load(array("i", bytes(4 * n)), root) for n in (0, 1, 29, 31, 60)]
put(storage.ASIDE, old)
both = load()
storage.remove(root)
gone = load()
storage.remove(root)
print(json.dumps({"damaged": len(damaged), "wrong": wrong, "sizes": sizes, "both": both, "gone": gone}))
"""


MUTANTS = {
    "no other name": ('ASIDE = "shoreline.new"', "ASIDE = NAME"),
    "no rename": ("        file.write(struct.pack", "        return file.write(struct.pack"),
    "overwrites the only good one": ("if read(name, magic, size) is None and", "if False and"),
    "no CRC": ("if file.read(4) != ", "if file.read(4) == 0 and 0 != "),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_these_tests_have_teeth(name: str, tmp_path: Path) -> None:
    """Each thing that makes a checkpoint safe is needed. (littlefs hides some: it commits a file when it is closed.)"""
    old, new = MUTANTS[name]
    shutil.copytree(ROOT / "firmware", tmp_path / "firmware", ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / "firmware/storage.py"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    job = {"kind": "fat", "words": 120, "old": True, "torn": False, "twice": True}
    cuts = run(FLASH + CUTS, job, firmware=tmp_path)["bad"]
    assert cuts or run(DAMAGE, {"directory": str(tmp_path)}, firmware=tmp_path)["wrong"]


@pytest.mark.parametrize("arch", ["cpython", "x64", "i386"])
def test_damaged_file_is_refused_and_the_other_one_read(arch: str, tmp_path: Path) -> None:
    """Every length, every flipped bit, absurd sizes in the header: the other file is read, or none, without an error.

    On 32 bits a size of 2**30 and more is no small int.
    """
    found = run(DAMAGE, {"directory": str(tmp_path)}, arch)
    assert found["wrong"] == [] and found["damaged"] > 1250, found
    assert found["sizes"] == [None] * 5, "a checkpoint of another size"
    assert found["both"] == [7, 101, 30] and found["gone"] is None, found


FULL = """
import struct
from firmware import wire
from firmware.device import Device

answers = []
receiver = wire.Receiver()

def say(frame, n):
    at = 0
    while at < n:
        at = receiver.take(frame, at, n)
        size = receiver.unseal(board.key)
        if size:
            answers.append(bytes(receiver.body[:size]))

def board_on(root):
    return Device(say, lambda: 0, 512, 1, 1, root)

def ask(body):
    sender = wire.Sender()
    sender.body[: len(body)] = body
    n = sender.seal(len(body), board.key)
    board.receive(sender.frame, n)
    return answers[-1]

def begin():
    global board
    board = board_on("/flash/")
    ask(wire.GREETING)
    numbers = job["open"][:]
    return ask(struct.pack(wire.OPEN_FORMAT, *numbers))

def image(step):
    ask(struct.pack(wire.RATES_FORMAT, wire.RATES, 1, step, 9999, 18, 9999, 18, 9999, 20, 0, 40))
    pixels = bytes([(17 * i + 40 * step) & 255 for i in range(30)])
    return ask(struct.pack(wire.ROWS_FORMAT, wire.TRAIN, step, 0, 5, 1) + pixels)

def fill():
    # Files of one block each until no more fit; littlefs keeps what it needs for its directory.
    try:
        for i in range(100):
            with open("/flash/f%d" % i, "wb") as file:
                file.write(b"x" * 4000)
    except OSError as error:
        return error.errno

def first():
    begin()
    image(0)
    out.append(ask(struct.pack(wire.ASK_FORMAT, wire.CHECKPOINT, 9))[0])
    out.append(fill())
    image(1)
    refused = ask(struct.pack(wire.ASK_FORMAT, wire.CHECKPOINT, 9))
    out.append(list(struct.unpack(wire.REFUSED_FORMAT, refused)[:2]) + [struct.unpack(wire.REFUSED_FORMAT, refused)[4]])
    out.append(struct.unpack(wire.RESULT_FORMAT, image(2))[1])  # the board goes on

def second():
    # After the power came back: the old checkpoint, and then, with room, a new one.
    state = struct.unpack(wire.STATE_FORMAT, begin())
    out.append(state[2])
    for i in range(100):
        try:
            os.remove("/flash/f%d" % i)
        except OSError:
            break
    image(1)
    out.append(ask(struct.pack(wire.ASK_FORMAT, wire.CHECKPOINT, 9))[0])
    out.append(storage.load(None, "/flash/"))

out = []
flash = Flash(blank())
on(flash, first)
flash = Flash(flash.data)
on(flash, second)
out.append([wire.STATE, wire.REFUSED, wire.STORAGE])
print(json.dumps({"out": out}))
"""


def test_full_file_system_is_refused_and_the_old_checkpoint_stays() -> None:
    """ENOSPC in the middle of a checkpoint: REFUSED tells the error number, training goes on, nothing is lost."""
    from firmware import wire

    numbers = [wire.OPEN, wire.VERSION, 0, 6, 5, 5, 2570, 4, 8, 7, 1, *(3072, 4096, 2048, 3072, 4096, -12288, 12288),
               0, 2048, *(-16384, 24575, -32768, 32767, -32768, 32767), 77]  # fmt: skip
    *found, (state, refused, reason) = run(FLASH + FULL, {"kind": "littlefs", "open": numbers})["out"]
    assert found == [state, 28, [refused, reason, 28], 3, 1, state, [7, 2, 120]]
