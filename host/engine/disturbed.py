"""Networks with disturbed signals: the kernels' own text with more statements in it, still in the dialect.

So whatever executes the dialect executes a disturbed kernel, and an undisturbed one is the kernel itself. What is done
where is in host.engine.sites, what it consists of in host.engine.distort. Kernels that draw random numbers or read
flaws take two more arrays: `noise` (the generator's state, the step, the seed, the messages' amplitudes) and `flaw` (a
factor, Q14, and an offset for each cell and site). All that is random is a function of seed, step and image, so that a
run goes on bit-exactly from any step.
"""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import accumulate
from typing import Any
from zlib import crc32

import numpy as np

from host.base.cli import UserError
from host.engine import distort
from host.engine.passes import Call, Passes, passes_of
from host.engine.sites import MAY, SITES, Site
from host.runs.disturbance import Clause, canonical, parse

NEW = {"noise": "ptr32", "flaw": "ptr32"}
SHORTCUTS = ("backward", "exact")  # their `continue` for silent cells: of no use where silence is disturbed
Places = dict[tuple[str, str], int]  # where the factors and offsets of a site begin in `flaw`
# Behind which statement a cell's row of messages, and its gradients, are complete.
ROW, GRADIENTS = "m[i + _PEAK] = peak", {"backward": "m[i + _GRADIENT + 3]", "exact": "m[i + _GRADIENT + 2]"}


def names(passes: Passes) -> set[str]:
    """Of the kernels that are called."""
    return {str(call[0]) for call in passes.calls}


def sites_of(clause: Clause, called: set[str]) -> list[Site]:
    """Where a clause takes effect in kernels of these names."""
    return [site for site in SITES if site.signal == clause.signal and site.kernel in called]


def check(clauses: Sequence[Clause], passes: Passes) -> None:
    """Raise UserError for a signal that such a network has not, and for what is not done to a signal."""
    called = names(passes)
    for clause in clauses:
        there = sites_of(clause, called) or (clause.signal == "gradient" and called & GRADIENTS.keys())
        if not there:
            signals = sorted({site.signal for site in SITES if site.kernel in called})
            raise UserError(f"--disturb: this network has no {clause.signal}; choose one of {', '.join(signals)}")
        for name in clause.given:
            allowed = MAY[clause.signal]
            if name not in allowed or (name == "block" and "teach" in called):
                raise UserError(
                    f"--disturb: {name} is not done to {clause.signal} here; choose of {', '.join(allowed)}"
                )


class _Rewriter:
    """Puts statements into the text of one kernel."""

    def __init__(self, function: ast.FunctionDef, clauses: Sequence[Clause], places: Places):
        self.function, self.clauses, self.places = function, clauses, places
        self.seen: dict[str, int] = {}
        self.needs: set[str] = set()
        self.changed = False

    def run(self) -> bool:
        """Change the kernel; return whether anything was to be done."""
        name, body = self.function.name, self.function.body
        sites = [(clause, site) for clause in self.clauses for site in SITES
                 if (site.signal, site.kernel) == (clause.signal, name)]  # fmt: skip
        body[:] = self.block(body, sites)
        if name in ("error", "teach"):
            self.amplitudes("coarse" if name == "error" else "0")
        if self.changed and name in SHORTCUTS:
            _without_shortcut(body)
        if "rng" in self.needs:
            begin = 1 if ast.get_docstring(self.function) is not None else 0
            body[begin:begin] = _parsed(distort.LOAD)
            body += _parsed(distort.STORE)
            self.needs.add("noise")
        for array in sorted(self.needs & NEW.keys(), reverse=True):
            self.function.args.args.append(ast.arg(array, ast.Name(NEW[array])))
        return self.changed

    def block(self, body: list[ast.stmt], sites: list[tuple[Clause, Site]]) -> list[ast.stmt]:
        """The statements of a block, each with what takes its place."""
        made: list[ast.stmt] = []
        for node in body:
            for part in ("body", "orelse"):
                if getattr(node, part, None):
                    setattr(node, part, self.block(getattr(node, part), sites))
            made += self.replaced(node, sites) if isinstance(node, (ast.Assign, ast.AugAssign)) else [node]
        return made

    def replaced(self, node: ast.stmt, sites: list[tuple[Clause, Site]]) -> list[ast.stmt]:
        text = ast.unparse(node)
        which = self.seen[text] = self.seen.get(text, -1) + 1
        lines = [text]
        for clause, site in sites:
            if ast.unparse(ast.parse(site.old)) == text and site.which == which:
                put = self.put(clause, site)
                # A statement may be the place of several sites: each finds it in what the others have left of it.
                at = lines.index(text)
                lines[at : at + 1] = [line for new in _normal(site.new) for line in (put if new[0] == "@" else [new])]
        lines += self.behind(text)
        if lines != [text]:
            self.changed = True
            self.needs |= {array for array in NEW if any(f"{array}[" in line for line in lines)}
            self.needs |= {"rng" for line in lines if "rng_" in line}
        return _parsed(lines)

    def put(self, clause: Clause, site: Site) -> list[str]:
        return list(distort.statements(clause, site, self.places.get(site.element)))

    def behind(self, text: str) -> list[str]:
        """What comes behind a statement that completes a row of messages or a cell's gradients."""
        name = self.function.name
        lines: list[str] = []
        for clause in self.clauses:
            if clause.signal == "message" and clause.block and text == ROW:
                lines += distort.block_of_messages(clause.block, clause.rounding)
            if clause.signal == "gradient" and text.startswith(f"{GRADIENTS.get(name)} = ") and clause.block:
                lines += distort.block_of_gradients(clause.block, clause.rounding)
            if clause.signal == "gradient" and text.startswith(f"{GRADIENTS.get(name)} = ") and clause.bits is not None:
                lines += distort.fixed_gradients(clause.bits, clause.rounding)
        return lines

    def amplitudes(self, coarse: str) -> None:
        """The RMS of delta, where a message's noise asks for it: it is known before the first message."""
        if any(clause.signal in distort.AMPLITUDE and clause.noise for clause in self.clauses):
            lines = _parsed(list(distort.amplitudes(tuple(self.clauses), coarse)))
            if self.function.name == "error":
                self.function.body += lines
            else:
                begin = 1 if ast.get_docstring(self.function) is not None else 0
                self.function.body[begin:begin] = lines
            self.needs.add("noise")
            self.changed = True


def _normal(lines: Sequence[str]) -> list[str]:
    return [line if line[0] == "@" else ast.unparse(ast.parse(line)) for line in lines]


def _parsed(lines: Sequence[str]) -> list[ast.stmt]:
    return ast.parse("\n".join(lines)).body


def _without_shortcut(body: list[ast.stmt]) -> None:
    """Take out the `if` that ends in `continue`: what it skips gives the same, and may now be disturbed."""
    for node in ast.walk(ast.Module(body, [])):
        inner = getattr(node, "body", None)
        if isinstance(inner, list):
            inner[:] = [x for x in inner if not (isinstance(x, ast.If) and isinstance(x.body[-1], ast.Continue))]


def rewritten(
    text: str, clauses: Sequence[Clause], called: set[str], places: Places
) -> tuple[str, dict[str, set[str]]]:
    """A text of kernels with the clauses put in where it is called; and the new arrays of each kernel."""
    tree = ast.parse(text)
    found: dict[str, set[str]] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in called:
            rewriter = _Rewriter(node, clauses, places)
            if rewriter.run():
                found[node.name] = rewriter.needs & NEW.keys()
    return ast.unparse(ast.fix_missing_locations(tree)), found


def flawed(clauses: Sequence[Clause], called: set[str]) -> Iterator[tuple[Clause, Site]]:
    """The sites with something constant of each cell, once for each word that they write."""
    seen = set()
    for clause in clauses:
        for site in sites_of(clause, called):
            if distort.constant(clause) and "mismatch" in site.keys and site.element not in seen:
                seen.add(site.element)
                yield clause, site


def places_of(clauses: Sequence[Clause], called: set[str], network: Any) -> Places:
    """Where the factors and offsets of each of these sites begin in `flaw`."""
    sites = [site for _, site in flawed(clauses, called)]
    ends = accumulate((2 * site.count(network) for site in sites), initial=0)
    return dict(zip((site.element for site in sites), ends, strict=False))


@cache
def _passes(base: Passes, clauses: tuple[Clause, ...], given: tuple[tuple[tuple[str, str], int], ...]) -> Passes:
    """The calls of disturbed kernels. given: places_of()."""
    texts, arrays = [], {}
    for text in base.texts:
        new, found = rewritten(text, clauses, names(base), dict(given))
        texts.append(new)
        arrays.update(found)

    def more(calls: tuple[Call, ...]) -> tuple[Call, ...]:
        return tuple((*call, *sorted(arrays.get(str(call[0]), ()), reverse=True)) for call in calls)

    state = base.state
    classify, learn = more(base.classify), more(base.learn)
    if any(str(call[0]) in arrays for call in base.derive):
        # For every image anew: so operands are disturbed from the first one on, and when parameters were loaded.
        classify = (*more(base.derive), *classify)
        learn = more(tuple(call for call in base.learn if call not in base.derive))
    if any("noise" in needs for needs in arrays.values()):
        texts.append(distort.STIR)
        classify = (("stir", "noise", "pixels", "area"), *classify)
        learn = (*learn, ("tick", "noise"))
        state = (*state, "noise")
    if any("flaw" in needs for needs in arrays.values()):
        state = (*state, "flaw")
    return replace(base, texts=tuple(texts), state=state, take=more(base.take), classify=classify, learn=learn,
                   derive=more(base.derive), counter=("noise", distort.STEP) if "noise" in state else None)  # fmt: skip


def flaws(clauses: Sequence[Clause], called: set[str], network: Any, seed: int) -> np.ndarray:
    """Factor (Q14) and offset (LSB) of every cell at each of these sites, int32: normal, drawn once from the seed."""
    drawn = [np.zeros((0, 2), np.int32)]
    for clause, site in flawed(clauses, called):
        q = site.q if isinstance(site.q, int) else int(site.q.split(" + ")[0])
        draw = np.random.RandomState([seed, crc32("".join(site.element).encode())])  # its stream never changes
        n = site.count(network)
        factor = np.clip(1 + clause.mismatch * draw.standard_normal(n), 0, 1.999)
        offset = np.clip(clause.offset * draw.standard_normal(n), -2, 2)
        stuck = draw.permutation(n) < round(clause.stuck * n)
        factor[stuck], offset[stuck] = 0, clause.value
        drawn.append(np.rint(np.stack([factor * distort.ONE, offset * 2**q], 1)).astype(np.int32))
    return np.concatenate(drawn).ravel()


def disturb(network: Any, text: str, seed: int) -> Any:
    """A network whose signals are disturbed by this text when it is trained in Lanes. "": the network itself.

    Its attributes `noise`, `flaw` (int32) and `passes` are new; parameters that are kept in fewer bits are rounded, to
    nearest. Raises UserError for what is not done to such a network.
    """
    clauses = parse(text)
    if not clauses:
        return network
    base = passes_of(network)
    check(clauses, base)
    called = names(base)
    places = places_of(clauses, called, network)
    network.passes = _passes(base, clauses, tuple(places.items()))
    network.noise = [0] * distort.NOISE
    network.noise[distort.SEED] = crc32(f"{seed} {canonical(text)}".encode()) & 65535
    network.flaw = flaws(clauses, called, network, seed)
    for clause in clauses:
        if clause.signal == "master" and clause.bits is not None:
            cut = max(26 - clause.bits, 0)
            masters = np.array(network.w, np.int64)
            network.load((((masters + (1 << cut >> 1)) >> cut) << cut).tolist(), network.step)
    return network
