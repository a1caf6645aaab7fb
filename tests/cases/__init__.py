"""What a case of the table of algorithms is. Each module here holds the cases of one family, as `CASES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from downhill2 import Optimizer


@dataclass(frozen=True, eq=False)
class Case:
    """One algorithm under some settings.

    Parameters
    ----------
    algo : str
        The name in the registry.
    label : str
        What is special about the settings.
    settings : dict
        Hyperparameters, as `build` takes them. Functions among them are of the number of updates made before.
    reference : callable
        The NumPy oracle: `(start, gradients, steps) -> {step: parameters}`; with `curvature`, a function that
        makes this from the products of the Hessian matrix with the rule's random vectors, one per update.
    torch, optax : callable, optional
        What the case must equal there: `torch(torch.optim, params) -> optimizer`,
        `optax(optax) -> transformation`.
    curvature : bool
        Whether the rule needs a loss whose Hessian matrix is not zero.
    draws : bool
        Whether the rule draws random numbers, one parameter after the other.
    float32 : float
        What a float32 run may differ from the float64 reference, in units of the tensor's largest absolute
        value; a larger value than the usual one has its reason beside it.
    optax_within : float
        What a float64 run may differ from optax, in units of how far a parameter went, likewise.
    """

    algo: str
    label: str
    settings: Mapping[str, Any]
    reference: Callable[..., Any]
    torch: Callable[..., Any] | None = None
    optax: Callable[..., Any] | None = None
    curvature: bool = False
    draws: bool = False
    float32: float = 2e-6
    optax_within: float = 1e-9

    def __str__(self) -> str:
        return f"{self.algo}-{self.label.replace(' ', '_')}"

    @property
    def rate(self) -> Callable[[int], float] | None:
        """The learning rate, if it depends on the number of updates."""
        rate = self.settings.get("learning_rate")
        return rate if callable(rate) else None


def geometric(k):
    return 0.1 * 0.9**k


def inverse(k):
    return 0.1 / (1 + 0.05 * k)


def growing(k):
    return 1 - 1 / (2.0 + k)


def preset(algo, name, **settings):
    """Return the settings of a preset of an algorithm, and some beside them."""
    return {**Optimizer.registry[algo].presets[name], **settings}
