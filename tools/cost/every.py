"""Every graph and rule side by side: one table."""

from typing import Any

from host.base.heartbeat import say
from host.base.scratch import Scratch
from tools.cost.arm import counter
from tools.cost.job import BITS, MHZ, Job
from tools.cost.measure import about, firmware, training_step
from tools.networks import NETWORKS, title


def every(images: int | None) -> list[dict[str, Any]]:
    """Of each network what the table says. images: as for Job. Raises UserError if the RP2040's code cannot be run."""
    found = []
    for number, (graph, rule) in enumerate(NETWORKS, start=1):
        say(f"cost: {title(graph, rule)}: {number} of {len(NETWORKS)}")
        with Scratch("cost") as directory:
            job = Job(directory, images, graph=graph, rule=rule)
            argv = counter(job)
            step = training_step(job, argv)["image"]
            board = firmware(job, argv, step["cycles"])
        sizes = board["bytes"]
        found.append({
            **about(job),
            "arrays": sizes["arrays"],
            "heap": sizes["lattice"],
            "smallest_heap": sizes["smallest_heap"],
            "training_step": step,
            "whole_image": {name: board["whole_image"][name] for name in ("instructions", "cycles")},
            "link_bytes": board["link_bytes"],
            "images_per_second": board["images_per_second"],
        })  # fmt: skip
    return found


def ms(cycles: int) -> str:
    """Milliseconds of so many cycles."""
    return f"{cycles / (MHZ * 1000):.1f}"


def rows(networks: list[dict[str, Any]]) -> list[str]:
    """The table as lines of Markdown."""
    head = ["network", "rule", "parameters", "arrays", "heap", "trains in", "step: instructions", "cycles",
            f"ms at {MHZ} MHz", "whole image: instructions", "cycles", "ms", "bytes in", "images/s"]  # fmt: skip
    cells = [head]
    for network in networks:
        step, image = network["training_step"], network["whole_image"]
        diagonal = network["graph"] == "diagonal"
        cells.append([
            network["graph"],
            "both" if diagonal else network["rule"],
            f"{network['parameters']:,}",
            f"{network['arrays']:,}",
            f"{network['heap']:,}",
            f"{network['smallest_heap'] // 1024} KB",
            f"{step['instructions']:,}",
            f"{step['cycles']:,}",
            ms(step["cycles"]),
            f"{image['instructions']:,}",
            f"{image['cycles']:,}",
            ms(image["cycles"]),
            f"{network['link_bytes']:g}",
            f"{network['images_per_second']:.1f}",
        ])  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    text = [
        [
            cell.rjust(width) if k > 1 else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in cells
    ]
    text.insert(1, ["-" * width if k < 2 else "-" * (width - 1) + ":" for k, width in enumerate(widths)])
    ranges = [
        f"{title(network['graph'], network['rule'])}: mean of {network['images']} images,"
        f" {network['training_step']['lowest']:,} to {network['training_step']['highest']:,} cycles a step"
        for network in networks
    ]
    return [*(f"| {' | '.join(row)} |" for row in text), "", f"whole image: {BITS} bits a pixel", *ranges]
