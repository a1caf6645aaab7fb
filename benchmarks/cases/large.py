"""One update of Adam on 10 million parameters, the gradient given."""

from __future__ import annotations

from functools import partial

from ..environment import cores
from ..peers import makes
from ..problems import given_gradient
from ..rows import Row
from ..runner import Job
from ..sizes import Size
from ..timing import Contest

BYTES = 28  # an element: parameter, gradient and two moments read, all but the gradient written


def jobs(size: Size) -> list[Job]:
    """Return the only job."""
    return [Job("update", 400, partial(rows, size))]


def rows(size: Size) -> list[Row]:
    """Time the update beside copies of the bytes that it reads and writes."""
    n = size.pick(10_000_000, 10_000_000, tiny=1000)
    problem = given_gradient(n)
    kinds = ["eager", "foreach", "fused", *size.pick([], ["compile"])]
    makers = {
        "downhill2": makes("symbolic", "update_only", problem),
        "optax jit, donated": makes("with_optax", "update_only", problem),
        "plain Numba": makes("symbolic", "update_only", problem, mode="NUMBA"),
        **{f"torch {kind}": makes("with_torch", "update_only", problem, kind) for kind in kinds},
    }
    all_cores, one_core = "copy of its bytes on all cores", "copy of its bytes on one core"
    limits = {
        all_cores: makes("limits", "copying", BYTES * n, cores()),
        one_core: makes("limits", "copying", BYTES * n),
    }
    contest = Contest(makers, 3, limits=limits).time(size)
    goals = {"torch fused": 0.9, all_cores: 1.0}
    return [
        contest.row("update", "downhill2", peer, goals.get(peer), all_cores)
        for peer in [*makers, *limits]
        if peer != "downhill2"
    ]
