"""Who may import what, what the engine may be made of, and what lies at the top of the tree."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOP = {"README.md", "pyproject.toml", "host", "firmware", "fixedpoint", "tests", "tools"}
PACKAGES = ("fixedpoint", "firmware", "host", "tools")

# What MicroPython has, and the board needs.
ENGINE = {"array", "binascii", "gc", "micropython"}
BOARD = ENGINE | {"gc", "os", "select", "struct", "sys", "time"}
# What the host side needs beside Python itself: by package, as installed or only where one command uses it.
INSTALLED = {
    "host": {"numpy", "llvmlite", "matplotlib", "serial", "rich", "joblib", "distributed"},
    "tools": {"numpy", "littlefs", "fxpmath", "cocotb", "cocotb_tools"},
}

# Which packages a package may import. host starts the tools that build a board's image as programs; tools measure the
# host's code.
MAY_IMPORT = {
    "fixedpoint": {"fixedpoint"},
    "firmware": {"fixedpoint", "firmware"},
    "host": {"fixedpoint", "firmware", "host"},
    "tools": {"fixedpoint", "firmware", "host", "tools"},
}
# The rooms of host, each using only its own modules and those of the rooms before it; the commands stand on top.
FLOORS = ("base", "data", "reference", "runs", "chip", "engine", "board", "studies", "pictures")


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and whole name of everything that is imported, wherever in the file it is: `from a.b import c` is a.b.c."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}, line {node.lineno}: imports are absolute"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def packages(path: Path) -> set[str]:
    """The packages that a file imports, by their first name."""
    return {name.split(".")[0] for _, name in imports(path)}


def strangers(package: str, allowed: set[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}, line {line}: {name}"
        for path in sources(package)
        for line, name in imports(path)
        if name.split(".")[0] not in allowed
    ]


def dotted(path: Path) -> str:
    """The name by which a module or package is imported."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def floor(module: str) -> int:
    """On which floor a module lies: -1 is below the host, len(FLOORS) its commands'."""
    package, *rooms = module.split(".")
    if package != "host" or not rooms:
        return -1
    return FLOORS.index(rooms[0]) if rooms[0] in FLOORS else len(FLOORS)


def test_engine_imports_nothing_that_micropython_lacks():
    assert strangers("fixedpoint", ENGINE | MAY_IMPORT["fixedpoint"]) == []


def test_firmware_imports_the_engine_itself_and_micropythons_modules():
    assert strangers("firmware", BOARD | MAY_IMPORT["firmware"]) == []


@pytest.mark.parametrize("package", ["host", "tools"])
def test_host_side_imports_neither_tests_nor_what_is_not_installed_with_it(package):
    assert strangers(package, MAY_IMPORT[package] | INSTALLED[package] | set(sys.stdlib_module_names)) == []


def test_engine_knows_no_floats_and_no_true_division():
    found = []
    for path in sources("fixedpoint"):
        for node in ast.walk(ast.parse(path.read_text())):
            line = getattr(node, "lineno", 0)
            if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
                found.append(f"{path.name}, line {line}: {node.value}")
            if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div | ast.Pow):
                found.append(f"{path.name}, line {line}: {type(node.op).__name__}")
            if isinstance(node, ast.Name) and node.id in ("float", "complex", "round", "divmod", "pow"):
                found.append(f"{path.name}, line {line}: {node.id}")
    assert found == []


def test_reference_shares_nothing_with_what_it_is_a_reference_for():
    room = [path for path in sources("host") if path.parent.name == "reference"]
    foreign = {name for path in room for _, name in imports(path) if not name.startswith("host.reference.")}
    assert len(room) > 1
    assert {name.split(".")[0] for name in foreign} == {"collections", "dataclasses", "functools", "numpy", "typing"}


def test_chip_shares_tables_wiring_and_parameters_with_the_engine_but_no_arithmetic():
    """It is an independent implementation: neither kernels nor whatever executes or disturbs them."""
    room = [path for path in sources("host") if path.parent.name == "chip"]
    used = {name for path in room for _, name in imports(path) if name.split(".")[0] in PACKAGES}
    shared = {f"tables.{name}" for name in ("C", "DA", "EXP", "TANH")}
    shared |= {"wiring", "network.Random", "lattice.Lattice", "diagonal.Diagonal"}
    assert {name for name in used if name.startswith("fixedpoint.")} == {f"fixedpoint.{name}" for name in shared}
    rooms = {".".join(name.split(".")[:2]) for name in used if not name.startswith("fixedpoint.")}
    assert rooms == {"host.base", "host.chip", "host.runs"}


def graph() -> dict[str, set[str]]:
    """Every module, and the modules of ours that it imports, even from within a function."""
    modules = {dotted(path): path for package in PACKAGES for path in sources(package)}
    found = {
        module: {name if name in modules else name.rpartition(".")[0] for _, name in imports(path)} & modules.keys()
        for module, path in modules.items()
    }
    assert {"host.board.link", "tools.faults.world"} <= found["tools.faults.episode"], "rooms are walked, too"
    return found


def test_modules_do_not_import_each_other_in_a_circle():
    TopologicalSorter(graph()).prepare()  # raises CycleError, which names the circle


def test_rooms_of_the_host_import_from_their_own_floor_and_lower_ones():
    assert {path.parent.name for path in sources("host")} == {"host", *FLOORS}
    upwards = [
        f"{module} imports {name}"
        for module, names in graph().items()
        for name in names
        if module.startswith("host.") and floor(name) > floor(module)
    ]
    assert upwards == []


def test_commands_are_imported_by_nobody():
    """What two of them need is in a room."""
    commands = {dotted(path) for path in sources("host") if floor(dotted(path)) == len(FLOORS)}
    assert {"host.stream", "host.simulate"} <= commands
    assert [f"{module} imports {name}" for module, names in graph().items() for name in names & commands] == []


def test_packages_are_doors_and_rooms_have_no_rooms():
    """Whoever needs one room gets that one: a package itself imports nothing, and there is one level of rooms."""
    for package in PACKAGES:
        for path in sources(package):
            assert len(path.relative_to(ROOT).parts) <= 3, f"{path.relative_to(ROOT)} is a room in a room"
            ours = {name for _, name in imports(path) if name.split(".")[0] in PACKAGES}
            rooms = ours - {"host"}  # which hears Ctrl-C from there on
            assert path.name != "__init__.py" or not rooms, f"{path.relative_to(ROOT)} imports {rooms}"


def test_packages_of_the_distribution_are_the_ones_there_are():
    """With the packages in them, and the files of data that lie beside the modules."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    setuptools = project["tool"]["setuptools"]
    assert setuptools["packages"] == {
        "find": {"include": [f"{package}*" for package in PACKAGES], "namespaces": False}
    }, "found by their __init__.py"
    for package in PACKAGES:
        for folder in {ROOT / package, *(path.parent for path in sources(package))}:
            assert (folder / "__init__.py").exists(), f"{folder.relative_to(ROOT)} would not be installed"
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and path.suffix not in (".py", ".md") and path.parent.name != "__pycache__":
                covered = any(path.match(pattern) for pattern in setuptools["package-data"]["*"])
                assert covered, f"{path.relative_to(ROOT)} would not be installed"
    names = {requirement.split(">")[0].split(";")[0] for requirement in project["project"]["dependencies"]}
    assert {"numpy", "llvmlite", "pyserial", "rich"} <= names


def test_top_of_the_tree_is_bare():
    git = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if git.returncode:
        pytest.skip("not a git checkout")
    entries = {line.split("/")[0] for line in git.stdout.splitlines()}
    assert {name for name in entries if not name.startswith(".")} == TOP


def test_modules_say_what_they_are():
    silent = [
        str(path.relative_to(ROOT))
        for package in (*PACKAGES, "tests")
        for path in sources(package)
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_ruff_has_nothing_to_say():
    argv = [sys.executable, "-m", "ruff", "check", "--no-cache", "."]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
