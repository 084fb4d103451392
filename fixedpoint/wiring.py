"""Graphs as data: which two sources every cell listens to. The kernels know no graph, only records.

A wiring is (left, top, ends): for each cell the source of its left and of its top input, in an order in which sources
come first, and the cells that the readouts listen to. A source is the number p of a cell, n + i for input i where n is
the number of cells, or NONE. A cell is heard by one cell on its left and by one on its top port at the most, so that
SnAP-1 has the same two cross traces per parameter in every graph; a readout counts as one that listens on top.
"""

from array import array

NONE = -1
TRIES = 4  # partners that small_world() looks at for an edge
SKIP = 4  # rows that a skip line spans
ONE = 4096  # share, Q12: all edges


def lattice(rows, cols):
    """rows x cols cells in raster order, row i driven by input i from the left (article: the four shorelines)."""
    n = rows * cols
    left = array("h", [p - 1 if p % cols else n + p // cols for p in range(n)])
    top = array("h", [p - cols if p >= cols else NONE for p in range(n)])
    return left, top, [n - cols + j for j in range(cols)]


def small_world(rows, cols, share, random):
    """The lattice with about this share (Q12) of its edges between rows rewired: pairs of cells swap their top sources.

    Partners are less than a row apart, so sources still come before listeners, and fan-in and fan-out stay what they
    were. random: a Random.
    """
    left, top, ends = lattice(rows, cols)
    n = rows * cols
    begin = (share << 16) // (2 * ONE - share)  # of those that no earlier one has taken: a pair is two edges
    draw = random.draw
    for p in range(cols, n if cols > 1 else 0):
        if top[p] != p - cols or draw() >= begin:
            continue
        for _ in range(TRIES):
            q = p + 1 + ((draw() * (cols - 1)) >> 16)
            if p < q < n and top[q] == q - cols:
                top[p], top[q] = top[q], top[p]
                break
    return left, top, ends


def skip(rows, cols):
    """The lattice with residual lines: in every SKIP-th row, the last one among them, cells hear SKIP rows above.

    Cell (i, j) then reads (i - SKIP, j - 1) on its left instead of (i, j - 1). Every such row passes its own listener
    on to the next one; only the first one is left without a left input, but for its first column.
    """
    left, top, ends = lattice(rows, cols)
    for p in range(rows * cols):
        i = p // cols
        if p % cols and i % SKIP == (rows - 1) % SKIP and rows > SKIP:
            left[p] = p - 1 - SKIP * cols if i >= SKIP else NONE
    return left, top, ends


def tree(inputs):
    """Cells of a balanced binary tree over so many inputs."""
    cells = 0
    while inputs > 1 or cells == 0:
        inputs = (inputs + 1) // 2
        cells += inputs
    return cells


def forest(inputs, trees):
    """Balanced binary trees over all inputs, one per class, leaves first; the root of tree q is read by readout q."""
    left, top, ends = array("h"), array("h"), []
    n = trees * tree(inputs)
    for _ in range(trees):
        level = [n + i for i in range(inputs)]
        while level[0] >= n or len(level) > 1:
            above = []
            for k in range(0, len(level), 2):
                above.append(len(left))
                left.append(level[k])
                top.append(level[k + 1] if k + 1 < len(level) else NONE)
            level = above
        ends.append(level[0])
    return left, top, ends
