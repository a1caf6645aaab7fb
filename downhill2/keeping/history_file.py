"""The file of a history that grows while a run goes on."""

from __future__ import annotations

import os
import re
import weakref
from io import FileIO
from pathlib import Path
from types import TracebackType

from .. import checks
from ..loop.records import Record
from . import lock
from .history import decoded, encoded

__all__ = ["HistoryFile", "appendable", "opened"]

_STEM = b'{"epoch": 0, "updates": 0, "seconds": '  # how each line begins, with a 0 for each number


class HistoryFile:
    """A file of JSON lines that takes records during a run; a crash loses at most the record that is being written.

    A line is an object with the names of the history's columns, in the order of the record; names that the record
    lacks are left out. Standard JSON has no NaN and no infinities: here they are the strings ``"NaN"``,
    ``"Infinity"`` and ``"-Infinity"``.

    Parameters
    ----------
    path : str or path
        Made if it does not exist.
    offset : int, optional
        Bytes of the file to keep: 0 begins anew, `offset` of a former writer cuts back to what it had written.
        Default: all records. Only a last line that a crash tore is cut.

    Attributes
    ----------
    path : str or path
    offset : int
        Bytes in the file: up to the end of the last record, or less while the disk is full.

    Raises
    ------
    ValueError
        If no file can be written there, or another run writes to it. Without `offset`, if it holds something other than
        records; with it, if the file is shorter, or `offset` is not at the end of a line. The file stays as it is.
    """

    def __init__(self, path: str | os.PathLike[str], offset: int | None = None) -> None:
        self.path = path = checks.path("path", path)
        self._file = opened(path)
        weakref.finalize(self, self._file.close)  # closes it if the run never begins
        self._pending = bytearray()
        try:
            if not lock.take(self._file):
                raise ValueError(f"history must be a file that no other run writes to, got {path}; name another")
            self._file.seek(0)
            self.offset = self._found(path) if offset is None else self._checked(path, offset)
            self._file.truncate(self.offset)
        except BaseException:
            self._file.close()
            raise

    def _found(self, path: str | os.PathLike[str]) -> int:
        content = self._file.read()
        end = appendable("history", path, content)
        if content[end - 1 : end] not in (b"", b"\n"):
            self._pending += b"\n"  # an editor removed the end of the last line
        return end

    def _checked(self, path: str | os.PathLike[str], offset: int) -> int:
        content = self._file.read(offset)
        if len(content) < offset:
            raise ValueError(f"offset must be at most {len(content)}, the length of {path}, got {offset}")
        if _end_of_lines(content) != offset:
            raise ValueError(f"offset must be at the end of a line of {path}, got {offset}")
        return offset

    def take_back(self, lines: bytes) -> None:
        """Remove these lines, or the first of them, from the end of the file: they will be written again."""
        self._file.seek(0)
        content = self._file.read()
        while lines and not content.endswith(lines):
            lines = lines[: _end_of_lines(lines[:-1])]
        self.offset -= len(lines)
        self._file.truncate(self.offset)

    def append(self, record: Record) -> None:
        """Write a record to the operating system, so that it survives the process.

        Raises
        ------
        OSError
            If it cannot be written. It will be at the next call of any method.
        """
        self._pending += encoded(record)
        self._write()

    def _write(self) -> None:
        while self._pending:
            written = self._file.write(self._pending)
            self.offset += written
            del self._pending[:written]

    def sync(self) -> int:
        """Wait until what is written would survive a power failure; return `offset`.

        Call it before a checkpoint that refers to the file is written.
        """
        self._write()
        os.fsync(self._file.fileno())
        return self.offset

    def close(self) -> None:
        """Close the file."""
        try:
            self._write()
        finally:
            self._file.close()

    def __enter__(self) -> HistoryFile:
        """Return the file, which is closed at the end of the `with`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()


def opened(path: Path) -> FileIO:
    """Open a file that may be there already to read and append to; raise ValueError if no history can be there."""
    try:
        if path.is_dir():
            raise ValueError(f"history must be a file, got the directory {path}; name {path / 'run.jsonl'}, say")
        if path.exists() and not path.is_file():
            raise ValueError(f"history must be a regular file, got {path}, which is none; name another")
        if not path.parent.is_dir():
            raise ValueError(f"history must be in a directory that exists, got {path}; make {path.parent} first")
        return open(path, "a+b", buffering=0)
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"history must be a file that can be written, got {path}: {reason}; name another") from error


def appendable(name: str, path: str | os.PathLike[str], content: bytes) -> int:
    """Return where the last whole record of a file ends; a crash cut short what comes after it.

    Raises
    ------
    ValueError
        If the content is no history; calls the argument `name`.
    """
    *lines, torn = content.split(b"\n")
    try:
        for number, line in enumerate(lines, 1):
            decoded(line, f"line {number}")
        if not lines:
            _check_torn(torn)
    except ValueError as error:
        raise ValueError(
            f"{name} must be a new file or that of a history, got {path}, which holds something else ({error}); "
            "move it, or name another"
        ) from error
    return len(content) if torn and _is_record(torn) else len(content) - len(torn)


def _check_torn(line: bytes) -> None:
    """Raise ValueError if the only line of a file is not the beginning of a record."""
    plain = re.sub(rb"\d+", b"0", line[: 2 * len(_STEM)])
    if not plain.startswith(_STEM[: len(plain)]):
        raise ValueError(f"line 1 must be a record of a history, got {line[:80]!r}")


def _is_record(line: bytes) -> bool:
    try:
        decoded(line, "")
    except ValueError:
        return False
    return True


def _end_of_lines(content: bytes) -> int:
    return content.rfind(b"\n") + 1
