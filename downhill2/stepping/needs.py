"""What compiled steps need of the rooms above: batches from data, expressions from a fit."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
from pytensor.compile.mode import Mode

from ..symbolic.graph import Variable
from ..symbolic.layout import Layout
from ..symbolic.problem import Problem
from ..symbolic.rule import Rule

Arrays: TypeAlias = Sequence[Any]  # the values of a batch: arrays of NumPy, or sparse matrices
Backend: TypeAlias = str | Mode | None
Compiled: TypeAlias = Callable[..., Sequence[Any]]


class Fed(Protocol):
    """What a function of a batch is compiled with.

    Attributes
    ----------
    inputs : sequence of Variable
        The parts of a batch.
    givens : mapping of Variable to Variable
        The expressions in place of inputs of the loss.
    """

    @property
    def inputs(self) -> Sequence[Variable]: ...
    @property
    def givens(self) -> Mapping[Variable, Variable]: ...


@dataclass(frozen=True)
class OwnInputs:
    """Inputs that no data feeds: those of a half of an update, or none."""

    inputs: Sequence[Variable] = ()
    givens: Mapping[Variable, Variable] = field(default_factory=dict)


class BatchSource(Fed, Protocol):
    """The batches that updates and evaluations are computed from: a `data.feeds.Feed`, which describes each name."""

    @property
    def name(self) -> str: ...
    @property
    def length(self) -> int | None: ...
    @property
    def size(self) -> int: ...
    @property
    def sources(self) -> Sequence[object] | None: ...
    @property
    def done(self) -> int: ...
    def begin(self) -> int: ...
    def train(self) -> Generator[tuple[tuple[Any, ...], float]]: ...
    def rest(self) -> Generator[tuple[tuple[Any, ...], float]]: ...
    def stored(self) -> Iterator[tuple[tuple[Any, ...], float]]: ...
    def fault(self) -> str | None: ...
    def rows(self) -> str: ...


class StretchSource(BatchSource, Protocol):
    """Batches with `sources`: many updates can be made of them in one call. It is a `data.feeds.PassFeed`."""

    @property
    def length(self) -> int: ...
    def stretch(self, most: int) -> Any: ...
    def move(self, stretch: Any, count: int) -> None: ...
    def latest(self) -> tuple[Any, ...]: ...


class Expressions(Protocol):
    """The update expressions of a rule on a problem: a `fitting.fit.Fit`, which describes each name."""

    @property
    def problem(self) -> Problem: ...
    @property
    def rule(self) -> Rule: ...
    @property
    def layout(self) -> Layout: ...
    @property
    def moving(self) -> Layout: ...
    @property
    def monitors(self) -> dict[str, Variable]: ...
    @property
    def backend(self) -> Backend: ...
    def source(self) -> Problem: ...
    def updates(self) -> dict[Variable, Variable]: ...
    def drawn(self, outputs: Iterable[Variable]) -> dict[Variable, Variable]: ...
    def guarded(self, check: str, layout: Layout) -> tuple[dict[Variable, Variable], Variable]: ...
    def given_updates(
        self, gate: Variable, own: Mapping[Variable, Variable], given: Mapping[Variable, Variable]
    ) -> dict[Variable, Variable]: ...
    def magnitudes(self, feed: Fed) -> Callable[..., Sequence[np.ndarray]]: ...
