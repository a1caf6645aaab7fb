"""Arguments of several commands."""

from __future__ import annotations

import argparse

from ..checks import integer, shown


def add_json(parser: argparse.ArgumentParser, what: str = "") -> None:
    """Let a command print JSON."""
    parser.add_argument("--json", action="store_true", help=f"print JSON{what}")


def add_picture(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add an argument for the file of a picture; without a default, a picture is drawn only on request."""
    told = f" ({default})" if default else ""
    help_ = f"the picture: .png, .svg or .pdf{told}"
    parser.add_argument("-o", "--output", default=default, metavar="FILE", help=help_)


def count(text: str) -> int:
    """Return an argument as an integer of at least 1."""
    try:
        return integer("it", int(text) if text.isdecimal() else text, 1)
    except (TypeError, ValueError):  # also for more digits than Python reads
        raise argparse.ArgumentTypeError(f"must be a number from 1 on, got {shown(text)}") from None
