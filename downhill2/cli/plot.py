"""``downhill2 plot``: the learning curves of one run or several.

A RUN is a checkpoint directory, or the file of a history: JSON lines or, called .csv, comma-separated values.
"""

from __future__ import annotations

import argparse

from . import folders
from .arguments import add_json, add_picture
from .errors import UsageError
from .output import show

HELP = "draw the learning curves of runs"
EXAMPLES = """\
downhill2 plot runs/first                              the run with checkpoint="runs/first"
downhill2 plot runs/first runs/second -o both.svg      two of them, in a vector graphic
downhill2 plot history.jsonl --monitor accuracy        of the run with history="history.jsonl\""""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a checkpoint directory or a history file")
    add_picture(parser, "curves.png")
    parser.add_argument("--monitor", default="loss", metavar="NAME", help="what to draw (loss)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Draw."""
    from ..reporting import plots

    target = folders.picture(args.output)
    histories = {name: folders.load(run) for name, run in zip(folders.names(args.runs), args.runs, strict=True)}
    try:
        axes = plots.learning_curves(histories, monitor=args.monitor)
    except ValueError as error:
        raise UsageError(str(error)) from error
    folders.save(axes.figure, target)
    show(args.json, {"picture": str(target)}, lambda: print(target))
    return 0
