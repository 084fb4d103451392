"""The exported C as an RP2040's code: built by arm-none-eabi-gcc, run and counted under qemu-arm."""

import re
import shutil
from pathlib import Path

from fixedpoint.network import Network
from host.base.cli import UserError
from host.engine import c99
from host.engine.passes import Passes
from tools.c import model
from tools.c.build import execute

PREFIX = "arm-none-eabi-"
OPTIONS = ("-std=gnu99", "-mcpu=cortex-m0plus", "-mthumb", "-O2", "-ffreestanding", "-nostdlib", "-static")


def tool(name: str) -> str:
    """The path of a program of the compiler's. Raises UserError."""
    if found := shutil.which(PREFIX + name):
        return found
    raise UserError(f"no {PREFIX}{name}; install Debian's gcc-arm-none-eabi")


def build(network: Network, passes: Passes, directory: Path) -> Path:
    """thumb.c with this model, compiled in a directory; it runs under qemu-arm. Raises UserError."""
    compiler = tool("gcc")
    for name, text in model.files(network, passes, "for tools.c.thumb").items():
        (directory / name).write_text(text)
    known = model.names(network, passes)
    known |= {"count": known["steps"], "area": "AREA", "at": str(passes.sizes["base"](network)),
              "prediction": "&prediction"}  # fmt: skip
    lines = [
        line
        for call in (*passes.take, *passes.classify, *passes.learn)
        for line in (f'MARK("{call[0]}");', *c99.calls([call], known), f'MARK("{call[0]}");')
    ]
    (directory / "passes.h").write_text("\n".join(lines) + "\n")
    program, main = directory / "thumb", Path(__file__).with_name("thumb.c")
    execute([compiler, *OPTIONS, f"-I{directory}", "-o", str(program), str(main), "-lgcc"])
    return program


def code_bytes(program: Path) -> dict[str, int]:
    """Bytes of every function's machine code, with its constants."""
    text = execute([tool("nm"), "-S", "--defined-only", str(program)]).decode()
    return {name: int(size, 16) for size, name in re.findall(r"^\w+ (\w+) [tTwW] (\w+)$", text, re.MULTILINE)}


def flash_and_ram(directory: Path) -> tuple[int, int]:
    """Bytes of shoreline.c alone as its user compiles it: code with tables and parameters, and one state."""
    one = directory / "one.c"
    one.write_text('#include "shoreline.c"\nshoreline_state state;\n')
    made = directory / "one.o"
    execute([tool("gcc"), *OPTIONS[:5], "-c", "-o", str(made), str(one)])
    text, data, bss = map(int, execute([tool("size"), str(made)]).decode().splitlines()[1].split()[:3])
    return text + data, bss
