"""What a run says: a line before it, its progress on stderr, and its result, the only thing on stdout.

On a terminal progress is a bar, and below it what there is to see, if there is room for it; elsewhere a line every
EVERY seconds, which says what the bar says. A result is an aligned block with a title, or with --json one JSON object;
both have the same fields in the same order, whatever was done by whom.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from host.base import cli, heartbeat, streams
from host.data.dataset import Dataset
from host.runs import drawings
from host.runs.checkpoint import Checkpoint
from host.runs.config import Config
from host.runs.display import Display, drawable
from host.runs.drawings import Curve, Line, scene
from host.runs.run import Alone, Learner, Progress, Run, examine

EVERY = 10.0  # seconds between two lines
REDRAW = 0.2  # between two states of the bar
ROOM = (60, 12)  # columns and lines of a terminal that has room for more than a bar
# What a board's time is reckoned from before its first image; a run's progress shows what it really takes. Cycles of an
# RP2040 as tools.cost counts them with 28 x 28 pixels: for each cell, or weight W of a diagonal network, and step.
FORWARD, FORWARD_DIAGONAL = 218, 53
LEARNING, LEARNING_DIAGONAL = {"snap1": 703, "exact": 480}, 14
LINK, LINK_BYTES = 4190, 30  # for each byte of an image's frames; how many of these are not pixels
HERTZ = 125e6
EMULATED = 1.3  # a board that was emulated as a whole took so many times what was counted
TEST_SHARE = 0.4  # of a training image's time is about a test image's, as long as none has been timed

Body = Callable[[int, int], Sequence[Line]]
NOTHING: Body = lambda columns, lines: ()  # noqa: E731 (a value among others)
SEVERAL = ("runs", "results")  # fields of a result that are lists, a line each in the block
# One of several runs in the block.
RUN = "  seed {seed:<17}{test_accuracy:.4f}  digest {digest}  {run_dir}"
# The fields of a result: what the block calls them, and how it writes them. Others are written as they are called.
FIELDS = {
    "test_accuracy": ("test accuracy", "{:.4f}"),
    "train_accuracy": ("training accuracy", "{:.4f} (last epoch, before each image's own step)"),
    "images": ("training images", "{}"),
    "test_images": ("test images", "{}"),
    "epochs": ("epochs", "{}"),
    "steps": ("training steps", "{}"),
    "seed": ("seed", "{}"),
    "digest": ("digest", "{}"),
    "images_per_second": ("images per second", "{:.1f} (training, last epoch)"),
    "run_dir": ("run directory", "{}"),
    "checkpoint": ("checkpoint", "{}"),
    "bytes_per_image": ("bytes per image", "{} (to the board)"),
    "retransmitted_frames": ("frames sent again", "{}"),
    "timeouts": ("time-outs", "{}"),
    "reconnects": ("reconnects", "{}"),
    "board_waiting_share": ("board waits for data", "{:.1%} of its time"),
    "board_ms_per_step": ("board's last step", "{} ms"),
    "board_free_heap": ("board's free heap", "{} bytes"),
    "mean": ("mean", "{:.4f} (of the test accuracies)"),
    "sd": ("standard deviation", "{:.4f} (sample: over n - 1)"),
    "lowest": ("lowest", "{:.4f}"),
    "highest": ("highest", "{:.4f}"),
    "twin_checks": ("twin", "all {} results were equal: digest and prediction after every image"),
}


def say(text: str) -> None:
    """A line on stderr, above the bar if there is one."""
    if Display.shown:
        Display.shown.above(text)
    else:
        heartbeat.say(text)


def show(
    title: str, result: dict[str, Any], as_json: bool, again: str = "", row: Callable[[Any], str] = RUN.format_map
) -> None:
    """Print a result on stdout. again: the command that prints it once more, if there is one that need not work anew.

    row: what writes one of several runs, or results, in a line. Raises Undelivered, BrokenPipeError.
    """
    lines = [title]
    for name, value in result.items():
        if name in SEVERAL:
            lines += map(row, value)
            continue
        if value is None:
            continue
        label, form = FIELDS.get(name, (name.replace("_", " "), "{}"))
        lines.append(f"  {label:<22}{form.format(value)}")
    try:
        print(json.dumps(result) if as_json else "\n".join(lines))
        streams.deliver()
    except streams.Undelivered as error:
        if again:
            error.way_out = f"the run is saved, and this prints it again: {again}"
        raise


def trained(run: Run) -> dict[str, Any]:
    """The result of a run that has come to its end."""
    return result(run.config, run.epochs, run.directory.path)


def result(config: Config, epochs: list[dict[str, Any]], path: Path) -> dict[str, Any]:
    """The result of a run whose epochs these are, all of them, in this directory."""
    last = epochs[-1]
    return {
        "test_accuracy": last["test_accuracy"],
        "train_accuracy": last["train_accuracy"],
        "images": config.images,
        "test_images": config.test_images,
        "epochs": len(epochs),
        "steps": last["step"],
        "seed": config.seed,
        "digest": last["digest"],
        "images_per_second": last["images_per_second"],
        "run_dir": str(path),
    }


def tested(
    path: object, learner: Learner, saved: Checkpoint, data: Dataset, part: int, status: cli.Interrupt
) -> dict[str, Any]:
    """The result of testing a checkpoint's parameters, so many images at a time. Raises KeyboardInterrupt."""
    learner.load(saved.params, saved.step)
    config, count, hits = Config.from_dict(saved.config), len(data.test_labels), [0]
    say(f"{count} test images; {shape(config)}; {path}")
    with Meter() as meter:
        for seen, hits in examine(Alone(learner), data, part):
            meter.tell(Progress(1, 1, 0, 0, 0, count, seen, hits[0]))
            if status.requested:
                raise KeyboardInterrupt
    return {
        "test_accuracy": round(hits[0] / count, 6),
        "images": config.images,
        "test_images": count,
        "epochs": len(saved.epochs),
        "steps": saved.step,
        "seed": config.seed,
        "digest": learner.digest(),
        "checkpoint": str(path),
    }


def shape(config: Config) -> str:
    """The lattice, for people."""
    return f"{config.rows}x{config.cols} cells, {config.steps} steps"


def content(config: Config) -> str:
    """What a run trains on and tests, and with which lattice, for people."""
    passes = f"{config.images} images x {config.epochs} {'epoch' if config.epochs == 1 else 'epochs'}"
    return f"{passes}, {config.test_images} test images; {shape(config)}"


def announce(run: Run, where: str, note: str, board: bool) -> None:
    """The lines before a run: what, where, and a note why there are so many epochs.

    board: a real one, so that time is worth a word.
    """
    config = run.config
    say(content(config))
    parts = [where, str(run.directory.path)]
    if run.step:
        parts.append("complete" if run.complete else f"going on at step {run.step} of {config.total}")
    if board and not run.complete:
        tests = (config.epochs - len(run.epochs)) * config.test_images
        seconds = (config.total - run.step) * board_seconds(config, True) + tests * board_seconds(config, False)
        parts.append(f"expect {duration(seconds)} on an RP2040")
    say("; ".join(parts))
    if note:
        say(note)


def board_seconds(config: Config, learning: bool) -> float:
    """About how long a training image (else a test image) takes an RP2040, the link included."""
    if config.graph == "diagonal":
        places, each = config.units * config.rows, FORWARD_DIAGONAL + learning * LEARNING_DIAGONAL
    else:
        places, each = math.prod(config.shape) // 4, FORWARD + learning * LEARNING[config.rule]
    link = LINK * (LINK_BYTES + config.rows * config.steps * config.pixel_bits / 8)
    return (link + places * config.steps * each) * EMULATED / HERTZ


def duration(seconds: float) -> str:
    """About how long, for people."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class Gauge:
    """A bar with a text, and below it what body(columns) draws; where there is no room for that, the text in lines."""

    def __init__(self, body: Body = NOTHING):
        """body: is told how many columns and lines there are for it."""
        self.body = body
        self.display = Display() if drawable() else None
        self.told = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.display:
            self.display.close()

    def show(self, clock: float, text: Callable[[], str], at: int, of: int) -> None:
        """Show the text, and how far it is, if it is time for that. clock: what time.monotonic() says now."""
        if clock - self.told < (REDRAW if self.display else EVERY):
            return
        self.told = clock
        if self.display is None:
            say(text())
            return
        columns, lines = self.display.measure()
        room = columns >= ROOM[0] - 1 and lines >= ROOM[1] and not self.display.plain
        bar = drawings.bar(text(), at / max(of, 1), columns, self.display.plain)
        self.display.draw([bar, *(self.body(columns, lines - 2) if room else ())])


class Meter(Gauge):
    """Shows how far a run is. extra() may add something to its text; body: see Gauge."""

    def __init__(self, extra: Callable[[], str] = lambda: "", body: Body = NOTHING):
        super().__init__(body)
        self.extra = extra
        self.seen = self.told
        self.before: Progress | None = None
        self.done = {"training": 0, "testing": 0}
        self.spent = {"training": 0.0, "testing": 0.0}

    def tell(self, now: Progress) -> None:
        """Take note of the progress, and show it if it is time for that."""
        clock = time.monotonic()
        phase, before = "testing" if now.tested else "training", self.before
        at = now.tested or now.image
        same = before is not None and before.epoch == now.epoch and bool(before.tested) == bool(now.tested)
        if same or phase == "testing":  # else it is not known how many images this one began after
            self.done[phase] += at - ((before.tested or before.image) if before and same else 0)
            self.spent[phase] += clock - self.seen
        self.seen, self.before = clock, now
        self.show(clock, lambda: self.text(now), at, now.test_images if now.tested else now.images)

    def text(self, now: Progress) -> str:
        """Progress in one line of less than 80 characters."""
        if now.tested:
            part = f"testing {now.tested}/{now.test_images}  right {now.hits / now.tested:.3f}"
        else:
            part = f"right {now.correct / now.image:.3f}  image {now.image}/{now.images}"
        each = {phase: self.spent[phase] / done if done else 0 for phase, done in self.done.items()}
        speed = each["testing" if now.tested else "training"]
        rate = f"  {1 / speed:.1f}/s" if speed else ""
        trains = (now.epochs - now.epoch) * now.images + now.images - now.image
        tests = (now.epochs - now.epoch) * now.test_images + now.test_images - now.tested
        left = trains * each["training"] + tests * (each["testing"] or TEST_SHARE * each["training"])
        time_left = f"  {duration(left)} left" if speed else ""
        epoch = f"epoch {now.epoch}/{now.epochs}  " if now.images else ""
        return f"{epoch}{part}{rate}{time_left}{self.extra()}"


def follow(
    run: Run,
    chunk: int,
    status: cli.Interrupt,
    again: str,
    extra: Callable[[], str] = lambda: "",
    standing: tuple[type[BaseException], ...] = (),
    below: Callable[[], Sequence[str]] = lambda: (),
) -> None:
    """Train a run to its end, with its progress and a line per epoch; save on the first signal, and say how to go on.

    again: the command that goes on. standing: exceptions that leave the learner where the run is, so that it is saved.
    below: lines for a terminal, about what trains. Raises KeyboardInterrupt, and what the run raises.
    """
    told, curve = len(run.epochs), Curve(run.config, run.epochs)

    def body(columns: int, lines: int) -> Sequence[Line]:
        return [*scene(curve, run, columns), *([(text, "")] for text in below())]

    try:
        with Meter(extra, body) as meter:
            for now in run.train(chunk):
                curve.take(now)
                meter.tell(now)
                told = _tell(run, told)
                if status.requested:
                    run.save()
                    raise KeyboardInterrupt
        _tell(run, told)
    except BaseException as error:
        if isinstance(error, standing):
            run.save()
        if run.saved is None:
            state = f"no checkpoint at step {run.step} yet; begin again"
        else:
            since = f", and nothing since (step {run.step})" if run.step > run.saved else ""
            state = f"saved {run.directory.checkpoint_path} at step {run.saved}{since}; go on"
        say(f"{state} with: {again}")
        raise


def _tell(run: Run, told: int) -> int:
    for epoch in run.epochs[told:]:
        say(
            "epoch {epoch:>3}  train {train_accuracy:.4f}  test {test_accuracy:.4f}"
            "  {images_per_second:>8.1f} images/s  digest {digest}".format(**epoch)
        )
    return len(run.epochs)
