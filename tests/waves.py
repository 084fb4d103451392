"""Small sets of labelled sequences: noisy sine, square and triangle waves on three channels, as arrays and as files."""

from pathlib import Path

import numpy as np

KINDS = ("sine", "square", "triangle")
STEPS, CHANNELS = 40, 3


def waves(each: int, seed: int, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """each sequences of every kind, mixed: values (n, STEPS, CHANNELS) of about -1 to 1, labels (n,) 0 to 2."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(each * len(KINDS)) % len(KINDS))
    values = np.empty((len(labels), STEPS, CHANNELS))
    for i, label in enumerate(labels):
        for channel in range(CHANNELS):
            phase = np.arange(STEPS) / rng.uniform(10, 14) + rng.uniform()
            sine = np.sin(2 * np.pi * phase)
            triangle = 4 * abs(phase % 1 - 0.5) - 1
            values[i, :, channel] = (sine, np.sign(sine), triangle)[label]
    return values + rng.normal(0, noise, values.shape), labels


def arrays(train: int = 100, test: int = 50, **options: float) -> dict[str, np.ndarray]:
    """The four arrays of an .npz file, values scaled to 0..255; train, test: sequences of every kind."""
    found = {}
    for split, each, seed in (("train", train, 1), ("test", test, 2)):
        x, y = waves(each, seed, **options)
        found[f"{split}_x"] = np.clip((x + 1.5) * 85, 0, 255).astype(np.uint8)
        found[f"{split}_y"] = y
    return found


def write_csv(
    path: Path, values: np.ndarray, labels: list, splits: list[str] | None = None, names: str = "xyz"
) -> Path:
    """A .csv file of values (n, steps, channels); splits: of each sequence, None for no such column."""
    lines = [",".join(["sequence", "label", *(["split"] if splits else []), *names[: values.shape[2]]])]
    for i, (sequence, label) in enumerate(zip(values.tolist(), labels, strict=True)):
        fixed = [f"s{i}", label, *([splits[i]] if splits else [])]
        lines += [",".join(map(str, [*fixed, *row])) for row in sequence]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
