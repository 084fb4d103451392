"""All there is to know about what an image costs."""

from typing import Any

from host.base.cli import UserError
from host.base.heartbeat import say
from host.base.scratch import Scratch
from tools import mpy
from tools.cost.arm import count_arm, count_board, counter, memory, whole
from tools.cost.c import c_table, count_c
from tools.cost.job import MHZ, ROOT, Job
from tools.cost.table import split, table
from tools.cost.x64 import count_x64

KERNELS = ("fixedpoint/kernels", "fixedpoint/diagonal_kernels")


def in_c(job: Job, argv: list[str], viper: dict[str, Any]) -> dict[str, Any]:
    """c_table(), or {"missing": why}."""
    try:
        say("cost: RP2040's code: the exported C")
        return c_table(*count_c(job, argv), viper)
    except UserError as error:
        return {"missing": str(error)}


def training_step(job: Job, argv: list[str]) -> dict[str, Any]:
    """table() of the RP2040's code, with bytes and milliseconds. argv: counter(). Raises UserError."""
    say("cost: RP2040's code: the training step, pass by pass")
    found = table(split(*count_arm(job, argv)), job, made=True)
    found["ms"] = round(found["image"]["cycles"] / (MHZ * 1000), 1)
    code: dict[str, int] = {}
    for name in KERNELS:
        code |= mpy.code_bytes(job.directory / f"armhf/{name}.mpy", ROOT / f"{name}.py")
    for name, counted in found["passes"].items():
        counted["bytes"] = code[name]
    return found


def firmware(job: Job, argv: list[str], step: int) -> dict[str, Any]:
    """The whole image, through the firmware; memory. step: cycles of the training step alone. Raises UserError."""
    say("cost: RP2040's code: the whole image, through the firmware")
    found = whole(*count_board(job, argv), job)
    image = found["whole_image"]["cycles"]
    found["training_step"] = {"cycles": step}
    found["link"] = {"cycles": image - step}
    found["ratio"] = round(image / step, 3)
    found["images_per_second"] = round(MHZ * 1e6 / image, 2)
    say("cost: memory")
    found["bytes"] = memory(job)
    return found


def about(job: Job) -> dict[str, Any]:
    """What was counted."""
    config = job.config
    return {"graph": config.graph, "rule": config.rule, "rows": config.rows, "units": config.units, "cells": job.cells,
            "parameters": len(job.network.w), "steps": job.steps, "images": job.images, "mhz": MHZ}  # fmt: skip


def measure(images: int | None, options: dict[str, Any]) -> dict[str, Any]:
    """All there is to know; a part that cannot be measured here is {"missing": why}. Raises UserError if none can.

    images, options: as for Job.
    """
    with Scratch("cost") as directory:
        job = Job(directory, images, **options)
        result = about(job)
        try:
            argv = counter(job)
            result["arm"] = training_step(job, argv)
            result["c"] = in_c(job, argv, result["arm"])
            result |= firmware(job, argv, result["arm"]["image"]["cycles"])
        except UserError as error:
            result["arm"] = result["c"] = result["bytes"] = {"missing": str(error)}
        try:
            say("cost: x86-64 native code: the training step, pass by pass")
            result["x64"] = table(split(*count_x64(job)), job, made=False)
        except UserError as error:
            result["x64"] = {"missing": str(error)}
            if "missing" in result["arm"]:
                raise UserError(f"nothing can be counted here: {result['arm']['missing']}; {error}") from error
        return result
