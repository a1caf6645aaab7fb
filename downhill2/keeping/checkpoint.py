"""Checkpoints: arrays and JSON in files that are whole or refused.

A checkpoint is a safetensors file. Its metadata holds one JSON text: the format's number, the versions that wrote
it, a SHA-256 for each tensor over dtype, shape and bytes, and the caller's `meta`; beside it stands the SHA-256 of
that text. Nothing is ever unpickled.

Standard JSON has no NaN and no infinities: here such a float is ``{"$float": "nan" | "inf" | "-inf"}``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytensor
from safetensors import SafetensorError, safe_open

from .. import checks
from ..jsonable import nested
from ..version import __version__
from .whole_file import replacing, sync

__all__ = ["HISTORY", "RESULT", "CheckpointError", "Directory", "check", "holds_run", "read", "write"]

Tensors = dict[str, np.ndarray]

_log = logging.getLogger("downhill2")

RESULT = "result.safetensors"  # a finished run writes it beside its checkpoints
HISTORY = "history.jsonl"  # the file of its records

_FORMAT = 1
_LONGEST_HEADER = 100_000_000  # what readers of safetensors accept
_NAME = re.compile(r"update-(\d{9,})\.safetensors")
_TEMPORARY = re.compile(rf"\.({_NAME.pattern}|{re.escape(RESULT)})\.[0-9a-f]{{8}}\.tmp")
_DAMAGED = (SafetensorError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_CODES = {
    "bool": "BOOL",
    **{f"{kind}{bits}": f"{kind[0].upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
    "complex64": "C64",
}


class CheckpointError(Exception):
    """A checkpoint that cannot be written or read; the message names the file and what is wrong."""


def write(path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray], meta: Mapping[str, object]) -> None:
    """Write a checkpoint; the file that was there before stays until the new one is on the disk.

    Parameters
    ----------
    path : path
        The file; its directory must exist. It gets the rights that the umask leaves.
    tensors : mapping of str to ndarray
        Of any shape and layout; bool, integers, float16, float32, float64 or complex64.
    meta : mapping of str to object
        Values that JSON holds: mappings with str keys, lists, tuples (read back as lists), str, int of any size, float
        (NaN and infinities too), bool, None, and NumPy scalars of these kinds.

    Raises
    ------
    TypeError, ValueError
        If a tensor or an entry of `meta` is none of these. No file was touched.
    CheckpointError
        If the system refuses. The former file is whole and no temporary file is left. If only the last step fails,
        which makes the name of the new file durable, the new file is there and whole.
    """
    _write(checks.path("path", path), tensors, meta, {})


def check(tensors: Mapping[str, np.ndarray], meta: Mapping[str, object]) -> None:
    """Raise the TypeError or ValueError that `write` would raise, before there is much to lose."""
    arranged(tensors)
    plain(meta, "meta")


def _write(path: Path, tensors: Mapping[str, np.ndarray], meta: Mapping[str, object], marks: dict[str, bool]) -> None:
    if not isinstance(meta, Mapping):
        raise TypeError(f"meta must be a mapping, got {meta!r}")
    arrays, contents = arranged(tensors), {**marks, "meta": plain(meta, "meta")}
    blank = _header(arrays, dict.fromkeys(arrays, "0" * 64), contents)
    if len(blank) > _LONGEST_HEADER:
        raise ValueError(f"meta must be shorter than {_LONGEST_HEADER} bytes as JSON, got {len(blank)} with names")
    try:
        with replacing(path) as file, ThreadPoolExecutor() as pool:
            # Hashing takes as long as writing, and threads do both at once. The header has the digests, but its
            # length is known before them: it is written last.
            digests = {name: pool.submit(digest_of, array) for name, array in arrays.items()}
            file.seek(len(blank))
            for array in arrays.values():
                _put(file, _bytes(array))
            sync(file)
            file.seek(0)
            _put(file, _header(arrays, {name: digest.result() for name, digest in digests.items()}, contents))
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}") from error


def _put(file: BinaryIO, data: bytes | memoryview) -> None:
    """Write bytes of a checkpoint; all of them pass here."""
    file.write(data)


def arranged(tensors: Mapping[str, np.ndarray]) -> Tensors:
    """Return the arrays in the order of the file: the widest dtypes first, so that each one is aligned."""
    arrays = {}
    for name, value in tensors.items():
        if not isinstance(name, str):
            raise TypeError(f"the name of a tensor must be a str, got {name!r}")
        if name == "__metadata__" or re.search("[\ud800-\udfff]", name):
            raise ValueError(f"the name of a tensor must be Unicode text other than '__metadata__', got {name!r}")
        array = np.asarray(value, order="C")
        if array.dtype.name not in _CODES:
            raise TypeError(f"the dtype of tensor {name!r} must be one of {', '.join(_CODES)}, got {array.dtype}")
        arrays[name] = _little(array)
    return dict(sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])))


def _little(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _bytes(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _described(array: np.ndarray) -> dict[str, Any]:
    return {"dtype": _CODES[array.dtype.name], "shape": list(array.shape)}


def digest_of(array: np.ndarray) -> str:
    digest = hashlib.sha256(json.dumps(_described(array)).encode())
    digest.update(_bytes(_little(array)))
    return digest.hexdigest()


def _header(arrays: Tensors, digests: Mapping[str, str], contents: Mapping[str, object]) -> bytes:
    """Return the beginning of the file: the header's length, and the header."""
    entries: dict[str, Any] = {"__metadata__": noted(digests, contents)}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        entries[name] = {**_described(array), "data_offsets": [begin, end]}
    header = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header


def noted(digests: Mapping[str, str], contents: Mapping[str, object]) -> dict[str, str]:
    """Return the metadata of a file: a text of JSON, and the SHA-256 of that text."""
    text = json.dumps({"format": _FORMAT, "versions": _versions(), "sha256": digests, **contents}, allow_nan=False)
    return {"downhill2": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def _versions() -> dict[str, str]:
    return {"downhill2": __version__, "pytensor": pytensor.__version__, "numpy": np.__version__}


def plain(value: object, where: str) -> Any:
    """Return `value` as JSON holds it."""
    return nested(value, _leaf, where, lambda mapping, where: [_key(key, where) for key in mapping])


def _leaf(value: object, where: str) -> object:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{where} must be a str, number, bool, None, list or mapping, got {value!r}")


def _key(key: object, where: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"the keys of {where} must be str, got {key!r}")
    if key == "$float":
        raise ValueError(f"the keys of {where} must not be '$float', which stands for NaN and infinities")
    return key


def read(path: str | os.PathLike[str]) -> tuple[Tensors, dict[str, Any]]:
    """Read a checkpoint, all of it verified.

    Returns
    -------
    tensors : dict of str to ndarray
        Writable, in C order.
    meta : dict

    Raises
    ------
    CheckpointError
        If there is no such file, it cannot be read, it is no checkpoint, or a bit of it has changed.
    """
    path = checks.path("path", path)
    with _opened(path) as file:
        return verified(path, file.metadata() or {}, file.offset_keys(), file.get_tensor)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file; raise CheckpointError for each error that its contents cause."""
    try:
        if not path.is_file():
            raise CheckpointError(f"cannot read {path}: there is no such file")
        # Through a memory map, the default backend, an error of the disk ends the process.
        with safe_open(path, "np", backend="pread") as file:
            yield file
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except _DAMAGED as error:
        raise CheckpointError(f"{path} is damaged, or no checkpoint of downhill2: {error}") from error


def verified(
    path: Path, metadata: Mapping[str, str], names: Iterable[str], tensor: Callable[[str], np.ndarray]
) -> tuple[Tensors, dict[str, Any]]:
    """Return the tensors of an open file, each hashed while the next is read, and its meta."""
    note = _note(path, metadata)
    digests, names = note["sha256"], list(names)
    if others := digests.keys() ^ set(names):
        listed = ", ".join(map(repr, sorted(others)))
        raise CheckpointError(f"{path} is damaged: its tensors are not those it was written with: {listed}")
    tensors, actual = {}, {}
    with ThreadPoolExecutor() as pool:
        for name in names:
            tensors[name] = tensor(name)
            actual[name] = pool.submit(digest_of, tensors[name])
    if wrong := [repr(name) for name, digest in actual.items() if digest.result() != digests[name]]:
        raise CheckpointError(f"{path} is damaged: the checksum is wrong of {', '.join(wrong)}")
    _log_versions(path, note["versions"])
    return tensors, note["meta"]


def _note(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return what `noted` wrote into the metadata of a file, verified."""
    text = metadata["downhill2"]
    if hashlib.sha256(text.encode()).hexdigest() != metadata["sha256"]:
        raise CheckpointError(f"{path} is damaged: the checksum of its metadata is wrong")
    note: dict[str, Any] = json.loads(text, object_hook=_revived)
    if note["format"] != _FORMAT:
        raise CheckpointError(f"{path} has format {note['format']}, this version of downhill2 reads format {_FORMAT}")
    return note


def _revived(entry: dict[str, Any]) -> Any:
    return float(entry["$float"]) if "$float" in entry else entry


def _log_versions(path: Path, versions: Mapping[str, str]) -> None:
    now = _versions()
    others = [f"{name} {version}" for name, version in versions.items() if version != now.get(name)]
    if others:
        _log.info("%s was written by %s: what follows may differ by rounding", path, ", ".join(others))


class Directory:
    """The checkpoints of one run: the newest few, and the best.

    Their files are called ``update-000000123.safetensors``.

    Parameters
    ----------
    path : path
        Made if it is missing.
    keep : int, optional
        How many of the newest stay, besides the one that was last saved as the best.

    Raises
    ------
    CheckpointError
        If the directory cannot be made, read or written.

    Attributes
    ----------
    history : Path
        Where the run writes its records.
    """

    def __init__(self, path: str | os.PathLike[str], keep: int = 2) -> None:
        self.path, self.keep = checks.path("path", path), checks.integer("keep", keep, 1)
        self.history = self.path / HISTORY
        self._told = False  # whether the log says that files cannot be removed
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                files = _checkpoints(self.path)
        except OSError as error:
            raise CheckpointError(f"cannot keep checkpoints in {path}: {error.strerror or error}") from error
        self._best = next((updates for updates, file in reversed(files.items()) if _is_best(file)), None)

    def tidy(self) -> None:
        """Remove the temporary files of writers that were killed; only the single writer may call it."""
        self._remove(file for file in self.path.iterdir() if _TEMPORARY.fullmatch(file.name))

    def save(self, updates: int, tensors: Mapping[str, np.ndarray], meta: Mapping[str, object], best: bool) -> Path:
        """Write the checkpoint after `updates` updates, then remove those that are not needed any more.

        Checkpoints of later updates are removed too, because the run has gone back before them.

        Parameters
        ----------
        updates : int
            How many updates the run has made; names the file.
        tensors, meta : mapping
            As `write` takes them.
        best : bool
            Whether this is the best so far.

        Returns
        -------
        path : Path
            The file.

        Raises
        ------
        CheckpointError
            As `write`; then nothing was removed.
        """
        if updates < 0:
            raise ValueError(f"updates must be at least 0, got {updates}")
        best = best or updates == self._best
        path = self.path / f"update-{updates:09d}.safetensors"
        _write(path, tensors, meta, {"best": best})
        if best or (self._best is not None and self._best > updates):
            self._best = updates if best else None
        files = _checkpoints(self.path)
        kept = [number for number in files if number <= updates][-self.keep :]
        self._remove(file for number, file in files.items() if number not in kept and number != self._best)
        return path

    def latest(self) -> tuple[Path, Tensors, dict[str, Any]] | None:
        """Return the newest checkpoint that is whole: its path, tensors and meta; None if there is none at all.

        Raises
        ------
        CheckpointError
            If there are files, and none is whole.
        """
        files = _checkpoints(self.path)
        for file in reversed(files.values()):
            try:
                return file, *read(file)
            except CheckpointError as error:
                _log.warning("%s; trying the checkpoint before it", error)
        if files:
            raise CheckpointError(f"none of the {len(files)} checkpoints in {self.path} can be read")
        return None

    def _remove(self, files: Iterable[Path]) -> None:
        for file in files:
            try:
                file.unlink(missing_ok=True)
            except OSError as error:
                # the run goes on all the same
                level = logging.INFO if self._told else logging.WARNING
                _log.log(level, "cannot remove %s: %s", file, error.strerror or error)
                self._told = True


def _checkpoints(path: Path) -> dict[int, Path]:
    """Return the checkpoints in a directory by their number of updates, oldest first."""
    matches = ((_NAME.fullmatch(file.name), file) for file in path.iterdir())
    return dict(sorted((int(match[1]), file) for match, file in matches if match and file.is_file()))


def holds_run(path: str | os.PathLike[str]) -> bool:
    """Return whether there is a checkpoint, readable or not, in a directory, which need not exist."""
    try:
        return bool(_checkpoints(checks.path("path", path)))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise CheckpointError(f"cannot look for checkpoints in {path}: {error.strerror or error}") from error


def _is_best(path: Path) -> bool:
    """Return whether a file was saved as the best; False if it cannot be read."""
    try:
        with _opened(path) as file:
            return _note(path, file.metadata() or {}).get("best") is True
    except CheckpointError:
        return False
