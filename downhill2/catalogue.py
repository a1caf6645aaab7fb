"""The catalogue of algorithms: names, settings, defaults, presets, papers and state, read from their classes."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .symbolic.algorithm import Algorithm
from .symbolic.hyper import Hyper, Setting, declared
from .symbolic.registry import registry
from .symbolic.state import State

EXAMPLE = (40, 30)


@dataclass(frozen=True)
class AlgorithmInfo:
    """Facts about an algorithm.

    Attributes
    ----------
    name : str
        What `build` takes.
    cls : subclass of Optimizer
    summary : str
        The first line of its documentation.
    settings : dict of str to object
        The defaults of the settings of its equation; a decay has a number, not a half-life.
    common : dict of str to object
        The defaults of the settings that every algorithm takes.
    names : dict of str to tuple of str
        The names that each of all these settings accepts.
    presets : dict of str to dict
        What each preset changes of the defaults.
    paper : str
        Where it was published: the first of its references; empty if it has none.
    state : dict of str to tuple of int or None
        The symbols of its state under the defaults, with the shape of each for a parameter of shape `EXAMPLE`; None
        for a random generator.
    """

    name: str
    cls: type[Algorithm]
    summary: str
    settings: dict[str, Any]
    common: dict[str, Any]
    names: dict[str, tuple[str, ...]]
    presets: dict[str, dict[str, Any]]
    paper: str
    state: dict[str, tuple[int, ...] | None]

    @property
    def memory(self) -> float:
        """How many numbers its state has for each element of a parameter of shape `EXAMPLE`, to two digits."""
        return round(
            sum(math.prod(shape) for shape in self.state.values() if shape is not None) / math.prod(EXAMPLE), 2
        )


class Algorithms(Mapping[str, AlgorithmInfo]):
    """All algorithms by name, in alphabetical order: a mapping that prints as a table."""

    def __init__(self, classes: Mapping[str, type[Algorithm]]) -> None:
        self._classes = {name: classes[name] for name in sorted(classes)}

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)

    def __getitem__(self, name: str) -> AlgorithmInfo:
        return _algorithm(name, self._classes[name])

    def __repr__(self) -> str:
        rows = [("name", "state", "settings", "presets")]
        for name, a in self.items():
            settings = ", ".join(f"{n}={_brief(v)}" for n, v in a.settings.items())
            rows.append((name, f"{a.memory:g}", settings, ", ".join(a.presets)))
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = ["  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[3]]) for row in rows]
        return "\n".join(line.rstrip() for line in lines)


def list_algorithms() -> Algorithms:
    """Return all algorithms by name, a caller's own ones too.

    Returns
    -------
    mapping of str to AlgorithmInfo
        Iterating it gives the names. It prints as a table.

    Examples
    --------
    >>> algorithms = downhill2.list_algorithms()
    >>> algorithms["adadelta"].settings["learning_rate"], list(algorithms["adadelta"].presets)
    (1.0, ['torch', 'optax', 'keras', 'downhill'])
    >>> print(algorithms["adam"].paper)
    D. P. Kingma and J. Ba (2014). "Adam: a method for stochastic optimization." arXiv:1412.6980. Algorithm 1.
    """
    return Algorithms(registry.algorithms)


def _algorithm(name: str, cls: type[Algorithm]) -> AlgorithmInfo:
    rule, everywhere = cls.with_defaults(), declared(Algorithm, Hyper | Setting)
    own = {n: d for n, d in rule.hyper.declared.items() if everywhere.get(n) is not d or n == "learning_rate"}
    states = {n: s for n, s in declared(cls, State).items() if s.when is None or s.when(rule)}
    first = {n: s.first(rule, np.zeros(EXAMPLE), "x") for n, s in states.items()}
    doc = inspect.cleandoc(cls.__doc__ or "")
    return AlgorithmInfo(
        name=name,
        cls=cls,
        summary=doc.partition("\n")[0],
        settings={n: d.default for n, d in own.items()},
        common={n: d.default for n, d in everywhere.items() if n not in own},
        names={n: d.names for n, d in rule.hyper.declared.items()},
        presets={n: dict(values) for n, values in cls.presets.items()},
        paper=_first_reference(doc),
        state={n: x.shape if isinstance(x, np.ndarray) else None for n, x in first.items()},
    )


def _first_reference(doc: str) -> str:
    found = re.search(r"^\.\. \[1\] (.*?)(?=^\.\. \[|^\S|\Z)", doc, re.MULTILINE | re.DOTALL)
    return " ".join(found[1].split()) if found else ""


def _brief(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else repr(value)
