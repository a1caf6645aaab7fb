"""The earlier records of a run that goes on from a checkpoint."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from ..loop.records import Record
from .history import History, decoded
from .history_file import opened

__all__ = ["Past"]

_log = logging.getLogger("downhill2")


class Past:
    """The records of a run up to a checkpoint, as far as the file of its history can be read.

    A run goes on from the checkpoint. If its history was removed, cut or damaged, only records are lost.

    Parameters
    ----------
    path : Path
        The file, which only this run writes to.
    begin, end : int
        The bytes of it that are the run's, as the checkpoint says.

    Attributes
    ----------
    path : Path
    records : History
    begin, end : int
        The bytes of the file that hold them, after `mend`.
    whole : bool
        Whether they are all records up to the checkpoint.
    superseded : bytes
        The lines after the checkpoint; the run writes their records again.
    """

    def __init__(self, path: Path, begin: int, end: int) -> None:
        if path.exists():
            opened(path).close()  # raises if it must not be written
        self.path = path
        content = self._content = path.read_bytes() if path.exists() else b""
        self.begin = begin if content[:begin].endswith(b"\n") and begin <= len(content) else 0
        own = content[self.begin : end]
        found = list(_read(own, path))
        self.records = History(record for _, record in found)
        kept = b"".join(line for line, _ in found)
        self.whole = kept == own and len(content) >= end and self.begin == begin
        self.superseded = content[end : content.rfind(b"\n") + 1] if self.whole else b""
        self.end = self.begin + len(kept)
        self._mended = content[: self.begin] + kept

    def mend(self) -> None:
        """Let the file begin with the records that can be read, and log what is lost; nothing if all are there.

        A file with more in it than they and a torn line gets another name.
        """
        if self.whole:
            return
        kept = ""
        if not self._content.startswith(self._mended) or b"\n" in self._content[self.end :]:
            aside = _free(self.path)
            os.replace(self.path, aside)
            self.path.write_bytes(self._mended)
            kept = f"; the file as it was is now {aside}"
        upto = f"those up to epoch {self.records[-1].epoch}" if self.records else "none"
        _log.warning(
            "%s does not hold all records up to the checkpoint: of %d bytes, %d can be read, %s; the run goes on from "
            "the checkpoint without the others%s",
            *(self.path, len(self._content), self.end - self.begin, upto, kept),
        )


def _read(content: bytes, path: Path) -> Iterator[tuple[bytes, Record]]:
    """Yield the lines that hold a record, and the record."""
    for line in content.split(b"\n")[:-1]:
        try:
            yield line + b"\n", decoded(line, str(path))
        except ValueError:
            continue


def _free(path: Path) -> Path:
    """Return an unused name beside a file."""
    number = 1
    while (aside := path.with_name(f"{path.stem}-{number}{path.suffix}")).exists():
        number += 1
    return aside
