"""The package itself, driven like the oracles: an optimizer whose gradients are fed to it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.mode import Mode

import downhill2
from downhill2.symbolic import graph, pipeline
from downhill2.symbolic.layout import Layout
from downhill2.symbolic.measure import Measured

from . import Arrays, join

# FAST_COMPILE's rewrites take longer than a hundred updates of a small graph, and make no difference to them.
QUICK = Mode("py", "merge")


def hessian(n: int) -> np.ndarray:
    """Return a symmetric, positive definite matrix with no zero in it; its elements are float32 numbers."""
    i = np.arange(1, n + 1)
    return np.asarray(np.diag(i / n) + 1 / np.add.outer(i, i), "f4").astype("f8")


class Driven:
    """An algorithm, its parameters, and a linear loss whose gradients are its inputs.

    Parameters
    ----------
    algo : str
    settings : dict
        Hyperparameters.
    start : list of arrays
        The parameters at the start.
    dtype : str or sequence of str
        Of the parameters, or of each.
    static : bool
        Whether PyTensor knows the shapes of the parameters.
    names : sequence of str or None
        Of the parameters.
    curvature : bool
        Whether x H x / 2 is added to the loss, where x is all parameters as one vector and H is `hessian`.
    packed : bool
        Whether element rules see all parameters as one vector.
    """

    def __init__(
        self,
        algo: str,
        settings: Mapping[str, Any],
        start: Arrays,
        dtype: str | Sequence[str] = "float64",
        *,
        static: bool = True,
        names: Sequence[str | None] = ("a", "b", "c", "d", "e"),
        curvature: bool = False,
        packed: bool = False,
    ) -> None:
        self.params = []
        dtypes = [dtype] * len(start) if isinstance(dtype, str) else dtype
        for x, of, name in zip(start, dtypes, names[: len(start)], strict=True):
            shape = {"shape": x.shape} if static else {}
            self.params.append(pytensor.shared(np.array(x, of), name=name, **shape))
        self.inputs = [param.type() for param in self.params]
        # what is added makes a loss that no rule can mistake for the product of gradient and parameter
        self.loss = sum(((param + 1) * g).sum() for param, g in zip(self.params, self.inputs, strict=True))
        if curvature:
            x = pt.concatenate([param.ravel() for param in self.params])
            self.loss += x @ hessian(join(start).size).astype(x.type.dtype) @ x / 2
        self.optimizer = downhill2.build(algo, self.loss, self.params, self.inputs, **settings)
        self.updates = self.packed_updates() if packed else self.optimizer.get_updates()

    def packed_updates(self) -> list[tuple[Any, Any]]:
        """Return what `get_updates` returns, built on one vector for the parameters of each dtype."""
        layout = Layout(self.params, graph.labels(self.params), packed=self.params)
        return list(pipeline.update(self.optimizer.rule, Measured(self.loss, self.params), layout).items())

    def variable(self, name: str) -> Any:
        """Return the state variable of this name, such as ``a.adam.m``."""
        return next(v for v, _ in self.updates if v.name == name)

    def compile(self, mode: Any = QUICK) -> Callable[..., Any]:
        """Return the function of one update: of the gradients, without a result."""
        return pytensor.function(self.inputs, [], updates=self.updates, mode=mode)

    def trajectory(
        self, gradients: Sequence[Arrays] | Callable[[int, Arrays], Arrays], steps: Sequence[int]
    ) -> dict[int, Arrays]:
        """Return the parameters after each of `steps`."""
        step, seen = self.compile(), {}
        for k in range(max(steps)):
            gs = gradients(k, self.values()) if callable(gradients) else gradients[k]
            step(*(np.asarray(g, p.type.dtype) for g, p in zip(gs, self.params, strict=True)))
            if k + 1 in steps:
                seen[k + 1] = self.values()
        return seen

    def values(self) -> Arrays:
        """Return copies of the parameters as they are now."""
        return [param.get_value() for param in self.params]

    def products(self) -> Iterator[np.ndarray]:
        """Yield H r for the normal vectors r that the rule's generator will draw; it does not move."""
        generators = (v.get_value() for v, _ in self.updates)
        rng = copy.deepcopy(next(g for g in generators if isinstance(g, np.random.Generator)))
        n = join(self.values()).size
        while True:
            yield hessian(n) @ rng.normal(size=n)
