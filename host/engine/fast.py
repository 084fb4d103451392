"""The kernels compiled by Numba for this computer."""

import contextlib
import os
import types
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fixedpoint import kernels
from fixedpoint.lattice import Lattice
from host.base.cache import cache_dir
from host.base.cli import UserError
from host.base.heartbeat import heartbeat

KERNELS = ("draw", "derive", "feed", "forward", "readout", "softmax", "error", "backward", "exact", "update")


def int32_words(n: int) -> np.ndarray:
    """n 32-bit zeros for a Lattice whose kernels take NumPy arrays."""
    return np.zeros(n, np.int32)


@cache
def numba_kernels() -> types.SimpleNamespace:
    """The kernels under Numba, compiled, and cached on disk (Numba compiles anew when fixedpoint/kernels.py changes).

    The cache is beside the kernels, else where cache_dir() says; where neither can be had, there is none.
    """
    import numba

    # The sixteen running sums of a cell fit four to a register; without this, LLVM leaves them scalar.
    numba.config.SLP_VECTORIZE = 1
    beside = Path(kernels.__file__).with_name("__pycache__")
    if not numba.config.CACHE_DIR and not os.access(beside if beside.exists() else beside.parent, os.W_OK | os.X_OK):
        with contextlib.suppress(UserError):
            numba.config.CACHE_DIR = str(cache_dir() / "numba")
    with heartbeat(lambda: "compiling the kernels for this computer"):
        try:
            return _compile(cached=True)
        except Exception:  # a full disk, a place that cannot be written, a damaged file: almost any type
            return _compile(cached=False)


def _compile(cached: bool) -> types.SimpleNamespace:
    """numba_kernels(). Every local variable is declared int32, so that it wraps as the chip's register does."""
    import numba

    from fixedpoint import tables

    arguments = {"tanh": tables.TANH, "exp": tables.EXP, "c_table": tables.C, "da_table": tables.DA}
    frozen = {id(table): np.array(table) for table in arguments.values()}

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        annotated = function.__annotations__  # int, or a pointer type; plain locals have none
        scalars = [name for name in function.__code__.co_varnames if annotated.get(name, int) is int]
        fast: Callable[..., Any] = numba.njit(function, locals=dict.fromkeys(scalars, numba.int32), cache=cached)
        if not arguments.keys() & annotated.keys():
            return fast

        def call(*args: object) -> None:
            fast(*[frozen.get(id(arg), arg) for arg in args])

        return call

    run = types.SimpleNamespace(**{name: compiled(getattr(kernels, name)) for name in KERNELS})
    Lattice(1, 1, 1, kernels=run, words=int32_words).train(bytes(1), 0)  # compile now, not while a run is timed
    return run
