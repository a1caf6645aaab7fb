"""What compiles functions: a backend by its name, or a mode of PyTensor; checked before anything is compiled."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytensor
from pytensor.compile.mode import Mode, get_mode
from pytensor.link.jax.linker import JAXLinker
from pytensor.link.numba.linker import NumbaLinker
from pytensor.link.pytorch.linker import PytorchLinker

MODES = {"numba": "NUMBA", "c": "CVM", "jax": "JAX", "pytorch": "PYTORCH"}
"""Names of backends, and of PyTensor's modes that they begin with."""


def base(backend: Any) -> Mode:
    """Return PyTensor's mode for a backend.

    Parameters
    ----------
    backend : {'numba', 'c', 'jax', 'pytorch'}, name of a mode, Mode or None
        None: PyTensor's ``config.mode``.

    Raises
    ------
    TypeError, ValueError
        If it is none of these.
    """
    if backend is None or isinstance(backend, Mode):
        return get_mode(backend)
    if not isinstance(backend, str):
        raise TypeError(f"backend must be a name or a PyTensor mode, got {type(backend).__name__}")
    try:
        return get_mode(MODES.get(backend.lower(), backend))
    except ValueError:
        near = difflib.get_close_matches(backend.lower(), MODES, 1)
        hint = f"did you mean {near[0]!r}?" if near else "a mode of PyTensor may be given too"
        names = ", ".join(map(repr, MODES))
        raise ValueError(f"backend must be one of {names}, got {backend!r}; {hint}") from None


def check(backend: Any) -> None:
    """Raise if a backend is unknown, or cannot compile here.

    Raises
    ------
    TypeError, ValueError
        If it is unknown, or has no compiler.
    ImportError
        If its package is not installed.
    """
    linker = base(backend).linker
    if isinstance(linker, JAXLinker):
        _check_package("jax", backend)
    if isinstance(linker, PytorchLinker):
        _check_package("torch", backend)
    if isinstance(backend, str) and backend.lower() == "c" and not pytensor.config.cxx:
        raise ValueError(f"backend must have a C++ compiler, got {backend!r} without one; install g++, or take 'numba'")


def _check_package(name: str, backend: Any) -> None:
    if importlib.util.find_spec(name) is None:
        raise ImportError(f"backend={backend!r} needs {name}; pip install 'downhill2[{name}]'")


def mode(backend: Any, *, generated: bool = True, products: bool = True, parallel: bool = True) -> Mode:
    """Return the mode in which a backend compiles.

    Parameters
    ----------
    backend : as for `base`
    generated : bool
        Whether Numba compiles a whole graph as one generated function.
    products : bool
        Whether matrix products of generated functions call BLAS directly.
    parallel : bool
        Whether their large loops run on all cores where that pays.
    """
    found = base(backend)
    # each loads linker and rewrites of ours, which the other backends do without
    if isinstance(found.linker, JAXLinker):
        from .jax_linker import device_mode

        return device_mode(found)
    if isinstance(found.linker, PytorchLinker):
        from .torch_linker import torch_mode

        return torch_mode(found)
    if generated and is_numba(found):
        from .mode import fast_mode

        return fast_mode(found, products=products, parallel=parallel)
    return found


def key(backend: Any) -> tuple[Any, ...]:
    """Return what tells this backend, as it is configured now, from others."""
    return backend, pytensor.config.mode, pytensor.config.linker


def is_numba(mode: Mode) -> bool:
    """Whether Numba compiles the functions of a mode, as they are or as generated ones."""
    return isinstance(mode.linker, NumbaLinker)


def on_device(mode: Mode) -> bool:
    """Whether functions of a mode leave values of shared variables on a device."""
    return isinstance(mode.linker, JAXLinker)


@contextmanager
def explained(backend: Any) -> Iterator[None]:
    """Turn the error of an operation that a backend lacks, met while it compiles, into one that says what to do."""
    try:
        yield
    except NotImplementedError as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"backend must have every operation of the graph, got {backend!r}: {reason}; choose another backend"
        ) from error
