"""What cannot be beaten: copying the same bytes, the same matrix products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from ..timing import Contender, repeating


def copying(traffic: int, threads: int = 1) -> Contender:
    """Copy so that `traffic` bytes are read or written in all, each thread its share."""
    source, target = np.ones(traffic // 2, "u1"), np.zeros(traffic // 2, "u1")
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    if threads == 1:
        return repeating(partial(np.copyto, target, source))
    pool = ThreadPoolExecutor(threads)
    return repeating(lambda: list(pool.map(lambda part: np.copyto(*part), parts)))


def products(sizes: Sequence[int], rows: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the factors of the matrix products of a network: forward, to the weights, to the layer before."""
    rng = np.random.default_rng(5)

    def matrix(n: int, m: int) -> np.ndarray:
        return np.asarray(rng.standard_normal((n, m), "f"), order="F")

    pairs = []
    for i, (n, m) in enumerate(pairwise(sizes)):
        x, w, d = matrix(rows, n), matrix(n, m), matrix(rows, m)
        pairs += [(x, w), (x.T, d), (d, w.T)] if i else [(x, w), (x.T, d)]
    return pairs


def by_scipy(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Contender:
    """Multiply by SciPy's OpenBLAS."""
    from scipy.linalg.blas import sgemm  # type: ignore[import-untyped]

    calls: list[Callable[[], Any]] = []
    for a, b in pairs:
        out = np.zeros((len(a), b.shape[1]), "f", order="F")
        flags = {"trans_a": not a.flags.f_contiguous, "trans_b": not b.flags.f_contiguous}
        factors = (a.T if flags["trans_a"] else a), (b.T if flags["trans_b"] else b)
        calls.append(partial(sgemm, 1.0, *factors, beta=0.0, c=out, overwrite_c=1, **flags))
    return repeating(lambda: [call() for call in calls])


def by_torch(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Contender:
    """Multiply by torch's MKL."""
    import torch

    from ..environment import cores

    torch.set_num_threads(cores())
    calls = []
    for a, b in pairs:
        out = torch.zeros(len(a), b.shape[1])
        calls.append(partial(torch.mm, torch.from_numpy(a), torch.from_numpy(b), out=out))
    return repeating(lambda: [call() for call in calls])
