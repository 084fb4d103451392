"""Checkpoints: a good one is read, and whatever damage or file is in its place is one line."""

import json
import pickle
import zipfile
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_run import CONFIG, refused

from host.base.cli import UserError
from host.runs.checkpoint import Checkpoint, digest


@cache
def good() -> bytes:
    lattice = CONFIG.network()
    params = np.array(lattice.w, np.int32).reshape(CONFIG.rows, CONFIG.cols, 4)
    file = BytesIO()
    epochs = [{"epoch": 1, "step": 23, "train_accuracy": 0.5, "test_accuracy": 0.25, "images_per_second": 10.0}]
    epochs[0]["digest"] = "01234567"
    about = vars(Checkpoint(CONFIG.as_dict(), params, 30, digest(params, 30), 4, 0.5, epochs))
    np.savez(file, params=params, about=np.array(json.dumps({k: v for k, v in about.items() if k != "params"})))
    return file.getvalue()


def assert_refused_or_harmless(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        found = Checkpoint.read(path)
    except UserError as error:
        message = str(error)
        assert ("is damaged" in message and "restore it, or start anew" in message) or "is no checkpoint" in message
        assert "\n" not in message
    else:
        path.write_bytes(good())
        wanted = Checkpoint.read(path)
        assert found.params.tobytes() == wanted.params.tobytes()
        assert {**vars(found), "params": 0} == {**vars(wanted), "params": 0}


@given(st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_flipped_bit_is_found_or_harmless(tmp_path, data):
    content = bytearray(good())
    # Half of the flips in the parts where they do most: the headers, and the directory at the end of a zip.
    places = st.integers(0, 200) | st.integers(len(content) - 300, len(content) - 1) | st.integers(0, len(content) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=3)):
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    assert_refused_or_harmless(tmp_path / "checkpoint.npz", bytes(content))


@given(st.integers(0, 10**6), st.binary(max_size=20))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_truncation_is_found(tmp_path, length, tail):
    content = good()
    assert_refused_or_harmless(tmp_path / "checkpoint.npz", content[: length % len(content)] + tail)


@given(st.binary(max_size=400))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage_is_no_checkpoint(tmp_path, content):
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(content)
    refused(lambda: Checkpoint.read(path), "is no checkpoint of host.simulate or host.stream")


def npz(**arrays: np.ndarray) -> bytes:
    file = BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def changed(**fields: object) -> bytes:
    """The good checkpoint with other fields, and intact otherwise."""
    with np.load(BytesIO(good())) as file:
        params, about = file["params"], json.loads(str(file["about"]))
    params = np.asarray(fields.pop("params", params))
    about = {k: v for k, v in {**about, **fields}.items() if v is not None}
    return npz(params=params, about=np.array(json.dumps(about)))


class Trap:
    """Pickled, it would write a file when it is loaded."""

    def __reduce__(self):
        return (Path.touch, (Path("trap-was-sprung"),))


def npy(array: np.ndarray) -> bytes:
    file = BytesIO()
    np.save(file, array)
    return file.getvalue()


FOREIGN = {
    "an array file": lambda: npy(np.zeros(3)),
    "a pickle": lambda: pickle.dumps(Trap()),
    "pickled arrays": lambda: npz(params=np.array([Trap()]), about=np.array("{}")),
    "no parameters": lambda: npz(about=np.array("{}")),
    "no text": lambda: npz(params=np.zeros((4, 3, 4), np.int32)),
    "no JSON": lambda: npz(params=np.zeros((4, 3, 4), np.int32), about=np.array("hello")),
    "deep JSON": lambda: npz(params=np.zeros((4, 3, 4), np.int32), about=np.array("[" * 100000)),
    "no object": lambda: npz(params=np.zeros((4, 3, 4), np.int32), about=np.array("[1]")),
    "another field": lambda: changed(surplus=1),
    "no config": lambda: changed(config=7),
    "a smaller config": lambda: changed(config={"rows": 4}),
    "a larger lattice": lambda: changed(config={**CONFIG.as_dict(), "rows": 5}),
    "float parameters": lambda: changed(params=np.zeros((4, 3, 4))),
    "flat parameters": lambda: changed(params=np.zeros(48, np.int32)),
    "other parameters": lambda: changed(params=np.ones((4, 3, 4), np.int32)),
    "another digest": lambda: changed(digest="00000000"),
    "another step": lambda: changed(step=31),
    "a negative step": lambda: changed(step=-1),
    "a step of text": lambda: changed(step="30"),
    "a missing step": lambda: changed(step=None),
    "epochs of text": lambda: changed(epochs="1"),
    "too many epochs": lambda: changed(epochs=[{}] * 9),
    "an empty epoch": lambda: changed(epochs=[{}]),
    "an epoch of text": lambda: changed(epochs=["1"]),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_checkpoint_of_ours_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(FOREIGN[name]())
    ours = name not in ("an array file", "a pickle", "no parameters")
    refused(lambda: Checkpoint.read(path), "is damaged" if ours else "is no checkpoint of host.simulate or host.stream")
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.npz"]


def test_good_checkpoint_is_read(tmp_path):
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(good())
    found = Checkpoint.read(path)
    assert (found.step, found.correct, found.seconds, len(found.epochs)) == (30, 4, 0.5, 1)
    found.save(tmp_path / "again.npz")
    again = Checkpoint.read(tmp_path / "again.npz")
    assert {**vars(again), "params": 0} == {**vars(found), "params": 0}
    with zipfile.ZipFile(path) as file:
        assert sorted(file.namelist()) == ["about.npy", "params.npy"]


def test_missing_checkpoint_and_directory_instead(tmp_path):
    refused(lambda: Checkpoint.read(tmp_path / "none.npz"), "there is no checkpoint")
    refused(lambda: Checkpoint.read(tmp_path), f"{tmp_path} is no checkpoint of host.simulate or host.stream")
