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


def in_c(job: Job, argv: list[str], viper: dict[str, Any]) -> dict[str, Any]:
    """c_table(), or {"missing": why}."""
    try:
        say("cost: RP2040's code: the exported C")
        return c_table(*count_c(job, argv), viper)
    except UserError as error:
        return {"missing": str(error)}


def measure(images: int) -> dict[str, Any]:
    """All there is to know; a part that cannot be measured here is {"missing": why}. Raises UserError if none can."""
    with Scratch("cost") as directory:
        job = Job(directory, images)
        result: dict[str, Any] = {"cells": job.cells, "steps": job.steps, "images": images, "mhz": MHZ}
        try:
            say("cost: RP2040's code: the training step, pass by pass")
            argv = counter(job)
            result["arm"] = table(split(*count_arm(job, argv)), job, made=True)
            result["arm"]["ms"] = round(result["arm"]["image"]["cycles"] / (MHZ * 1000), 1)
            kernels = "fixedpoint/kernels"
            code = mpy.code_bytes(job.directory / f"armhf/{kernels}.mpy", ROOT / f"{kernels}.py")
            for name, counted in result["arm"]["passes"].items():
                counted["bytes"] = code[name]
            result["c"] = in_c(job, argv, result["arm"])
            say("cost: RP2040's code: the whole image, through the firmware")
            result |= whole(*count_board(job, argv), job)
            step, image = result["arm"]["image"]["cycles"], result["whole_image"]["cycles"]
            result["training_step"] = {"cycles": step}
            result["link"] = {"cycles": image - step}
            result["ratio"] = round(image / step, 3)
            result["images_per_second"] = round(MHZ * 1e6 / image, 2)
            say("cost: memory")
            result["bytes"] = memory(job)
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
