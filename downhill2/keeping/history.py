"""The record of a run, stored as columns; to and from frames and files."""

from __future__ import annotations

import csv
import difflib
import json
import logging
import math
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from .. import checks
from ..loop.run import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["History", "beginnings", "check_columns", "csv_cells", "decoded", "encoded", "latest_run", "trained"]

_log = logging.getLogger("downhill2")

_NUMBERS: dict[str, type] = {"epoch": int, "updates": int, "seconds": float, "rows_per_second": float}
_KINDS: dict[type, Callable[[str, object], float]] = {int: checks.integer, float: checks.real}
_FLAGS = ("validated", "improved")
_GROUPS = ("train", "valid", "hyper")

_Layout = tuple[tuple[str, ...], ...]


class History(Sequence[Record]):
    """All records of an optimizer's runs, in order: a sequence of records, and a table with columns.

    Columns are ``epoch``, ``updates``, ``seconds``, ``rows_per_second``, ``validated``, ``improved``, ``events``,
    and one for each monitor and hyperparameter: ``train.loss``, ``valid.loss``, ``hyper.learning_rate`` ... These hold
    NaN for a record without the value.

    Parameters
    ----------
    records : iterable of Record, optional

    Examples
    --------
    >>> history = History([Record(1, 10, 0.5, {"loss": 2.0}, {}, False, False)])
    >>> history[-1].train
    {'loss': 2.0}
    >>> history["train.loss"]
    array([2.])
    """

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._numbers = {name: array("q" if kind is int else "d") for name, kind in _NUMBERS.items()}
        self._flags = {name: bytearray() for name in _FLAGS}
        self._events: list[tuple[str, ...]] = []
        self._values: dict[str, array[float]] = {}
        # The names of the values of a record, in its order, as a record may lack some: each combination once, and the
        # number of the combination for each record.
        self._layouts: dict[_Layout, int] = {}
        self._layout = array("L")
        for record in records:
            self.append(record)

    def append(self, record: Record) -> None:
        """Add a record at the end."""
        cells = _cells(record)  # first, so that a value of a wrong kind changes nothing
        for name, numbers in self._numbers.items():
            numbers.append(cells[name])
        for name, flags in self._flags.items():
            flags.append(cells[name])
        for name in cells:
            if "." in name and name not in self._values:
                self._values[name] = array("d", [math.nan] * len(self))
        for name, column in self._values.items():
            column.append(cells.get(name, math.nan))
        self._layout.append(self._layouts.setdefault(_layout(record), len(self._layouts)))
        self._events.append(tuple(record.events))

    def replace(self, records: Iterable[Record]) -> None:
        """Hold these records in place of those so far."""
        vars(self).update(vars(History(records)))

    # -- a sequence of records

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._events)

    @overload
    def __getitem__(self, key: int) -> Record: ...
    @overload
    def __getitem__(self, key: slice) -> History: ...
    @overload
    def __getitem__(self, key: str) -> Any: ...
    def __getitem__(self, key: int | slice | str) -> Any:
        """Return a record by its place, the history of a slice, or a column by its name.

        A column is a new array of int64, float64 or bool; ``'events'`` is a list of tuples of str.
        """
        if isinstance(key, str):
            return self._column(key)
        places = range(len(self))[key]  # raises IndexError or TypeError, as a list does
        return self._record(places) if isinstance(places, int) else History(map(self._record, places))

    def _record(self, place: int) -> Record:
        layout = list(self._layouts)[self._layout[place]]
        values: dict[str, Any] = {name: column[place] for name, column in self._numbers.items()}
        values |= {name: bool(column[place]) for name, column in self._flags.items()}
        for group, names in zip(_GROUPS, layout, strict=True):
            values[group] = {name: self._values[f"{group}.{name}"][place] for name in names}
        return Record(**values, events=self._events[place])

    def __repr__(self) -> str:
        """Return the number of records and the columns."""
        return f"History({len(self)} records of {', '.join(self.columns)})"

    # -- a table

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        values = [name for group in _GROUPS for name in self._values if name.startswith(f"{group}.")]
        return [*_NUMBERS, *_FLAGS, *values, "events"]

    def _column(self, name: str) -> Any:
        if name == "events":
            return list(self._events)
        if name in self._flags:
            return np.array(self._flags[name], dtype=bool)
        column = self._numbers.get(name, self._values.get(name))
        if column is None:
            raise KeyError(f"the history has no column {name!r}; {_hint(name, self.columns)}")
        # A copy, as a column that shares its memory with an array cannot grow.
        return np.array(column)

    def plot(self, monitor: str = "loss", ax: Axes | None = None, **how: Any) -> Axes:
        """Draw the learning curves; return the axes. See `downhill2.plots.learning_curves`, which takes `how` too."""
        from ..reporting import plots

        return plots.learning_curves(self, monitor, ax, **how)

    def to_pandas(self) -> Any:
        """Return a pandas.DataFrame with these columns. What a record lacks is NaN."""
        import pandas as pd  # type: ignore[import-untyped, import-not-found, unused-ignore]

        return pd.DataFrame({name: self[name] for name in self.columns})

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a file of comma-separated values, with a line of names.

        Floats are written to the last bit, NaN and infinities as ``NaN``, ``Infinity``, ``-Infinity``; events as
        a JSON list; a missing value as an empty cell.
        """
        with open(checks.path("path", path), "w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, self.columns)
            table.writeheader()
            table.writerows(map(csv_cells, self))

    def to_json_lines(self, path: str | os.PathLike[str]) -> None:
        """Write a file with a line of JSON for each record, as `HistoryFile` does while a run goes on."""
        with open(checks.path("path", path), "wb") as file:
            file.writelines(map(encoded, self))

    # -- and back

    @classmethod
    def from_pandas(cls, frame: Any) -> History:
        """Return the history of a pandas.DataFrame that `to_pandas` returned.

        A frame cannot tell a NaN from a missing value: training monitors, validation monitors or hyperparameters
        that are all NaN in a row are taken to be missing.

        Raises
        ------
        ValueError
            If the frame lacks a column, or has one that no history has.
        """
        check_columns(frame.columns, "the frame")
        rows = (dict(zip(frame.columns, row, strict=True)) for row in frame.itertuples(index=False, name=None))
        return cls(_from_cells(_without_empty_groups(row)) for row in rows)

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str]) -> History:
        """Return the history that `to_csv` wrote.

        Raises
        ------
        ValueError
            If the file is not such a table; names the line.
        """
        with open(checks.path("path", path), newline="", encoding="utf-8") as file:
            table = csv.DictReader(file, strict=True)
            check_columns(table.fieldnames or (), str(path))
            return cls(_parsed(table, path))

    @classmethod
    def from_json_lines(cls, path: str | os.PathLike[str], offset: int | None = None) -> History:
        """Return the history that `to_json_lines` or `HistoryFile` wrote.

        A last line without its end, left by a crash, is ignored and logged.

        Parameters
        ----------
        path : str or path
        offset : int, optional
            Bytes of the file to read, up to the end of a line. Default: all.

        Raises
        ------
        ValueError
            If another line is no record; names it. If `offset` is not at the end of a line.
        """
        stop = None if offset is None else checks.integer("offset", offset, 0)
        *lines, torn = checks.path("path", path).read_bytes()[:stop].split(b"\n")
        if torn and offset is not None:
            raise ValueError(f"offset must be at the end of a line of {path}, got {offset}")
        if torn:
            _log.warning("%s ends in the middle of line %d, which is ignored", path, len(lines) + 1)
        return cls(decoded(line, f"{path}, line {i}") for i, line in enumerate(lines, 1))


# ---- the runs of a history


def trained(history: History) -> NDArray[np.bool_]:
    """Return which records have averages of training: the epochs with updates."""
    having = np.array([bool(train) for train, *_ in history._layouts], dtype=bool)
    found: NDArray[np.bool_] = having[np.array(history._layout, dtype=int)]
    return found


def beginnings(history: History) -> list[int]:
    """Return the places of records that begin another run: clocks go back, or an epoch is trained again."""
    epochs, updates = np.diff(history["epoch"]), np.diff(history["updates"])
    begun = (epochs < 0) | (updates < 0) | ((epochs == 0) & trained(history)[1:])
    return [int(i) + 1 for i in np.flatnonzero(begun)]


def latest_run(history: History) -> History:
    """Return the records of the latest run."""
    return history[max(beginnings(history), default=0) :]


def _layout(record: Record) -> _Layout:
    return tuple(tuple(getattr(record, group)) for group in _GROUPS)


# ---- a record as cells of a table, by the name of the column


def _cells(record: Record) -> dict[str, Any]:
    cells: dict[str, Any] = {name: _KINDS[kind](name, getattr(record, name)) for name, kind in _NUMBERS.items()}
    cells |= {name: bool(getattr(record, name)) for name in _FLAGS}
    for group in _GROUPS:
        cells |= {f"{group}.{name}": float(value) for name, value in getattr(record, group).items()}
    return {**cells, "events": list(record.events)}


def csv_cells(record: Record) -> dict[str, str]:
    """Return the cells of a record in a line of `History.to_csv`, by the name of the column."""
    return {name: json.dumps(value) for name, value in _cells(record).items()}


def _from_cells(cells: Mapping[str, object]) -> Record:
    values: dict[str, Any] = {n: _KINDS[kind](n, _from_json(cells[n])) for n, kind in _NUMBERS.items()}
    values |= {name: checks.flag(name, cells[name]) for name in _FLAGS} | {group: {} for group in _GROUPS}
    for column, value in cells.items():
        group, dot, name = column.partition(".")
        if dot:
            values[group][name] = checks.real(column, _from_json(value))
    if not isinstance(events := cells["events"], list | tuple):
        raise TypeError(f"events must be a list, got {checks.kind_of(events)}")
    return Record(**values, events=tuple(checks.text("events", event) for event in events))


def _without_empty_groups(cells: Mapping[str, Any]) -> dict[str, Any]:
    known = {name.partition(".")[0] for name, value in cells.items() if "." in name and not math.isnan(value)}
    return {name: value for name, value in cells.items() if "." not in name or name.partition(".")[0] in known}


def check_columns(found: Iterable[str], where: str) -> None:
    """Raise ValueError if these are not the columns of a history; `where` begins its message."""
    found, needed = [str(name) for name in found], (*_NUMBERS, *_FLAGS, "events")
    for name in needed:
        if name not in found:
            raise ValueError(f"{where} must have a column {name!r}, got {', '.join(map(repr, found)) or 'none'}")
    for name in found:
        if name not in needed and not name.startswith(tuple(f"{group}." for group in _GROUPS)):
            raise ValueError(f"{where} must have columns of a history only, got {name!r}; {_hint(name, needed)}")


def _parsed(table: csv.DictReader[str], path: str | os.PathLike[str]) -> Iterator[Record]:
    try:
        for row in table:
            if None in row or None in row.values():
                raise ValueError("it does not have as many cells as there are columns")
            yield _from_cells({name: json.loads(cell) for name, cell in row.items() if cell})
    except (csv.Error, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{path}, line {table.line_num} must be a record of a history; {error}") from error


def _to_json(cell: object) -> Any:
    return json.dumps(cell) if isinstance(cell, float) and not math.isfinite(cell) else cell


def encoded(record: Record) -> bytes:
    """Return a record as a line of JSON."""
    cells = {name: _to_json(cell) for name, cell in _cells(record).items()}
    return json.dumps(cells, allow_nan=False).encode() + b"\n"


def _from_json(cell: object) -> Any:
    """Return the cell that `_to_json` converted."""
    return float(cell) if cell in ("NaN", "Infinity", "-Infinity") else cell


def decoded(line: bytes, where: str) -> Record:
    """Return the record of a line of JSON; raise ValueError, whose message begins with `where`, if there is none."""
    try:
        cells = json.loads(line)
        return _from_cells(cells)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{where} must be a record of a history, got {line[:80]!r}; {error}") from error


def _hint(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"did you mean {close[0]!r}?" if close else f"it has {', '.join(map(repr, known))}"
