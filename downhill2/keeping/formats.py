"""An optimizer in one file: safetensors, an archive of NumPy, or HDF5; the suffix of the name decides.

Each format holds the same: each tensor under its name, and two texts, ``downhill2`` and ``sha256``, which are
the metadata of a checkpoint. Nothing is pickled.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..extras import need
from . import checkpoint
from .checkpoint import CheckpointError, Tensors
from .whole_file import replacing

SUFFIXES = ("", ".safetensors", ".npz", ".h5", ".hdf5")


def write(path: Path, tensors: Mapping[str, np.ndarray], meta: Mapping[str, object]) -> None:
    """Write a file, as `checkpoint.write` does, in the format that its name says."""
    suffix = _suffix(path)
    if suffix in SUFFIXES[:2]:
        checkpoint.write(path, tensors, meta)
        return
    arrays = checkpoint.arranged(tensors)
    for name in arrays:
        if "\0" in name or posixpath.normpath(name) != name:
            raise ValueError(f"the name of a tensor in {suffix} must be like a path, got {name!r}; take .safetensors")
    digests = {name: checkpoint.digest_of(array) for name, array in arrays.items()}
    texts = checkpoint.noted(digests, {"meta": checkpoint.plain(meta, "meta")})
    put = _put_archive if suffix == ".npz" else _put_hdf5
    try:
        with replacing(path) as file:
            put(file, arrays, texts)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}") from error


def read(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Read a file, as `checkpoint.read` does, in the format that its name says."""
    suffix = _suffix(path)
    if suffix in SUFFIXES[:2]:
        return checkpoint.read(path)
    if not path.is_file():
        raise CheckpointError(f"cannot read {path}: there is no such file")
    with (_archive if suffix == ".npz" else _hdf5)(path) as entries:
        texts = {name: str(np.asarray(entries[name])) for name in ("downhill2", "sha256")}
        return checkpoint.verified(path, texts, entries.keys() - texts.keys(), lambda name: np.array(entries[name]))


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        listed = ", ".join(SUFFIXES[1:])
        raise ValueError(
            f"path must end in {listed} or in no suffix, which is the first, got {str(path)!r}; write "
            f"{f'{path}{SUFFIXES[1]}'!r}, say"
        )
    if suffix in (".h5", ".hdf5"):
        need("h5py", "data")
    return suffix


def _put_archive(file: BinaryIO, arrays: Tensors, texts: Mapping[str, str]) -> None:
    np.savez(file, **arrays, **{name: np.array(text) for name, text in texts.items()})  # type: ignore[arg-type]


def _put_hdf5(file: BinaryIO, arrays: Tensors, texts: Mapping[str, str]) -> None:
    with need("h5py", "data").File(file, "w") as store:
        for name, value in (arrays | texts).items():  # type: ignore[operator]
            store.create_dataset(name, data=value)


@contextmanager
def _archive(path: Path) -> Iterator[Mapping[str, Any]]:
    # opened here, as NumPy does not close a file that it cannot read
    with _readable(path), open(path, "rb") as file, np.load(file, allow_pickle=False) as store:
        yield store


@contextmanager
def _hdf5(path: Path) -> Iterator[Mapping[str, Any]]:
    h5py = need("h5py", "data")
    with _readable(path), h5py.File(path, "r") as store:
        found: dict[str, Any] = {}
        store.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
        yield {n: item.asstr()[()] if h5py.check_string_dtype(item.dtype) else item for n, item in found.items()}


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raise CheckpointError for each error that the contents of a file cause."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:  # the readers of these formats have no error of their own for a damaged file
        raise CheckpointError(f"{path} is damaged, or no file of downhill2: {error}") from error
