"""The documentation is whole: its check finds each public name without an entry, and algorithms say all they must."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import downhill2

ROOT = Path(__file__).parents[1]
OWN = [c for c in downhill2.Optimizer.registry.values() if c.__module__.startswith("downhill2.")]


@pytest.fixture
def reference(monkeypatch):
    """The extension of Sphinx; it is imported here without Sphinx."""
    monkeypatch.syspath_prepend(ROOT / "docs" / "extensions")
    import reference

    yield reference
    del sys.modules["reference"]


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
