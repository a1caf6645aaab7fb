"""The registry: algorithms by name, and what they must know of optimizers and runs, which are above them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NoReturn

from . import synonyms

logger = logging.getLogger("downhill2")


class Registry:
    """Algorithms by name.

    Attributes
    ----------
    algorithms : dict of str to type
        Every class of algorithms by its name in lower case.
    optimizer : callable
        Makes an optimizer from an algorithm, a loss and further arguments. The module of optimizers sets it.
    arguments : dict of str to str
        Arguments of optimizers and runs, which no hyperparameter may be called, and the function that takes each.
    elsewhere : dict of str to str
        Keywords of `build` and of runs that are no hyperparameters, and where they belong; see `synonyms.keyword`.
    members : frozenset of str
        Names that every optimizer has, which no algorithm may declare.
    """

    def __init__(self) -> None:
        self.algorithms: dict[str, Any] = {}
        self.optimizer: Callable[..., Any] = _no_optimizer
        self.arguments: dict[str, str] = {}
        self.elsewhere: dict[str, str] = {}
        self.members: frozenset[str] = frozenset()

    def add(self, cls: type) -> None:
        """Register a class of algorithms; one of the same name and another module is replaced, with a warning."""
        name = cls.__name__.lower()
        former = self.algorithms.get(name, cls)
        if former.__module__ != cls.__module__:
            logger.warning("the algorithm %r of %s is replaced by that of %s", name, former.__module__, cls.__module__)
        self.algorithms[name] = cls

    def find(self, name: str) -> Any:
        """Return the class of an algorithm by its name, in upper or lower case.

        Raises
        ------
        ValueError
            If there is none; names the nearest.
        """
        found = self.algorithms.get(name.lower())
        if found is None:
            raise ValueError(synonyms.unknown_algorithm(name, self.algorithms, "downhill2.list_algorithms()"))
        return found


def _no_optimizer(*_: object, **__: object) -> NoReturn:
    raise TypeError("an algorithm takes a loss only where downhill2.optimizer is imported")


registry = Registry()
