"""A simulated board on a port of its own, for another program to talk to.

python -m host.sim            prints a port for `python -m host.stream --port ...`; Ctrl-C ends it
"""

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

from firmware import wire
from host.base import cli, streams
from host.board.link import Link
from host.board.sim import ARCHITECTURES, SimBoard, SimTransport
from host.board.transport import NoFirmware

HEAP = 16 << 10, 1 << 30  # bytes that --heap may be
START = 60.0  # seconds until a board that has said nothing will not; half a second is usual
NO_HEAP = cli.Case("--arch cpython", lambda args: args.arch == "cpython")


def heap(text: str) -> str:
    """The value of --heap. Raises UserError."""
    found = re.fullmatch(r"([0-9]{1,12})([kKmM]?)", text)
    if not found or not HEAP[0] <= int(found[1]) << {"": 0, "k": 10, "m": 20}[found[2].lower()] <= HEAP[1]:
        raise cli.UserError(f"--heap {text}: choose {HEAP[0] >> 10}k to {HEAP[1] >> 20}M, such as 192k")
    return text


def greeting(board: SimBoard, stopped: Callable[[], bool]) -> None:
    """Wait for the board's first HELLO, as its next host would. Raises UserError if none comes, Gone."""
    transport = SimTransport(board)
    link, until = Link(transport, stopped=stopped), time.monotonic() + START
    try:
        while (left := until - time.monotonic()) > 0:
            body = link.receive(left)
            if body and body[0] == wire.HELLO:
                return
    finally:
        transport.close()
    raise cli.UserError(f"the simulated board has not said HELLO in {START:.0f} s; end other programs and try again")


def main() -> int:
    parser = cli.Parser("python -m host.sim", __doc__)
    parser.option("--arch", choices=ARCHITECTURES, help="machine to simulate (default: x64; i386 and armhf are"
                  " 32-bit machines and need `python -m host.micropythons`)")  # fmt: skip
    parser.option("--flash", type=Path, help="directory that is the board's flash (default: a new one)")
    parser.option("--baud", lowest=1, help="limit the line to this rate, as a UART would (default: unlimited)")
    parser.option("--heap", default="2M", type=heap, useless=(NO_HEAP,), help="MicroPython's heap, e.g. 192k (default:"
                  " 2M)")  # fmt: skip
    args = parser.parse_args()
    with cli.Interrupt() as status, SimBoard(args.arch, args.flash, args.baud, args.heap) as board:
        try:
            greeting(board, lambda: status.requested)
        except NoFirmware as error:
            raise cli.UserError(f"{error}{'; a larger --heap may help' if 'heap' in args.given else ''}") from error
        print(board.port)
        streams.deliver()  # nobody could use a board whose port is not known
        print(f"simulated {board.arch} board: python -m host.stream --port {board.port}", file=sys.stderr)
        while not status.requested and not board.trouble:
            time.sleep(0.2)
        if board.trouble and board.process and board.process.returncode:  # 0: a host said EXIT
            board.check()
    return 0


if __name__ == "__main__":
    cli.run(main)
