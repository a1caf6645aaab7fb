"""Overhead: updates that compute next to nothing."""

from __future__ import annotations

from functools import partial

from ..peers import makes
from ..problems import Problem, linear_regression, rosenbrock
from ..rows import Row
from ..runner import Job
from ..sizes import Size
from ..timing import Contest


def jobs(size: Size) -> list[Job]:
    """Return a job for each problem."""
    chunk = size.pick(200, 1000, tiny=5)
    problems = {
        "Rosenbrock 2-D": rosenbrock(2, chunk),
        "Rosenbrock 10-D": rosenbrock(10, chunk),
        "linear regression, batch 32": linear_regression(chunk),
    }
    if size.name == "quick":
        del problems["Rosenbrock 2-D"]
    return [Job(what, 300, partial(rows, what, problem, size)) for what, problem in problems.items()]


def rows(what: str, problem: Problem, size: Size) -> list[Row]:
    """Time Adam on a problem, one update a call and many."""
    makers = {
        "downhill2": makes("symbolic", "one_call", problem),
        "downhill2 minimize": makes("symbolic", "minimizing", problem),
        "old design": makes("symbolic", "old_design", problem),
        "optax jit loop": makes("with_optax", "one_call", problem),
        "optax lax.scan": makes("with_optax", "scan", problem),
        **{f"torch {kind}": makes("with_torch", "one_call", problem, kind) for kind in ("eager", "foreach", "fused")},
    }
    if size.name == "full":
        makers["torch compile"] = makes("with_torch", "one_call", problem, "compile")
    contest = Contest(makers, problem.chunk).time(size)
    one, many = f"{what}: one update a call", f"{what}: many updates a call"
    against = {"optax jit loop": 0.3, "torch eager": 0.05}
    others = [name for name in makers if name.startswith(("torch", "old", "optax jit"))]
    return [
        *(contest.row(one, "downhill2", name, against.get(name)) for name in others),
        contest.row(many, "downhill2 minimize", "optax lax.scan", None if "2-D" in what else 1.0),
        contest.row(many, "downhill2 minimize", "old design"),
    ]
