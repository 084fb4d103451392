"""A network for a program of your own on the board: rows of values in, classes out, and a file that keeps it.

    "SHM1", form, step, rates, bounds, number of words, parameters (int32 each), CRC-32 of all before      little-endian

Byte by byte in firmware/README.md. It is all that learning goes on with: load() needs nothing else. Digests are those
of any other way to train the same network.
"""

import struct

from firmware import storage
from fixedpoint import tables
from fixedpoint.build import DIAGONAL, EXACT, SNAP1, build
from fixedpoint.network import MAX_SCALE, NO_RATE

MAGIC = b"SHM1"
HEADER = "<4sBBBBHHBBHHIIHBHBHBHB6hI"
SIZE = struct.calcsize(HEADER)
ASIDE = ".new"  # behind a file's name while it is being written
WIDEST = ((-32768, 32767),) * 3


class Model:
    """graph, rule: numbers of fixedpoint.build. inputs: values in a row; steps: rows in a sequence; classes: labels.

    scale, gain: a value x in 0..255 enters as x * scale / 64 * 2**gain, Q14. cool: the logits are divided by 2**cool
    before the softmax. units: of a diagonal network. share (Q12), wiring_seed: of a small world. network: what learns.

    At first all parameters, and all rates, are 0: seed() and set_rates(), or load(). Raises ValueError for what there
    is not, MemoryError where it does not fit.
    """

    def __init__(
        self, graph, rule, inputs, classes, steps, scale=MAX_SCALE, gain=0, cool=0, units=0, share=0, wiring_seed=0
    ):
        self.form = graph, rule, inputs, classes, steps, scale, gain, cool, units, share, wiring_seed
        if (graph == DIAGONAL) != (units > 0) or not SNAP1 <= rule <= EXACT:
            raise ValueError(f"graph {graph}, rule {rule}, {units} units: only a diagonal network has units")
        self.network = build(*self.form)
        self.set_bounds(WIDEST)
        self.set_rates((NO_RATE,) * 4)

    @property
    def step(self):
        """Training steps made so far."""
        return self.network.step

    def set_bounds(self, bounds):
        """(lowest, highest) l, w and b (V as w), int16 in Q12, where learning stops a parameter. Before seed()."""
        self.network.set_bounds(bounds)
        rule = self.network.rule
        for k in range(2, 16, 4):
            if rule[k] > rule[k + 1]:
                raise ValueError(f"bounds {bounds}: no lowest value is above its highest")
        self.bounds = tuple(bounds)

    def seed(self, seed, init):
        """Draw all parameters: the same ones on every machine. init: the nine Q12 values of INIT_FIELDS."""
        self.network.seed(seed, init)

    def set_rates(self, rates):
        """(multiplier, shift) for l, w, b and V: learning rates multiplier * 2**-shift, from the next learn() on."""
        self.network.set_rates(rates)
        self.rates = tuple(rates)

    def begin(self):
        """Drop the sequence under way: the next row is a first one."""
        self.network.begin()

    def row(self, values):
        """Take the next row, `inputs` bytes, into the network; return whether the sequence is complete with it.

        After a complete one a row begins the next. Raises ValueError for a row of another length.
        """
        network = self.network
        if len(values) != network.rows:
            raise ValueError(f"a row of {len(values)} values: this network has {network.rows} inputs")
        if network.arrived == network.steps:
            network.begin()
        network.row(values)
        network.advance()
        return network.arrived == network.steps

    def classify(self):
        """The class of the sequence that has just become complete; logits, Q14, are then in network.z[:classes].

        Raises ValueError if it is not.
        """
        self._complete()
        return self.network.classify()

    def confidence(self, label):
        """After classify(): the share that the softmax gives this class, percent."""
        network = self.network
        z, classes = network.z, network.cols
        network.kernels.softmax(z, tables.EXP, classes, label, network.cool)
        share = 1024 + (z[classes + label] << network.cool >> 12)  # from p - 1, Q22
        return (100 * share + 512) >> 10

    def learn(self, label):
        """Make a training step on the sequence that has just become complete; return what it was taken for before.

        Raises ValueError if it is not complete, has been learned, or for a label that is no class.
        """
        self._complete()
        if not 0 <= label < self.network.cols:
            raise ValueError(f"label {label}: this network has the classes 0 to {self.network.cols - 1}")
        guess = self.network.learn(label)
        self.network.begin()
        return guess

    def digest(self):
        """CRC-32 over parameters and step counter: equal digests, equal models."""
        return self.network.digest()

    def save(self, path):
        """Keep the model in a file, which is old or new whenever the power fails. Raises OSError if it cannot."""
        network = self.network
        numbers = list(self.form)
        numbers.append(network.step)
        for group in self.rates + self.bounds:
            numbers += group
        numbers.append(len(network.w))
        storage.replace(path, path + ASIDE, struct.pack(HEADER, MAGIC, *numbers), network.w)

    def _complete(self):
        network = self.network
        if network.arrived != network.steps:
            raise ValueError(f"{network.arrived} of {network.steps} rows are there since the last sequence")


def load(path):
    """The model in a file, or None if neither it nor what save() had written before a cut is whole.

    Raises ValueError if it is whole and says what cannot be, MemoryError where the network does not fit.
    """
    for name in (path, path + ASIDE):
        header = storage.read(name, MAGIC, SIZE)
        if header is not None:
            return _built(name, struct.unpack(HEADER, header))
    return None


def _built(name, fields):
    model = Model(*fields[1:12])
    model.set_bounds((fields[21:23], fields[23:25], fields[25:27]))
    model.set_rates((fields[13:15], fields[15:17], fields[17:19], fields[19:21]))
    w = model.network.w
    if storage.read(name, MAGIC, SIZE, w) is None:
        raise ValueError(f"{name}: {fields[27]} parameters, and the network that it names has {len(w)}")
    model.network.load(w, fields[12])
    return model
