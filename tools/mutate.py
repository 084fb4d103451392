"""Shows that the tests have teeth: takes one safeguard at a time out of a copy of the sources and runs the tests there.

Each line of the table names what was taken out and the test that noticed. Exit code 1 if one survives. Examples:

  python -m tools.mutate                    all of them; some minutes
  python -m tools.mutate --list             what there is
  python -m tools.mutate --only crc rename  two of them

The sources themselves are not touched.
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from host.base import cli
from host.base.files import copy_sources
from host.base.heartbeat import heartbeat
from host.base.scratch import Scratch

ROOT = Path(__file__).resolve().parent.parent
LINK = ("tests/test_link.py", "tests/test_recovery.py", "tests/test_exactly_once.py")
LIMIT = 300  # seconds: tests that hang have noticed, too
COPIED = ("fixedpoint", "firmware", "host", "tests", "tools", "pyproject.toml")


@dataclass(frozen=True)
class Mutation:
    """A safeguard, and how to take it out: (file, old text, new text), each found exactly once."""

    name: str
    about: str
    changes: tuple[tuple[str, str, str], ...]
    tests: tuple[str, ...] = field(default=LINK)


DEVICE, WIRE, STORAGE = "firmware/device.py", "firmware/wire.py", "firmware/storage.py"
CODEC = "firmware/codec.py"
LINK_PY, BOARD = "host/board/link.py", "host/board/learner.py"

MUTATIONS = (
    Mutation(
        "duplicate",
        "the board answers a repeated image with its result again",
        ((DEVICE, "if 0 <= sequence == self.done and sequence + 1 == lattice.step:", "if False:"),),
    ),
    Mutation(
        "sequence",
        "the board trains an image only if it is the next one",
        ((DEVICE, "fits = sequence == lattice.step and self.rates", "fits = self.rates"),),
    ),
    Mutation(
        "crc",
        "a frame with a wrong CRC is thrown away",
        ((WIRE, "if crc[0] == RESIDUE[0] and crc[1] == RESIDUE[1]:", "if True:"),),
    ),
    Mutation(
        "session key",
        "the CRC of a frame holds session and conversation",
        ((WIRE, "key = session ^ conversation", "key = 0"),),
    ),
    Mutation(
        "conversation",
        "what an earlier conversation left on the line does not decode",
        ((WIRE, "key = session ^ conversation", "key = session"),),
    ),
    Mutation(
        "session in memory",
        "a board that trains another run refuses this one",
        ((DEVICE, "config != self.config and self.lattice.step and not replace:", "False:"),),
    ),
    Mutation(
        "another graph",
        "so does one that trains another graph or rule, whatever the session is called",
        ((DEVICE, "config = body[3:-4]  # without", "config = body[5:-4]  # without"),),
        ("tests/test_session.py",),
    ),
    Mutation(
        "old host",
        "an OPEN of another version is refused whatever its length",
        ((DEVICE, "elif kind == wire.OPEN and n > 1 and body[1] != wire.VERSION:", "elif False:"),),
        ("tests/test_session.py",),
    ),
    Mutation(
        "rates of V",
        "the fourth pair of rates reaches the diagonal network",
        ((DEVICE, "for k in range(0, 8, 2)])", "for k in (0, 2, 4, 4)])"),),
        ("tests/test_session.py",),
    ),
    Mutation(
        "room again",
        "a board with a small network keeps room for a larger one",
        ((DEVICE, "            self.room.take()  # of what is left", "            # of what is left"),),
        ("tests/test_memory.py",),
    ),
    Mutation(
        "arrays in place",
        "arrays grow where they are, beside nothing that could be swept away",
        (("fixedpoint/network.py", "        gc.collect()\n    for _ in", "        pass\n    for _ in"),),
        ("tests/test_memory.py", "tests/test_heap.py"),
    ),
    Mutation(
        "session in flash",
        "so does a board with another run's checkpoint",
        ((DEVICE, "if self.lattice is None and saved and saved[0] != session", "if False and saved[0] != session"),),
    ),
    Mutation(
        "rename",
        "a checkpoint is written aside and renamed",
        (
            (STORAGE, 'with open(aside, "wb") as file:', 'with open(name, "wb") as file:'),
            (STORAGE, "    os.rename(aside, name)\n\n\ndef read", "\n\ndef read"),
        ),
    ),
    Mutation(
        "checkpoint crc",
        "a checkpoint with a wrong CRC is none",
        ((STORAGE, '!= struct.pack("<I", crc):', '!= struct.pack("<I", crc) and False:'),),
        ("tests/test_storage.py", *LINK),
    ),
    Mutation(
        "step in checkpoint",
        "a checkpoint holds the step counter",
        ((DEVICE, "storage.save(self.session, self.lattice.step,", "storage.save(self.session, 0,"),),
    ),
    Mutation(
        "row order",
        "rows are taken in their order only",
        ((DEVICE, "            or first != lattice.arrived\n", ""),),
    ),
    Mutation(
        "refused",
        "an ACK says that a frame was out of order",
        ((DEVICE, "sequence if sequence > 0 else 0, wire.FLAG_REFUSED)", "sequence if sequence > 0 else 0, 0)"),),
    ),
    Mutation(
        "loading",
        "parameters half written are not used",
        ((DEVICE, "            or self.loading\n", ""),),
    ),
    Mutation(
        "commit digest",
        "written parameters count only with the right digest",
        ((DEVICE, "self.loading = self.writable = self.lattice.digest() != digest", "self.loading = False"),),
    ),
    Mutation(
        "rates",
        "no step without learning rates",
        ((DEVICE, "fits = sequence == lattice.step and self.rates", "fits = sequence == lattice.step"),),
    ),
    Mutation(
        "rates step",
        "learning rates are taken for the next step only",
        ((DEVICE, "if step != self.lattice.step or self.loading:", "if self.loading:"),),
    ),
    Mutation(
        "tags",
        "an answer is taken for its own request only",
        ((LINK_PY, "(tag is None or answer[0] < wire.SEALED or answer[1] == tag)", "True"),),
    ),
    Mutation(
        "one result",
        "the last frame of an image waits for the result before",
        ((LINK_PY, "(cursor[1] < last or cursor[0] == done)", "True"),),
    ),
    Mutation(
        "late result",
        "a result that comes again is not counted again",
        ((LINK_PY, "if number - (kind == wire.TRAIN) != first + done:", "if False:"),),
    ),
    Mutation(
        "credit",
        "the host sends no more than the board can hold",
        ((LINK_PY, "+ OVERHEAD > self.credit", "+ OVERHEAD > 1 << 20"),),
    ),
    Mutation(
        "credit after a loss",
        "nor does it when it goes back",
        ((LINK_PY, "                    probing = True\n", "                    probing = False\n"),),
    ),
    Mutation(
        "rewind",
        "a board at another step than the run can use is brought back",
        ((BOARD, "if flags & wire.FLAG_LOADING or not usable:", "if flags & wire.FLAG_LOADING:"),),
    ),
    Mutation(
        "result still there",
        "a lost result is asked for only where it still is",
        ((BOARD, "if step == self.step + 1 <= self.target and flags & wire.FLAG_RESULT:", "if step > self.step:"),),
    ),
    Mutation(
        "half loaded",
        "a board with parameters half written is given them anew",
        ((BOARD, "if flags & wire.FLAG_LOADING or not usable:", "if not usable:"),),
    ),
    Mutation(
        "late write",
        "a board takes parameters only between OPEN and the first COMMIT or RATES",
        ((DEVICE, "if not self.writable:", "if False:"),),
    ),
    Mutation(
        "room",
        "a board keeps room for the lattice from its start",
        ((DEVICE, "self.piece = bytearray(RESERVE >> shift)", "self.piece = None"),),
        ("tests/test_memory.py",),
    ),
    Mutation(
        "idle garbage",
        "an idle board allocates nothing",
        ((DEVICE, "for i in range(len(about)):\n            body[i] = about[i]", "body[: len(about)] = bytes(about)"),),
        ("tests/test_memory.py",),
    ),
    Mutation(
        "second attempt",
        "an OPEN that found no memory is tried once more after a collection",
        ((DEVICE, "for _ in range(2):  # what the first attempt", "for _ in range(1):  # what the first attempt"),),
        ("tests/test_session.py",),
    ),
    Mutation(
        "working",
        "a board says that it works on an OPEN",
        ((DEVICE, "self.reply(wire.WORKING_FORMAT, wire.WORKING, session)", "pass"),),
        ("tests/test_session.py",),
    ),
    Mutation(
        "poll",
        "a board reads no byte that is not there",
        ((CODEC, "        more = 0\n        if n < size:", "        more = 1\n        if n < size:"),),
        ("tests/test_codec.py",),
    ),
    Mutation(
        "twin",
        "a twin compares digests and predictions",
        ((BOARD, 'if f"{found:08x}" != wanted or guess != prediction:', "if False:"),),
        ("tests/test_stream.py",),
    ),
)


def copy(target: Path) -> None:
    """Copy the sources."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            copy_sources(ROOT / name, target / name)
        else:
            target.mkdir(exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)


def mutate(tree: Path, mutation: Mutation) -> None:
    """Change a copy. Raises UserError if the sources have changed so that the mutation does not fit any more."""
    for name, old, new in mutation.changes:
        text = (tree / name).read_text()
        if text.count(old) != 1:
            raise cli.UserError(f"mutation {mutation.name}: {old!r} is {text.count(old)} times in {name}; adapt it")
        (tree / name).write_text(text.replace(old, new))


class Tests:
    """Runs of the tests in processes of their own: stop() ends those under way, and lets no other begin."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running: set[subprocess.Popen[str]] = set()
        self.stopped = False

    def run(self, command: list[str], tree: Path) -> tuple[int, str]:
        """Exit code and output. Raises TimeoutExpired after LIMIT, CancelledError once they are stopped."""
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(tree)}  # what is killed leaves things
        with self.lock:
            if self.stopped:
                raise CancelledError
            process = subprocess.Popen(command, cwd=tree, env=environment, text=True, stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                       start_new_session=True)  # fmt: skip
            self.running.add(process)
        try:
            out = process.communicate(timeout=LIMIT)[0]
        finally:
            with self.lock:
                self.running.discard(process)
                end(process)
            process.wait()
            process.stdout.close()  # type: ignore[union-attr]
        if self.stopped:
            raise CancelledError
        return process.returncode, out

    def stop(self) -> None:
        """End all."""
        with self.lock:
            self.stopped = True
            for process in self.running:
                end(process)


def end(process: subprocess.Popen[str]) -> None:
    """Kill what is left of a process and its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def test(tests: Tests, tree: Path, files: tuple[str, ...]) -> str | None:
    """Run tests in a copy; return the name of the first that fails, or None. Raises UserError if they cannot run."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--no-header", *files]
    try:
        code, out = tests.run(command, tree)
    except subprocess.TimeoutExpired:
        return f"(the tests hang: {' '.join(files)})"
    if code == 0:
        return None
    found = re.search(r"^FAILED tests/(.+?)( - .*)?$", out, re.MULTILINE)
    if code != 1 or not found:
        raise cli.UserError(f"the tests do not run: {out[-400:]}")
    return found[1]


def try_out(tests: Tests, mutation: Mutation | None) -> tuple[str | None, float]:
    """The test that notices a mutation (None: none does), and seconds. Without a mutation, all tests are run."""
    begun = time.monotonic()
    with Scratch("mutate") as tree:
        copy(tree)
        if mutation is None:
            noticed = test(tests, tree, tuple(sorted({path for each in MUTATIONS for path in each.tests})))
        else:
            mutate(tree, mutation)
            noticed = test(tests, tree, mutation.tests)
    return noticed, time.monotonic() - begun


@contextlib.contextmanager
def trials(tests: Tests, jobs: int, wanted: list[Mutation | None]) -> Iterator[list[Future[tuple[str | None, float]]]]:
    """try_out() of each in threads that are gone, with their directories and processes, whichever way this is left.

    One signal is enough: to end all takes no longer than a copy, and another one would leave it half done. It waits
    until all threads are started: the pool would not know one whose start it interrupts, nor wait for it.
    """
    noted: list[int] = []
    started = False

    def note(number: int, frame: object) -> None:
        noted.append(number)
        if started and len(noted) == 1:
            cli.interrupt(number, frame)

    pool = ThreadPoolExecutor(jobs)
    with cli.handling(note):
        try:
            futures = [pool.submit(try_out, tests, each) for each in wanted]
            started = True
            if noted:
                cli.interrupt(noted[0], None)
            yield futures
        finally:
            tests.stop()
            pool.shutdown(cancel_futures=True)


def main() -> int:
    parser = cli.Parser("python -m tools.mutate", __doc__)
    parser.add_argument("--list", action="store_true", help="print the mutations, run nothing")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[each.name for each in MUTATIONS], help="some of"
                        " them")  # fmt: skip
    parser.option("--jobs", default=os.cpu_count() or 1, lowest=1, help="at a time (default: one per CPU)")
    args = parser.parse_args()
    chosen = [each for each in MUTATIONS if args.only is None or each.name in args.only]
    if args.list:
        print("\n".join(f"{each.name:<20} {each.about}" for each in chosen))
        return 0
    return report(chosen, args)


def report(chosen: list[Mutation], args: argparse.Namespace) -> int:
    """Try all out, print the table, return the exit code."""
    begun = time.monotonic()
    survived = 0
    with Scratch("mutate") as work:  # first see whether all of them fit
        for n, mutation in enumerate(chosen):
            copy(work / str(n))
            mutate(work / str(n), mutation)

    def so_far() -> str:
        ended = sum(map(Future.done, futures))
        return f"mutate: {ended} of {len(futures)} runs of the tests have ended after {time.monotonic() - begun:.0f} s"

    with trials(Tests(), args.jobs, [None, *chosen]) as futures, heartbeat(so_far):
        if noticed := futures[0].result()[0]:
            raise cli.UserError(f"without any mutation {noticed} fails; mend that first")
        for mutation, future in zip(chosen, futures[1:], strict=True):
            noticed, seconds = future.result()
            survived += noticed is None
            print(f"{mutation.name:<20} {seconds:>4.0f} s  {noticed or 'SURVIVED: ' + mutation.about}", flush=True)
    print(f"{len(chosen)} mutations, {survived} survived, {time.monotonic() - begun:.0f} s")
    return 1 if survived else 0


if __name__ == "__main__":
    cli.run(main)
