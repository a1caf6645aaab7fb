"""Trajectories of torch.optim in float64: make_goldens.py keeps them, and a test compares what it kept."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from . import Arrays


@contextlib.contextmanager
def float64() -> Iterator[None]:
    """Make float64 the dtype of the numbers that optimizers remember, too."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@float64()
def trajectory(
    factory: Callable[[Any, list[torch.Tensor]], torch.optim.Optimizer],
    start: Arrays,
    gradients: Sequence[Arrays],
    steps: Sequence[int],
    rate: Callable[[int], float] | None = None,
) -> dict[int, Arrays]:
    """Return the parameters after each of `steps`.

    The factory is given the module `torch.optim` and the parameters; `rate` is a learning rate that depends on
    the number of updates made before.
    """
    params, seen = [torch.nn.Parameter(torch.tensor(np.asarray(x, "f8"))) for x in start], {}
    optimizer = factory(torch.optim, params)
    for k in range(max(steps)):
        for param, g in zip(params, gradients[k], strict=True):
            param.grad = torch.tensor(np.asarray(g, "f8"))
        for group in optimizer.param_groups:
            # an optimizer with a schedule of its own (Adagrad) keeps it
            group["lr"] = rate(k) if rate and not group.get("lr_decay") else group["lr"]
        optimizer.step()
        seen[k + 1] = [param.detach().numpy().copy() for param in params]
    return {step: seen[step] for step in steps}
