"""Word lengths: with how many fraction bits a circuit keeps each signal, and how it rounds to them.

They are the clauses of --disturb that have bits and rounding alone, as a study of word lengths finds them:

    state bits=16; self bits=16 rounding=zero; cross bits=12; message bits=10; weight bits=7 rounding=floor
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from host.base.cli import UserError
from host.chip.arithmetic import rounded_off
from host.runs.disturbance import Unreadable, parse

ROUNDINGS = ("floor", "nearest", "zero")
MASTER = 26  # fraction bits of a parameter as it is stored


@dataclass(frozen=True)
class Word:
    """bits: fraction bits that are left of a signal, None for all; rounding: how it comes to them.

    It is not saturated afterwards: rounded up, the largest value needs one LSB more than it did.
    """

    bits: int | None = None
    rounding: str = "nearest"

    def cut(self, q: int, fine: int = 0) -> int:
        """How many bits of a signal, Q(q + fine), are cut off; none if q has not more than are left."""
        return 0 if self.bits is None or self.bits > q else q + fine - self.bits

    def fit(self, value: int, q: int, fine: int = 0) -> int:
        """A value, Q(q + fine), with what is cut off made 0."""
        return rounded_off(value, self.cut(q, fine), self.rounding)


WHOLE = Word()


class Words(Mapping[str, Word]):
    """The word of every signal, by its name in --disturb; signals that are not given have all their bits."""

    def __init__(self, given: Mapping[str, Word] | None = None) -> None:
        self._given = dict(given or {})

    def __getitem__(self, signal: str) -> Word:
        return self._given.get(signal, WHOLE)

    def __iter__(self) -> Iterator[str]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)

    @classmethod
    def of(cls, text: str) -> "Words":
        """From a text of --disturb. Raises UserError for what is no word length."""
        try:
            clauses = parse(text)
        except Unreadable as error:
            raise UserError(f"--disturb: {error}") from error
        found = {}
        for clause in clauses:
            others = clause.given.keys() - {"bits", "rounding"}
            if others or clause.rounding not in ROUNDINGS:
                what = ", ".join(sorted(others)) or f"rounding={clause.rounding}"
                raise UserError(
                    f"--disturb: {clause.signal} {what}: a circuit has word lengths only; give bits, and one of "
                    f"{', '.join(ROUNDINGS)} as rounding"
                )
            found[clause.signal] = Word(clause.bits, clause.rounding)
        return cls(found)

    def check(self, signals: Iterable[str]) -> None:
        """Raise UserError for a word of another signal than these."""
        for signal in self:
            if signal not in signals:
                raise UserError(
                    f"--disturb: in the chip's order there is no word length of {signal} in such a network; "
                    f"choose of {', '.join(signals)}"
                )

    def start(self, masters: Iterable[int]) -> list[int]:
        """Parameters, Q26, as a network is given them when it begins: to nearest."""
        word = Word(self["master"].bits, "nearest")
        return [word.fit(int(master), MASTER) for master in masters]


class Leaky:
    """A leaky integral: 15 bits more than it is read with, and half an LSB of the reading to begin with.

    sum: what the register holds; its value, `sum - HALF`, has q + fine fraction bits, of which `word` leaves some.
    """

    HALF = 1 << 14

    def __init__(self, word: Word = WHOLE, q: int = 29, fine: int = 0) -> None:
        self.sum = self.HALF
        self._cut, self._how = word.cut(q, fine), word.rounding

    @property
    def value(self) -> int:
        """As it is read, 15 bits less: to nearest."""
        return self.sum >> 15

    def take(self, c: int, x: int) -> None:
        """One step: what is kept goes towards x (in the format of the reading) by c (Q15)."""
        self.add(c * (x - self.value))

    def add(self, change: int) -> None:
        """A step with this change."""
        self.sum += change
        if self._cut:
            self.sum = rounded_off(self.sum - self.HALF, self._cut, self._how) + self.HALF
