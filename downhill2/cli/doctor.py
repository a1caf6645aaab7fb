"""``downhill2 doctor``: what works here, what is slow, and what to do about it.

Tries each backend, a matrix product and a training step for real: the first time that takes up to a minute. States are
ok, missing (and not needed), slow, and broken; the exit code is 1 if something is broken.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys

from . import diagnoses
from .arguments import add_json
from .output import TextTable, note, show

HELP = "try what works here, and say what is slow"
EXAMPLES = """\
downhill2 doctor
downhill2 doctor --json > doctor.json        for a report of a fault"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Examine, and print what was found."""
    if sys.stderr.isatty():
        note("trying backends, a product and a training step: up to a minute the first time")
    found = diagnoses.examine()
    rows = [[f.check, f.state, f.found, f.advice] for f in found]
    table = TextTable(["check", "state", "found", "what to do"], rows)
    show(args.json, [dataclasses.asdict(f) for f in found], table.show)
    return int(any(f.state == diagnoses.BROKEN for f in found))
