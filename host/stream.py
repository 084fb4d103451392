"""Train a board over its serial port: MNIST rows go out, training happens there, labels and predictions come back.

Without a board, `sim` (the default) runs the same firmware in a MicroPython process behind a pseudo-terminal.
The run survives an unplugged board, a reset and Ctrl-C: it goes on at the exact image. Examples:

  python -m host.stream                          a simulated board, bundled digits
  python -m host.stream --port /dev/ttyACM0      a real one; --install puts the firmware on it first
  python -m host.stream --port auto --twin       compare with the same engine on this computer, image by image
  python -m host.stream --run-dir DIR --resume   go on with a run
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from firmware import wire
from host import cli, dataset
from host.board import BoardLearner, Stopped
from host.config import Config
from host.link import Gone, LinkLost
from host.ports import reach
from host.run import Run
from host.simulate import add_run_options, follow, open_checkpoint, plan_run, result, run_directory, tested

CHUNK = 20  # images between two looks at Ctrl-C


def summary(learner: BoardLearner) -> dict[str, object]:
    """What the link did, for the final result; nothing if the board has gone, or the run needed none."""
    if not learner.connected:
        return {}
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

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    def stopped() -> bool:
        return status.requested

    with reach(args.port, say, stopped, args.baud, args.sim_arch, args.install) as connect, status:
        learner = BoardLearner(config, data, connect, args.twin, args.replace, None, stopped, say)
        learner.link.spoken = args.port == "sim"  # its firmware is there, however slow this machine is
        try:
            return work(learner, status)
        except Gone:
            say(f"left without the board{f'; {learner.way_on}' if learner.directory else ''}")
            raise
        finally:
            learner.leave(wire.EXIT if args.exit else wire.CLOSE)


def evaluate(args: argparse.Namespace) -> dict[str, object]:
    """Accuracy of a checkpoint on the board."""
    if args.run_dir or args.resume:
        raise cli.UserError("--evaluate trains nothing and writes nothing; leave --run-dir and --resume out")
    saved, config, data = open_checkpoint(args)
    if config.arithmetic == "float":
        raise cli.UserError(f"{args.evaluate} is of the float64 oracle, a board computes in integers")

    return connected(args, config, data, lambda learner, status: tested(learner, saved, data))


def train(args: argparse.Namespace) -> dict[str, object]:
    """A run on the board, from its start or from where it stopped, to its end."""
    config, data = plan_run(args, "fixed")

    def work(learner: BoardLearner, status: cli.Interrupt) -> dict[str, object]:
        if not args.resume:
            learner.ready(opened=False)  # a board that is not there shall leave no directory behind
        directory = run_directory(args, config)
        learner.directory = directory.path
        run = Run(config, data, learner, directory)
        if args.resume:
            run.resume()
        print(
            f"{config.rows}x{config.cols} cells, {config.steps} steps, {config.images} images x {config.epochs}"
            f" epochs on {args.port}; {directory.path}",
            file=sys.stderr,
        )
        try:
            follow(run, CHUNK, status, lambda: link_use(learner))
        except Stopped:
            run.save()
            print(
                f"saved {directory.path} at step {run.step}; go on with --run-dir {directory.path} --resume and the"
                " same options",
                file=sys.stderr,
            )
            raise
        return result(run) | summary(learner)

    return connected(args, config, data, work)


def main() -> int:
    parser = cli.Parser("python -m host.stream", __doc__)
    parser.add_argument(
        "--port",
        default="sim",
        help="/dev/ttyACM0, COM3, a pyserial URL (socket://host:port), auto (the only USB port there is), or sim (the"
        " default)",
    )
    parser.add_argument("--baud", type=int, help="rate of a UART (default: 115200; of sim: unlimited)")
    parser.add_argument(
        "--sim-arch",
        choices=("x64", "i386", "armhf", "cpython"),
        help="machine of the simulated board (default: x64; i386 and armhf need `python -m host.lanes` once)",
    )
    parser.add_argument("--install", action="store_true", help="put the firmware on the board first (with mpremote)")
    parser.add_argument("--twin", action="store_true", help="run the same engine here in step and compare digests")
    parser.add_argument("--replace", action="store_true", help="let the board forget another run that it holds")
    parser.add_argument("--exit", action="store_true", help="give the board's MicroPython prompt back at the end")
    parser.add_argument(
        "--evaluate",
        type=Path,
        metavar="CHECKPOINT",
        help="have the board test the parameters of a checkpoint, do not train",
    )
    add_run_options(parser)
    parser.set_defaults(epochs=1)
    args = parser.parse_args()
    answer = evaluate(args) if args.evaluate else train(args)
    print(json.dumps(answer) if args.json else "\n".join(f"{k}: {v}" for k, v in answer.items()))
    return 0


def link_use(learner: BoardLearner) -> dict[str, object]:
    """For the progress bar."""
    s = learner.link.statistics
    return {"resent": s.retransmitted, "B/img": round(s.bytes_out / max(s.images, 1))}


if __name__ == "__main__":
    cli.run(main)
