"""A run on a few images of noise, and what a refusal must look like."""

from collections.abc import Callable

import numpy as np
import pytest

from host.base.cli import UserError
from host.data.dataset import Dataset
from host.runs.config import configure


def noise(train: int = 23, test: int = 12, steps: int = 5, width: int = 4) -> Dataset:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (train + test, steps, width), dtype=np.uint8)
    labels = (np.arange(train + test) % 3).astype(np.uint8)
    return Dataset("noise", images[:train], labels[:train], images[train:], labels[train:])


DATA = noise()
CONFIGS = {kind: configure(DATA, "article", 1, 3, cols=3, arithmetic=kind) for kind in ("fixed", "float")}
CONFIG = CONFIGS["fixed"]
FILES = ["checkpoint.npz", "config.json", "epochs.jsonl", "results.csv"]  # of a run


def refused(call: Callable[[], object], *parts: str) -> str:
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    return message
