"""Checkpoints: parameters with the step counter, and how far their run has come, in one file."""

import json
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from host.base.cli import UserError
from host.base.files import write_atomically
from host.runs.config import Config, Unfit

CHECKPOINT = "checkpoint.npz"  # in a run directory
MEMBERS = ["params", "about"]  # of a checkpoint
EPOCH = {  # of an epoch's line
    "epoch": int,
    "step": int,
    "train_accuracy": float,
    "test_accuracy": float,
    "images_per_second": float,
    "digest": str,
}


def damaged(what: object, cause: str) -> UserError:
    """What to say of a file of ours that says what cannot be."""
    return UserError(f"{what} is damaged{cause and f' ({cause})'}; restore it, or start anew elsewhere")


@dataclass
class Checkpoint:
    """Parameters with the step counter, and how far the run has come."""

    config: dict[str, Any]
    params: np.ndarray
    step: int
    digest: str
    correct: int = 0  # right predictions so far in the epoch that is under way
    seconds: float = 0.0  # training time so far in that epoch
    epochs: list[dict[str, Any]] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write an .npz without pickled objects, atomically."""
        about = json.dumps({k: v for k, v in vars(self).items() if k != "params"})
        write_atomically(path, lambda f: np.savez(f, params=self.params, about=np.array(about)))

    @classmethod
    def read(cls, path: Path) -> "Checkpoint":
        """Raises UserError if the file is missing, damaged or not a checkpoint."""
        if not path.exists():
            raise UserError(f"there is no checkpoint {path}; name one that host.simulate or host.stream wrote")
        foreign = f"{path} is no checkpoint of host.simulate or host.stream; name the {CHECKPOINT} of a run directory"
        if not path.is_file():  # a directory; and reading a pipe might never end
            raise UserError(foreign)
        try:
            stream = open(path, "rb")  # noqa: SIM115 (it is closed below)
        except OSError as error:
            raise UserError(f"cannot read {path} ({error.strerror}); make that possible, or name another") from error
        ours = False
        try:
            with stream:
                # A checkpoint that was cut off shows in its first bytes what it was, an intact one in its directory.
                ours = f"{MEMBERS[0]}.npy".encode() in stream.read(60)
                with zipfile.ZipFile(stream) as file:
                    ours = ours or [Path(name).stem for name in file.namelist()] == MEMBERS
                stream.seek(0)
                with np.load(stream, allow_pickle=False) as file:
                    checkpoint = cls(params=file["params"], **json.loads(str(file["about"])))
            checkpoint.check()
        except Exception as error:  # damage in a zip surfaces as almost any type, depending on where it is
            cause = str(error) if isinstance(error, Unfit) else ""  # of other modules' errors none has advice for us
            raise (damaged(f"checkpoint {path}", cause) if ours else UserError(foreign)) from error
        return checkpoint

    def check(self) -> None:
        """Raise Unfit for a part that cannot be right by itself, or does not fit the others."""
        config = Config.from_dict(self.config)
        right = {
            "step": type(self.step) is int and 0 <= self.step <= config.total,
            "correct": type(self.correct) is int and 0 <= self.correct <= config.images,
            "seconds": type(self.seconds) in (int, float) and 0 <= self.seconds < float("inf"),
            "epochs": isinstance(self.epochs, list),
        }
        wrong = next((name for name, fine in right.items() if not fine), None)
        if wrong:
            raise Unfit(f"{wrong} cannot be right")
        shape, kind = config.shape, np.float64 if config.arithmetic == "float" else np.int32
        if self.params.shape != shape or self.params.dtype != kind:
            raise Unfit(f"parameters are {self.params.dtype} {self.params.shape}, not {np.dtype(kind)} {shape}")
        if self.digest != digest(self.params, self.step):
            raise Unfit("its digest does not fit its parameters")
        done, under_way = divmod(self.step, config.images)
        if len(self.epochs) not in ({done} if under_way else {done, max(done - 1, 0)}):  # trained, but not yet tested
            raise Unfit("epochs cannot be right")
        for number, epoch in enumerate(self.epochs, 1):
            if not _epoch_fits(epoch, number, config):
                raise Unfit("an epoch cannot be right")


def _epoch_fits(epoch: Any, number: int, config: Config) -> bool:
    """Whether this can be the line of this epoch (1, 2, ...)."""
    if not isinstance(epoch, dict) or {name: type(value) for name, value in epoch.items()} != EPOCH:
        return False
    shares = (epoch["train_accuracy"], epoch["test_accuracy"])
    return (
        (epoch["epoch"], epoch["step"]) == (number, number * config.images)
        and all(0 <= share <= 1 for share in shares)
        and 0 <= epoch["images_per_second"] < float("inf")
        and re.fullmatch("[0-9a-f]{8}", epoch["digest"]) is not None
    )


def digest(params: np.ndarray, step: int) -> str:
    """As Lattice.digest(): CRC-32 over the parameters' little-endian bytes and the step counter, in hex."""
    crc = crc32(np.ascontiguousarray(params).astype(params.dtype.newbyteorder("<")).tobytes())
    return f"{crc32((step & 0xFFFFFFFF).to_bytes(4, 'little'), crc):08x}"
