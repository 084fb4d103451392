"""The device's self-test: a few training steps whose digest is known. Released MicroPythons have miscompiled viper."""

from fixedpoint.lattice import Lattice
from fixedpoint.network import Random

GOLDEN = 0xF6618CF8  # the digest that the golden model (plain CPython) ends with


def run():
    """Train a 6x5 lattice, 9 steps, on eight noise images; return the digest of what came out."""
    lattice = Lattice(6, 5, 9, 2570, 4)
    lattice.seed(1, (3072, 4096, 2048, 3072, 4096, -12288, 12288, 0, 2048))
    lattice.set_rates(((20972, 17), (20972, 17), (20972, 19)))
    random = Random(2)
    image = bytearray(54)
    for step in range(8):
        for i in range(54):
            image[i] = random.draw() >> 8
        lattice.train(image, step % 5)
    return lattice.digest()
