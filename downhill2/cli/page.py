"""``downhill2 report``: what is known of a run, in one HTML file.

A RUN is a checkpoint directory, or the file of a history: JSON lines or, called .csv, comma-separated values.
"""

from __future__ import annotations

import argparse

from . import folders
from .arguments import add_json
from .errors import CommandError, UsageError
from .output import show

HELP = "write a page about a run: curves, settings, events"
EXAMPLES = """\
downhill2 report runs/first                    writes first.html
downhill2 report history.jsonl -o run.html"""
MARK = b'<meta name="generator" content="downhill2">'
"""What each page has at its beginning."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("run", metavar="RUN", help="a checkpoint directory or a history file")
    parser.add_argument("-o", "--output", metavar="FILE", help="the page (RUN's name with .html)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Write the page."""
    from ..reporting import report

    target = folders.writable(args.output or f"{folders.path_of(args.run).resolve().stem}.html")
    if not args.output and target.exists() and MARK not in target.read_bytes()[:500]:
        raise UsageError(f"{target} is a file of another kind, and stays; name the page with --output")
    folders.load(args.run)  # raises if it is not a run
    try:
        report.write(target, args.run)
    except OSError as error:
        raise CommandError(f"cannot write {target}: {error.strerror or error}") from error
    show(args.json, {"page": str(target)}, lambda: print(target))
    return 0
