"""The exported C compiled for this computer, as an executor: what a user of it gets, beside LLVM."""

import ctypes

import numpy as np

from fixedpoint.network import Network
from host.base.scratch import Scratch
from host.engine.passes import passes_of
from tools.c import model
from tools.c.build import compiler, execute

FAST = ("-O3", "-march=native")
# Many images in one call from Python.
LOOPS = """\
#include "shoreline.c"

uint32_t train_all(shoreline_state *s, const uint8_t *pixels, const uint8_t *labels, int32_t *predictions, int32_t n)
{
    int32_t i, t;

    for (i = 0; i < n; i++) {
        for (t = 0; t < SHORELINE_STEPS; t++)
            shoreline_row(s, pixels + (i * SHORELINE_STEPS + t) * SHORELINE_ROWS);
        predictions[i] = labels ? shoreline_learn(s, labels[i]) : shoreline_classify(s);
    }
    return s->step;
}

uint32_t size_of_state(void)
{
    return sizeof(shoreline_state);
}
"""


class Rate(ctypes.Structure):
    """shoreline_rate."""

    _fields_ = (("multiplier", ctypes.c_int32), ("shift", ctypes.c_int32))


class CompiledC:
    """A network's parameters, rates and bounds in the exported C, compiled here; the network itself is left alone.

    Raises UserError without a C compiler. options: the compiler's.
    """

    def __init__(self, network: Network, options: tuple[str, ...] = FAST):
        argv = [compiler("the exported C"), "-std=c99", *options, "-shared", "-fPIC", "-o"]
        with Scratch("c") as directory:
            for name, text in model.files(network, passes_of(network, alone=True), "for tools.c.library").items():
                (directory / name).write_text(text)
            (directory / "loops.c").write_text(LOOPS)
            made = directory / "shoreline.so"
            execute([*argv, str(made), str(directory / "loops.c")])
            self.library = ctypes.CDLL(str(made))  # it stays when its file goes
        self.state = ctypes.create_string_buffer(self.library.size_of_state())
        self.library.shoreline_init(self.state)

    def train(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Learn from images (n, steps, rows) uint8 with labels (n,); return what was predicted before, (n,) int32."""
        return self._run(images, np.ascontiguousarray(labels, np.uint8))

    def classify(self, images: np.ndarray) -> np.ndarray:
        """The classes of images (n, steps, rows) uint8, (n,) int32; nothing is learned."""
        return self._run(images, None)

    def _run(self, images: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        pixels, found = np.ascontiguousarray(images, np.uint8), np.zeros(len(images), np.int32)
        pointers = [None if x is None else ctypes.c_void_p(x.ctypes.data) for x in (pixels, labels, found)]
        self.library.train_all(self.state, *pointers, len(images))
        return found

    def set_rates(self, rates: tuple[tuple[int, int], ...]) -> None:
        """(multiplier, shift) of l, w, b and V, as Network.set_rates(). Raises ValueError for what is out of range."""
        if self.library.shoreline_set_rates(self.state, *(Rate(*rate) for rate in rates)):
            raise ValueError(f"rates {rates}: multiplier is 0..32767, shift 14..40")

    def digest(self) -> str:
        """As of a learner: 8 hex digits."""
        return f"{self.library.shoreline_digest(self.state) & 0xFFFFFFFF:08x}"
