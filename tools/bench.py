"""How fast is training? Images per second of every executor of the engine, and how the cost grows with the lattice.

All executors train the same lattice (28x10 cells, 28 steps, preset critical, seed 1) on the same bundled digits, one
after the other in rounds, so that whatever else the machine does meets them all. LLVM also trains 4, 8 and 16 lattices
at once (seeds 1, 2, ...); images/s then counts the images of all of them. The figure is the median over the rounds;
`best` is the fastest round, and on a busy machine nearer to what an idle one would do, as are the images per second of
CPU time, told for LLVM. `x llvm` is the median of what each round gave, divided by LLVM's one lattice in the same
round; `x Numba` is that times what LLVM's one lattice gave compared with Numba when both were here. Each runs on one
core. Compiling is not counted. After every round the digests of the integer executors are compared (of lattices side
by side, the first one's): a wrong result has no speed, and makes the exit code 1. Examples:

  python -m tools.bench                 half a minute
  python -m tools.bench --quick         a few seconds, rough figures
  python -m tools.bench --json          the same as one JSON object on stdout

The second table trains square lattices on noise under LLVM and counts CPU time. ns/cell-step is the time of one image,
divided by cells and time steps: it is constant where cost grows with the number of cells and nothing else.

The third table trains every graph with every rule under LLVM, one network and eight side by side, 1,120 parameters
each. Their digests after the first images are compared with the golden model's.

Last, how long a new process takes from its start to its first trained image: cold, when Python has compiled no module
yet, and warm. The kernels are compiled anew in both.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np

from fixedpoint.lattice import Lattice
from host.base import cli
from host.base.heartbeat import say
from host.base.scratch import Scratch
from host.board import micropythons
from host.data import dataset
from host.engine import llvm
from host.engine.lanes import Lanes
from host.engine.learners import FixedLearner, FloatLearner, LaneLearner
from host.runs.config import Config, configure
from host.runs.presets import PRESETS
from tools.c.library import CompiledC
from tools.networks import NETWORKS, title

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = "llvm"
# What LLVM's one lattice gave, in units of what Numba gave from the same kernels, on the day when Numba left
# (2026-11-26): the median of 9 rounds of 2,000 images, each by both, on one core of an x86-64 with AVX-512, llvmlite
# 0.50.0 and numba 0.68.1. (4, 8 and 16 lattices: 3.1, 5.1 and 6.4.) What LLVM gained or lost since is not in it.
NUMBA = 1.95

# Executor: images per round and lattice; a round takes each of them a fraction of a second.
ROUND = {
    "llvm": 2000,
    **{f"llvm, {lanes} lattices": 800 for lanes in llvm.LANES[1:]},
    "exported C, gcc -O3": 2000,
    "python": 20,
    "float oracle": 200,
    "MicroPython x64 bytecode": 30,
    "MicroPython x64 native": 60,
    "MicroPython i386 viper": 500,
}
SIDES = (4, 8, 16, 32, 64)
CELL_STEPS = 2_000_000  # of a lattice in a round of the second table
SIDE_BY_SIDE = {1: 1000, 8: 250}  # networks in the third table: images per round of each
GOLDEN = 2  # images that the golden model trains each of them on

# As host.simulate begins.
FIRST_IMAGE = """
from host.data import dataset
from host.engine.learners import LaneLearner
from host.runs.config import configure

data = dataset.load()
config = configure(data, "critical", 1, 1)
learner = LaneLearner(config.network())
learner.set_rates(config, 0)
learner.train(data.train_images[:1], data.train_labels[:1])
print(learner.digest(), flush=True)
"""

# Trains as many images as each line on stdin says; prints the time taken in us, and the digest.
SCRIPT = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from fixedpoint.lattice import Lattice

with open(sys.argv[2]) as file:
    job = json.load(file)
lattice = Lattice(job["rows"], job["cols"], job["steps"], job["scale"], job["gain"])
lattice.set_bounds(job["bounds"])
lattice.seed(job["seed"], job["init"])
lattice.set_rates(job["rates"])
pixels = bytearray(job["rows"] * job["steps"])
with open(sys.argv[3], "rb") as images:
    while True:
        line = sys.stdin.readline()
        if not line:
            break
        taken = 0
        for _ in range(int(line)):
            images.readinto(pixels)
            label = images.read(1)[0]
            begun = time.ticks_us()
            lattice.train(pixels, label)
            taken += time.ticks_diff(time.ticks_us(), begun)
        print(taken, "%08x" % lattice.digest())
"""


class Trainer(Protocol):
    """Something that trains the lattice of the benchmark, image after image."""

    @property
    def lattices(self) -> int:
        """How many of them at once."""

    def train(self, count: int) -> tuple[float, str]:
        """Train on the next `count` images; return the seconds taken and the (first) digest ("" for floats)."""


@dataclass
class OnHost:
    """An executor in this process."""

    learner: FixedLearner | FloatLearner | LaneLearner | CompiledC
    data: dataset.Dataset
    step: int = 0
    cpu: float = 0.0  # seconds of CPU time so far
    lattices: int = 1

    def train(self, count: int) -> tuple[float, str]:
        images, labels = following(self.data, self.step, count)
        begun, cpu = time.perf_counter(), time.process_time()
        self.learner.train(images, labels)
        taken = time.perf_counter() - begun
        self.cpu += time.process_time() - cpu
        self.step += count
        return taken, "" if isinstance(self.learner, FloatLearner) else self.learner.digest()


@dataclass
class SideBySide:
    """Lattices with the seeds 1, 2, ..., all on the same images."""

    lanes: Lanes
    data: dataset.Dataset
    step: int = 0

    @property
    def lattices(self) -> int:
        return self.lanes.count

    def train(self, count: int) -> tuple[float, str]:
        images, labels = (x[:, None].repeat(self.lattices, 1) for x in following(self.data, self.step, count))
        begun = time.perf_counter()
        self.lanes.learn(images, labels)
        taken = time.perf_counter() - begun
        self.step += count
        return taken, f"{self.lanes.lattice(0).digest():08x}"


def following(data: dataset.Dataset, step: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The images of these steps, over and over, and their labels."""
    which = np.arange(step, step + count) % len(data.train_labels)
    return data.train_images[which], data.train_labels[which]


@dataclass
class OnMicroPython:
    """A MicroPython process that runs SCRIPT."""

    process: subprocess.Popen[str]
    lattices: int = 1

    def train(self, count: int) -> tuple[float, str]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        if len(answer) != 2:
            raise cli.UserError(f"a MicroPython ended while it trained ({self.process.args!r})")
        return int(answer[0]) / 1e6, answer[1]


@contextmanager
def micropython(arch: str, emit: str, config: Config, data: dataset.Dataset, count: int) -> Iterator[OnMicroPython]:
    """A MicroPython with the kernels compiled by that emitter, ready for `count` images."""
    with Scratch("bench") as work:
        engine, job, images, script = (work / name for name in ("engine", "job.json", "images", "bench.py"))
        micropythons.compile_tree(arch, [ROOT / "fixedpoint"], engine, emit)
        job.write_text(json.dumps({**config.as_dict(), "rates": config.rates(0)}))
        pairs = zip(data.train_images[:count], data.train_labels[:count], strict=True)
        images.write_bytes(b"".join(image.tobytes() + bytes([label]) for image, label in pairs))
        script.write_text(SCRIPT)
        argv = [*micropythons.command(arch), "-X", "heapsize=2M", *map(str, (script, engine, job, images))]
        with subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # else a Ctrl-C would interrupt it, too, and it would say so
        ) as process:
            try:
                yield OnMicroPython(process)
            finally:
                process.kill()


def side_by_side(config: Config, data: dataset.Dataset, networks: int) -> SideBySide:
    """So many of them under LLVM, compiled, with the seeds 1, 2, ..."""
    lanes = Lanes([replace(config, seed=seed).network() for seed in range(1, networks + 1)])
    lanes.set_rates(config.rates(0))
    return SideBySide(lanes, data)


def trainers(config: Config, data: dataset.Dataset, images: dict[str, int], stack: ExitStack) -> dict[str, Trainer]:
    """Every executor that there is on this machine, by its name. images: how many each will be given in all."""

    def on_host(name: str, make: Callable[[], FixedLearner | FloatLearner | LaneLearner]) -> OnHost:
        say(f"bench: getting {name} ready")
        learner = make()
        learner.set_rates(config, 0)
        return OnHost(learner, data)

    found: dict[str, Trainer] = {"llvm": on_host("llvm", lambda: LaneLearner(config.network()))}
    for lattices in llvm.LANES[1:]:
        name = f"llvm, {lattices} lattices"
        if name in images:
            say(f"bench: getting {name} ready")
            found[name] = side_by_side(config, data, lattices)
    if "exported C, gcc -O3" in images:
        say("bench: getting exported C, gcc -O3 ready")
        with suppress(cli.UserError):  # no C compiler
            library = CompiledC(config.network())
            library.set_rates(config.rates(0))
            found["exported C, gcc -O3"] = OnHost(library, data)
    found["python"] = on_host("python", lambda: FixedLearner(config.network()))
    found["float oracle"] = on_host("float oracle", lambda: FloatLearner(config))
    for name, count in images.items():
        family, _, which = name.partition(" ")
        arch, _, emit = which.partition(" ")
        if family == "MicroPython" and micropythons.available(arch) and emit in ("bytecode", micropythons.emit(arch)):
            say(f"bench: getting {name} ready")
            found[name] = stack.enter_context(micropython(arch, emit, config, data, count))
    return found


def executors(rounds: int, scale: float = 1.0) -> dict[str, Any]:
    """The first table: {"executors": [...], "missing": [...], "mismatches": [...]}."""
    data = dataset.load()
    config = configure(data, "critical", seed=1, epochs=1)
    count = {name: max(1, round(images * scale)) for name, images in ROUND.items()}
    digests: dict[str, dict[int, str]] = {name: {} for name in count}
    seconds: dict[str, list[float]] = {name: [] for name in count}
    with ExitStack() as stack:
        found = trainers(config, data, {name: n * rounds for name, n in count.items()}, stack)
        for number in range(1, rounds + 1):
            say(f"bench: executors, round {number} of {rounds}")
            for name, trainer in found.items():
                taken, digests[name][number * count[name]] = trainer.train(count[name])
                seconds[name].append(taken)
    rows = [row(name, count[name] * trainer.lattices, seconds[name]) for name, trainer in found.items()]
    for each, trainer in zip(rows, found.values(), strict=True):
        per_image = [taken / each["images"] for taken in seconds[each["name"]]]
        pairs = zip(seconds[REFERENCE], per_image, strict=True)
        times = median(taken / count[REFERENCE] / mine for taken, mine in pairs)
        each |= {
            "lattices": trainer.lattices,
            "times_llvm": significant(times),
            "times_numba": significant(times * NUMBA),
        }
    say("bench: comparing digests")
    wanted = reference(config, data, {step for name in found for step in digests[name]})
    mismatches = [
        f"{name} after {step} images: {digest}, {REFERENCE} has {wanted[step]}"
        for name in found
        for step, digest in digests[name].items()
        if digest and digest != wanted[step]
    ]
    fastest_trainer = found[REFERENCE]
    assert isinstance(fastest_trainer, OnHost)
    return {
        "executors": rows,
        "images_per_cpu_second": round(fastest_trainer.step / max(fastest_trainer.cpu, 1e-9), 1),
        "missing": [name for name in count if name not in found],
        "compared": sum(bool(digest) for name in found for digest in digests[name].values()),
        "mismatches": mismatches,
    }


def reference(config: Config, data: dataset.Dataset, steps: set[int]) -> dict[int, str]:
    """Digests of one lattice trained under LLVM, after these numbers of images."""
    learner = LaneLearner(config.network())
    learner.set_rates(config, 0)
    trainer = OnHost(learner, data)
    return {step: trainer.train(step - trainer.step)[1] for step in sorted(steps)}


def significant(value: float) -> float:
    """Rounded to three digits."""
    return float(f"{value:.3g}")


def row(name: str, images: int, seconds: list[float]) -> dict[str, Any]:
    """What both tables say about a series of rounds of so many images."""
    typical, best = median(seconds), min(seconds)
    return {
        "name": name,
        "images_per_second": round(images / typical, 1),
        "best": round(images / best, 1),
        "ms_per_image": round(1000 * typical / images, 4),
        "images": images,
        "rounds": len(seconds),
    }


def growth(rounds: int, scale: float = 1.0, steps: int = 28) -> dict[str, Any]:
    """The second table: {"growth": [...], "exponent": of the cells that the time is proportional to}."""
    preset = PRESETS["critical"]
    random = np.random.default_rng(1)
    series: list[tuple[int, LaneLearner, np.ndarray, np.ndarray, list[float]]] = []
    for side in SIDES:
        lattice = Lattice(side, side, steps, preset.scale, preset.gain)
        lattice.set_bounds(preset.bounds)
        lattice.seed(1, preset.init)
        lattice.set_rates(((1, 20), (1, 20), (1, 20)))
        learner = LaneLearner(lattice)
        count = max(2, round(CELL_STEPS * scale / (side * side * steps)))
        images = random.integers(0, 256, (count, steps, side), dtype=np.uint8)
        labels = random.integers(0, side, count, dtype=np.uint8)
        series.append((side, learner, images, labels, []))
    for number in range(1, rounds + 1):
        say(f"bench: sizes, round {number} of {rounds}")
        for _, learner, images, labels, seconds in series:
            begun = time.process_time()
            learner.train(images, labels)
            seconds.append(max(time.process_time() - begun, 1e-9))
    rows = []
    for side, _, _, labels, seconds in series:
        found = row(f"{side}x{side}", len(labels), seconds)
        work = side * side * steps
        rows.append({**found, "cells": side * side, "ns_per_cell_step": round(found["ms_per_image"] * 1e6 / work, 2)})
    cells, cost = (np.log([each[key] for each in rows]) for key in ("cells", "ms_per_image"))
    return {"growth": rows, "exponent": round(float(np.polyfit(cells, cost, 1)[0]), 3)}


def graphs(rounds: int, scale: float = 1.0) -> dict[str, Any]:
    """The third table: {"graphs": [...], "graph_mismatches": [...]}."""
    data = dataset.load()
    rows, mismatches = [], []
    for number, (graph, rule) in enumerate(NETWORKS, start=1):
        say(f"bench: graphs, {number} of {len(NETWORKS)}")
        config = configure(data, None, seed=1, epochs=1, graph=graph, rule=rule)
        golden = FixedLearner(config.network())
        golden.set_rates(config, 0)
        digests = {"python": OnHost(golden, data).train(GOLDEN)[1]}
        each: dict[str, Any] = {"graph": graph, "rule": rule}
        for networks, images in SIDE_BY_SIDE.items():
            trainer, count = side_by_side(config, data, networks), max(1, round(images * scale))
            digests[f"{networks} side by side"] = trainer.train(GOLDEN)[1]
            taken = [trainer.train(count)[0] for _ in range(rounds)]
            each[f"images_per_second_{networks}"] = row("", count * networks, taken)["images_per_second"]
        rows.append(each)
        if len(set(digests.values())) > 1:
            mismatches.append(f"{title(graph, rule)} after {GOLDEN} images: {digests}")
    return {"graphs": rows, "graph_mismatches": mismatches}


def first_image(rounds: int) -> dict[str, Any]:
    """Seconds from the start of a process to its first trained image: {"first_image": {"cold": ..., "warm": ...}}."""
    seconds = []
    with Scratch("bench") as work:
        argv = [sys.executable, "-X", f"pycache_prefix={work}", "-c", FIRST_IMAGE]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        for number in range(1, rounds + 2):
            say(f"bench: start to first image, {'warm' if number > 1 else 'cold'}")
            begun = time.perf_counter()
            with subprocess.Popen(
                argv, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
            ) as process:
                try:
                    assert process.stdout
                    if not process.stdout.readline():
                        raise cli.UserError("a process that should train one image ended before")
                finally:
                    seconds.append(time.perf_counter() - begun)
                    process.kill()
    return {"first_image": {"cold": round(seconds[0], 3), "warm": round(median(seconds[1:]), 3)}}


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    return {"machine": platform.machine(), "python": platform.python_version(), "cpus": os.cpu_count(), "load": load}


def text(found: dict[str, Any]) -> str:
    """All as lines."""
    lines = [f"{'28x10 cells, 28 steps':<26}{'images/s':>10}{'best':>10}{'ms/image':>10}{'x llvm':>10}{'x Numba':>10}"]
    for each in found["executors"]:
        lines.append(
            "{name:<26}{images_per_second:>10,.1f}{best:>10,.1f}{ms_per_image:>10.3f}{times_llvm:>10}{times_numba:>10}".format(
                **each
            )
        )
    lines += [f"{name:<26}{'not on this machine':>30}" for name in found["missing"]]
    lines += [f"WRONG RESULT: {mismatch}" for mismatch in found["mismatches"]]
    if not found["mismatches"]:
        lines.append(f"{found['compared']} digests of the integer executors compared: all equal to {REFERENCE}'s")
    lines.append(
        f"{REFERENCE}: {found['images_per_cpu_second']:,.1f} images per second of CPU time; before the run the load was"
        f" {found['load']} on {found['cpus']} CPUs"
    )
    lines.append("")
    lines.append(f"{'llvm, 28 steps, noise':<22}{'cells':>8}{'images/CPU s':>14}{'ms/image':>10}{'ns/cell-step':>14}")
    for each in found["growth"]:
        lines.append(
            "{name:<22}{cells:>8}{images_per_second:>14,.1f}{ms_per_image:>10.3f}{ns_per_cell_step:>14.2f}".format(
                **each
            )
        )
    lines.append(f"time of an image grows as cells ** {found['exponent']}")
    lines.append("")
    lines.append(f"{'llvm':<26}{'images/s, one':>16}{'eight side by side':>20}")
    for each in found["graphs"]:
        one, eight = each["images_per_second_1"], each["images_per_second_8"]
        lines.append(f"{title(each['graph'], each['rule']):<26}{one:>16,.1f}{eight:>20,.1f}")
    lines += [f"WRONG RESULT: {mismatch}" for mismatch in found["graph_mismatches"]]
    if not found["graph_mismatches"]:
        lines.append(f"their digests after {GOLDEN} images, and the golden model's: all equal")
    lines.append("")
    lines.append("start of a process to its first image: {cold} s cold, {warm} s warm".format(**found["first_image"]))
    return "\n".join(lines)


def main() -> int:
    parser = cli.Parser("python -m tools.bench", __doc__)
    parser.add_argument("--quick", action="store_true", help="fewer images and rounds")
    parser.add_argument("--json", action="store_true", help="print all as one JSON object on stdout")
    args = parser.parse_args()
    rounds, scale = (3, 0.2) if args.quick else (7, 1.0)
    about = machine()
    found = {
        **about,
        **executors(rounds, scale),
        **growth(rounds, scale),
        **graphs(rounds, scale),
        **first_image(rounds),
    }
    print(json.dumps(found) if args.json else text(found))
    mismatches = [*found["mismatches"], *found["graph_mismatches"]]
    for mismatch in mismatches:
        print(f"error: {mismatch}", file=sys.stderr)
    return 1 if mismatches else 0


if __name__ == "__main__":
    cli.run(main)
