"""32-bit MicroPythons to test on, taken from Debian's archive into a cache directory.

What they are for, host.board.micropythons says.
"""

import json
import shlex

from host.base.cache import cache_dir
from host.base.cli import Parser, run
from host.board.micropythons import BUILDS, FETCHED, setup


def main() -> int:
    parser = Parser("python -m host.micropythons", __doc__)
    parser.epilog = (
        "Takes 10 to 30 seconds and 20 MB each, once; tests find the cache by themselves.\n\n"
        "MicroPythons:\n" + "\n".join(f"  {arch:6} {BUILDS[arch].about}" for arch in FETCHED)
    )
    parser.add_argument("--arch", nargs="+", choices=FETCHED, default=FETCHED, help="those to set up (default: all)")
    parser.add_argument(
        "--dir",
        metavar="CACHE",
        help="the cache (default: $SHORELINE_CACHE, else shoreline/ in $XDG_CACHE_HOME or ~/.cache);"
        " tests and tools.cost look in the default",
    )
    parser.add_argument("--archive", metavar="URL", help="a Debian archive (default: the one in apt's configuration)")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    args = parser.parse_args()
    found = {arch: setup(arch, args.dir, args.archive) for arch in args.arch}
    if args.json:
        print(json.dumps({"cache": str(cache_dir(args.dir)), "micropythons": found}))
    else:
        for arch, one in found.items():
            print(
                f"{arch}: MicroPython {one['version']}, kernels as {one['march']} {one['emit']} code\n"
                f"  {shlex.join(one['command'])}"
            )
    return 0


if __name__ == "__main__":
    run(main)
