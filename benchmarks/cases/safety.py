"""What safety costs: finite checks in a step, a checkpoint written and read."""

from __future__ import annotations

from functools import partial

from ..peers import makes
from ..problems import mlp
from ..rows import Row
from ..runner import Job
from ..sizes import Size
from ..timing import Contest


def jobs(size: Size) -> list[Job]:
    """Return a job for the checks and one for the files."""
    return [Job("checks", 300, partial(checks, size)), Job("checkpoint", 300, partial(checkpoint, size))]


def checks(size: Size) -> list[Row]:
    """Time the step that `minimize` compiles beside the same updates without any check."""
    problem = mlp(size.pick(10, 20, tiny=2))
    makers = {
        "no check": makes("symbolic", "one_call", problem),
        "loss and gradients": makes("symbolic", "gated", problem),
        "default": makes("symbolic", "bare", problem),
        "check='all'": makes("symbolic", "bare", problem, "all"),
    }
    contest = Contest(makers, 20).time(size)
    what = "finite checks in the step of the network of b"
    return [
        contest.row(f"{what}, loss and gradients alone", "loss and gradients", "no check", 1.04),
        contest.row(f"{what}, by default: new values too", "default", "no check"),
        contest.row(f"{what}, check='all'", "check='all'", "no check"),
    ]


def checkpoint(size: Size) -> list[Row]:
    """Time checkpoints of an Adam model beside writing as many bytes with fsync."""
    elements = size.pick(1_000_000, 10_000_000, tiny=1000)
    makers = {name: makes("files", name, elements) for name in ("written", "loaded", "plain")}
    contest = Contest(makers, 1).time(size)
    what = f"checkpoint of Adam, {elements} parameters"
    return [
        contest.row(f"{what}, {name}", name, "plain", 2.0, against="its bytes, fsync") for name in ("written", "loaded")
    ]
