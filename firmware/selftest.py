"""The device's self-test: a few training steps whose digest is known. Released MicroPythons have miscompiled viper."""

from binascii import crc32

from fixedpoint.build import DIAGONAL, EXACT, FOREST, SMALL_WORLD, SNAP1, build
from fixedpoint.network import Random

GOLDEN = 0x49A9CBA7  # the digest that the golden model (plain CPython) ends with
ROWS, COLS, STEPS = 6, 5, 9

# What is trained: every kernel has its turn. graph, rule; gain, cool, units, share, seed of the wiring
CASES = (
    (SMALL_WORLD, SNAP1, (4, 0, 0, 2048, 1)),
    (FOREST, EXACT, (1, 1, 0, 0, 0)),
    (DIAGONAL, SNAP1, (1, 0, 7, 0, 0)),
)


def run():
    """Train small networks on eight noise images each; return a digest of what came out."""
    digest = 0
    for graph, rule, rest in CASES:
        network = build(graph, rule, ROWS, COLS, STEPS, 2570, *rest)
        network.seed(1, (3072, 4096, 2048, 3072, 4096, -12288, 12288, 0, 2048))
        network.set_rates(((20972, 17), (20972, 17), (20972, 19), (20972, 17)))
        random = Random(2)
        image = bytearray(ROWS * STEPS)
        for step in range(8):
            for i in range(len(image)):
                image[i] = random.draw() >> 8
            network.train(image, step % COLS)
        digest = crc32(network.digest().to_bytes(4, "little"), digest)
    return digest
