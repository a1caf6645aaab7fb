"""The documentation is whole: its check finds each public name without an entry, and algorithms say all they must."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

import downhill2

ROOT = Path(__file__).parents[1]
OWN = [c for c in downhill2.Optimizer.registry.values() if c.__module__.startswith("downhill2.algorithms.")]


@pytest.fixture
def extension(monkeypatch):
    """Return what imports an extension of Sphinx, without Sphinx."""
    monkeypatch.syspath_prepend(ROOT / "docs" / "extensions")
    before = set(sys.modules)
    yield importlib.import_module
    for name in {"reference", "algorithm_pages"} & (set(sys.modules) - before):
        del sys.modules[name]


@pytest.fixture
def reference(extension):
    return extension("reference")


@pytest.fixture
def pages(extension):
    """Return the pages of the reference, those of the algorithms among them."""
    algorithms = extension("algorithm_pages")
    written = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs" / "reference").glob("*.rst"))]
    return written + [algorithms.page(name, cls) for name, cls in algorithms.own_algorithms().items()]


def test_every_public_name_has_an_entry(reference, pages):
    assert reference.missing({name for page in pages for name in reference.entries(page)}) == []


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("A page with `build`.\n", []),
        (".. autofunction:: downhill2.build\n", ["build"]),
        (".. currentmodule:: downhill2\n\n.. autofunction:: build\n.. autofunction:: rule\n", ["build", "rule"]),
        (".. currentmodule:: downhill2\n\n.. autoclass:: Optimizer\n\n   .. automethod:: stop\n",
         ["Optimizer", *(f"Optimizer.{n}" for n in ("hyper", "groups", "state", "stopped", "best_monitors", "stop"))]),
        (".. autoclass:: downhill2.Dataset\n   :members: from_batches\n",
         ["Dataset", *(f"Dataset.{n}" for n in ("shared", "rng", "from_batches"))]),
        (".. automodule:: downhill2.climate\n   :members:\n   :exclude-members: epoch_line, validation_line, INFO\n",
         ["climate", "climate.get_logger", "climate.enable_default_logging"]),
        (".. automodule:: downhill2.base\n   :no-members:\n", ["base"]),
        (".. automodule:: downhill2.config\n",
         ["config", *(f"config.{n}" for n in ("generated", "products", "parallel", "packed", "many"))]),
    ],
)  # fmt: skip
def test_entries_are_what_directives_ask_for_and_docstrings_tell(page, names, reference):
    assert list(reference.entries(page)) == [f"downhill2.{name}" for name in names]


@pytest.mark.parametrize(
    "name",
    [
        "downhill2.build",
        "downhill2.Optimizer.iterate",
        "downhill2.Optimizer.stopped",
        "downhill2.Dataset.from_batches",
        "downhill2.History.to_csv",
        "downhill2.schedules",
        "downhill2.schedules.Cosine",
        "downhill2.projections.Box",
        "downhill2.climate.get_logger",
        "downhill2.config.many",
        "downhill2.plots.learning_curves",
    ],
)
def test_a_public_name_without_an_entry_is_found(reference, name):
    names = set(reference.public_names())
    assert reference.missing(names) == []
    assert reference.missing(names - {name}) == [name]


def test_what_is_public_is_told_from_what_is_not(reference):
    names = set(reference.public_names())
    assert {f"downhill2.{name}" for name in [*downhill2.__all__, *downhill2._LATER]} <= names
    internal = {"downhill2.Optimizer.fit", "downhill2.Dataset.bind", "downhill2.base.Optimizer", "downhill2.Adam.m"}
    assert not internal & names
    assert not [name for name in names if "._" in name]


@pytest.mark.parametrize("cls", OWN, ids=lambda c: c.__name__)
def test_an_algorithm_states_formula_paper_and_example_and_is_in_the_facade(cls):
    assert cls.__name__ in downhill2.__all__
    for part in (".. math::", "References\n    ----------", "Examples\n    --------", ">>> "):
        assert part in cls.__doc__
    assert re.search(r"^    \.\. \[1\] .*\((18|19|20)\d\d\)", cls.__doc__, re.MULTILINE)
