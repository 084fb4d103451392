"""What vectors are made of: a network at its start, and the images that it is to learn from."""

import argparse
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from host.base.cli import UserError, within
from host.chip.words import Words
from host.data import dataset
from host.engine.disturbed import disturb
from host.runs.checkpoint import Checkpoint
from host.runs.config import Config, configure, prepare
from host.runs.options import data_of, disturbance
from host.runs.presets import q12
from tools.model import at_rate, trained
from tools.vectors import chip, engine


@dataclass(frozen=True, eq=False)
class Trial:
    """A configuration, what a checkpoint has learned if it is one's, and N images (n, steps, rows) with labels (n,)."""

    config: Config
    images: np.ndarray
    labels: np.ndarray
    saved: Checkpoint | None = None

    @property
    def step(self) -> int:
        """Of the first image."""
        return self.saved.step if self.saved else 0

    def network(self) -> Any:
        """The engine's, at the start and disturbed as the configuration says."""
        network = self.config.network()
        if not self.saved:
            return disturb(network, self.config.disturb, self.config.seed)
        values = self.saved.params.ravel().tolist()
        network.load(values, self.step)
        network = disturb(network, self.config.disturb, self.config.seed)
        if self.config.disturb == self.saved.config["disturb"]:
            network.load(values, self.step)  # it is disturbed already: bounds of parameters are kept in all bits
        return network

    @cached_property
    def seen(self) -> dict[str, np.ndarray]:
        """What the engine makes of the images: see tools.vectors.engine."""
        return engine.observed(self.network(), self.images, self.labels, self.config.rates)

    @cached_property
    def chip(self) -> dict[str, np.ndarray]:
        """The same of two-input cells in the order of a chip, and more: see tools.vectors.chip."""
        return chip.observed(self.network(), self.config.disturb, self.images, self.labels, self.config.rates)

    @property
    def diagonal(self) -> bool:
        return self.config.graph == "diagonal"


def chosen(args: argparse.Namespace) -> Trial:
    """What the options ask for. Raises UserError."""
    if args.checkpoint:
        saved, config = trained(args.checkpoint)
        data = data_of(args.checkpoint, config, args.data)
        if args.disturb is not None:
            config = replace(config, disturb=disturbance(args) or "")
    else:
        saved = None
        data = first_classes(dataset.load(args.data), args.cols)
        config = configure(
            data, args.preset, args.seed, 1, args.rows, args.cols, graph=args.graph, rule=args.rule, units=args.units,
            share=None if args.share is None else q12(args.share), wiring_seed=args.wiring_seed,
            disturb=disturbance(args) or "",
        )  # fmt: skip
    config = at_rate(config, args.rate)
    Words.of(config.disturb)  # refuses, before the work, what a circuit has not
    step = saved.step if saved else 0
    within("--images", args.images, 1, config.images, f"{data.name} has so many of these classes")
    ready = prepare(data, config)
    which = [int(config.order(at // config.images)[at % config.images]) for at in range(step, step + args.images)]
    return Trial(config, ready.train_images[which], ready.train_labels[which], saved)


def first_classes(data: dataset.Dataset, cols: int | None) -> dataset.Dataset:
    """The images of the first so many classes, where there are more."""
    if cols is None or cols >= len(data.classes):
        return data
    train, test = data.train_labels < cols, data.test_labels < cols
    if cols < 1 or not train.any() or not test.any():
        raise UserError(f"--cols {cols}: choose 1 to {len(data.classes)}, so that there are images of these classes")
    return replace(
        data,
        train_images=data.train_images[train],
        train_labels=data.train_labels[train],
        test_images=data.test_images[test],
        test_labels=data.test_labels[test],
        classes=data.classes[:cols],
    )
