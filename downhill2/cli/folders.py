"""Runs that are named on the command line: checkpoint directories and files of histories."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import checks
from ..extras import need
from ..keeping.history import History
from .errors import CommandError, UsageError

IN_DIRECTORY = "history.jsonl"
"""How a run with ``checkpoint=`` calls the file of its history."""


def load(run: str) -> History:
    """Return the history of a run.

    Parameters
    ----------
    run : str
        A checkpoint directory, or a file that ``history=``, `History.to_json_lines` or `History.to_csv` wrote.

    Raises
    ------
    UsageError
        If there is no history.
    """
    path = _file(path_of(run))
    try:
        history = History.from_csv(path) if path.suffix == ".csv" else History.from_json_lines(path)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"{run} is no history ({error}); name a checkpoint directory or a history file") from error
    if not history:
        raise UsageError(f"{run} has a history without a record; has the run made its first epoch?")
    return history


def path_of(text: str) -> Path:
    """Return the path that an argument names.

    Raises
    ------
    UsageError
        If it names none.
    """
    try:
        return checks.path("the path", text)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _file(path: Path) -> Path:
    if not path.exists():
        raise UsageError(f"there is no {path}; name a checkpoint directory or a history file")
    if not path.is_dir():
        return path
    if not (path / IN_DIRECTORY).exists():
        raise UsageError(f"{path} is a directory without a {IN_DIRECTORY}; name that of a run with checkpoint=")
    return path / IN_DIRECTORY


def names(runs: Sequence[str]) -> list[str]:
    """Return names of runs: the last part of the path if it is unique, else the whole path."""
    short = [Path(os.path.abspath(path_of(run))).name for run in runs]
    count = Counter(short)
    return [name if count[name] == 1 else run for name, run in zip(short, runs, strict=True)]


def writable(target: str) -> Path:
    """Return the path of a file to be written, in a directory that is there.

    Raises
    ------
    UsageError
        If it is not, or the path is that of a directory.
    """
    path = path_of(target)
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {target}: there is no directory {path.parent}; make it first")
    if path.is_dir():
        raise UsageError(f"cannot write {target}: it is a directory; name a file in it")
    return path


def picture(target: str, extra: str = "plot") -> Path:
    """Return the path of a picture to be written, before there is one.

    Raises
    ------
    UsageError
        If there is no such directory, or its name ends in none of the formats of matplotlib.
    ImportError
        If matplotlib is missing; names the extra that brings it.
    """
    path = writable(target)
    formats = need("matplotlib.backend_bases", extra).FigureCanvasBase.get_supported_filetypes()
    if path.suffix[1:].lower() not in formats:
        raise UsageError(f"cannot write {target}: no picture is called so; name it .png, .svg or .pdf")
    return path


def save(figure: Any, target: Path) -> None:
    """Write a picture.

    Raises
    ------
    CommandError
        If it cannot be written.
    """
    try:
        figure.savefig(target, dpi=120)
    except OSError as error:
        raise CommandError(f"cannot write {target}: {error.strerror or error}") from error
