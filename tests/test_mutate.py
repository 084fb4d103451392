"""tools.mutate reads pytest's answers: what noticed a mutation is named, whatever the options in pyproject.toml are."""

import shutil
from pathlib import Path

import pytest

from host.base import cli
from tools import mutate

NOTICES = "def test_a(): pass\ndef test_b(): assert False\ndef test_c(): assert False\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with this project's options for pytest, and two files of tests."""
    shutil.copy(mutate.ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tests").mkdir()
    for name, text in (("test_x.py", NOTICES), ("test_y.py", NOTICES), ("test_z.py", "def test_a(): pass\n")):
        (tmp_path / "tests" / name).write_text(text)
    return tmp_path


def test_the_test_that_notices_is_named(tree: Path) -> None:
    found = mutate.test(mutate.Tests(), tree, ("tests/test_x.py", "tests/test_y.py"))
    assert found == "test_x.py::test_b"


def test_a_mutation_that_nobody_notices_has_survived(tree: Path) -> None:
    assert mutate.test(mutate.Tests(), tree, ("tests/test_z.py",)) is None


def test_tests_that_cannot_run_are_an_error(tree: Path) -> None:
    (tree / "tests" / "test_z.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(cli.UserError, match="the tests do not run"):
        mutate.test(mutate.Tests(), tree, ("tests/test_z.py",))
