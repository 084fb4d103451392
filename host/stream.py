"""Train a board over its serial port: MNIST rows go out, training happens there, labels and predictions come back.

Without a board, `sim` (the default) runs the same firmware in a MicroPython process behind a pseudo-terminal.
The run survives an unplugged board, a reset, Ctrl-C, SIGTERM and SIGHUP: it goes on at the exact image. The result is
on stdout, all else on stderr. Examples:

  python -m host.stream                          a simulated board, bundled digits
  python -m host.stream --port /dev/ttyACM0      a real one; --install puts the firmware on it first
  python -m host.stream --port auto --twin       compare with the same engine on this computer, image by image
  python -m host.stream --run-dir DIR --resume   go on with a run, or print the result of a complete one again
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from firmware import wire
from host.base import cli
from host.board.learner import BoardLearner, Stopped
from host.board.ports import reach
from host.board.transport import Gone, LinkLost
from host.data import dataset
from host.pictures.ending import conclude
from host.runs import output
from host.runs.config import Config
from host.runs.options import EVALUATE, add_run_options, epochs_note, open_checkpoint, open_run, way_on
from host.runs.run import Run

NAME = "host.stream"
SIM = cli.Case(
    "the simulated board", lambda args: args.port in (None, "sim"), "leave it out, or name a real board with --port"
)
PORT = cli.Case("--port", lambda args: args.port not in (None, "sim"))
CHUNK = 20  # images between two looks at Ctrl-C


def summary(learner: BoardLearner) -> dict[str, object]:
    """What the link did, for the final result."""
    s = learner.link.statistics
    try:
        counters = learner.link.counters()
    except (LinkLost, cli.UserError):  # the run is done and saved; a board that leaves now has missed nothing
        return {}
    busy, waiting = counters["busy_ms"], counters["waiting_ms"]
    return {
        "bytes_per_image": round(s.bytes_out / max(s.images, 1), 1),
        "retransmitted_frames": s.retransmitted,
        "timeouts": s.timeouts,
        "reconnects": s.resets,
        "board_waiting_share": round(waiting / max(busy + waiting, 1), 4),
        "board_ms_per_step": round(counters["last_step_us"] / 1000, 2),
        "board_free_heap": counters["free_heap"],
        **({"twin_checks": learner.twin_checks} if learner.twin else {}),
    }


def connected(
    args: argparse.Namespace,
    config: Config,
    data: dataset.Dataset,
    work: Callable[[BoardLearner, cli.Interrupt], dict[str, object]],
) -> dict[str, object]:
    """Let work(learner, status) do something with the board at args.port, and let go of it afterwards.

    Until the board is at hand Ctrl-C interrupts at once; there is nothing to save yet.
    """
    status = cli.Interrupt()

    def stopped() -> bool:
        return status.requested

    with reach(args.port, output.say, stopped, args.baud, args.sim_arch, args.install) as connect, status:
        learner = BoardLearner(config, data, connect, args.twin, args.replace, None, stopped, output.say)
        learner.link.spoken = args.port == "sim"  # its firmware is there, however slow this machine is
        try:
            return work(learner, status)
        except Gone:
            output.say("left without the board")
            raise
        finally:
            learner.leave(wire.EXIT if args.exit else wire.CLOSE)


def evaluate(args: argparse.Namespace) -> None:
    """Accuracy of a checkpoint on the board."""
    saved, config, data = open_checkpoint(args)
    fixed_only(config, args.evaluate)

    def work(learner: BoardLearner, status: cli.Interrupt) -> dict[str, object]:
        return output.tested(args.evaluate, learner, saved, data, 5 * CHUNK, status)

    output.show(f"Checkpoint tested on {board_of(args)}", connected(args, config, data, work), args.json)


def train(args: argparse.Namespace) -> None:
    """A run on the board, from its start or from where it stopped, to its end."""
    config, data, begin = open_run(args, NAME, None)
    fixed_only(config, args.run_dir)

    def work(learner: BoardLearner, status: cli.Interrupt) -> dict[str, object]:
        if not args.resume:  # a board that is not there, or refuses, shall leave no directory behind
            learner.ready(opened=not (args.run_dir and args.run_dir.exists()))
        run = Run(config, data, learner, begin())
        directory = run.directory.path
        learner.directory = directory
        if args.resume:
            run.resume()
        output.announce(run, board_of(args), epochs_note(args, NAME), board=args.port != "sim")
        nothing_to_do = run.complete  # and no board needed
        if nothing_to_do and args.twin:
            output.say("the run is complete: there is nothing left that --twin could compare")
        again = way_on(args, NAME, directory)
        begun = learner.link.clock()
        output.follow(run, CHUNK, status, again, lambda: resent(learner), (Stopped,), lambda: seen(learner, begun))
        counters = {} if nothing_to_do else summary(learner)
        if counters:
            run.directory.keep_link(counters)
        return output.trained(run) | counters

    result = connected(args, config, data, work)
    directory = Path(str(result["run_dir"]))
    output.show(f"Trained on {board_of(args)}", result, args.json, way_on(args, NAME, directory))
    if not args.no_report:
        conclude([directory], directory, args.data, again="bytes_per_image" in result)


def board_of(args: argparse.Namespace) -> str:
    """The board, for people."""
    return "a simulated board" if args.port == "sim" else f"the board at {args.port}"


def fixed_only(config: Config, what: Path) -> None:
    """Raise UserError for a configuration of the float64 oracle, or of a disturbed network."""
    if config.arithmetic == "float":
        raise cli.UserError(f"{what} is of the float64 oracle, and a board computes in integers; use host.simulate")
    if config.disturb:
        raise cli.UserError(f"{what} is of a disturbed network, which no board has; use host.simulate")


def resent(learner: BoardLearner) -> str:
    """For the progress: how the link is."""
    count = learner.link.statistics.retransmitted
    return f"  resent {count}" if count else ""


def seen(learner: BoardLearner, begun: float) -> list[str]:
    """For a terminal: how the link is, and how the board, without asking it. begun: when training did."""
    s = learner.link.statistics
    if not s.images:
        return []
    share = s.computing / max(learner.link.clock() - begun, s.computing)
    return [
        f"link   resent {s.retransmitted}  time-outs {s.timeouts}  reconnects {s.resets}"
        f"  {s.bytes_out / s.images:.0f} bytes an image",
        f"board  computes {share:.0%} of the time, {1000 * learner.link.pace:.1f} ms an image",
    ]


def main() -> None:
    parser = cli.Parser(f"python -m {NAME}", __doc__)
    parser.option(
        "--port",
        default="sim",
        help="/dev/ttyACM0, COM3, a pyserial URL (socket://host:port), auto (the only USB port there is), or sim (the"
        " default)",
    )
    parser.option("--baud", lowest=1, help="rate of a UART (default: 115200; of sim: unlimited)")
    parser.option(
        "--sim-arch",
        choices=("x64", "i386", "armhf", "cpython"),
        useless=(PORT,),
        help="machine of the simulated board (default: x64; i386 and armhf need `python -m host.micropythons` once)",
    )
    for flag, useless, text in (
        ("--install", (SIM,), "put the firmware on the board first (with mpremote)"),
        ("--twin", (EVALUATE,), "run the same engine here in step and compare digests"),
        ("--replace", (SIM,), "let the board forget another run that it holds"),
        ("--exit", (SIM,), "give the board's MicroPython prompt back at the end"),
    ):
        parser.option(flag, action="store_true", useless=useless, help=text)
    add_run_options(parser, NAME)
    args = parser.parse_args()
    (train if args.evaluate is None else evaluate)(args)


if __name__ == "__main__":
    cli.run(main)
