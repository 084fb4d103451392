"""The board's file system in memory, in which the power can be cut at any operation."""

import io
from random import Random


class PowerCut(BaseException):
    """The board loses its power here and now."""


class Flash:
    """The board's file system, in memory. cut: operations until the power is cut, torn writes included; None: never.

    fat: as MicroPython does on FAT, rename() removes the old file first.
    """

    def __init__(self, random: Random, fat: bool = False):
        self.random, self.fat = random, fat
        self.files: dict[str, bytes] = {}
        self.cut: int | None = None
        self.chance = 0.0  # of a cut, for each file that is opened for writing
        self.cuts = 0

    def _operation(self) -> bool:
        """Count an operation; return whether the power is cut in it."""
        if self.cut is None:
            return False
        self.cut -= 1
        if self.cut >= 0:
            return False
        self.cut = None
        self.cuts += 1
        return True

    def _exists(self, name: str) -> None:
        if name not in self.files:
            raise OSError(2, name)

    def open(self, name: str, mode: str) -> "io.BytesIO | FlashFile":
        """As the builtin open, for `rb` and `wb`."""
        if mode == "rb":
            self._exists(name)
            return io.BytesIO(self.files[name])
        if self.cut is None and self.chance and self.random.random() < self.chance:
            self.cut = self.random.randrange(8)
        if self._operation():
            raise PowerCut
        self.files[name] = b""
        return FlashFile(self, name)

    def rename(self, old: str, new: str) -> None:
        """As os.rename."""
        self._exists(old)
        if self.fat and new in self.files:
            self.remove(new)
        if self._operation():
            raise PowerCut
        self.files[new] = self.files.pop(old)
        if self._operation():
            raise PowerCut

    def remove(self, name: str) -> None:
        """As os.remove."""
        self._exists(name)
        if self._operation():
            raise PowerCut
        del self.files[name]

    def stat(self, name: str) -> tuple[int, ...]:
        """As os.stat, size only."""
        self._exists(name)
        return (0, 0, 0, 0, 0, 0, len(self.files[name]), 0, 0, 0)


class FlashFile:
    """A file that is being written."""

    def __init__(self, flash: Flash, name: str):
        self.flash, self.name = flash, name

    def write(self, data: bytes) -> int:
        """Append; a write in which the power is cut is torn."""
        data = bytes(data)
        if self.flash._operation():
            random = self.flash.random
            torn = data[: random.randrange(len(data) + 1)]
            self.flash.files[self.name] += torn + random.choice((b"", b"\xff" * (len(data) - len(torn))))
            raise PowerCut
        self.flash.files[self.name] += data
        return len(data)

    def __enter__(self) -> "FlashFile":
        return self

    def __exit__(self, *exc: object) -> None:
        pass
