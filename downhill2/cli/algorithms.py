"""``downhill2 algorithms``: all algorithms, or the page of one.

State counts the numbers that an algorithm keeps for each element of a parameter, its own settings those beside what
every algorithm takes. A page has the idea, the equations, all settings with their defaults, presets and the papers.
"""

from __future__ import annotations

import argparse
import inspect
import re
import textwrap
from collections.abc import Mapping
from typing import Any

from ..catalogue import AlgorithmInfo, list_algorithms
from ..symbolic import synonyms
from ..symbolic.declared import Hyper, Setting, declared
from .arguments import add_json
from .docstrings import as_text
from .errors import UsageError
from .output import TextTable, show, width

HELP = "list the algorithms, or show the page of one"
EXAMPLES = """\
downhill2 algorithms                      all of them: settings, state, paper
downhill2 algorithms adam                 the page of one: equations, settings, presets
downhill2 algorithms | cut -f 1           their names alone
downhill2 algorithms lamb --json          for a program"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="an algorithm")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the table, or a page."""
    known = list_algorithms()
    if args.name is None:
        found = list(known.values())
        show(args.json, [described(a) for a in found], overview(found).show)
        return 0
    if args.name.lower() not in known:
        raise UsageError(unknown(args.name, known))
    algorithm = known[args.name.lower()]
    show(args.json, described(algorithm), lambda: _page(algorithm))
    return 0


def unknown(name: str, known: Mapping[str, AlgorithmInfo]) -> str:
    """Return the message for an unknown algorithm."""
    return synonyms.unknown_algorithm(name, known, "`downhill2 algorithms`")


def described(algorithm: AlgorithmInfo) -> dict[str, Any]:
    """Return what there is to know of an algorithm, for JSON."""
    return {
        "name": algorithm.name,
        "summary": algorithm.summary,
        "paper": algorithm.paper,
        "settings": algorithm.settings,
        "common": algorithm.common,
        "names": algorithm.names,
        "presets": algorithm.presets,
        "state": algorithm.state,
        "numbers_per_element": algorithm.memory,
        "documentation": _doc(algorithm),
    }


def overview(algorithms: list[AlgorithmInfo]) -> TextTable:
    """Return the table of algorithms."""
    rows = [[a.name, f"{a.memory:g}", _listed(a.settings), _publication(a.paper)] for a in algorithms]
    return TextTable(["name", "state", "settings", "paper"], rows, numbers={"state"})


def _publication(paper: str) -> str:
    """Return authors and year of a paper; of more than two authors, the first."""
    found = re.match(r"(.+?) \((\d{4})\)", paper)
    if not found:
        return paper
    surnames = re.sub(r"\b(?:\w\.[- ]?)+", "", found[1])
    first, comma, _ = surnames.partition(", ")
    return f"{first} et al. {found[2]}" if comma else f"{surnames} {found[2]}"


def _given(settings: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={_code(value)}" for name, value in settings.items())


def _code(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else repr(value)


def _doc(algorithm: AlgorithmInfo) -> str:
    return inspect.cleandoc(algorithm.cls.__doc__ or "")


def _page(algorithm: AlgorithmInfo) -> None:
    print(as_text(_doc(algorithm), width()), "\n\nSettings\n--------", sep="")
    settings(algorithm).show()
    also = f"Every algorithm also takes {_listed(algorithm.common)}."
    print("", textwrap.fill(also, width(), break_on_hyphens=False), "", "Presets\n-------", sep="\n")
    rows = [[f"preset={name!r}", _given(changed) or "the defaults"] for name, changed in algorithm.presets.items()]
    TextTable(["preset", "sets"], rows).show() if rows else print("none: no other library has it")
    state = _listed(algorithm.state) or "none"
    print(f"\nState: {state}; {algorithm.memory:g} numbers for each element of a parameter.")


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(names)


def settings(algorithm: AlgorithmInfo) -> TextTable:
    """Return the table of an algorithm's own settings."""
    known = declared(algorithm.cls, Hyper | Setting)
    rows = []
    for name, default in algorithm.settings.items():
        others = [other for other in algorithm.names[name] if other != name]
        rows.append([name, _code(default), _allowed(known[name]), ", ".join(others)])
    return TextTable(["setting", "default", "allowed", "also given as"], rows)


def _allowed(setting: Hyper | Setting) -> str:
    if isinstance(setting, Hyper):
        return setting.condition()
    options = setting.options
    return ", ".join(map(_code, options)) if isinstance(options, tuple) else str(options.__name__)
