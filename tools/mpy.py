"""How many bytes of machine code each function of a .mpy file has. MicroPython's own format, version 6."""

import ast
from pathlib import Path

VERSION = b"M\x06"
STATIC = 1  # of a name's length: a name that every MicroPython has, and no bytes follow
CONSTANT, TEXT, TUPLE = 4, 6, 10  # kinds of object: up to the first without contents, up to the second with a zero
NATIVE, VIPER = 1, 2  # kinds of code
MORE = 0x70  # scope flags of viper code with data of its own, which no kernel has


class _Reader:
    """Takes a .mpy file apart, from its beginning."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 4

    def number(self) -> int:
        value = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value = value << 7 | byte & 127
            if byte < 128:
                return value

    def skip_object(self) -> None:
        kind = self.data[self.at]
        self.at += 1
        if kind <= CONSTANT:
            return
        size = self.number()
        if kind == TUPLE:
            for _ in range(size):
                self.skip_object()
        else:
            self.at += size + (kind <= TEXT)

    def code(self) -> list[int]:
        """Bytes of a function's code, and of those defined in it."""
        kind = self.number()
        size = kind >> 3
        self.at += size
        if kind & 3 in (NATIVE, VIPER):
            flags = self.number()  # native: where its prelude is
            if kind & 3 == VIPER and flags & MORE:
                raise ValueError("viper code with data of its own")
        found = [size]
        for _ in range(self.number() if kind & 4 else 0):
            found += self.code()
        return found


def code_bytes(compiled: Path, source: Path) -> dict[str, int]:
    """Of every function of `source`, which this file was compiled from. Raises ValueError for what is not read here."""
    data = compiled.read_bytes()
    if not data.startswith(VERSION):
        raise ValueError(f"{compiled.name} is no .mpy file of version {VERSION[1]}")
    reader = _Reader(data)
    names, objects = reader.number(), reader.number()
    for _ in range(names):
        size = reader.number()
        reader.at += 0 if size & STATIC else (size >> 1) + 1
    for _ in range(objects):
        reader.skip_object()
    found = reader.code()[1:]
    functions = [node for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.FunctionDef)]
    names_in_order = [node.name for node in sorted(functions, key=lambda node: node.lineno)]
    if reader.at != len(data) or len(found) != len(functions):
        raise ValueError(f"{compiled.name} has {len(found)} functions in {reader.at} of {len(data)} bytes")
    return dict(zip(names_in_order, found, strict=True))
