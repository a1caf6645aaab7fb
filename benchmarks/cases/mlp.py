"""A step of Adam on a network 784-512-512-10, batch 128."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..peers import makes
from ..problems import MLP_ROWS, MLP_SIZES, Problem, mlp
from ..rows import Row
from ..runner import Job
from ..sizes import Size
from ..timing import Contender, Contest

OPTAX, FUSED, SCAN = "optax jit, donated", "torch fused", "optax lax.scan"
LIMIT = "its eight products alone"

# Some of the 2.6 million activations of a run are 0 to rounding and fall on either side: a gradient has a term more.
TOLERANCE = 0.02

# what each BLAS of ours is to reach against optax and torch
GOALS = {"scipy": (1.0, 1.15), "mkl": (0.72, 0.8)}


def jobs(size: Size) -> list[Job]:
    """Return a job for each BLAS library that downhill2 may call."""
    return [Job(f"step, BLAS of {blas}", 600, partial(rows, blas, size)) for blas in GOALS]


def rows(blas: str, size: Size) -> list[Row]:
    """Time steps with the products of downhill2 by one library."""
    what, goals = f"step, BLAS of {blas}", dict(zip((OPTAX, FUSED), GOALS[blas], strict=True))
    try:
        makes_use_of(blas)
    except OSError as error:
        return [Row(what, peer, goal=goal, note=str(error)) for peer, goal in goals.items()]
    problem = mlp(size.pick(10, 20, tiny=2))
    peers = peers_of(problem, full=blas == "scipy" and size.name in ("normal", "full"))
    ours = {
        "downhill2": makes("symbolic", "one_call", problem),
        "downhill2, shapes unknown": makes("symbolic", "one_call", problem, known=False),
        "downhill2 minimize": makes("symbolic", "minimizing", problem),
    }
    pairs = makes("limits", "products", MLP_SIZES, MLP_ROWS)()
    limits = {LIMIT: makes("limits", "by_torch" if blas == "mkl" else "by_scipy", pairs)}
    # the threads of a BLAS go on spinning for some 25 ms after a product
    contest = Contest(ours | peers, problem.chunk, TOLERANCE, limits).time(size, rest=0.03)
    out = [contest.row(what, "downhill2", peer, goals.get(peer), LIMIT) for peer in peers if peer != SCAN]
    out.append(contest.row(f"{what}, shapes of the batch unknown", "downhill2, shapes unknown", OPTAX, None, LIMIT))
    whole = [peer for peer in (OPTAX, SCAN) if peer in peers]
    return out + [contest.row(f"minimize, BLAS of {blas}", "downhill2 minimize", p, None, LIMIT) for p in whole]


def peers_of(problem: Problem, full: bool) -> dict[str, Callable[[], Contender]]:
    """Return the makers of the two peers with a goal, or of all."""
    peers = {
        OPTAX: makes("with_optax", "one_call", problem),
        FUSED: makes("with_torch", "one_call", problem, "fused"),
    }
    if full:
        kinds = ("eager", "foreach", "compile")
        peers |= {f"torch {kind}": makes("with_torch", "one_call", problem, kind) for kind in kinds}
        peers["old design"] = makes("symbolic", "old_design", problem)
        peers[SCAN] = makes("with_optax", "scan", problem)
    return peers


def makes_use_of(blas: str) -> None:
    """Let downhill2's products call a library."""
    from downhill2.compiling import use_blas

    use_blas(blas)
