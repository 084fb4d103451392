"""Networks by name: what a configuration on the host, and OPEN on the wire, can ask for."""

from fixedpoint import wiring
from fixedpoint.diagonal import Diagonal
from fixedpoint.lattice import Lattice
from fixedpoint.network import Random, check, words

GRAPHS = ("lattice", "forest", "small-world", "skip", "diagonal")  # by their numbers on the wire
LATTICE, FOREST, SMALL_WORLD, SKIP, DIAGONAL = range(5)
RULES = ("snap1", "exact")
SNAP1, EXACT = range(2)


def build(graph, rule, rows, cols, steps, scale, gain, cool, units, share, wiring_seed, kernels=None, words=words):
    """Make a network. graph, rule: numbers of the names above; the others as for Lattice and Diagonal.

    share (Q12) and wiring_seed belong to the small world, units to the diagonal network, where the two rules are one;
    they are 0 elsewhere. kernels: a namespace with all of them, compiled, or None. Raises ValueError for what there is
    not.
    """
    check(rows, cols, steps, scale, gain, cool)  # before a wiring is drawn: there is none without inputs
    options = {"words": words} if kernels is None else {"words": words, "kernels": kernels}
    if not (LATTICE <= graph <= DIAGONAL and SNAP1 <= rule <= EXACT and 0 <= share <= wiring.ONE):
        raise ValueError(f"graph {graph}, rule {rule}, share {share}: there are none")
    if (units and graph != DIAGONAL) or ((share or wiring_seed) and graph != SMALL_WORLD):
        raise ValueError(f"units {units}, share {share}, wiring seed {wiring_seed}: graph {graph} has none")
    if graph == DIAGONAL:
        return Diagonal(rows, cols, steps, scale, gain, cool=cool, units=units, **options)
    if graph == FOREST:
        options["cells"] = cols * wiring.tree(rows)
        options["wired"] = lambda: wiring.forest(rows, cols)
    elif graph == SMALL_WORLD:
        random = Random(wiring_seed) if kernels is None else Random(wiring_seed, kernels)
        options["wired"] = lambda: wiring.small_world(rows, cols, share, random)
    elif graph == SKIP:
        options["wired"] = lambda: wiring.skip(rows, cols)
    return Lattice(rows, cols, steps, scale, gain, exact=rule == EXACT, cool=cool, **options)
