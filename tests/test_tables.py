"""fixedpoint/tables.py: what its formulas give, and as exact as its comments say."""

import re
import struct
from math import ceil
from zlib import crc32

import numpy as np
import pytest

from fixedpoint import tables
from host.base import cli
from tools import make_tables

SOURCE = make_tables.PATH.read_text()

# name: (fraction bits, first argument, interpolated positions per entry, entries per unit, float64 reference)
REFERENCES = {
    "TANH": (14, 0.0, 256, 64, np.tanh),
    "C": (15, -4.0, 4096, 32, lambda x: -np.expm1(-np.exp(-x))),
    "DA": (15, -4.0, 4096, 32, lambda x: np.exp(-x - np.exp(-x))),
    "EXP": (23, 0.0, 512, 32, lambda x: np.exp(-x)),
}


def errors(name: str, rounded: bool) -> np.ndarray:
    """Errors in LSB at every argument that the kernels can ask for, interpolated as they do it, or without rounding."""
    bits, first, positions, per_unit, reference = REFERENCES[name]
    table = np.array(getattr(tables, name), np.int64)
    start, step, k = table[:-1, None], np.diff(table)[:, None], np.arange(positions)
    found = start + ((step * k + positions // 2) // positions if rounded else step * k / positions)
    x = first + (np.arange(len(table) - 1)[:, None] + k / positions) / per_unit
    return found - reference(x) * 2**bits


def stated(name: str) -> float:
    """The largest error that the comment above the table claims."""
    return float(re.search(rf"largest error is ([0-9.]+) LSB\n# fmt: off\n{name} = ", SOURCE)[1])


def test_committed_tables_are_what_the_formulas_give():
    assert make_tables.source() == SOURCE


def test_check_refuses_a_table_with_one_changed_entry(tmp_path, monkeypatch):
    changed = tmp_path / "tables.py"
    changed.write_text(SOURCE.replace(" 256, 512,", " 256, 513,"))
    monkeypatch.setattr(make_tables, "PATH", changed)
    monkeypatch.setattr("sys.argv", ["make_tables", "--check"])
    with pytest.raises(cli.UserError, match="make_tables"):
        make_tables.main()


def test_crc_is_that_of_the_entries():
    content = b"".join(struct.pack(f"<{len(t)}{t.typecode}", *t) for t in map(tables.__dict__.get, REFERENCES))
    assert crc32(content) == tables.CRC


@pytest.mark.parametrize("name", REFERENCES)
def test_stated_largest_error_is_that_of_all_arguments(name):
    # Stated to 0.01 LSB, from 64 arguments between two entries instead of up to 4096.
    assert np.abs(errors(name, rounded=False)).max() == pytest.approx(stated(name), abs=0.02)


@pytest.mark.parametrize(("name", "lsb"), [("TANH", 2), ("C", 3), ("DA", 3), ("EXP", 1009)])
def test_interpolated_and_rounded_the_error_is_at_most(name, lsb):
    assert lsb == ceil(stated(name) + 0.5)  # the table's share, and half an LSB of rounding
    assert np.abs(errors(name, rounded=True)).max() <= lsb


@pytest.mark.parametrize(("name", "sign"), [("TANH", 1), ("C", -1), ("EXP", -1)])
def test_tables_of_monotonic_functions_are_monotonic(name, sign):
    assert (sign * np.diff(np.array(getattr(tables, name), np.int64)) >= 0).all()


def test_the_ends_are_what_the_bounds_rest_on():
    assert tables.TANH[0] == 0 and max(tables.TANH) == 16383  # |y| < 1.0, so that 1 - y^2 > 0
    assert max(tables.C) == 32768 and min(tables.C) > 0
    assert max(tables.DA) == 12055  # 2**15 / e
    assert tables.EXP[0] == 1 << 23 and min(tables.EXP) > 0
