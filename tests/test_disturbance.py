"""What is done to signals, as text: read, refused, and written in one way only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.engine.sites import MAY
from host.runs.disturbance import OVERFLOWS, RANGES, ROUNDINGS, SIGNALS, WORDS, Clause, Unreadable, canonical, parse

WHOLE = ("bits", "block", "limit")


def number(name: str) -> st.SearchStrategy[str]:
    """What may stand behind name=, as anybody would write it."""
    low, high = RANGES[name]
    if name in WHOLE:
        return st.integers(int(low), int(high)).map(str)
    places = st.integers(round(low * 1000), round(high * 1000)).map(lambda n: f"{n / 1000}")
    return places | st.integers(0, 10**8).map(lambda n: f"0.{n:09}") | st.integers(int(low), int(high)).map(str)


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, dict[str, dict[str, str]]]:
    """A disturbance in any order and spacing, and what it says."""
    said: dict[str, dict[str, str]] = {}
    for signal in draw(st.lists(st.sampled_from(list(SIGNALS)), min_size=1, unique=True)):
        names = draw(st.lists(st.sampled_from(list(RANGES)), min_size=1, unique=True).filter(lambda x: x != ["value"]))
        values = {name: draw(number(name)) for name in names}
        if "bits" in values and "limit" in values and int(values["bits"]) + int(values["limit"]) < 0:
            del values["limit"]
        words = draw(st.sampled_from([{}, {"rounding": "floor"}, {"overflow": "wrap"}]))
        said[signal] = dict(draw(st.permutations(list((values | words).items()))))
    gap = draw(st.sampled_from([" ", "  ", "\t"]))
    clauses = [gap.join([signal, *(f"{k}={v}" for k, v in given.items())]) for signal, given in said.items()]
    return draw(st.sampled_from([";", "; ", " ;  ", ";;"])).join(clauses), said


@given(texts())
def test_a_text_says_what_its_clauses_hold(drawn):
    text, said = drawn
    found = {clause.signal: clause for clause in parse(text)}
    for signal, given_values in said.items():
        wanted = Clause(signal, **{k: v if k in WORDS else type(RANGES[k][0] if k in WHOLE else 0.0)(v)
                                   for k, v in given_values.items()})  # fmt: skip
        does = wanted.given.keys() - {*WORDS, "value"}  # one that says how, but does nothing, is not there
        assert found.get(signal) == (wanted if does else None)


@given(texts())
def test_equal_disturbances_are_equal_texts(drawn):
    text, said = drawn
    written = canonical(text)
    assert canonical(written) == written and parse(written) == parse(text)
    backwards = "; ".join(
        " ".join([signal, *(f"{k}={v}" for k, v in reversed(values.items()))])
        for signal, values in reversed(said.items())
    )
    assert canonical(backwards) == written
    assert [clause.signal for clause in parse(text)] == [x for x in SIGNALS if x in {c.signal for c in parse(text)}]


@pytest.mark.parametrize(
    "text, written",
    [
        ("", ""),
        (" ; ", ""),
        ("message bits=6", "message bits=6"),
        ("message rounding=nearest bits=06", "message bits=6"),
        ("y noise=0.10;message  bits=6 rounding=floor", "y noise=0.1; message bits=6 rounding=floor"),
        ("cross leak=1.000000000", "cross leak=1"),
        ("message gain=-0", "message gain=0"),
        ("y limit=-0 bits=3", "y bits=3 limit=0"),
        ("y stuck=0.5 value=-0.250", "y stuck=0.5 value=-0.25"),
        ("y noise=0.000000001", "y noise=0.000000001"),
        ("message noise=0; y gain=1.0 rounding=floor", ""),  # the first level of many a study: the baseline's name
    ],
)
def test_one_way_to_write_it(text, written):
    assert canonical(text) == written


@pytest.mark.parametrize(
    "text, reason",
    [
        ("foo bits=3", "'foo' is no signal; choose one of y, message"),
        ("y bits=3; y noise=1", "y is there twice"),
        ("y bits=3 bits=4", "bits is there twice"),
        ("y", "y: say what is done to it"),
        ("y rounding=floor", "y: say what is done to it"),
        ("y value=1", "y: say what is done to it"),
        ("y bits", "bits= is no whole number"),
        ("y bits=3.5", "is no whole number"),
        ("y noise=1e-3", "is no decimal number"),
        ("y noise=nan", "is no decimal number"),
        ("y noise=0.1234567891", "is no decimal number"),
        ("y noise=١", "is no decimal number"),
        ("y bits=30", "bits=30; choose 0 to 29"),
        ("y block=1", "choose 2 to 31"),
        ("y gain=2", "choose 0 to 1.999"),
        ("y stuck=0.5 value=-1.1", "choose -1 to 1"),
        ("y rounding=up bits=3", "choose one of floor, nearest, zero, stochastic"),
        ("y overflow=clip limit=3", "choose one of saturate, wrap"),
        ("y signal=3", "'signal' is nothing that can be done to it"),
        ("y =3", "'' is nothing that can be done to it"),
        ("y bits=2 limit=-3", "no bit is left of bits=2 limit=-3"),
    ],
)
def test_what_is_no_disturbance_is_refused_with_the_reason(text, reason):
    with pytest.raises(Unreadable) as caught:
        parse(text)
    assert reason in str(caught.value) and "\n" not in str(caught.value)


def test_every_signal_and_every_key_is_known_to_the_text_and_to_the_engine():
    assert MAY.keys() == SIGNALS.keys()
    keys = {key for keys in MAY.values() for key in keys}
    assert keys == RANGES.keys() | WORDS.keys()
    assert {"rounding": ROUNDINGS, "overflow": OVERFLOWS} == WORDS
    assert keys == Clause("y").__dataclass_fields__.keys() - {"signal"}
