"""The examples in docstrings run, and print what they say."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import downhill2

NAMES = [m.name for m in pkgutil.walk_packages(downhill2.__path__, "downhill2.")]


def examples():
    """Return the doctests of the package that have examples, by name."""
    finder, found = doctest.DocTestFinder(exclude_empty=True), {}
    for name in ["downhill2", *NAMES]:
        module = importlib.import_module(name)
        glob = {**vars(module), "downhill2": downhill2, "np": np}
        for test in finder.find(module, name, globs=glob):
            if test.examples:
                found[test.name] = test
    return found


EXAMPLES = examples()


def test_every_algorithm_has_an_example():
    built_in = [c for c in downhill2.Optimizer.registry.values() if c.__module__.startswith("downhill2.algorithms.")]
    assert len(built_in) >= 8
    assert {f"{c.__module__}.{c.__qualname__}" for c in built_in} <= EXAMPLES.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_prints_what_it_says(name):
    failed = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    result = runner.run(EXAMPLES[name], out=failed.append)
    assert result.attempted > 0
    assert not result.failed, "".join(failed)
