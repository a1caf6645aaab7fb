"""Trackers that write the optimizer's history to plain files."""

from __future__ import annotations

import csv
import itertools
import os
from abc import abstractmethod
from pathlib import Path
from typing import Any, TextIO

from ... import checks
from ...keeping.history import History, check_columns, csv_cells
from ...keeping.history_file import HistoryFile, appendable
from ...loop.run import Record
from ..reported import Reported
from .tracker import Tracker


class _File(Tracker):
    """A file that holds the records of ``opt.history``; the next attempt writes what could not be written."""

    gives_up = False

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = checks.path("path", path)
        if self.path.is_file():
            self._check(self.path)
        self._file: Any = None
        self._written = 0

    def write(self, opt: Reported, record: Record) -> None:
        """Write the record; the whole history, if the file does not hold what came before it."""
        history, written = opt.history, self._written
        self._written = -1  # until the record is written
        if self._file is None or written != len(history) - 1 or not self._takes(history):
            self._drop()
            self._file = self._anew(history)
        else:
            self._append(record)
        self._written = len(history)

    def end(self, opt: Reported) -> None:
        """Close the file, with a last attempt to write what it lacks."""
        self._drop()
        if self._written != len(opt.history):
            self._anew(opt.history).close()

    def _drop(self) -> None:
        file, self._file = self._file, None
        try:
            if file is not None:
                file.close()
        except OSError:
            self._written = -1  # the end of the file is missing

    @abstractmethod
    def _check(self, path: Path) -> None:
        """Raise ValueError if a file was not written by such a tracker, so that it is not replaced."""

    def _takes(self, history: History) -> bool:
        """Return whether the file has the columns of the last record."""
        return True

    @abstractmethod
    def _anew(self, history: History) -> Any:
        """Write a whole history; return the open file, which takes further records."""

    @abstractmethod
    def _append(self, record: Record) -> None:
        """Write one more record to the operating system."""


class CSV(_File):
    """Write a file of comma-separated values, with a line for each record, as `History.to_csv` does.

    It can be read at any time. The columns are those of ``opt.history``; when a record brings a new one, all lines are
    written anew.

    Parameters
    ----------
    path : str or path
        The file. What it held is replaced by the history of the optimizer, which in a run that is resumed begins with
        the records that belong to the checkpoint: no line comes twice.

    Raises
    ------
    TypeError
        If `path` is no path.
    ValueError
        If it is a file that holds something other than a history; that is not replaced.

    Examples
    --------
    >>> import pathlib, tempfile, pytensor
    >>> w = pytensor.shared(1.0, name="w")
    >>> path = pathlib.Path(tempfile.mkdtemp(), "run.csv")
    >>> tracker = downhill2.trackers.CSV(path)
    >>> _ = downhill2.minimize(w**2, None, algo="sgd", learning_rate=0.1, max_epochs=3, callbacks=[tracker])
    >>> downhill2.History.from_csv(path)["epoch"].tolist()
    [0, 1, 2, 3]
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._columns: list[str] = []

    def _check(self, path: Path) -> None:
        with open(path, newline="", encoding="utf-8", errors="replace") as file:
            try:
                for names in itertools.islice(csv.reader(file), 1):
                    check_columns(names, "the table")
            except (csv.Error, ValueError) as error:
                raise ValueError(
                    f"path must be a new file or that of a history, got {path}, which holds something else ({error}); "
                    "move it, or name another"
                ) from error

    def _takes(self, history: History) -> bool:
        return history.columns == self._columns

    def _anew(self, history: History) -> TextIO:
        history.to_csv(self.path)
        self._columns = history.columns
        return open(self.path, "a", newline="", encoding="utf-8")

    def _append(self, record: Record) -> None:
        csv.DictWriter(self._file, self._columns).writerow(csv_cells(record))
        self._file.flush()


class JSONLines(_File):
    """Write a file of JSON lines, one for each record, as ``minimize(history=...)`` and `History.to_json_lines` do.

    It can be read at any time.

    Parameters
    ----------
    path : str or path
        The file. What it held is replaced by the history of the optimizer, which in a run that is resumed begins with
        the records that belong to the checkpoint: no line comes twice.

    Raises
    ------
    TypeError
        If `path` is no path.
    ValueError
        If it is a file that holds something other than a history; that is not replaced.
    """

    def _check(self, path: Path) -> None:
        appendable("path", path, path.read_bytes())

    def _anew(self, history: History) -> HistoryFile:
        history.to_json_lines(self.path)
        return HistoryFile(self.path)

    def _append(self, record: Record) -> None:
        self._file.append(record)
