"""The files into which a run writes its records."""

from __future__ import annotations

import logging
from pathlib import Path

from ..loop.records import Record
from .history_file import HistoryFile
from .past import Past

__all__ = ["Journal"]

_log = logging.getLogger("downhill2")


class Journal:
    """The files that take the records of a run: the history of its directory, and a file that runs share, if any.

    To the shared one records are only appended, as other runs have theirs there; that of the directory is cut back to
    the checkpoint that a run goes on from.

    Attributes
    ----------
    begin, end : int
        Where in the directory's history the records of the run begin and end.
    """

    def __init__(self) -> None:
        self._own: HistoryFile | None = None
        self._shared: HistoryFile | None = None
        self._failed = False
        self.begin = self.end = 0

    def share(self, path: Path | None) -> None:
        """Also append to a file that runs share; None: to none.

        Raises
        ------
        ValueError
            If the file holds something other than records, or another run writes to it now.
        """
        self._shared = None if path is None else HistoryFile(path)

    def open(self, path: Path) -> None:
        """Append to the history of the run's directory; raises as `share`."""
        self._own = HistoryFile(path)
        self.begin = self.end = self._own.offset

    def go_on(self, past: Past) -> None:
        """Append to the history of the run's directory, after the records of the run's past."""
        past.mend()
        self._own = HistoryFile(past.path, past.end)
        self.begin, self.end = past.begin, past.end
        if self._shared is not None:
            self._shared.take_back(past.superseded)

    @property
    def _files(self) -> list[HistoryFile]:
        return [file for file in (self._own, self._shared) if file is not None]

    def append(self, record: Record) -> None:
        """Write a record; log the first failure, and keep what could not be written for the next attempt."""
        for file in self._files:
            try:
                file.append(record)
            except OSError as error:
                level = logging.INFO if self._failed else logging.ERROR
                _log.log(level, "cannot write the history: %s; the run goes on", error)
                self._failed = True

    def sync(self) -> int:
        """Wait until the directory's history would survive a power failure; return `end`."""
        if self._own is not None:
            self.end = self._own.sync()
        return self.end

    def close(self) -> int:
        """Close the files and return `end`; log an error if a file lacks records. It may be called again."""
        own, files = self._own, self._files
        self._own = self._shared = None
        for file in files:
            try:
                file.close()
            except OSError as error:
                _log.error("the last records are missing in %s: %s", file.path, error)
        self.end = self.end if own is None else own.offset
        return self.end
