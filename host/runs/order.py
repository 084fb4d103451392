"""The order of the images in an epoch: Fisher-Yates with the engine's own generator, all of its draws at once.

That generator, xorshift32, is linear over the two-element field: what it makes of a state is the exclusive or of what
it makes of each bit. So a jump of m steps is 32 words, and from m states in a row it leads to the next m.
"""

import numpy as np

from fixedpoint.network import Random


def shuffled(seed: int, count: int) -> np.ndarray:
    """The numbers 0 .. count - 1 in the order of this seed: what Random(seed) makes of them, two draws a swap."""
    high, low, _ = Random(seed).x
    halves = _following(np.uint32(high << 16 | low), 2 * (count - 1)) >> 16
    draws = halves.astype(np.uint64)
    left = np.arange(count, 1, -1, dtype=np.uint64)  # among how many the next is chosen
    chosen = ((draws[::2] << np.uint64(16) | draws[1::2]) * left >> np.uint64(32)).tolist()
    order = list(range(count))
    for i, k in zip(range(count - 1, 0, -1), chosen, strict=True):
        order[i], order[k] = order[k], order[i]
    return np.array(order)


def _following(state: np.uint32, count: int) -> np.ndarray:
    """The `count` states after this one, uint32."""
    jump = _step(np.uint32(1) << np.arange(32, dtype=np.uint32))
    states = _step(np.array([state]))
    while len(states) < count:
        states = np.concatenate([states, _jumped(states, jump)])
        jump = _jumped(jump, jump)
    return states[:count]


def _step(states: np.ndarray) -> np.ndarray:
    """What kernels.draw() makes of states, uint32."""
    states = states ^ states << np.uint32(13)
    states = states ^ states >> np.uint32(17)
    states = states ^ states << np.uint32(5)
    return states


def _jumped(states: np.ndarray, jump: np.ndarray) -> np.ndarray:
    """The states after as many steps as lead from each single bit to its word in `jump`."""
    found = np.zeros_like(states)
    for bit, word in enumerate(jump):
        found ^= (states >> np.uint32(bit) & np.uint32(1)) * word
    return found
