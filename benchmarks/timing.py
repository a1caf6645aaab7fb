"""Contenders, made, checked against each other, and timed in turn in one process."""

from __future__ import annotations

import gc
import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .rows import Row
from .sizes import Size

Arrays = Sequence[np.ndarray]


@dataclass
class Contender:
    """Something that makes updates.

    Attributes
    ----------
    advance : callable
        ``advance(n)`` makes `n` updates from the first batch on, waits for their end, and returns the loss before the
        last of them, or None where there is none to tell.
    params : callable
        Returns the parameters: what must be equal among contenders.
    quantum : int
        `n` must be a multiple of this.
    """

    advance: Callable[[int], float | None]
    params: Callable[[], Arrays] = list
    quantum: int = 1


def stepping(
    step: Callable[..., Any],
    batches: Sequence[tuple[Any, ...]],
    params: Callable[[], Arrays],
    wait: Callable[[Any], float | None] = float,
) -> Contender:
    """Return a contender that calls `step` with a batch, again and again, in a plain Python loop."""

    def advance(n: int) -> float | None:
        loss = None
        for batch in itertools.islice(itertools.cycle(batches), n):
            loss = step(*batch)
        return wait(loss)

    return Contender(advance, params)


def repeating(function: Callable[[], Any], params: Callable[[], Arrays] = list) -> Contender:
    """Return a contender that calls a function without arguments."""

    def advance(n: int) -> None:
        for _ in range(n):
            function()

    return Contender(advance, params)


class Contest:
    """Contenders on one problem.

    Parameters
    ----------
    makers : mapping of str to callable
        Return the contenders; the first that can be made is what the others are checked against. Those that cannot
        be made, or do not agree, are not timed; their rows say why.
    check : int
        How many updates to make before losses and parameters are compared.
    tolerance : float
        What losses may differ by, relatively, and parameters, in units of the largest value of their array.
    limits : mapping of str to callable, optional
        Return contenders that do something else, not to be checked.
    """

    def __init__(
        self,
        makers: Mapping[str, Callable[[], Contender]],
        check: int,
        tolerance: float = 1e-3,
        limits: Mapping[str, Callable[[], Contender]] | None = None,
    ) -> None:
        self.reasons: dict[str, str] = {}
        self.contenders: dict[str, Contender] = {}
        self.times: dict[str, np.ndarray] = {}
        for name, make in makers.items():
            self._attempt(name, partial(self._enter, name, make, check, tolerance))
        for name, make in (limits or {}).items():
            self._attempt(name, partial(self._enter_unchecked, name, make))

    def _attempt(self, name: str, action: Callable[[], Any]) -> None:
        try:
            action()
        # whatever a peer fails with, the others go on
        except Exception as error:
            self.reasons[name] = reason(error)

    def _enter_unchecked(self, name: str, make: Callable[[], Contender]) -> None:
        self.contenders[name] = make()

    def _enter(self, name: str, make: Callable[[], Contender], check: int, tolerance: float) -> None:
        """Let a contender take part if its first updates are those of the others."""
        contender = make()
        found = contender.advance(check), [np.array(p) for p in contender.params()]
        if not self.contenders:
            self._expected = found
        agree(found, self._expected, tolerance)
        self.contenders[name] = contender

    def time(self, size: Size, rest: float = 0.0) -> Contest:
        """Take samples, one of each contender a round, in an order drawn anew each round.

        Before a sample there is a rest of so many seconds, in which the threads of the contender before come to rest,
        and an update that is not counted, which fills the caches.
        """
        counts = {name: count(contender, size.sample) for name, contender in self.contenders.items()}
        samples: dict[str, list[float]] = {name: [] for name in counts}
        rng, names = np.random.default_rng(0), list(counts)
        gc.collect()
        gc.disable()
        try:
            for _ in range(size.rounds):
                for name in rng.permutation(names).tolist():
                    time.sleep(rest)
                    samples[name].append(sample(self.contenders[name], counts[name]))
        finally:
            gc.enable()
        self.times = {name: np.array(taken) for name, taken in samples.items()}
        return self

    def row(
        self,
        what: str,
        ours: str,
        theirs: str,
        goal: float | None = None,
        limit: str = "",
        against: str = "",
        beyond: str = "",
        note: str = "",
    ) -> Row:
        """Compare two contenders, or what the first takes beyond a third with the second."""
        against = against or theirs
        missing = next((n for n in (ours, theirs, beyond or ours) if n not in self.times), None)
        if missing:
            return Row(what, against, goal=goal, note=f"{missing}: {self.reasons.get(missing, 'not timed')}")
        a, b = self.times[ours], self.times[theirs]
        base = self.times[beyond] if beyond else np.zeros_like(a)
        low, high = np.quantile((a - base) / b, [0.25, 0.75])
        return Row(
            what,
            against,
            float((np.median(a) - np.median(base)) / np.median(b)),
            float(low),
            float(high),
            float((a.min() - base.min()) / b.min()),
            goal,
            ours=float(np.median(a)),
            theirs=float(np.median(b)),
            limit_name=limit,
            limit=float(np.median(self.times[limit])) if limit in self.times else None,
            note=note,
        )


def agree(found: tuple[float | None, Arrays], expected: tuple[float | None, Arrays], tolerance: float) -> None:
    """Raise ArithmeticError unless losses and parameters are equal within the tolerance."""
    loss, wanted = found[0], expected[0]
    if loss is not None and wanted is not None and not math.isclose(loss, wanted, rel_tol=tolerance, abs_tol=1e-6):
        raise ArithmeticError(f"its loss is {loss:.6g}, not {wanted:.6g}")
    for i, (a, b) in enumerate(zip(found[1], expected[1], strict=True)):
        error = np.abs(a - b).max() / np.abs(b).max()
        if not error <= tolerance:
            raise ArithmeticError(f"its parameter {i} differs by {error:.2g} of the largest value")


def count(contender: Contender, least: float) -> int:
    """Return how many updates take at least so many seconds."""
    contender.advance(contender.quantum)
    n = contender.quantum
    while (taken := sample(contender, n) * n) < least / 2:
        n *= 2
    return max(n, math.ceil(least / taken * n / contender.quantum) * contender.quantum) if taken < least else n


def sample(contender: Contender, n: int) -> float:
    """Return the seconds that one of `n` updates takes."""
    contender.advance(contender.quantum)
    start = time.perf_counter()
    contender.advance(n)
    return (time.perf_counter() - start) / n


def reason(error: BaseException) -> str:
    """Return the first line of an error."""
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed"
    text = str(error).replace(f"{Path.cwd()}/", "")  # results are published: no paths of this machine
    lines = text.strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:150]}"
