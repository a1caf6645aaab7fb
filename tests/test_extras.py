"""Optional packages are asked for by name, and the error says what to install."""

from __future__ import annotations

import sys

import pytest

from downhill2 import extras


def test_a_package_that_is_there_is_returned():
    assert extras.need("json", "plot") is sys.modules["json"]


def test_a_module_of_a_package_is_returned():
    assert extras.need("importlib.metadata", "plot").version("numpy")


@pytest.mark.parametrize("package", ["no_such_package", "no_such_package.part"])
def test_a_package_that_is_missing_is_named_with_what_installs_it(package):
    with pytest.raises(ImportError, match=r"needs no_such_package.*pip install 'downhill2\[report\]'"):
        extras.need(package, "report")


def test_an_error_inside_a_package_that_is_there_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import what_it_lacks")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="what_it_lacks"):
        extras.need("broken_package", "plot")
