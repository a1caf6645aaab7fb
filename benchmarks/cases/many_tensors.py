"""Many small parameters: a step of Adam on 10, 100 and 1000 vectors, 100 000 elements in all, quadratic loss."""

from __future__ import annotations

from functools import partial

from ..peers import makes
from ..problems import quadratic
from ..rows import Row
from ..runner import Job
from ..sizes import Size
from ..timing import Contest

# beyond this the plain path compiles for minutes, into gigabytes: same-shaped updates become one fused loop with
# hundreds of outputs
PLAIN = 10

FORMS = {"get_updates": "one_call", "minimize": "minimizing"}


def jobs(size: Size) -> list[Job]:
    """Return a job for each number of tensors and form of downhill2: one that compiles too long spoils no other."""
    numbers = size.pick([10], [10, 100], [10, 100, 1000], tiny=[3])
    seconds = size.pick(100, 200, 900)
    return [Job(title(n, form), seconds, partial(rows, n, form, size)) for n in numbers for form in FORMS]


def title(n: int, form: str) -> str:
    """Return what a job measures."""
    return f"step of {n} tensors, {form}"


def rows(n: int, form: str, size: Size) -> list[Row]:
    """Time steps; the ratio of steps is that of costs per tensor."""
    problem = quadratic(n)
    foreach, optax = "torch foreach", "optax jit, donated"
    makers = {
        "downhill2": makes("symbolic", FORMS[form], problem),
        foreach: makes("with_torch", "one_call", problem, "foreach"),
        optax: makes("with_optax", "one_call", problem),
    }
    if n <= PLAIN:
        makers["old design"] = makes("symbolic", "old_design", problem)
    # threads of torch go on spinning after a step
    contest = Contest(makers, problem.chunk).time(size, rest=0.03)
    out = [
        contest.row(title(n, form), "downhill2", foreach, 0.1),
        contest.row(title(n, form), "downhill2", optax),
    ]
    if n <= PLAIN:
        return [*out, contest.row(title(n, form), "downhill2", "old design")]
    return [
        *out,
        Row(title(n, form), "old design", note="it compiles for minutes beyond 30 tensors, for hours at 1000"),
    ]
