"""A board as it comes from the shop, for the real mpremote: a MicroPython behind a pseudo-terminal, at its prompt."""

import os
import threading
import time
from pathlib import Path

from host.board import micropythons
from host.board.sim import SimBoard
from tools import image

# Runs before the prompt: a littlefs of flash.bin is the only file system, and machine.reset() ends the process.
BOOT = """
import os, sys, vfs
class Flash:
    def __init__(self, name):
        self.file = open(name, "r+b")
        self.blocks = os.stat(name)[6] // 4096
    def readblocks(self, block, buffer, offset=0):
        self.file.seek(4096 * block + offset)
        self.file.readinto(buffer)
    def writeblocks(self, block, buffer, offset=0):
        self.file.seek(4096 * block + offset)
        self.file.write(buffer)
        self.file.flush()
    def ioctl(self, op, argument):
        return {4: self.blocks, 5: 4096}.get(op, 0)
class Machine:
    def reset(self):
        sys.exit(42)
sys.modules["machine"] = Machine()
flash = Flash("flash.bin")
try:
    fs = vfs.VfsLfs2(flash, progsize=256)
except OSError:
    vfs.VfsLfs2.mkfs(flash, progsize=256)
    fs = vfs.VfsLfs2(flash, progsize=256)
vfs.umount("/")
vfs.mount(fs, "/")
os.chdir("/")
sys.path[:] = ["", ".frozen", "/lib"]
if sys.argv[1] == "main" and "main.py" in os.listdir():
    exec(open("main.py").read())
"""


class PromptBoard(SimBoard):
    """A board as it comes from the shop: MicroPython at its prompt, and a file system of `blocks` blocks.

    A process that ends is a reset: a hard one by machine.reset(), with main.py, else a soft one out of the raw REPL.
    """

    boot = BOOT

    def __init__(self, flash: Path, blocks: int = 352, files: dict[str, bytes] | None = None):
        (flash / "flash.bin").write_bytes(image.littlefs(files, 4096 * blocks) if files else b"\xff" * 4096 * blocks)
        super().__init__("x64", flash)
        self.port = os.path.realpath(self.port)  # mpremote is quick with what it knows for a pseudo-terminal
        self.watcher = threading.Thread(target=self._watch, daemon=True)
        self.watcher.start()

    def _install(self, heap: str) -> list[str]:
        (self.flash / "boot.py").write_text(self.boot)
        return [*micropythons.command("x64"), "-X", f"heapsize={heap}", "-i", "boot.py", "main"]

    def _watch(self) -> None:
        while self.running:
            if self.process and self.process.poll() is not None:
                hard = self.process.returncode == 42
                self.power_off()
                self.command[-1] = "main" if hard else "raw"
                if not hard:
                    os.write(self.outer, b"MPY: soft reboot\r\n")
                self.power_on()
                if not hard:
                    os.write(self.master, b"\x01")
            time.sleep(0.005)

    def close(self) -> None:
        self.running = False
        self.watcher.join()
        super().close()

    @property
    def files(self) -> dict[str, bytes]:
        """What is on its file system."""
        return image.contents((self.flash / "flash.bin").read_bytes())
