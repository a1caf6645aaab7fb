"""Parameter groups: a rule with settings of its own for some of the parameters."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..checks import shown
from . import graph
from .graph import Variable
from .hyper import Hyper, Hyperparameters
from .layout import Layout
from .problem import listed
from .rule import Rule, RuleState
from .stages import SPANNING


class Groups:
    """The groups of one optimizer: their rules, and which parameters each updates.

    Parameters
    ----------
    groups : sequence of dict
        For each group, ``'params'`` selects its parameters, ``'algo'`` is its algorithm, and all else are its
        settings. A group without ``'params'`` has the parameters that no other group has. One without ``'algo'``
        has the optimizer's algorithm, and takes from the optimizer what it does not set.
    context : RuleState
        The optimizer's, whose clocks and state the groups share.
    make : callable
        ``make(algo, settings)`` returns a rule; an `algo` of None is the optimizer's own.

    Attributes
    ----------
    rules : list of Rule
    params : list of list of shared variables
        The parameters of each, after `bind`.

    Raises
    ------
    TypeError, ValueError
        For something that is no group, or a setting that a group cannot have.
    """

    def __init__(
        self, groups: Sequence[Mapping[str, object]], context: RuleState, make: Callable[[object, dict[str, Any]], Rule]
    ) -> None:
        if isinstance(groups, Mapping):
            raise TypeError(f"groups must be a sequence of dicts, got {shown(groups)}")
        self._selections: list[object] = []
        self.rules: list[Rule] = []
        self.params: list[list[Variable]] = []
        for index, group in enumerate(listed("groups", groups, "a sequence of dicts")):
            if not isinstance(group, Mapping):
                raise TypeError(f"groups[{index}] must be a dict of settings, got {shown(group)}")
            settings = dict(group)
            self._selections.append(settings.pop("params", None))
            self._add(index, settings, context, make)
        if self._selections.count(None) > 1:
            raise ValueError("groups must have one group without params at most, which takes the rest, got more")

    def _add(self, index: int, settings: dict[str, Any], context: RuleState, make: Callable[..., Rule]) -> None:
        if "groups" in settings:
            raise TypeError(f"groups[{index}] must not have groups of its own, got {shown(settings['groups'])}")
        algo = settings.pop("algo", None)
        for name in settings:
            if near := difflib.get_close_matches(name, ["params", "algo"], 1, 0.8):
                raise TypeError(f"groups[{index}] has no setting {name!r}; did you mean {near[0]!r}?")
        rule = make(algo, settings)
        if rule.context.joined:
            raise ValueError(f"groups[{index}] must have an algorithm that no other group has, got {shown(algo)} again")
        for name in _spanning(rule.hyper, with_defaults=algo is not None):
            raise ValueError(f"groups[{index}] must not have {name}, which spans all groups; give it beside groups")
        rule.context.join(context)
        rule.hyper.parent = context.hyper if algo is None else None
        context.hyper.groups[_name(index)] = rule.hyper
        self.rules.append(rule)

    def bind(self, params: Sequence[Variable], names: Sequence[str]) -> None:
        """Distribute the parameters.

        Raises
        ------
        TypeError
            If a selection is no variable, pattern or predicate.
        ValueError
            If groups overlap, one has no parameter, or a parameter has no group.
        """
        owners: dict[Variable, int] = {}
        known = dict(zip(params, names, strict=True))
        for index, selection in enumerate(self._selections):
            for p in () if selection is None else _selected(f"groups[{index}]", selection, known):
                if owners.setdefault(p, index) != index:
                    both = f"groups[{owners[p]}] and groups[{index}]"
                    raise ValueError(f"groups must not share parameters, got {known[p]!r} in {both}")
        rest = [p for p in params if p not in owners]
        if None in self._selections:
            owners |= dict.fromkeys(rest, self._selections.index(None))
        elif rest:
            lost = ", ".join(known[p] for p in rest)
            raise ValueError(f"groups must have every parameter, got none with {lost}; one without params has the rest")
        self.params = [[p for p in params if owners[p] == index] for index in range(len(self.rules))]
        if [] in self.params:
            raise ValueError(f"groups[{self.params.index([])}] must have a parameter, got none; the others have all")

    def parts(self, layout: Layout) -> list[tuple[Rule, Layout]]:
        """Return the rule of each group that is not frozen, with the layout of its parameters."""
        all_of = enumerate(zip(self.rules, self.params, strict=True))
        return [(rule, layout.part(params, _name(i))) for i, (rule, params) in all_of if not rule.hyper["frozen"]]


def _name(index: int) -> str:
    return f"group{index}"


def _spanning(hyper: Hyperparameters, with_defaults: bool) -> list[str]:
    """Return the settings that span groups, and their options, which a caller set or which are on by default."""
    given = [n for n, d in hyper.declared.items() if n in hyper.explicit and {n, d.of} & {*SPANNING}]
    return given + [n for n in SPANNING if with_defaults and _is_on(hyper, n)]


def _is_on(hyper: Hyperparameters, name: str) -> bool:
    # the defaults of an algorithm switch on numbers only, such as the noise of NoisySGD
    return isinstance(hyper.declared[name], Hyper) and hyper.present(name)


def _selected(name: str, selection: object, known: Mapping[Variable, str]) -> list[Variable]:
    """Return the parameters that a variable, a pattern of names, a predicate or a sequence of these selects."""
    if isinstance(selection, list | tuple | set):
        found = {p for one in selection for p in _selected(name, one, known)}
    elif graph.is_variable(selection):
        found = {selection} & known.keys()
    elif isinstance(selection, str):
        found = {p for p, label in known.items() if fnmatch.fnmatchcase(label, selection)}
    elif callable(selection):
        found = {p for p in known if selection(p)}
    else:
        kinds = "a parameter, a pattern of names, a function of a parameter, or a list of these"
        raise TypeError(f"params of {name} must be {kinds}, got {shown(selection)}")
    if not found:
        raise ValueError(f"params of {name} must name a parameter, got {shown(selection)}; there are {_listed(known)}")
    return [p for p in known if p in found]


def _listed(known: Mapping[Variable, str]) -> str:
    return ", ".join(known.values())
