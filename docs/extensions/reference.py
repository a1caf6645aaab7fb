"""Fail the build where a public name has no entry in the reference."""

from __future__ import annotations

import inspect
import operator
import re
import sys
import types
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import downhill2

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

# classes whose methods have entries, and those methods that only rooms of the package call on each other
CLASSES = {
    downhill2.Optimizer: {"apply", "bind", "context", "evaluations", "fit", "follow", "members", "parts", "states"},
    downhill2.Dataset: {"bind"},
    downhill2.History: {"replace"},
}


def public_names() -> Iterator[str]:
    """Yield the full name of all that users may use: of the facade, of its modules, of its classes."""
    for name in [*downhill2.__all__, *downhill2._LATER]:
        yield from names_of(f"downhill2.{name}", getattr(downhill2, name))


def names_of(name: str, thing: Any) -> Iterator[str]:
    """Yield the name of a thing and of what is public in it."""
    yield name
    if inspect.ismodule(thing):
        for member in members_of_module(thing):
            yield from names_of(f"{name}.{member}", getattr(thing, member))
    elif thing in CLASSES:
        yield from (f"{name}.{member}" for member in methods_of(thing))


def members_of_module(module: types.ModuleType) -> list[str]:
    """Return what a module exports: nothing, if it stands for the paths of old scripts."""
    if module in (downhill2.base, downhill2.first_order, downhill2.adaptive):
        return []
    own = [
        n
        for n, x in vars(module).items()
        if n[0] != "_" and (isinstance(x, bool) or getattr(x, "__module__", "") == module.__name__)
    ]
    return list(getattr(module, "__all__", own))


def methods_of(cls: type) -> list[str]:
    """Return the methods and properties that a class has from this package, for users."""
    own = [base for base in cls.__mro__ if base.__module__.startswith("downhill2.")]
    found = {n: x for base in reversed(own) for n, x in vars(base).items() if n[0] != "_" and n not in CLASSES[cls]}
    return [n for n, x in found.items() if isinstance(x, types.FunctionType | property | classmethod)]


def missing(documented: Collection[str]) -> list[str]:
    """Return the public names that have no entry."""
    return [name for name in public_names() if name not in documented]


DIRECTIVE = re.compile(r"^( *)\.\. (currentmodule|auto\w+):: (\S+)\n((?: +:.*\n)*)", re.MULTILINE)
ATTRIBUTES = re.compile(r"^Attributes\n-+\n(.*?)(?=^\S[^\n]*\n---|\Z)", re.MULTILINE | re.DOTALL)


def entries(page: str) -> Iterator[str]:
    """Yield the names to which the directives of a page give entries, as far as names of users go.

    This is what tests look at, as Sphinx takes long and may not be there; Sphinx has the last word.
    """
    module = owner = ""
    for indent, kind, given, options in DIRECTIVE.findall(page):
        if kind == "currentmodule":
            module = given
            continue
        name = given if given.startswith("downhill2.") else f"{owner if indent else module}.{given}"
        owner = name if kind == "autoclass" else owner
        thing = operator.attrgetter(name.removeprefix("downhill2."))(downhill2)
        yield name
        yield from (f"{name}.{member}" for member in [*attributes_of(thing), *members_told(thing, options)])


def attributes_of(thing: Any) -> list[str]:
    """Return the attributes that a docstring tells of, in a section of their own."""
    found = ATTRIBUTES.search(inspect.getdoc(thing) or "")
    lines = re.findall(r"^(\S.*?) :", found[1], re.MULTILINE) if found else []
    return [name for line in lines for name in line.split(", ")]


def members_told(thing: Any, options: str) -> list[str]:
    """Return the members for which a directive asks: those that it names, or all that have a docstring."""
    told = dict(re.findall(r"^ +:([\w-]+): *(.*)$", options, re.MULTILINE))
    if "members" not in told:
        return []
    of = members_of_module if inspect.ismodule(thing) else vars
    left_out = told.get("exclude-members", "").split(", ")
    names = told["members"].split(", ") if told["members"] else [n for n in of(thing) if n not in left_out]
    return [n for n in names if n[0] != "_" and inspect.getdoc(getattr(thing, n))]


def check(app: Sphinx, env: BuildEnvironment) -> None:
    from sphinx.util import logging

    for name in missing(env.get_domain("py").objects):  # type: ignore[attr-defined]
        logging.getLogger(__name__).warning("%s is public, and has no entry in docs/reference", name)


def setup(app: Sphinx) -> dict[str, bool]:
    for name in downhill2._LATER:  # modules by the name that users have for them, where autodoc looks
        if inspect.ismodule(module := getattr(downhill2, name)):
            sys.modules[f"downhill2.{name}"] = module
    app.connect("env-check-consistency", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
