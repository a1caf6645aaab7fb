"""Problems in torch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from ..environment import cores
from ..problems import Problem
from ..timing import Contender, stepping
from . import ADAM

OPS = SimpleNamespace(relu=torch.relu, cross_entropy=torch.nn.functional.cross_entropy, stack=torch.stack)

KINDS: dict[str, dict[str, bool]] = {
    "eager": {"foreach": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
    "compile": {"foreach": True},
}


def optimizer(problem: Problem, kind: str) -> tuple[list[torch.Tensor], torch.optim.Adam]:
    """Return parameters and torch's Adam over them."""
    torch.set_num_threads(cores())
    params = [torch.from_numpy(p).requires_grad_() for p in problem.first()]
    betas = ADAM["beta1"], ADAM["beta2"]
    return params, torch.optim.Adam(params, problem.learning_rate, betas, ADAM["epsilon"], **KINDS[kind])


def tensors(problem: Problem) -> list[tuple[torch.Tensor, ...]]:
    """Return the batches."""
    return [tuple(torch.from_numpy(a) for a in batch) for batch in problem.batches]


def one_call(problem: Problem, kind: str) -> Contender:
    """A step of torch.optim.Adam: eager (its loop over parameters), foreach, fused, or through torch.compile."""
    params, adam = optimizer(problem, kind)

    def evaluate(*batch: torch.Tensor) -> Any:
        return problem.loss(OPS, params, *batch)

    update: Any = adam.step
    if kind == "compile":
        evaluate, update = torch.compile(evaluate), torch.compile(adam.step)

    def step(*batch: torch.Tensor) -> torch.Tensor:
        adam.zero_grad()
        loss: torch.Tensor = evaluate(*batch)
        loss.backward()  # type: ignore[no-untyped-call]
        update()
        return loss.detach()

    return stepping(step, tensors(problem), lambda: [p.detach().numpy() for p in params])


def update_only(problem: Problem, kind: str) -> Contender:
    """torch.optim.Adam's update alone, the only batch being the gradient."""
    params, adam = optimizer(problem, kind)
    (params[0].grad,) = tensors(problem)[0]
    update: Any = torch.compile(adam.step) if kind == "compile" else adam.step
    return stepping(update, [()], lambda: [p.detach().numpy() for p in params], lambda _: None)
