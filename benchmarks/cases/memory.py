"""Memory: growth from before data, parameters and state exist to the peak of 100 steps, against what must be held."""

from __future__ import annotations

from functools import partial

from ..rows import Row
from ..runner import Job, JobError, child
from ..sizes import Size

CONTENDERS = {"minimize": "downhill2", "optax": "optax jit, donated", "torch": "torch fused", "old": "old design"}


def jobs(size: Size) -> list[Job]:
    """Return a job for each problem and contender."""
    problems = {"mlp": "MLP of case (b)", "vector": "10M parameters"}
    return [
        Job(f"{title}, {who}", 300, partial(rows, name, title, contender, who))
        for name, title in problems.items()
        for contender, who in CONTENDERS.items()
        if contender == "minimize" or size.pick(quick=False, normal=True)
    ]


def rows(problem: str, title: str, contender: str, who: str) -> list[Row]:
    """Measure twice: the first process fills the cache of compiled functions."""
    what, against, goal = f"{title}, {who}", "bytes that must be held", 1.2 if contender == "minimize" else None
    try:
        for _ in range(2):
            held = child("benchmarks.peak", [problem, contender], 150)
    except JobError as error:
        return [Row(what, against, goal=goal, note=str(error))]
    growth, needed = held["growth"], held["needed"]
    return [Row(what, against, growth / needed, goal=goal, ours=growth, theirs=needed, amounts="B")]
