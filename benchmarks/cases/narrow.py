"""Narrowness: updates of 1 million float32 parameters against the same written by hand in float32."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..peers import makes
from ..problems import given_gradient
from ..rows import Row
from ..runner import Job
from ..sizes import Size
from ..timing import Contest

SETTINGS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.9},
    "rmsprop": {"rho": 0.9, "centered": False, "epsilon": 1e-4},
    "adam": {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
}


def jobs(size: Size) -> list[Job]:
    """Return the only job."""
    return [Job("update", 200, partial(rows, size))]


def rows(size: Size) -> list[Row]:
    """Time each rule against its like, compiled alike."""
    problem = given_gradient(size.pick(1_000_000, 1_000_000, tiny=1000))
    out = []
    for algo, settings in SETTINGS.items():
        makers = {
            "ours": makes("by_hand", "ours", algo, problem, **settings),
            "by hand": makes("by_hand", algo, problem),
        }
        traffic = {"sgd": 20, "rmsprop": 20, "adam": 28}[algo] * problem.params[0].size
        limits = {"copy of its bytes": makes("limits", "copying", traffic)}
        contest = Contest(makers, 3, 1e-5, limits).time(size)
        out.append(contest.row(f"update of {algo}", "ours", "by hand", 1.05, "copy of its bytes"))
    return out
