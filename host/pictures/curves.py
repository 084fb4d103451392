"""Learning curves: what every run knew after each epoch, and what others know."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from host.pictures.naming import names, plural
from host.pictures.sources import Source
from host.pictures.style import SERIES, Key, Panel, Picture, colour

# Test accuracies of others on MNIST, as README.md has them: what they are, how much, colour and dash.
MARKS = (
    ("linear classifier on all pixels, 7,850 parameters (0.927)", 0.927, "slate", "6 3"),
    ("linear classifier on pooled pixels, 1,110 parameters (0.917)", 0.917, "slate", "2 2"),
    ("the article's lattice with Adam (0.522)", 0.522, "soft", "6 3"),
    ("the article's lattice, SGD, after 3 epochs (0.320)", 0.320, "soft", "2 2"),
)


def learning_curves(groups: Sequence[Sequence[Source]], digits: bool) -> Picture:
    """Test accuracy over epochs of all runs that have one. digits: of MNIST, so that others' can be put beside it."""
    groups = [group for group in groups if any(run.epochs for run in group)]
    labels = names([group[0].config for group in groups])
    marks = MARKS if digits else ()

    def draw(axes: Axes) -> None:
        for _, height, of, dash in marks:
            axes.axhline(height, color=colour(of), linewidth=1.1, dashes=[float(x) for x in dash.split()])
        longest = max(len(run.epochs) for group in groups for run in group)
        for group, of in zip(groups, colours(len(groups)), strict=True):
            curves = [run.accuracies for run in group if run.epochs]
            for curve in curves:
                dots = "o" if len(curve) < 4 else ""
                axes.plot(range(1, len(curve) + 1), curve, dots + "-", color=colour(of), lw=0.9, ms=2.5, alpha=0.55)
            mean = [sum(now) / len(now) for now in zip(*curves, strict=False)]
            axes.plot(range(1, len(mean) + 1), mean, "o-", color=colour(of), lw=2.4, ms=4 if longest < 15 else 0)
        axes.set_xlim(*((0.5, longest + 0.5) if longest < 4 else (1, longest)))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_ylim(0, 1)
        axes.set_xlabel("epoch")
        axes.set_ylabel("test accuracy")

    count = sum(len(group) for group in groups)
    ends = "; ".join(
        f"{label}: {sum(last) / len(last):.3f}"
        for label, group in zip(labels, groups, strict=True)
        if (last := [run.accuracies[-1] for run in group if run.epochs])
    )
    keys = [Key(label, of, width=3.5) for label, of in zip(labels, colours(len(groups)), strict=True)]
    keys += [Key(label, of, dash, 1.5) for label, _, of, dash in marks]
    return Picture(
        "learning-curves",
        "Learning curves",
        f"Share of the test set that is classified rightly after each epoch. {plural(count, 'run')}: a thin line each,"
        f" bold the mean over seeds, where there are several. The latest: {ends}.",
        f"Test accuracy over epochs of {plural(count, 'run')}. The latest mean: {ends}.",
        [Panel(draw, height=3.1)],
        keys,
    )


def colours(count: int) -> list[str]:
    """So many names of colours; beyond the palette they come again."""
    return [SERIES[k % len(SERIES)] for k in range(count)]
