"""Every algorithm's update of 1 million float32 parameters against a copy of the bytes that it reads and writes."""

from __future__ import annotations

from functools import partial

from ..peers import makes
from ..rows import Row
from ..runner import Job
from ..sizes import Size
from ..timing import Contest

COPY = "copy of its bytes"


def jobs(size: Size) -> list[Job]:
    """Return a job for each algorithm."""
    from downhill2 import list_algorithms

    names = size.pick(["sgd", "rmsprop", "rprop", "adam"], list(list_algorithms()), tiny=["sgd"])
    return [Job(f"update of {name}", 120, partial(rows, name, size)) for name in names]


def rows(algo: str, size: Size) -> list[Row]:
    """Time the update; only rules of the scope "element" have a goal: others do more than one pass of arithmetic."""
    from ..peers.registered import traffic, update

    n = size.pick(1_000_000, 1_000_000, tiny=1000)
    step, opt = update(algo, n)
    limits = {COPY: makes("limits", "copying", traffic(opt, n))}
    contest = Contest({algo: lambda: step}, 1, limits=limits).time(size)
    element = opt.scope == "element" and not opt.needs
    note = "" if element else "; ".join([f"scope {opt.scope!r}", *(f"needs {what}" for what in opt.needs)])
    return [contest.row(f"update of {algo}", algo, COPY, 1.0 if element else None, note=note)]
