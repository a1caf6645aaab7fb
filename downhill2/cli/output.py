"""What commands print: tables and text for people, lines and JSON for programs."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..jsonable import nested

MOST_COLUMNS = 100
"""Text is not set wider than this, however wide the terminal is."""


@dataclass(frozen=True)
class TextTable:
    """Rows under a line of names.

    Attributes
    ----------
    columns : sequence of str
        The names.
    rows : sequence of sequence of str
        The cells.
    numbers : collection of str
        The columns that are aligned at their right.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Collection[str] = ()

    def show(self) -> None:
        """Print it: as wide as a terminal; else a line for each row, with a tab between cells."""
        rows = [[" ".join(cell.split()) for cell in row] for row in [self.columns, *self.rows]]
        if not sys.stdout.isatty():
            print(*("\t".join(row) for row in rows), sep="\n")
        elif importlib.util.find_spec("rich"):
            self._show_rich(rows[1:])
        else:
            print(*self._aligned(rows), sep="\n")

    def _show_rich(self, rows: Sequence[Sequence[str]]) -> None:
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for i, name in enumerate(self.columns):
            table.add_column(
                Text(name),
                justify="right" if name in self.numbers else "left",
                no_wrap=i == 0,
                overflow="fold",
            )
        for row in rows:
            table.add_row(*map(Text, row))
        Console(highlight=False).print(table)

    def _aligned(self, rows: Sequence[Sequence[str]]) -> list[str]:
        widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
        sides = [str.rjust if name in self.numbers else str.ljust for name in self.columns]
        cells = ((side(c, w) for side, c, w in zip(sides, row, widths, strict=True)) for row in rows)
        return ["  ".join(row).rstrip() for row in cells]


def show(as_json: bool, data: object, for_people: Callable[[], None]) -> None:
    """Print data as JSON, or let `for_people` print it.

    Standard JSON has no NaN and no infinities: here they are the strings ``"NaN"``, ``"Infinity"`` and
    ``"-Infinity"``, as in the files of histories.
    """
    if as_json:
        print(json.dumps(plain(data), indent=2, allow_nan=False))
    else:
        for_people()


def plain(value: object) -> Any:
    """Return a value as JSON holds it; what JSON has no form for, as its `repr`."""
    return nested(value, _leaf, names=lambda mapping, _: map(str, mapping))


def _leaf(value: object, where: str) -> object:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return repr(value)


def number(value: float) -> str:
    """Return a number to four digits."""
    return f"{value:.4g}"


def spread(values: Sequence[float]) -> str:
    """Return mean and standard deviation of numbers; of fewer than two, only the number."""
    if len(values) < 2:
        return median(values)
    return f"{number(float(np.mean(values)))} ± {np.std(values, ddof=1):.2g}"


def median(values: Sequence[float]) -> str:
    """Return the median of numbers, a dash for none."""
    return number(float(np.median(values))) if values else "-"


def width() -> int:
    """Return the width of text: that of the terminal, but not too wide."""
    columns = shutil.get_terminal_size((MOST_COLUMNS, 24)).columns
    return min(columns, MOST_COLUMNS)


def note(line: str) -> None:
    """Print what goes on to standard error."""
    print(line, file=sys.stderr, flush=True)
