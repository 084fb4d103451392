"""What do disturbances cost? Speed of eight disturbed networks side by side, as a part of the undisturbed ones' speed.

All train the same digits under LLVM on one core, one after the other in rounds, so that whatever else the machine does
meets them all; counted is CPU time, and the figure is the median of what each round gave, divided by the undisturbed
networks in the same round. Every clause's code is first put in with amounts too small to matter: if that changes the
digest, the speeds are of something else, and the exit code is 1. Examples:

  python -m tools.bench_disturbed                       the usual small world
  python -m tools.bench_disturbed --graph diagonal --json
"""

import json
import time
from statistics import median
from typing import Any

import numpy as np

from host.base import cli
from host.base.heartbeat import say
from host.data import dataset
from host.engine.disturbed import check, disturb
from host.engine.lanes import Lanes
from host.engine.passes import passes_of
from host.runs.config import configure
from host.runs.disturbance import parse
from host.runs.options import add_network_options, wanted_network

LANES = 8
IMAGES = 200  # of each lane in a round
CLAUSES = (
    "y bits=6",
    "y noise=0.1",
    "y stuck=0.03",
    "message bits=8",
    "message bits=4 rounding=stochastic",
    "message block=4 rounding=stochastic",
    "message noise=0.1",
    "message scatter=0.3",
    "message positive=0.98 negative=1.02",
    "incoming noise=0.1",
    "state bits=6",
    "self bits=4 rounding=stochastic",
    "cross bits=4 rounding=stochastic",
    "cross noise=0.3",
    "cross mismatch=0.5",
    "cross leak=0.1",
    "gradient bits=6",
    "weight mismatch=0.1",
    "coefficient mismatch=0.2",
    "master bits=10 rounding=stochastic",
    "update bits=10 rounding=stochastic",
)
# The same code, and nothing happens: factors round to 1, noise and leak to 0, and no word is too short.
NEUTRAL = (
    "y gain=0.99999 noise=0.000000001 mismatch=0.000001",
    "message gain=0.99999 scatter=0.000000001 mismatch=0.000001",
    "weight gain=0.99999 noise=0.000000001 mismatch=0.000001",
    "master noise=0.000000001",
)


def fits(network: Any, text: str) -> bool:
    """Whether this can be done to such a network."""
    try:
        check(parse(text), passes_of(network))
    except cli.UserError:
        return False
    return True


def measured(options: dict[str, Any], rounds: int) -> dict[str, Any]:
    """{"undisturbed": images/s, "disturbed": [{"disturb", "speed", "images_per_second"}], "mismatches": [...]}."""
    data = dataset.load()
    configs = [configure(data, seed=seed, epochs=1, **options) for seed in range(1, LANES + 1)]
    images = np.repeat(data.train_images[:IMAGES, None], LANES, 1)
    labels = np.repeat(data.train_labels[:IMAGES, None], LANES, 1)

    def lanes(text: str) -> Lanes:
        found = Lanes([disturb(config.network(), text, config.seed) for config in configs])
        found.set_rates(configs[0].rates(0))
        return found

    def digests(found: Lanes) -> list[str]:
        found.learn(images[:20], labels[:20])
        return [f"{found.lattice(lane).digest():08x}" for lane in range(LANES)]

    undisturbed = digests(lanes(""))
    mismatches = [x for x in NEUTRAL if fits(configs[0].network(), x) and digests(lanes(x)) != undisturbed]
    texts = ["", *(x for x in CLAUSES if fits(configs[0].network(), x))]
    teams: dict[str, Lanes] = {}
    seconds: dict[str, list[float]] = {text: [] for text in texts}
    for text in texts:
        say(f"bench: getting {text or 'the undisturbed ones'} ready")
        teams[text] = lanes(text)
    for number in range(1, rounds + 1):
        say(f"bench: round {number} of {rounds}")
        for text, team in teams.items():
            begun = time.process_time()
            team.learn(images, labels)
            seconds[text].append(max(time.process_time() - begun, 1e-9))
    return {
        "preset": configs[0].preset,
        "lanes": LANES,
        "rounds": rounds,
        "undisturbed": round(LANES * IMAGES / median(seconds[""]), 1),
        "disturbed": [
            {
                "disturb": text,
                "speed": round(median(a / b for a, b in zip(seconds[""], seconds[text], strict=True)), 3),
                "images_per_second": round(LANES * IMAGES / median(seconds[text]), 1),
            }
            for text in texts[1:]
        ],
        "mismatches": mismatches,
    }


def main() -> int:
    parser = cli.Parser("python -m tools.bench_disturbed", __doc__)
    add_network_options(parser)
    parser.option("--rounds", 9, lowest=1, highest=1000, help="of all, in turns (default: 9)")
    parser.option("--json", action="store_true", help="print the figures as one JSON object on stdout")
    args = parser.parse_args()
    found = measured(wanted_network(args), args.rounds)
    if args.json:
        print(json.dumps(found))
    else:
        print(f"{'undisturbed':<42}{found['undisturbed']:>10,.0f} images per second of CPU time, {LANES} at once")
        for each in found["disturbed"]:
            print("{disturb:<42}{images_per_second:>10,.0f}{speed:>8.2f}".format(**each))
        for text in found["mismatches"]:
            print(f"WRONG RESULT: {text}")
    return int(bool(found["mismatches"]))


if __name__ == "__main__":
    cli.run(main)
