"""Pairs of settings and algorithms that make no sense together, in one table."""

from __future__ import annotations

from typing import NamedTuple

from .rule import Rule


class Pair(NamedTuple):
    """A setting, and what it must not go with: another setting, a trait of the algorithm, or an algorithm by name."""

    setting: str
    other: str
    reason: str


TRAITS = {
    "hvp": "an algorithm that needs Hessian-vector products",
    "loss": "an algorithm that needs the value of the loss",
    "evaluated": "an algorithm that has an average of its own",
}

_MOVED = "it would have the gradient at one point and the {} at another"
_ANCHORED = "it computes each point anew from sums of gradients, and would not go on from where Lookahead goes back to"
_SUMMED = "its parameters are the start and a sum of steps, and nothing else may move them"

PAIRS = (
    Pair("accumulate", "sam", "the point of the second gradient would be that of each batch, and not of all"),
    Pair("accumulate", "hvp", "the product is that of one batch"),
    Pair("sam", "hvp", _MOVED.format("product")),
    Pair("sam", "loss", _MOVED.format("loss")),
    Pair("momentum", "schedulefree", "its interpolation is the momentum"),
    Pair("mechanic", "schedulefree", "its averages are of points that it has chosen"),
    Pair("project", "schedulefree", "its averages are of points that it has chosen"),
    Pair("lookahead", "evaluated", "two points would claim to be the ones to evaluate"),
    Pair("lookahead", "cocob", _ANCHORED),
    Pair("lookahead", "ftrl", _ANCHORED),
    Pair("lookahead", "madgrad", _ANCHORED),
    Pair("ema", "evaluated", "two points would claim to be the ones to evaluate"),
    Pair("swa", "evaluated", "two points would claim to be the ones to evaluate"),
    Pair("ema", "swa", "two points would claim to be the ones to evaluate"),
    Pair("mechanic", "lookahead", _SUMMED),
    Pair("mechanic", "project", _SUMMED),
)


def check(rule: Rule, parts: list[Rule]) -> None:
    """Raise ValueError if a pair of the table is in use.

    Parameters
    ----------
    rule : Rule
        The rule that has the settings.
    parts : list of Rule
        The algorithms of the groups, or `rule` alone.
    """
    for setting, other, reason in PAIRS:
        if not _is_on(rule, setting):
            continue
        if other in rule.hyper.declared:
            if _is_on(rule, other):
                raise ValueError(_message(rule, setting, f"{other}={rule.hyper[other]!r}", reason))
            continue
        for part in parts:
            if _has(part, other):
                name = type(part).__name__
                raise ValueError(
                    _message(rule, setting, f"{name}, {TRAITS[other]}" if other in TRAITS else name, reason)
                )


def _is_on(rule: Rule, setting: str) -> bool:
    return rule.hyper["accumulate"] > 1 if setting == "accumulate" else rule.hyper.present(setting)


def _has(rule: Rule, trait: str) -> bool:
    if trait == "evaluated":
        return hasattr(rule, "evaluated")
    return trait in rule.needs or any(trait == c.__name__.lower() for c in type(rule).__mro__)


def _message(rule: Rule, setting: str, other: str, reason: str) -> str:
    value: object = rule.hyper[setting]
    return f"{setting} must be left out with {other}, got {value!r}; {reason}"
