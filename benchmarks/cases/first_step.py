"""Time to the first step, in fresh processes, with an empty cache and with a full one."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable
from functools import partial

import numpy as np

from ..environment import version
from ..rows import Row
from ..runner import Job, JobError, child
from ..sizes import Size

OURS = ("get_updates", "minimize")
PEERS = {"plain": "plain Numba", "old": "old design", "optax": "optax jit", "torch": "torch fused"}

Samples = dict[str, list[dict[str, float]]]


def jobs(size: Size) -> list[Job]:
    """Return the jobs: the MLP, then chains of layers."""
    out = [Job("first step", 1200, partial(mlp, size))]
    out += [Job(f"chain, {form}", 1800, partial(chains, form, size)) for form in OURS]
    if size.name == "full":
        out.append(Job("100 tensors against the plain path", 2400, plain_chain))
    return out


class Runs:
    """First steps of several contenders in turn.

    Attributes
    ----------
    empty, full : dict of str to list
        For each contender what its processes measured, with an empty cache and with that of the run before.
    reasons : dict of str to str
        Why a contender has none.
    """

    def __init__(self, network: str, contenders: list[str], rounds: int, seconds: float = 200) -> None:
        self.empty: Samples = {}
        self.full: Samples = {}
        self.reasons: dict[str, str] = {}
        for _ in range(rounds):
            for name in contenders:
                if name not in self.reasons:
                    self._measure(network, name, seconds)

    def _measure(self, network: str, name: str, seconds: float) -> None:
        with tempfile.TemporaryDirectory() as cache:
            try:
                for samples in (self.empty, self.full):
                    samples.setdefault(name, []).append(first_step(network, name, cache, seconds))
            except JobError as error:
                self.reasons[name] = str(error)

    def row(self, what: str, samples: Samples, field: str, ours: str, theirs: str, goal: float | None = None) -> Row:
        """Compare two contenders."""
        against = PEERS[theirs]
        missing = next((name for name in (ours, theirs) if name in self.reasons), None)
        if missing:
            return Row(what, against, goal=goal, note=f"{PEERS.get(missing, missing)}: {self.reasons[missing]}")
        a, b = (np.array([sample[field] for sample in samples[name]]) for name in (ours, theirs))
        low, high = np.quantile(a / b, [0.25, 0.75])
        middle = float(np.median(a)), float(np.median(b))
        ratio, minima = middle[0] / middle[1], float(a.min() / b.min())
        return Row(what, against, ratio, float(low), float(high), minima, goal, "x", *middle)


def first_step(network: str, name: str, cache: str, seconds: float) -> dict[str, float]:
    """Make a first step in a process of its own."""
    flags = f"base_compiledir={cache}"
    inductor = {"TORCHINDUCTOR_CACHE_DIR": os.path.join(cache, "inductor")}
    out: dict[str, float] = child("benchmarks.one_step", [network, name], seconds, flags, inductor)
    return out


def mlp(size: Size) -> list[Row]:
    """Compare first steps on the network of case (b)."""
    peers = size.pick(["plain", "optax", "torch"], ["plain", "old", "optax", "torch"])
    runs = Runs(size.pick("mlp", "mlp", tiny="chain-2"), [*OURS, *peers], size.pick(1, 3, 5))
    return [row for form in OURS for row in mlp_rows(runs, form, peers)]


def mlp_rows(runs: Runs, form: str, peers: list[str]) -> list[Row]:
    """Compare one form of downhill2 with all others."""
    empty, full = f"{form}, empty cache", f"{form}, full cache"
    to_plain = 0.04 if (version("pytensor") or "") >= "3.1" else 0.1
    rows = [
        runs.row(f"{empty}: compile and first call", runs.empty, "call", form, "plain", to_plain),
        runs.row(f"{empty}: CPU time of that", runs.empty, "cpu", form, "plain"),
    ]
    for peer in peers[1:]:
        rows.append(runs.row(f"{empty}: from process start", runs.empty, "start", form, peer))
        goal = 0.8 if peer == "optax" else None
        rows.append(runs.row(f"{full}: from process start", runs.full, "start", form, peer, goal))
    return rows


def chains(form: str, size: Size) -> list[Row]:
    """Measure how compiling grows with the number of tensors; each number is tried only if the one before compiled."""
    tensors = size.pick([20], [20, 100, 200], [20, 100, 200, 1000], tiny=[2])
    limit = size.pick(60.0, 150.0, 400.0)
    rows, seconds = [], {}
    for n in tensors:
        what = f"chain of {n} tensors, {form}, empty cache: compile and first call"
        goal = 12.0 if n == 200 else None
        runs = Runs(f"chain-{n}", [form], 1, limit)
        if form in runs.reasons:
            rows.append(Row(what, goal=goal, unit="s", note=runs.reasons[form]))
            break
        seconds[n] = runs.empty[form][0]["call"]
        rows.append(Row(what, value=seconds[n], goal=goal, unit="s", ours=seconds[n]))
    return rows + growth(form, seconds)


def growth(form: str, seconds: dict[int, float]) -> list[Row]:
    """Compare the cost of each tensor more, from number to number."""
    numbers = sorted(seconds)
    slopes = {(a, b): (seconds[b] - seconds[a]) / (b - a) for a, b in itertools.pairwise(numbers)}
    return [
        Row(
            f"{form}: compile time of a tensor more, from {pair[0]} to {pair[1]}",
            f"the same from {former[0]} to {former[1]}",
            slopes[pair] / slopes[former],
            goal=1.0,
            ours=slopes[pair],
            theirs=slopes[former],
        )
        for former, pair in itertools.pairwise(slopes)
    ]


def plain_chain() -> list[Row]:
    """Compare 100 tensors with the plain path, which takes minutes and some 12 GB."""
    what = "{}, 100 tensors, empty cache: compile and first call"
    runs = Runs("chain-100", [*OURS, "plain"], 1, 1000)
    compare: Callable[..., Row] = partial(runs.row, samples=runs.empty, field="call", theirs="plain", goal=0.02)
    return [compare(what.format(form), ours=form) for form in OURS]
