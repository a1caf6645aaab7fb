"""The command: ``python -m benchmarks [--quick | --full] [case ...]``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import cases, results
from .environment import environment, use_cores
from .rows import cells
from .runner import run_case
from .sizes import SIZES


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    out = argparse.ArgumentParser(prog="python -m benchmarks", description="Time downhill2 beside torch and optax.")
    out.add_argument("cases", nargs="*", metavar="case", help=f"some of {', '.join(cases.NAMES)}; default: all")
    sizes = out.add_mutually_exclusive_group()
    for name, text in (
        ("quick", "in three minutes, roughly; writes nothing unless --out is given"),
        ("full", "with the rows that take very long"),
        ("tiny", argparse.SUPPRESS),
    ):
        sizes.add_argument(f"--{name}", dest="size", action="store_const", const=name, default="normal", help=text)
    out.add_argument("--out", type=Path, metavar="FOLDER", help="where results go; default: benchmarks")
    out.add_argument("--cores", type=int, default=2, metavar="N", help="cores to use at most; default 2")
    return out


def main(argv: Sequence[str] | None = None) -> None:
    """Run cases, print their rows, write them down."""
    command = parser()
    given = command.parse_args(argv)
    unknown = [name for name in given.cases if name not in cases.NAMES]
    if unknown:
        command.error(f"case must be one of {', '.join(cases.NAMES)}, got {unknown[0]!r}")
    folder = given.out or (results.HERE if given.size in ("normal", "full") else None)
    use_cores(given.cores)
    place = environment()
    if (place["load before"] or 0) > 0.5:
        print(f"the machine is busy (load {place['load before']}): times and ratios will not be those of a quiet one")
    for name in given.cases or cases.NAMES:
        start = time.perf_counter()
        rows = run_case(name, SIZES[given.size])
        seconds = round(time.perf_counter() - start, 1)
        print(f"\n({name}) {(cases.case(name).__doc__ or name).splitlines()[0]} [{seconds} s]")
        for row in rows:
            print("  " + " | ".join(cells(name, row)[1:]))
        sys.stdout.flush()
        if folder:
            results.write(folder, name, rows, {"size": given.size, "seconds": seconds, "environment": place})


if __name__ == "__main__":
    main()
