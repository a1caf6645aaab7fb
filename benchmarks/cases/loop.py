"""What the loop adds to bare calls of the step that it compiles, in such calls."""

from __future__ import annotations

from functools import partial

from ..peers import makes
from ..problems import Problem, linear_regression, rosenbrock
from ..rows import Row
from ..runner import Job
from ..sizes import Size
from ..timing import Contest


def jobs(size: Size) -> list[Job]:
    """Return a job for each problem; neither gathers rows."""
    chunk = size.pick(1000, 2000, tiny=20)
    problems = {"no data": rosenbrock(10, chunk), "ready-made batches": linear_regression(chunk)}
    return [Job(what, 200, partial(rows, what, problem, size)) for what, problem in problems.items()]


def rows(what: str, problem: Problem, size: Size) -> list[Row]:
    """Time epochs of one batch and epochs of many beside bare trusted calls."""
    short, long = "epochs of one batch", f"epochs of {problem.chunk} batches"
    makers = {
        "bare calls": makes("symbolic", "bare", problem),
        short: makes("symbolic", "looping", problem, 1),
        long: makes("symbolic", "looping", problem, problem.chunk),
    }
    contest = Contest(makers, problem.chunk).time(size)
    note = "excess over bare calls, in bare calls"
    return [
        contest.row(f"{short}, {what}", short, "bare calls", 4.0, minus=1.0, note=note),
        contest.row(f"{long}, {what}", long, "bare calls", 0.8, minus=1.0, note=note),
    ]
