"""Graphs for tests of the float64 reference, each drawn here from its description, not by the engine's wiring."""

import numpy as np

from host.reference.graph import Graph, lattice


def forest(inputs, trees, gain=0):
    """Balanced binary trees over all inputs: leaves hear two each, pairs are joined until one is left."""
    left, top, roots = [], [], []
    sizes = []
    while not sizes or sizes[-1] > 1:
        sizes.append(((sizes[-1] if sizes else inputs) + 1) // 2)
    null = sum(sizes) * trees + trees
    leaves = np.zeros(sum(sizes) * trees, bool)
    for _ in range(trees):
        heard = list(range(null + 1, null + 1 + inputs))
        for size in sizes:
            cells = list(range(len(left), len(left) + size))
            leaves[cells] = size == sizes[0]
            for pair in range(size):
                left.append(heard[2 * pair])
                top.append(heard[2 * pair + 1] if 2 * pair + 1 < len(heard) else null)
            heard = cells
        roots += heard
    return Graph(np.array(left), np.array(top), np.array(roots), inputs, gain * np.stack([leaves, leaves]))


def small_world(rows, cols, swaps, seed):
    """The lattice after swaps of the sources of two top edges, where the raster order of the cells allows them."""
    plain, rng = lattice(rows, cols), np.random.default_rng(seed)
    top = plain.top.copy()
    while swaps:
        p, q = rng.choice(np.arange(cols, plain.cells), 2, replace=False)
        if top[q] < p and top[p] < q:
            top[p], top[q] = top[q], top[p]
            swaps -= 1
    return Graph(plain.left, top, plain.out, rows)


def skip_lines(rows, cols, every=4):
    """The lattice, but (i, j >= 1) in every so many rows hears (i - every, j - 1), whose old listener loses it."""
    plain = lattice(rows, cols)
    left = plain.left.copy()
    left[1:cols] = plain.null
    for i in range(every, rows, every):
        left[i * cols + 1 : (i + 1) * cols] = np.arange(cols - 1) + (i - every) * cols
    return Graph(left, plain.top, plain.out, rows)


def random_graph(cells, outs, inputs, rng):
    """Any graph that may be: each port hears an earlier cell without such a listener, an input or nobody."""
    null = cells + outs
    out = rng.choice(cells, outs, replace=False)
    ports = []
    for taken in (set(), set(out.tolist())):
        sources = []
        for cell in range(cells):
            free = [source for source in range(cell) if source not in taken]
            source = int(rng.choice([*free, *free, null, *range(null + 1, null + 1 + inputs)]))
            taken.add(source) if source < null else None
            sources.append(source)
        ports.append(np.array(sources))
    return Graph(*ports, out, inputs, rng.integers(-1, 3, (2, cells)))
