"""A simulated board on a port of its own, for another program to talk to.

    python -m host.sim            prints a port for `python -m host.stream --port ...`; Ctrl-C ends it
"""

import sys
import time
from pathlib import Path

from host.base import cli
from host.board.sim import ARCHITECTURES, SimBoard


def main() -> int:
    parser = cli.Parser("python -m host.sim", __doc__)
    parser.add_argument("--arch", choices=ARCHITECTURES, help="machine to simulate (default: x64; i386 and armhf are"
                        " 32-bit machines and need `python -m host.micropythons`)")  # fmt: skip
    parser.add_argument("--flash", type=Path, help="directory that is the board's flash (default: a new one)")
    parser.add_argument("--baud", type=int, help="limit the line to this rate, as a UART would")
    parser.add_argument("--heap", default="2M", help="MicroPython's heap, e.g. 192k (default: 2M)")
    args = parser.parse_args()
    with cli.Interrupt() as status, SimBoard(args.arch, args.flash, args.baud, args.heap) as board:
        print(board.port, flush=True)
        print(f"simulated {board.arch} board: python -m host.stream --port {board.port}", file=sys.stderr)
        while not status.requested and not board.trouble:
            time.sleep(0.2)
        if board.trouble and board.process and board.process.returncode:  # 0: a host said EXIT
            board.check()
    return 0


if __name__ == "__main__":
    cli.run(main)
