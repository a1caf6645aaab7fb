"""The stages of a step, in order: one table, from which all other lists of stages are derived.

To add a stage, write its class, with the settings that it declares, and its row here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from .accumulation import Accumulate
from .averaging import EMA, SWA, Lookahead
from .declared import Hyper, Setting, declared
from .functional import Functions, transform
from .projecting import Projecting
from .rule import Rule
from .sharpness import SAM
from .state import State
from .transforms import (
    Centralize,
    ClipAdaptive,
    ClipElement,
    ClipGlobalNorm,
    ClipNorm,
    GradientNoise,
    Mechanic,
    Momentum,
    Rate,
    Subtract,
    WeightDecay,
)

Active = Callable[[Rule], Iterable[Rule]]
"""Returns the rules of a stage, in order, for the settings of an algorithm; no rules if the stage is off."""

EACH, ALL = False, True
"""Whether a stage sees the parameters of one group, with the settings of that group, or all of them together."""


class Stage(NamedTuple):
    """A row of the table.

    Attributes
    ----------
    part : str
        The part of a step that it belongs to, as the documentation calls it.
    spans : bool
        `EACH` or `ALL`.
    declares : type
        The class that declares its settings.
    active : callable
        Returns its rules.
    """

    part: str
    spans: bool
    declares: type[Rule]
    active: Active


def is_on(rule: Rule, stage: type[Rule]) -> bool:
    """Whether the first setting that a stage declares switches it on."""
    return rule.hyper.present(next(iter(settings(stage))))


def settings(stage: type[Rule]) -> dict[str, Hyper | Setting]:
    """Return the settings that a stage declares by name, the switch first."""
    return {n: d for n, d in vars(stage).items() if isinstance(d, Hyper | Setting)}


def alone(stage: type[Rule], but: Callable[[Rule], bool] = lambda rule: True) -> Active:
    """Return the function for a stage that acts where it is on and `but` is true."""
    return lambda rule: [stage(rule.context)] if is_on(rule, stage) and but(rule) else []


def measured(rule: Rule) -> list[Rule]:
    """Return no rules: these stages act on gradients before any rule sees them."""
    return []


def functions(rule: Rule) -> list[Rule]:
    """Return a rule for each function of the caller."""
    return [transform(f)(rule.context) for f in rule.hyper["transforms"]]


def equation(rule: Rule) -> list[Rule]:
    """Return the algorithm itself."""
    return [rule]


def rate(inside: bool) -> Active:
    """Return the function for the rate, which acts before the velocity is summed, or after it."""

    def active(rule: Rule) -> list[Rule]:
        outside = is_on(rule, Momentum) and rule.hyper["momentum_rate"] == "outside"
        return [Rate(rule.context)] if inside != outside and not rule.owns_rate else []

    return active


def decay(coupled: bool) -> Active:
    """Return the function for decay, which acts through the gradient, or beside the step."""
    return alone(WeightDecay, lambda rule: not rule.own_decay and coupled == (rule.hyper["decay"] == "coupled"))


def always(stage: type[Rule]) -> Active:
    """Return the function for a stage that always acts."""
    return lambda rule: [stage(rule.context)]


ORDER = (
    Stage("measure", ALL, SAM, measured),
    Stage("gates", ALL, Accumulate, measured),
    Stage("the gradient", EACH, Centralize, alone(Centralize)),
    Stage("the gradient", EACH, ClipElement, alone(ClipElement)),
    # as in downhill, a bound on elements wins over one on the norm
    Stage("the gradient", EACH, ClipNorm, alone(ClipNorm, lambda rule: not is_on(rule, ClipElement))),
    Stage("the gradient", ALL, ClipGlobalNorm, alone(ClipGlobalNorm)),
    Stage("the gradient", EACH, ClipAdaptive, alone(ClipAdaptive)),
    Stage("the gradient", ALL, GradientNoise, alone(GradientNoise)),
    Stage("the gradient", ALL, Functions, functions),
    Stage("the gradient", EACH, WeightDecay, decay(coupled=True)),
    Stage("the equation", EACH, Rule, equation),
    Stage("momentum and rate", EACH, Rate, rate(inside=True)),
    Stage("momentum and rate", EACH, Momentum, alone(Momentum)),
    Stage("momentum and rate", EACH, Rate, rate(inside=False)),
    Stage("momentum and rate", EACH, WeightDecay, decay(coupled=False)),
    Stage("new value", ALL, Mechanic, alone(Mechanic)),
    Stage("new value", ALL, Subtract, always(Subtract)),
    Stage("new value", ALL, Projecting, alone(Projecting)),
    Stage("averages", ALL, Lookahead, alone(Lookahead)),
    # between two values of a set is not always in the set, to the last bit
    Stage("averages", ALL, Projecting, alone(Projecting, lambda rule: is_on(rule, Lookahead))),
    Stage("averages", ALL, EMA, alone(EMA)),
    Stage("averages", ALL, SWA, alone(SWA)),
)

CLASSES = tuple(dict.fromkeys(stage.declares for stage in ORDER if stage.declares is not Rule))
"""The classes of all stages, each once, in the order in which they first act."""

SETTINGS: dict[str, Any] = {name: d for stage in CLASSES for name, d in settings(stage).items()}
"""The settings that every algorithm takes, by name."""

_SPANNING = dict.fromkeys(stage.declares for stage in ORDER if stage.spans)
SPANNING = tuple(name for stage in _SPANNING for name, d in settings(stage).items() if not d.of)
"""Names of the settings that act on all parameters together, and so are no settings of one group."""

WITH_STATE = tuple(stage for stage in CLASSES if declared(stage, State))
"""The stages with state: an algorithm of the same name would give its state the same names."""

AVERAGES = tuple(stage for stage in CLASSES if hasattr(stage, "evaluated"))
"""The stages with averages, which are evaluated in place of parameters."""


def averages(rule: Rule) -> list[Rule]:
    """Return the averages that are on, in their order."""
    return [stage(rule.context) for stage in AVERAGES if is_on(rule, stage)]
