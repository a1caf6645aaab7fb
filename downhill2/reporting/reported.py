"""What reports and trackers use of an optimizer: an `Optimizer` has it all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ..keeping.history import History
from ..loop.stopping import Limits
from ..symbolic.graph import Variable
from ..symbolic.hyper import Hyperparameters
from ..symbolic.problem import Problem
from ..symbolic.rule import Rule

__all__ = ["Reported", "ReportedFit"]


class ReportedFit(Protocol):
    """The `fit` of an optimizer, as they see it; `fitting.fit.Fit` describes each name."""

    @property
    def problem(self) -> Problem: ...
    @property
    def noted(self) -> Mapping[str, object]: ...
    @property
    def data(self) -> Mapping[str, object]: ...
    @property
    def backend(self) -> object: ...
    def settle(self) -> None: ...


class Reported(Protocol):
    """An optimizer, as reports and trackers see it."""

    @property
    def rule(self) -> Rule: ...
    @property
    def fit(self) -> ReportedFit: ...
    @property
    def history(self) -> History: ...
    @property
    def params(self) -> Sequence[Variable]: ...
    @property
    def inputs(self) -> Sequence[Variable]: ...
    @property
    def hyper(self) -> Hyperparameters: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def best_monitors(self) -> Mapping[str, float]: ...
    @property
    def stopped(self) -> str | None: ...
    def stop(self, why: str) -> None: ...
