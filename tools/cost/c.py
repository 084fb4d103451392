"""The exported C as an RP2040's code, beside viper's: instructions, cycles and bytes of the passes."""

from typing import Any

from host.base.cli import UserError
from host.engine.passes import passes_of
from tools.c import thumb
from tools.c.build import execute
from tools.cost.arm import counts
from tools.cost.job import MHZ, Counts, Job
from tools.cost.table import split


def count_c(job: Job, argv: list[str]) -> tuple[dict[str, Counts], dict[str, int], tuple[int, int]]:
    """The exported C for Thumb-1 on the same images: counts by the marks' name, bytes of every function, flash and RAM.

    argv: counter(). Raises UserError without its compiler, and if it does not end in the golden model's digest.
    """
    network = job.config.network()
    network.set_rates(job.config.rates(0))
    program = thumb.build(network, passes_of(network, alone=True), job.directory)
    *marks, digest = execute([*argv[:-3], str(program)], stdin=(job.directory / "digits").read_bytes()).decode().split()
    found = split(marks, counts(job)[:-1])
    for image, label in job.pairs:
        network.train(image.tobytes(), label)
    if digest != f"{network.digest():08x}":
        raise UserError(f"the exported C ends in digest {digest}, not {network.digest():08x}; it is miscompiled")
    warmed = {name: rows[-job.images :] for name, rows in found.items()}
    return warmed, thumb.code_bytes(program), thumb.flash_and_ram(job.directory)


def c_table(
    found: dict[str, Counts], code: dict[str, int], memory: tuple[int, int], viper: dict[str, Any]
) -> dict[str, Any]:
    """Of count_c(): each pass and a whole step, a mean, and how many times as many cycles viper takes.

    viper: table() of the same images.
    """

    def mean(name: str, field: int) -> int:
        """What a call and its marks take is deducted."""
        return round(sum(count[field] - empty[field] for count, empty in zip(found[name], found["call"], strict=True))
                     / len(found[name]))  # fmt: skip

    def counted(name: str) -> dict[str, int]:
        return {"instructions": mean(name, 2), "cycles": mean(name, 3)}

    passes = {name: {**counted(name), "bytes": code[name]} for name in viper["passes"]}
    every = {key: sum(p[key] for p in passes.values()) for key in ("instructions", "cycles", "bytes")}
    theirs = {name: viper["passes"][name]["cycles"] for name in passes}
    ratios = {name: round(theirs[name] / passes[name]["cycles"], 2) for name in passes}
    ratios["passes"] = round(sum(theirs.values()) / every["cycles"], 2)
    step = counted("image")
    ratios["step"] = round(viper["image"]["cycles"] / step["cycles"], 2)
    return {
        "passes": passes,
        "sum": every,
        "step": step,
        "ms": round(step["cycles"] / (MHZ * 1000), 1),
        "viper_to_c": ratios,
        "flash": memory[0],
        "ram": memory[1],
    }
