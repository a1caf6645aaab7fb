"""``downhill2 compare``: several algorithms on one problem of yours, each from several seeds.

MODULE is a file of the current directory, or any module that Python finds. function(seed) returns a dict of arguments
of downhill2.minimize: at least loss and train, made anew at each call. Every algorithm gets the same seeds; a seed also
shuffles the data, unless the dict has rng. A line for each run goes to standard error.
"""

from __future__ import annotations

import argparse
import ast
from pathlib import Path
from typing import Any

from ..catalogue import list_algorithms
from . import folders, trials
from .algorithms import unknown
from .arguments import add_json, add_picture, count
from .errors import UsageError
from .output import TextTable, median, note, number, show, spread
from .trials import Trial

HELP = "run several algorithms on a problem, from several seeds"
EXAMPLES = """\
downhill2 compare problem:digits --algos adam,nag                      problem.py has def digits(seed)
downhill2 compare problem:digits --algos adam,nag --seeds 10 -o both.png
downhill2 compare problem:digits --algos adam,sgd --set sgd.learning_rate=0.1 --set max_epochs=20"""

COLUMNS = ("algorithm", "best", "final", "seconds", "updates", "failed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("problem", metavar="MODULE:FUNCTION", help="what makes the problem of a seed")
    parser.add_argument("--algos", required=True, metavar="A,B", help="the algorithms, with commas between")
    parser.add_argument("--seeds", type=count, default=5, metavar="N", help="how many seeds, from 0 on (5)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="[A.]NAME=VALUE",
        help="a setting for all algorithms, or for one; may be given several times, and wins over the function's",
    )
    add_picture(parser)
    add_json(parser, ", with every run")


def run(args: argparse.Namespace) -> int:
    """Run them all, print the table, draw the picture."""
    target = folders.picture(args.output) if args.output else None
    problem = trials.function_of(args.problem)  # first, as its module may define algorithms
    algorithms = algorithms_of(args.algos)
    settings = settings_of(args.set, algorithms)
    found: dict[str, list[Trial]] = {algorithm: [] for algorithm in algorithms}
    for seed in range(args.seeds):
        for algorithm in algorithms:
            trial = trials.run(problem, args.problem, algorithm, seed, settings[algorithm])
            note(f"{algorithm}, seed {seed}: {_line(trial)}")
            found[algorithm].append(trial)
    show(args.json, [_described(name, several) for name, several in found.items()], table(found).show)
    if target:
        _draw(found, target, quiet=args.json)
    return 0 if any(t.succeeded for several in found.values() for t in several) else 1


def algorithms_of(text: str) -> list[str]:
    """Return the algorithms that a list names, each once."""
    known = list_algorithms()
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise UsageError(unknown(name, known))
    if not names:
        raise UsageError("--algos must name an algorithm, got none; `downhill2 algorithms` lists all")
    return list(dict.fromkeys(names))


def settings_of(given: list[str], algorithms: list[str]) -> dict[str, dict[str, Any]]:
    """Return the settings of each algorithm: those of all, then its own.

    A value is a Python literal, or else text.
    """
    settings: dict[str, dict[str, Any]] = {algorithm: {} for algorithm in algorithms}
    for text in sorted(given, key=lambda text: "." in text.partition("=")[0]):
        name, equals, value = text.partition("=")
        algorithm, dot, own = name.strip().rpartition(".")
        if not equals or not own.isidentifier():
            raise UsageError(f"--set must be NAME=VALUE or ALGORITHM.NAME=VALUE, got {text!r}")
        if dot and algorithm.lower() not in settings:
            raise UsageError(f"--set must name one of --algos {','.join(algorithms)}, got {text!r}")
        for one in [algorithm.lower()] if dot else algorithms:
            settings[one][own] = _literal(value)
    return settings


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):  # the last two for deeply nested text
        return text.strip()


def table(found: dict[str, list[Trial]]) -> TextTable:
    """Return the table over the seeds that did not fail, the best first.

    Losses have mean and standard deviation; seconds and updates the median, as the first run may have to compile.
    """
    rows = []
    for name, several in sorted(found.items(), key=lambda item: _order(item[1])):
        good = [t for t in several if t.succeeded]
        losses = [spread([getattr(t, column) for t in good]) for column in ("best", "final")]
        middles = [median([getattr(t, column) for t in good]) for column in ("seconds", "updates")]
        rows.append([name, *losses, *middles, f"{len(several) - len(good)} of {len(several)}"])
    return TextTable(COLUMNS, rows, numbers=COLUMNS[1:])


def _order(several: list[Trial]) -> tuple[bool, float]:
    best = [t.best for t in several if t.succeeded]
    return not best, sum(best) / len(best) if best else 0.0


def _line(trial: Trial) -> str:
    if not trial.succeeded:
        return f"failed: {trial.failure}"
    return f"best {number(trial.best)}, {trial.updates} updates, {trial.seconds:.1f} s"


def _described(name: str, several: list[Trial]) -> dict[str, Any]:
    return {"algorithm": name, "runs": [t.described() for t in several]}


def _draw(found: dict[str, list[Trial]], target: Path, quiet: bool) -> None:
    from ..reporting import plots

    histories = {name: [t.history for t in several if t.history] for name, several in found.items()}
    histories = {name: several for name, several in histories.items() if several}
    if not histories:
        note(f"no picture in {target}: no run came to its first record")
        return
    folders.save(plots.compare(histories).figure, target)
    if not quiet:
        print(target)
