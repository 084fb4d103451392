"""What the page says of each run and study, in order: pieces of HTML, and files of their figures if they are wanted."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

from host.base.cli import UserError, held
from host.data.dataset import load
from host.engine.learners import LaneLearner, executor
from host.pictures import digits, maps, markup, ranges, studies
from host.pictures.curves import learning_curves
from host.pictures.naming import GRAPHS, RULES, names, plural
from host.pictures.sources import Found, Source, Study
from host.pictures.stills import stills
from host.pictures.style import Picture
from host.pictures.survival import LIMIT, survivors
from host.pictures.way import animation, follow
from host.runs.output import board_seconds

CLOSE = 6  # groups of runs of which one is looked at closely
MNIST = "0c5b7ef8cac084d8"  # digest of all of it
LINK = {  # counters of the line to a board
    "bytes_per_image": ("bytes per image, to the board", "{:,.0f}"),
    "retransmitted_frames": ("frames sent again", "{:,}"),
    "timeouts": ("time-outs", "{:,}"),
    "reconnects": ("reconnects", "{:,}"),
    "board_waiting_share": ("of its time the board waits for data", "{:.1%}"),
    "board_ms_per_step": ("the board's last step", "{} ms"),
    "board_free_heap": ("free heap of the board", "{:,} bytes"),
}


class Shelf:
    """Where figures go: into the page, and into a directory if there is one."""

    def __init__(self, figures: Path | None):
        self.figures = figures
        self.names: set[str] = set()

    def card(self, picture: Picture, of: str = "") -> str:
        """The figure as a piece of the page. of: what stands before its name, where there may be several."""
        return markup.card(self.file(picture, of))

    def file(self, picture: Picture, of: str) -> Picture:
        """The figure under a name that no other has, and as files if they are wanted."""
        name, number = f"{of}{picture.name}", 1
        while name in self.names:
            number += 1
            name = f"{of}{picture.name}-{number}"
        self.names.add(name)
        picture = replace(picture, name=name)
        if self.figures:
            picture.save(self.figures)
        return picture


def chapters(found: Found, data: str | None, figures: Path | None) -> Iterator[str]:
    """All of the page's body."""
    shelf = Shelf(figures)
    groups = found.groups()
    if groups:
        yield _learning(groups, shelf, data)
        labels = names([group[0].config for group in groups])
        if len(groups) > CLOSE:
            yield markup.note(f"Of {len(groups)} configurations the first {CLOSE} are looked at closely.")
        for group, label in list(zip(groups, labels, strict=True))[:CLOSE]:
            yield from _closely(group, label if len(groups) > 1 else "", shelf, data)
    for study in found.studies:
        yield _study(study, shelf)


def _learning(groups: Sequence[Sequence[Source]], shelf: Shelf, data: str | None) -> str:
    """Curves and results of all runs."""
    runs = [run for group in groups for run in group]
    labels = names([group[0].config for group in groups])
    pieces = ["<section><h2>What was learned</h2><div class='cards'>"]
    if any(run.epochs for run in runs):
        pieces.append(shelf.card(learning_curves(groups, all(_of_mnist(group[0], data) for group in groups))))
    else:
        pieces.append(markup.note("No epoch has ended yet: there is no learning curve so far."))
    pieces.append(_facts(groups[0]) if len(groups) == 1 else _overview(groups, labels))
    pieces.append("</div>")
    if len(runs) > 1:
        pieces.append(_table(groups, labels))
    waiting = [run for run in runs if not run.complete]
    if waiting:
        steps = ", ".join(
            f"{run.path.name} at step {run.saved.step if run.saved else 0:,} of {run.config.total:,}"
            for run in waiting[:8]
        )
        pieces.append(markup.note(f"{plural(len(waiting), 'run')} not complete (as last saved): {steps}."))
    return "".join(pieces) + "</section>"


def _facts(group: Sequence[Source]) -> str:
    """What a group of runs is and has come to."""
    config, latest = group[0].config, [run.accuracies[-1] for run in group if run.epochs]
    found: list[tuple[str, str]] = []
    if latest:
        mean = "test accuracy, mean over seeds" if len(group) > 1 else "test accuracy"
        found.append((mean, f"{statistics.mean(latest):.4f}"))
    if len(latest) > 1:
        found.append(("sample standard deviation", f"{statistics.stdev(latest):.4f}"))
        found.append(("range", f"{min(latest):.3f} to {max(latest):.3f}"))
    size = f"{config.units} units" if config.graph == "diagonal" else f"{config.rows} x {config.cols} cells"
    found += [
        (f"graph, {size}", GRAPHS[config.graph]),
        ("rule", "SnAP-1 = exact" if config.graph == "diagonal" else RULES[config.rule]),
        ("preset", config.preset),
        ("training images x epochs", f"{config.images:,} x {config.epochs}"),
        ("test images", f"{config.test_images:,}"),
        ("seeds" if len(group) > 1 else "seed", ", ".join(str(run.config.seed) for run in group)),
        ("an image on an RP2040, modelled, link included", f"{1000 * board_seconds(config, True):.0f} ms"),
    ]
    if len(group) == 1 and group[0].epochs:
        found.append(("digest", group[0].epochs[-1]["digest"]))
    if config.disturb:
        found.append(("disturbed", config.disturb))
    return f"<figure><h3>In numbers</h3>{markup.facts(found)}</figure>"


def _overview(groups: Sequence[Sequence[Source]], labels: Sequence[str]) -> str:
    """A line for each group of runs."""
    rows = []
    for label, group in zip(labels, groups, strict=True):
        latest = [run.accuracies[-1] for run in group if run.epochs]
        spread = f"{statistics.stdev(latest):.3f}" if len(latest) > 1 else "-"
        span = f"{min(latest):.3f} to {max(latest):.3f}" if latest else "-"
        mean = f"{statistics.mean(latest):.3f}" if latest else "-"
        rows.append((label, len(group), mean, spread, span, f"{1000 * board_seconds(group[0].config, True):.0f} ms"))
    head = ("network", "seeds", "mean", "sd", "range", "RP2040")
    caption = "Test accuracy: mean, sample standard deviation and range over seeds; and what a training image takes an"
    return (
        f"<figure><h3>In numbers</h3>{markup.table(head, rows)}<figcaption>{caption} RP2040, modelled, link included."
        "</figcaption></figure>"
    )


def _table(groups: Sequence[Sequence[Source]], labels: Sequence[str]) -> str:
    """A line for each run, folded."""
    rows = [
        (
            label,
            run.config.seed,
            f"{len(run.epochs)} of {run.config.epochs}",
            f"{run.accuracies[-1]:.4f}" if run.epochs else "-",
            f"{run.epochs[-1]['train_accuracy']:.4f}" if run.epochs else "-",
            run.epochs[-1]["digest"] if run.epochs else "-",
        )
        for label, group in zip(labels, groups, strict=True)
        for run in group
    ]
    head = ("network", "seed", "epochs", "test accuracy", "training accuracy", "digest")
    caption = "Training accuracy: of the last epoch, each image before its own step."
    return (
        f"<details><summary>All {len(rows)} runs</summary>{markup.table(head, rows)}<p class='soft'>{caption}</p>"
        "</details>"
    )


def _of_mnist(run: Source, elsewhere: str | None) -> bool:
    """Whether it learns from MNIST's digits, some or all."""
    source = elsewhere or run.source
    if source is None:
        return True
    try:
        return load(source).digest == MNIST
    except UserError:
        return False


def _closely(group: Sequence[Source], label: str, shelf: Shelf, elsewhere: str | None) -> Iterator[str]:
    """One run of a group in detail: its first that has a checkpoint."""
    run = next((run for run in group if run.saved), None)
    title = label or "The network, closely"
    if run is None or run.saved is None:
        yield f"<section><h2>{escape(title)}</h2>" + markup.note("No checkpoint has been written yet.") + "</section>"
        return
    of = f"{run.config.graph}-{run.config.rule}-" if label else ""
    yield f"<section><h2>{escape(title)}</h2>"
    if len(group) > 1 or label:
        yield f"<p class='soft'>Of the run with seed {run.config.seed}, as its last checkpoint has it.</p>"
    if run.link:
        yield "<h3>The line to the board</h3>" + markup.facts(_counters(run.link))
    yield from _figures(run, run.saved.params, shelf, of, elsewhere)
    yield "</section>"


def _figures(run: Source, params: Any, shelf: Shelf, of: str, elsewhere: str | None) -> Iterator[str]:
    config, saved = run.config, run.saved
    assert saved is not None
    pictures: list[Picture | None] = []
    network = config.network(**executor("llvm"))
    start = maps.seeded(network)
    try:
        data = run.data(elsewhere)
    except UserError as error:
        data = None
        yield markup.note(f"No test images: {error}. So there is no confusion matrix, no misread digit, no animation.")
    if config.arithmetic == "float":
        yield markup.note("A run in float64: what the integers show (confusion, ranges, animation) is left out.")
    elif data:
        network.load(params.ravel().tolist(), saved.step)
        with held():
            learner = LaneLearner.of(config)
        learner.load(params, saved.step)
        readings = digits.read(learner, network, data)
        if config.disturb:
            yield markup.note(
                f"The run is disturbed ({config.disturb}), and so is what it says of the test images. Animation and"
                " magnitudes are those of an undisturbed network with its parameters."
            )
        way = follow(network, config, data, readings.misread)
        if way:
            what = "sequence" if data.channels else "digit"
            yield f"<figure class='wide'><h3>One {what}’s way</h3>{animation(way, config, data)}</figure>"
            first, label = way.images[0], data.classes[data.test_labels[way.images[0]]]
            shelf.file(stills(way.seen[0], data.test_images[first], label, way.where, way.span), of)
        else:
            yield markup.note("The network has too many cells and steps for an animation in a page.")
        pictures.append(digits.confusion(readings, data.test_labels, data.classes))
        pictures.append(digits.gallery(readings, data))
        pictures += ranges.over_the_network(network, config.graph, data.test_images, data.test_labels)
        with held():
            watched = config.network(**executor("checked"))
        watched.load(params.ravel().tolist(), saved.step)
        watched.set_rates(config.rates(min(saved.step, config.total - 1)))
        pictures.append(ranges.formats(watched, data.train_images, data.train_labels))
    pictures.append(maps.maps(maps.as_floats(start), maps.as_floats(params), config, saved.step))
    yield "<div class='cards'>" + "".join(shelf.card(picture, of) for picture in pictures if picture) + "</div>"


def _counters(link: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, form.format(link[key])) for key, (name, form) in LINK.items() if link.get(key) is not None]


def _study(study: Study, shelf: Shelf) -> str:
    """A study: its pictures, what survives, and all its conditions."""
    about, results = study.about, study.results
    ended, failed, waiting = (study.runs(status) for status in ("complete", "failed", "waiting"))
    quick = " (--quick)" if about.get("quick") else ""
    pieces = [
        f"<section><h2>Study: {escape(study.name)}</h2><p>{escape(str(about.get('about', '')))}</p>",
        markup.facts(
            [
                ("training images x epochs" + quick, f"{about['images']:,} x {about['epochs']}"),
                ("test images", f"{about['test_images']:,}"),
                ("seeds", str(len(about["seeds"]))),
                ("conditions", str(len(results))),
                ("runs complete", f"{ended:,} of {ended + failed + waiting:,}"),
            ]
        ),
    ]
    if waiting:
        pieces.append(markup.note(f"{plural(waiting, 'run')} still to come: the figures show what there is so far."))
    if failed:
        pieces.append(markup.note(f"{plural(failed, 'run')} failed; failures.jsonl in {study.path.name} says why."))
    pieces.append(f"<div class='cards'>{''.join(map(shelf.card, studies.figures(study)))}</div>")
    return "".join([*pieces, _survives(study), _conditions(study)]) + "</section>"


def _survives(study: Study) -> str:
    """What survives, as a table."""
    found = survivors(study.results)
    if not found:
        return ""
    rows = []
    for x in found:
        fails = "" if x.fails_at is None else f"not {x.fails_at:g}"
        rows.append(
            (
                x.figure,
                x.series,
                GRAPHS.get(x.graph, x.graph),
                f"{x.kind}: {x.x}",
                ", ".join(filter(None, ("" if x.level is None else f"{x.level:g}", fails))),
                _signed(x.drop),
                _span(x.drop_low, x.drop_high),
                "none" if x.sure_level is None else f"{x.sure_level:g}",
                "" if x.falls_at is None else f"{x.falls_at:g}",
                x.n,
            )
        )
    head = ("figure", "series", "graph", "what", "survives", "drop", "95 %", "surely", "falls at", "seeds")
    return (
        f"<h3>What survives</h3><p class='soft'>The harshest level up to which the mean accuracy falls by less than"
        f" {LIMIT:g} against the undisturbed network; its drop, paired by seed, with the 95 % confidence interval; and"
        f" the harshest level up to which the interval’s upper end, too, is below {LIMIT:g}; and the mildest at which"
        f" all of the interval is above 0.</p>"
        + markup.table(head, rows, texts=4)
    )


def _conditions(study: Study) -> str:
    """Every condition, folded."""
    rows = [
        (
            x["figure"],
            x["series"],
            f"{GRAPHS.get(x['graph'], x['graph'])}, {RULES.get(x['rule'], x['rule'])}",
            x["preset"],
            x["disturb"] or "-",
            f"{x['level']:g}",
            x["n"],
            "-" if x["mean"] is None else f"{x['mean']:.4f}",
            "-" if x["low"] is None else f"{x['low']:.4f} to {x['high']:.4f}",
            _signed(x["drop"]),
            _span(x["drop_low"], x["drop_high"]),
        )
        for x in study.results
    ]
    head = ("figure", "series", "network", "preset", "disturbance", "level", "n", "mean", "95 %", "drop", "95 %")
    return (
        f"<details><summary>All {len(rows)} conditions</summary>{markup.table(head, rows, texts=5)}"
        "<p class='soft'>n: seeds. Mean test accuracy with its 95 % confidence interval (Student’s t); drop against the"
        " undisturbed network, paired by seed.</p></details>"
    )


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4f}".replace("-", "−")


def _span(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{_signed(low)} to {_signed(high)}"
