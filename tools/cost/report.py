"""What an image costs, as lines of text."""

from typing import Any

from tools.cost.job import BITS, MHZ


def beside_c(viper: dict[str, Any], c: dict[str, Any]) -> list[str]:
    """The exported C and viper side by side, as lines of text."""
    if "missing" in c:
        return [f"the exported C: not counted: {c['missing']}"]
    lines = [f"{'the exported C, gcc -O2 for Thumb-1':28}{'instructions':>14}{'M0+ cycles':>12}{'bytes':>8}"
             f"{'viper: cycles':>16}{'bytes':>8}{'times gcc':>11}"]  # fmt: skip
    every = {key: sum(counted[key] for counted in viper["passes"].values()) for key in ("cycles", "bytes")}
    theirs = {**viper["passes"], "passes": every, "step": viper["image"]}
    for name, mine in {**c["passes"], "passes": c["sum"], "step": c["step"]}.items():
        other = theirs[name]
        lines.append(
            f"  {name:33}{mine['instructions']:>14,}{mine['cycles']:>12,}{mine.get('bytes', ''):>8}"
            f"{other['cycles']:>16,}{other.get('bytes', ''):>8}{c['viper_to_c'][name]:>11}"
        )
    lines.append(f"  {c['ms']} ms a step at {MHZ} MHz; {c['flash']:,} bytes of flash, {c['ram']:,} of RAM")
    return lines


def report(result: dict[str, Any]) -> list[str]:
    """The result as lines of text."""
    kind = "unit" if result["units"] else "cell"
    lines = [
        f"one training image: {result['graph']}, {result['rule']}: {result['cells']} {kind}s, {result['parameters']:,}"
        f" parameters, {result['steps']} steps; mean of {result['images']}"
    ]
    for name, title in (("arm", "RP2040's code (armv6m viper)"), ("x64", "x86-64 native code")):
        part = result[name]
        if "missing" in part:
            lines += ["", f"{title}: not counted: {part['missing']}"]
            continue
        cycles = "cycles" in part["image"]
        heading = f"{title:28}{'calls':>6}{'instructions':>14}{f'a {kind}-step':>13}"
        lines += ["", heading + (f"{'M0+ cycles':>12}{f'ms at {MHZ} MHz':>15}" if cycles else "")]
        for row, count in {**part["passes"], "interpreter": part["interpreter"], "step": part["image"]}.items():
            line = (
                f"  {row:26}{count.get('calls', ''):>6}{count['instructions']:>14,}{count.get('per_cell_step', ''):>13}"
            )
            lines.append(line + (f"{count['cycles']:>12,}{count['cycles'] / (MHZ * 1000):>15.2f}" if cycles else ""))
        if cycles:
            lines.append(f"  from image to image: {part['image']['lowest']:,} to {part['image']['highest']:,} cycles")
    lines += ["", *beside_c(result["arm"], result["c"])]
    if "whole_image" in result:
        lines += ["", f"{f'as the firmware sees it, {BITS} bits a pixel':61}{'M0+ cycles':>12}{f'ms at {MHZ} MHz':>15}"]
        for row, name in (("training step", "training_step"), ("link", "link"), ("whole image", "whole_image"),
                          ("OPEN of a new session", "opening")):  # fmt: skip
            cycles = result[name]["cycles"]
            lines.append(f"  {row:59}{cycles:>12,}{cycles / (MHZ * 1000):>15.2f}")
        lines.append(
            f"  {result['link_bytes']} bytes an image; {result['ratio']} times the training step alone;"
            f" {result['images_per_second']} images/s"
        )
    sizes = result["bytes"]
    if "missing" not in sizes:
        lines += [
            "",
            f"engine as .mpy: {sizes['mpy']:,} bytes, of which kernels {sizes['kernels_mpy']:,} (a board copies its"
            " code to RAM)",
            f"heap: engine {sizes['engine']:,} bytes without that code, network {sizes['lattice']:,}"
            f" (arrays {sizes['arrays']:,}); it trains in a heap of {sizes['smallest_heap'] // 1024} KB",
        ]
    return lines
