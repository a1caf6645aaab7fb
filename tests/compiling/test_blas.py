"""Which BLAS library products call."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytensor.tensor as pt
import pytest
from generated import compiled

from downhill2.compiling import blas, blas_library, use_blas


@pytest.fixture(autouse=True)
def _undecided(monkeypatch: pytest.MonkeyPatch) -> Any:
    before = blas_library()
    monkeypatch.setattr(blas, "_current", None)
    yield
    monkeypatch.undo()
    use_blas(before)


def test_an_unknown_library_is_refused() -> None:
    with pytest.raises(ValueError, match=r"name must be one of \('mkl', 'scipy'\), got 'atlas'"):
        use_blas("atlas")


def test_mkl_that_is_not_installed_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "_mkl_path", lambda: None)
    with pytest.raises(OSError, match="pip install mkl"):
        use_blas("mkl")


def test_without_mkl_scipy_is_chosen_in_silence(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(blas, "_mkl_path", lambda: None)
    assert blas_library() == "scipy"
    assert caplog.records == []


def test_mkl_that_does_not_load_is_a_line_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    broken = tmp_path / "libmkl_rt.so.2"
    broken.write_bytes(b"no library")
    monkeypatch.setattr(blas, "_mkl_path", lambda: broken)
    caplog.set_level(logging.INFO, "downhill2")
    assert blas_library() == "scipy"
    assert [record.levelno for record in caplog.records] == [logging.INFO]


def test_mkl_is_found_where_its_wheel_puts_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(blas.sys, "prefix", str(tmp_path))
    monkeypatch.setattr(blas.site, "getuserbase", lambda: str(tmp_path / "user"))
    assert blas._mkl_path() is None
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libmkl_rt.so.2").touch()
    assert blas._mkl_path() == tmp_path / "lib" / "libmkl_rt.so.2"


def test_routines_of_mkl_are_taken_by_their_fortran_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Library:
        def __init__(self, path: str) -> None:
            import ctypes

            prototype = ctypes.CFUNCTYPE(None)
            for routine in blas.ROUTINES:
                setattr(self, f"{routine}_", prototype(lambda: None))

    monkeypatch.setattr(blas, "_mkl_path", lambda: tmp_path / "libmkl_rt.so.2")
    monkeypatch.setattr(blas.ctypes, "CDLL", Library)
    monkeypatch.setenv("MKL_THREADING_LAYER", "GNU")
    with pytest.raises(OSError, match="mkl_core is missing"):
        blas._mkl()
    (tmp_path / "libmkl_core.so.2").touch()
    assert all(blas._mkl()(routine) for routine in blas.ROUTINES)


@pytest.mark.parametrize(("has_gnu", "layer"), [(True, "GNU"), (False, "INTEL")])
def test_mkl_runs_on_the_openmp_that_is_there(
    has_gnu: bool, layer: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def load(name: str) -> None:
        if not (has_gnu and name == "libgomp.so.1"):
            raise OSError("not found")

    monkeypatch.setattr(blas, "_mkl_path", lambda: tmp_path / "libmkl_rt.so.2")
    monkeypatch.setattr(blas.ctypes, "CDLL", load)
    monkeypatch.setenv("MKL_THREADING_LAYER", "")  # so that it is restored
    monkeypatch.delenv("MKL_THREADING_LAYER")
    with pytest.raises(OSError, match="not found"):
        blas._mkl()
    assert blas.os.environ["MKL_THREADING_LAYER"] == layer


def test_mkl_with_integers_of_64_bits_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(blas, "_mkl_path", lambda: tmp_path / "libmkl_rt.so.2")
    monkeypatch.setenv("MKL_INTERFACE_LAYER", "GNU,ILP64")
    with pytest.raises(OSError, match="must be LP64"):
        blas._mkl()


@pytest.mark.parametrize("library", blas.LIBRARIES)
def test_a_function_made_after_the_choice_follows_it(library: str) -> None:
    x = pt.fmatrix("x")
    values = np.arange(6, dtype="float32").reshape(2, 3)
    try:
        use_blas(library)
    except OSError:
        pytest.skip("MKL is not installed")
    f = compiled([x], [x @ x.T, x @ x[0]])
    product, vector = f(values)
    np.testing.assert_allclose(product, values @ values.T)
    np.testing.assert_allclose(vector, values @ values[0])
