"""Fetching MNIST from mirrors that fail in every way: verified files, or none."""

import errno
import gzip
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from idx_files import (
    FILES,
    GARBLED,
    PACKED,
    TABLE,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    assert_is_set,
    command,
    idx,
    refused,
    write,
)

import host.dataset
from host.data import dataset as module
from host.data.dataset import CHECKSUMS, fetch, load


class Mirror(http.server.ThreadingHTTPServer):
    """Serves `pages` (path: body); (body, length) announces another length, a str instead of HTTP, None silence."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[str, bytes | tuple[bytes, int] | str | None] = {}
        self.requests: list[str] = []
        self.closing = threading.Event()

    def add(self, folder: str, pages: dict) -> str:
        self.pages.update({f"/{folder}/{name}.gz": page for name, page in pages.items()})
        return f"http://127.0.0.1:{self.server_port}/{folder}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self):
        self.server.requests.append(self.path)
        page = self.server.pages.get(self.path, b"")
        if page is None:
            self.server.closing.wait(10)
            return
        if isinstance(page, str):
            self.wfile.write(page.encode() + b"\r\n")
            return
        body, length = page if isinstance(page, tuple) else (page, len(page))
        self.send_response(200 if self.path in self.server.pages else 404)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[Mirror]:
    monkeypatch.setenv("no_proxy", "*")
    with Mirror() as mirror:
        thread = threading.Thread(target=mirror.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield mirror
        mirror.closing.set()
        mirror.shutdown()
        thread.join()


@pytest.fixture
def unreachable() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_fetch_gets_verified_files_that_load(server, tmp_path, capsys):
    mirror = server.add("good", PACKED)
    origins = fetch(tmp_path / "new" / "dir", [f"{mirror}/"], TABLE)
    assert origins == {name: f"{mirror}/{name}.gz" for name in CHECKSUMS}
    assert {path.name: path.read_bytes() for path in (tmp_path / "new" / "dir").iterdir()} == {
        f"{name}.gz": content for name, content in PACKED.items()
    }
    assert_is_set(load(tmp_path / "new" / "dir"))
    captured = capsys.readouterr()
    assert captured.out == "" and f"fetching {mirror}/{TRAIN_IMAGES}.gz" in captured.err


WRONG = gzip.compress(FILES[TRAIN_IMAGES][:-1] + b"!")
BAD_MIRRORS = {
    "wrong checksum": (WRONG, "SHA-256"),
    "not gzip": (b"<html>moved</html>", "Not a gzipped file"),
    "empty": (b"", "SHA-256"),
    "truncated transfer": ((PACKED[TRAIN_IMAGES][:50], len(PACKED[TRAIN_IMAGES])), "EOFError|IncompleteRead"),
    "garbled gzip": (GARBLED, "invalid block type"),
    "not HTTP": ("SSH-2.0-x", "BadStatusLine"),
    "truncated file": (PACKED[TRAIN_IMAGES][:50], "EOFError"),
}


@pytest.mark.parametrize(("page", "cause"), BAD_MIRRORS.values(), ids=BAD_MIRRORS)
def test_fetch_turns_to_the_next_mirror_after(server, tmp_path, capsys, page, cause):
    bad, good = server.add("bad", PACKED | {TRAIN_IMAGES: page}), server.add("good", PACKED)
    origins = fetch(tmp_path, [bad, good], TABLE)
    assert origins[TRAIN_IMAGES] == f"{good}/{TRAIN_IMAGES}.gz"
    assert_is_set(load(tmp_path))
    failures = [line for line in capsys.readouterr().err.splitlines() if "failed" in line]
    assert len(failures) == 1 and any(part in failures[0] for part in cause.split("|"))


def test_fetch_turns_to_the_next_mirror_after_an_unreachable_a_lacking_and_a_nonsense_one(
    server, tmp_path, unreachable
):
    good = server.add("good", PACKED)
    lacking = server.add("lacking", {})
    assert set(fetch(tmp_path, [unreachable, lacking, "nonsense", good], TABLE)) == set(CHECKSUMS)
    assert_is_set(load(tmp_path))
    # The one that worked was asked first from then on.
    assert [path for path in server.requests if path.startswith("/lacking")] == [f"/lacking/{TRAIN_IMAGES}.gz"]


def test_fetch_turns_to_the_next_mirror_after_one_that_never_answers(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    silent, good = server.add("silent", dict.fromkeys(CHECKSUMS)), server.add("good", PACKED)
    fetch(tmp_path, [silent, good], TABLE)
    assert_is_set(load(tmp_path))
    assert "timed out" in capsys.readouterr().err


def test_fetch_with_every_mirror_failing_leaves_nothing_behind(server, tmp_path, unreachable):
    bad = server.add("bad", PACKED | {TRAIN_IMAGES: WRONG})
    refused(
        lambda: fetch(tmp_path / "new", [bad, unreachable], TABLE),
        f"{TRAIN_IMAGES}.gz", f"{bad}: SHA-256", f"{unreachable}: URLError", "--mirror URL",
    )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_fetch_resumes_with_the_files_that_are_still_missing(server, tmp_path):
    half = server.add("half", {name: PACKED[name] for name in (TRAIN_IMAGES, TRAIN_LABELS)})
    good = server.add("good", PACKED)
    refused(lambda: fetch(tmp_path, [half], TABLE), f"{TEST_IMAGES}.gz", "404")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{TRAIN_IMAGES}.gz", f"{TRAIN_LABELS}.gz"]
    server.requests.clear()
    origins = fetch(tmp_path, [good], TABLE)
    assert origins[TRAIN_IMAGES] == origins[TRAIN_LABELS] == "present"
    assert server.requests == [f"/good/{TEST_IMAGES}.gz", f"/good/{TEST_LABELS}.gz"]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_fetch_skips_verified_files_without_asking_a_mirror(server, tmp_path, suffix):
    mirror = server.add("good", PACKED)
    write(tmp_path, PACKED if suffix else FILES, suffix)
    assert fetch(tmp_path, [mirror], TABLE) == dict.fromkeys(CHECKSUMS, "present")
    assert server.requests == []


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_fetch_leaves_a_differing_file_alone_and_fetches_nothing(server, tmp_path, suffix):
    mirror = server.add("good", PACKED)
    mine = tmp_path / f"{TEST_LABELS}{suffix}"
    mine.write_bytes(idx(np.zeros(3, np.uint8)))
    refused(lambda: fetch(tmp_path, [mirror], TABLE), mine, "differs", "move it away, or fetch into another directory")
    assert mine.read_bytes() == idx(np.zeros(3, np.uint8))
    assert list(tmp_path.iterdir()) == [mine] and server.requests == []


def test_fetch_leaves_a_corrupt_gzip_alone(server, tmp_path):
    mirror = server.add("good", PACKED)
    mine = tmp_path / f"{TEST_LABELS}.gz"
    mine.write_bytes(PACKED[TEST_LABELS][:-3])
    refused(lambda: fetch(tmp_path, [mirror], TABLE), mine, "truncated or corrupt gzip", "delete it and run")
    assert list(tmp_path.iterdir()) == [mine] and mine.read_bytes() == PACKED[TEST_LABELS][:-3]


def test_fetch_into_a_file_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"mine")
    refused(lambda: fetch(path, [], TABLE), path, "not a directory")
    assert path.read_bytes() == b"mine"


def test_fetch_on_a_full_disk_is_refused_and_leaves_no_partial_file(server, tmp_path, monkeypatch):
    whole = Path.write_bytes

    def fill(path: Path, content: bytes) -> int:
        whole(path, content[:10])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", fill)
    refused(lambda: fetch(tmp_path, [server.add("good", PACKED)], TABLE), TRAIN_IMAGES, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_fetch_interrupted_while_writing_leaves_no_partial_file(server, tmp_path, monkeypatch):
    def interrupt(path: Path, target: Path) -> None:
        assert path.exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path, [server.add("good", PACKED)], TABLE)
    assert list(tmp_path.iterdir()) == []


def test_fetch_command_reports_as_json_on_stdout_alone(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(host.dataset, "CHECKSUMS", TABLE)
    bad, good = server.add("bad", {}), server.add("good", PACKED)
    host.dataset.main(["--fetch", str(tmp_path), "--json", "--mirror", bad, good])
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "directory": str(tmp_path), "files": {name: f"{good}/{name}.gz" for name in CHECKSUMS},
    }  # fmt: skip
    assert f"failed: {bad}" in captured.err


def test_fetch_command_without_json_says_how_to_use_the_files(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(host.dataset, "CHECKSUMS", TABLE)
    host.dataset.main(["--fetch", str(tmp_path), "--mirror", server.add("good", PACKED)])
    assert f"--data {tmp_path}" in capsys.readouterr().out


def test_fetch_command_exits_2_with_one_error_line_when_all_mirrors_fail(tmp_path, unreachable):
    done = command("host.dataset", "--fetch", tmp_path / "new", "--mirror", unreachable, "--json")
    assert done.returncode == 2 and done.stdout == ""
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == done.stderr.splitlines()[-1:]
    assert "Traceback" not in done.stderr and list(tmp_path.iterdir()) == []


def test_fetch_command_tries_the_public_mirrors_by_default(monkeypatch, tmp_path):
    asked = {}
    monkeypatch.setattr(host.dataset, "fetch", lambda *args: asked.update(args=args) or {})
    host.dataset.main(["--fetch", str(tmp_path)])
    _, mirrors, checksums = asked["args"]
    hosts = ["ossci-datasets.s3.amazonaws.com", "storage.googleapis.com", "yann.lecun.com"]
    assert [mirror.split("/")[2] for mirror in mirrors] == hosts
    assert checksums == CHECKSUMS
