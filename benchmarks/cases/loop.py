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
    """Time epochs of one batch and epochs of many beside bare trusted calls.

    The goal for an epoch is in calls as PyTensor makes them, that for a batch in our own, which are faster.
    """
    short, long = "epochs of one batch", f"epochs of {problem.chunk} batches"
    ours, theirs = "bare calls", "bare calls of PyTensor's linker"
    makers = {
        ours: makes("symbolic", "bare", problem),
        theirs: makes("symbolic", "called_by_pytensor", problem),
        short: makes("symbolic", "looping", problem, 1),
        long: makes("symbolic", "looping", problem, problem.chunk),
    }
    contest = Contest(makers, problem.chunk).time(size)
    note = "excess over bare calls, in those of the column before"
    return [
        contest.row(f"{short}, {what}", short, theirs, 4.0, beyond=ours, note=note),
        contest.row(f"{short}, {what}", short, ours, beyond=ours, note=note),
        contest.row(f"{long}, {what}", long, ours, 0.8, beyond=ours, note=note),
    ]
