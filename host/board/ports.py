"""Reaching a board: a simulated one, a serial port, a URL. What is not there is an error before anything begins."""

import contextlib
from collections.abc import Callable, Iterator

from host.board.serialport import SerialTransport, find_port
from host.board.transport import Transport

BAUD = 115200  # of a UART, unless told otherwise; USB does not care


@contextlib.contextmanager
def reach(
    name: str,
    say: Callable[[str], None],
    stopped: Callable[[], bool] = lambda: False,
    baud: int | None = None,
    arch: str | None = None,
    install: bool = False,
) -> Iterator[Callable[[], Transport]]:
    """Have a board at hand; yields what opens the line to it, as often as it must be opened.

    name: sim, auto, a device or a pyserial URL. stopped: ends an opening that lasts. baud: of a UART, and the limit of
    a simulated board's line. arch: the simulated board's. install: put the firmware on the board first.
    Raises UserError, with the cause and the way out, if it is not there. A port stays open from here to the first use:
    opening it again would reset many boards once more.
    """
    if name == "sim":
        from host.board.sim import SimBoard, SimTransport  # needs pseudo-terminals, which Windows has not

        with SimBoard(arch, baud=baud, say=say) as board:
            say(f"simulated board: {board.arch}")
            yield lambda: SimTransport(board)
        return
    port = find_port() if name == "auto" else name
    if install:
        from host.board.install import install as put_firmware

        put_firmware(port)
    waiting: list[Transport] = [SerialTransport(port, baud or BAUD, stopped)]
    try:
        yield lambda: waiting.pop() if waiting else SerialTransport(port, baud or BAUD, stopped)
    finally:
        for transport in waiting:
            transport.close()
