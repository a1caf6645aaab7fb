"""One writer at a time: locks of the kernel, which end when the process that holds them ends."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import sys
import weakref
from datetime import datetime
from pathlib import Path
from typing import IO, Any

if sys.platform == "win32":  # pragma: no cover
    import msvcrt
else:
    import fcntl

__all__ = ["DirectoryLock", "take"]

_log = logging.getLogger("downhill2")

NAME = "downhill2.lock"
_BEGINNING = b'{"pid": '  # of what a run writes there
_FAR = 1 << 40  # a byte beyond any content, as on Windows locked bytes cannot be read

_taken: weakref.WeakSet[IO[bytes]] = weakref.WeakSet()


def take(file: IO[bytes]) -> bool:
    """Lock an open file until it is closed; return False if this or another process has locked it already.

    Where the file system has no locks, the file counts as locked.
    """
    try:
        _lock(file)
    except BlockingIOError:
        return False
    except OSError as error:
        _log.info("%s cannot be locked: %s; see that no other run writes there", file.name, error.strerror or error)
    _taken.add(file)
    return True


if sys.platform == "win32":  # pragma: no cover

    def _lock(file: IO[bytes]) -> None:
        file.seek(_FAR)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError from error
        finally:
            file.seek(0)

else:

    def _lock(file: IO[bytes]) -> None:
        # flock locks an open file, lockf locks for the whole process: two runs of one process must exclude each other.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _close_in_child() -> None:
    """Close the inherited files in a forked process: it would keep the locks after its parent has ended."""
    for file in list(_taken):
        file.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


class DirectoryLock:
    """The right to write into a directory, for one run at a time.

    A file in the directory says who has it. The file is there while the run is on; one that a killed process left
    behind locks nothing.

    Parameters
    ----------
    directory : Path

    Raises
    ------
    ValueError
        If another run has it; says which process, and since when. If the file is somebody else's, which stays as it is.
    OSError
        If the file cannot be made.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME
        while True:
            file = open(self._path, "a+b", buffering=0)  # noqa: SIM115  (closed by release)
            if not take(file):
                with file:
                    raise ValueError(_refusal(directory, file))
            self._file = file
            if self._is_there():  # the opened file may belong to a run that has just ended and removed it
                break
            file.close()
        self._check()
        self._release = weakref.finalize(self, file.close)  # closes it if the run never begins
        with contextlib.suppress(OSError):  # on a full disk the lock holds without a text
            file.truncate(0)
            file.write(json.dumps(_holder()).encode())

    def _check(self) -> None:
        """Raise ValueError if no run has made the file; a killed one may have left a part of its words, or none."""
        self._file.seek(0)
        if not _BEGINNING.startswith(self._file.read(len(_BEGINNING))):
            self._file.close()
            raise ValueError(
                f"checkpoint must name a directory whose {NAME} a run has made, got {self._path}, which holds "
                "something else; move it, or name another directory"
            )

    @property
    def lost(self) -> bool:
        """Whether somebody has removed the directory and another run has begun in one of the same name."""
        return self._path.exists() and not self._is_there()

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), os.stat(self._path))
        except OSError:
            return False

    def release(self) -> None:
        """Let others write; it may be called again."""
        if not self._file.closed:  # a forked process has closed it, and has nothing to release
            with contextlib.suppress(OSError):
                if os.name != "nt" and self._is_there():
                    self._path.unlink()
            self._file.close()
            with contextlib.suppress(OSError):
                if os.name == "nt":  # pragma: no cover  (removes no open files)
                    self._path.unlink()


def _holder() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}


def _refusal(directory: Path, file: IO[bytes]) -> str:
    """Return the message for a locked directory."""
    who, way = "another run does", "wait for its end"
    try:
        file.seek(0)
        holder = json.loads(file.read())
        mine = (holder["pid"], holder["host"]) == (os.getpid(), socket.gethostname())
        name = "this process" if mine else f"process {holder['pid']} on {holder['host']}"
        who = f"{name} does since {holder['since']}"
        way = "end that run, by closing its iterator" if mine else way
    except (OSError, ValueError, LookupError, TypeError):  # the other run has not written its name yet
        pass
    return (
        f"checkpoint must name a directory that no other run writes to, got {directory}, where {who}; {way}, or name "
        "another directory"
    )
