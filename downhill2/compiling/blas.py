"""Which BLAS library the matrix products of generated functions call.

Generated functions call external names of ours. A name gets its address once per process, so the same
compiled function, also one from the disk cache, serves SciPy's OpenBLAS or Intel's MKL.
"""

from __future__ import annotations

import ctypes
import logging
import os
import site
import sys
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger("downhill2")

ROUTINES = ("sgemm", "dgemm", "sgemv", "dgemv")
LIBRARIES = ("mkl", "scipy")

_current: str | None = None


def symbol(routine: str, dtype: str) -> str:
    """Return the external name of a routine ("gemm" or "gemv") for a dtype."""
    return f"downhill2_{'s' if dtype == 'float32' else 'd'}{routine}"


def blas_library() -> str:
    """Return the library that matrix products call: "mkl" or "scipy".

    The first call in a process chooses Intel's MKL where its wheel is installed and loads, else SciPy's
    OpenBLAS.
    """
    if _current is None:
        try:
            use_blas("mkl")
        except OSError as error:
            if _mkl_path() is not None:
                logger.info("MKL does not load (%s); matrix products use SciPy's BLAS", error)
            use_blas("scipy")
    assert _current is not None
    return _current


def use_blas(name: str) -> None:
    """Choose the BLAS library of all functions that are generated from now on, in this process.

    Parameters
    ----------
    name : {"mkl", "scipy"}
        "mkl": Intel's library, from the wheel ``mkl``; "scipy": the OpenBLAS inside SciPy.

    Raises
    ------
    ValueError
        If the name is neither.
    OSError
        If MKL is not installed or does not load.

    Notes
    -----
    MKL runs on the threads of OpenMP: GNU's where that is installed, as Numba's threads are the same and large loops
    may run on all cores too, else Intel's. ``MKL_THREADING_LAYER`` in the environment wins. ``MKL_NUM_THREADS`` or
    ``OMP_NUM_THREADS`` limits them. Results repeat bit for bit on one machine with one number of threads if
    ``MKL_CBWR=COMPATIBLE`` or ``MKL_CBWR=AUTO,STRICT`` stands in the environment before the process starts; otherwise
    the last bits of a product may depend on where in memory its arrays lie.
    """
    global _current
    if name not in LIBRARIES:
        raise ValueError(f"name must be one of {LIBRARIES}, got {name!r}")
    address = _mkl() if name == "mkl" else _scipy()
    from llvmlite import binding

    for routine in ROUTINES:
        binding.add_symbol(f"downhill2_{routine}", address(routine))
    _current = name


def _scipy() -> Callable[[str], int]:
    """Return what finds a routine in SciPy's public table of BLAS functions."""
    from scipy.linalg import cython_blas

    get_name = ctypes.pythonapi.PyCapsule_GetName
    get_name.restype, get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]

    def address(routine: str) -> int:
        capsule = cython_blas.__pyx_capi__[routine]
        return int(get_pointer(capsule, get_name(capsule)))

    return address


def _mkl_path() -> Path | None:
    """Return the file of MKL's single library in this environment, or installed for this user."""
    for prefix in (sys.prefix, site.getuserbase()):
        for pattern in ("lib/libmkl_rt.so*", "lib/libmkl_rt*.dylib", "Library/bin/mkl_rt*.dll"):
            for path in sorted(Path(prefix).glob(pattern)):
                return path
    return None


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _mkl() -> Callable[[str], int]:
    """Return what finds a routine in MKL."""
    path = _mkl_path()
    if path is None:
        raise OSError("MKL is not installed; pip install mkl")
    if "ILP64" in os.environ.get("MKL_INTERFACE_LAYER", ""):
        raise OSError("MKL_INTERFACE_LAYER must be LP64, whose integers have 32 bits")
    os.environ.setdefault("MKL_THREADING_LAYER", "GNU" if _loads("libgomp.so.1") else "INTEL")
    library = ctypes.CDLL(str(path))
    # it loads this one at its first product, and ends the process where there is none
    if not list(path.parent.glob("*mkl_core*")):
        raise OSError("its file mkl_core is missing")

    def address(routine: str) -> int:
        pointer = ctypes.cast(getattr(library, f"{routine}_"), ctypes.c_void_p).value
        assert pointer is not None, "a loaded function has an address"
        return pointer

    return address
