"""Which room of the package may import which, imports inside functions and for type checkers counted."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import downhill2

ROOT = Path(downhill2.__file__).parent
GROUND = ("checks", "climate", "config", "extras", "jsonable", "version")
ROOMS = {
    **dict.fromkeys(GROUND, ()),
    "symbolic": ("checks",),
    "compiling": (),
    "loop": ("checks",),
    "data": ("checks", "jsonable"),
    "algorithms": ("symbolic",),
    "schedules": ("checks", "loop", "symbolic"),
    "stepping": ("checks", "compiling", "config", "loop", "symbolic"),
    "keeping": ("checks", "extras", "jsonable", "loop", "version"),
    "fitting": (*GROUND, "symbolic", "compiling", "loop", "data", "stepping", "keeping"),
    "optimizer": (*GROUND, "symbolic", "compiling", "loop", "keeping", "fitting"),
    "plugin": ("symbolic", "optimizer"),
    "rules": ("symbolic",),
    "catalogue": ("symbolic",),
    "reporting": (*GROUND, "symbolic", "compiling", "loop", "data", "keeping"),
    "tuning": (*GROUND, "symbolic", "compiling", "loop", "data", "fitting", "stepping", "schedules", "optimizer"),
    "integrations": (
        *(*GROUND, "symbolic", "compiling", "loop", "data", "fitting", "stepping", "schedules", "optimizer", "plugin"),
    ),
    **dict.fromkeys(("util", "projections"), ("symbolic",)),
    "dataset": ("data",),
    "base": ("optimizer",),
    **dict.fromkeys(("first_order", "adaptive"), ("algorithms",)),
    "cli": (*GROUND, "", "catalogue", "compiling", "keeping", "loop", "reporting", "stepping", "symbolic"),
    "__main__": ("cli",),
}
"""What each room may import besides itself. The facade, whose name is empty, may import all but the command line."""

DOORS = {
    ("keeping.history", "reporting.plots"): "history.plot() draws, with matplotlib, an extra",
    ("optimizer", "reporting.report"): "opt.report() writes a page, with jinja2, an extra",
    ("fitting.running", "reporting.progress"): "progress=True shows a run, with rich, an extra",
    ("fitting.session", "reporting.progress"): "the type of what shows a run",
    ("tuning.learning_rate", "reporting.plots"): "the result of a range test draws itself, with matplotlib, an extra",
}
"""Imports of a room above, each when it is asked for, and why."""


def name_of(path):
    """Return the name of a module below the package; that of the package itself is empty."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module):
    return module.split(".")[0]


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}
ALGORITHMS = [m for m in MODULES if m.startswith("algorithms.")]


def absolute(node, module):
    """Return what a `from ... import ...` names, from the root of the package or of another."""
    if not node.level:
        return node.module
    package = module.split(".") if MODULES[module].name == "__init__.py" else module.split(".")[:-1]
    above = [p for p in package if p][: len([p for p in package if p]) - node.level + 1]
    return ".".join(["downhill2", *above, *([node.module] if node.module else [])])


def imports(module):
    """Return the modules of the package that a module imports anywhere, `''` being the package itself."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.ImportFrom):
            source = absolute(node, module)
            names = [f"{source}.{alias.name}" for alias in node.names] if source else []
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] != "downhill2":
                continue
            inside = name.removeprefix("downhill2").removeprefix(".")
            while inside and inside not in MODULES:
                inside = inside.rpartition(".")[0]
            found.add(inside)
    return found - {module}


GRAPH = {module: imports(module) for module in MODULES}


def test_imports_are_found_wherever_they_stand():
    assert {"symbolic.graph", "symbolic.algorithm", "loop.run", "fitting.fit"} <= GRAPH["optimizer"]
    assert {"symbolic.algorithm", "symbolic.formulas"} <= GRAPH["algorithms.adam"]
    assert "reporting.report" in GRAPH["optimizer"]  # in a function
    assert "data.dataset" in GRAPH["reporting.progress"]  # for type checkers


def test_every_room_is_in_the_table():
    assert {room(m) for m in MODULES} == {"", *ROOMS}


@pytest.mark.parametrize("module", [m for m in MODULES if m])
def test_a_room_imports_what_the_table_allows(module):
    others = {m for m in GRAPH[module] if room(m) != room(module) and (module, m) not in DOORS}
    assert {room(m) for m in others} <= {*ROOMS[room(module)]}


def names_of_compiling(module):
    """Return what a module imports of `compiling`, `''` for something that is not by name from the package itself."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.ImportFrom):
            source = absolute(node, module)
            names = {alias.name for alias in node.names}
            found |= names if source == "downhill2.compiling" else set()
            inside = source.startswith("downhill2.compiling.") or (source == "downhill2" and "compiling" in names)
            found |= {""} if inside else set()
        elif isinstance(node, ast.Import):
            found |= {"" for alias in node.names if alias.name.startswith("downhill2.compiling")}
    return found


@pytest.mark.parametrize("module", [m for m in MODULES if room(m) != "compiling"])
def test_of_compiling_only_what_its_package_names_is_imported(module):
    assert names_of_compiling(module) <= {*downhill2.compiling.__all__}


def test_imports_of_compiling_are_found():
    assert names_of_compiling("stepping.halves") == {"DeviceStep"}
    assert "blas_library" in names_of_compiling("reporting.environment")  # in a function


def test_compiling_names_what_it_has():
    assert all(hasattr(downhill2.compiling, name) for name in downhill2.compiling.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'emitz'"):
        downhill2.compiling.emitz  # noqa: B018


def test_compiling_works_as_a_package_of_its_own():
    place = ROOT / "compiling" / "__init__.py"
    spec = importlib.util.spec_from_file_location("alone", place, submodule_search_locations=[str(place.parent)])
    sys.modules["alone"] = alone = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(alone)
        assert alone.emits.__module__ == "alone.program"
        x = pt.dvector("x")
        f = pytensor.function([x], pt.tanh(x).sum(), mode=alone.fast_mode())
        assert not f.vm.jit_fn.fallbacks
        np.testing.assert_allclose(f(np.ones(3)), 3 * np.tanh(1))
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "alone"]:
            del sys.modules[name]


def test_every_door_is_used():
    assert all(target in GRAPH[module] for module, target in DOORS)


def test_the_facade_imports_everything_but_the_command_line():
    assert "cli" not in {room(m) for m in GRAPH[""]}


def test_imports_have_no_circle():
    done, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path, module])
        if module in done:
            return
        path.append(module)
        for other in GRAPH[module]:
            if (module, other) not in DOORS:
                visit(other)
        path.pop()
        done.add(module)

    for module in MODULES:
        visit(module)
    assert done == set(MODULES)


def test_no_file_and_no_class_has_the_name_of_another():
    files = Counter(path.stem for path in MODULES.values() if path.stem not in ("__init__", "__main__"))
    may = {"dataset"}  # its old path
    assert {name for name, count in files.items() if count > 1} <= may
    trees = [ast.parse(path.read_text()) for path in MODULES.values()]
    classes = Counter(n.name for tree in trees for n in tree.body if isinstance(n, ast.ClassDef))
    assert [name for name, count in classes.items() if count > 1] == []


@pytest.mark.parametrize("module", ALGORITHMS)
def test_an_algorithm_is_short(module):
    source = MODULES[module].read_text()
    directions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef) and n.name == "direction"]
    assert directions
    assert all(sum(isinstance(n, ast.stmt) for n in ast.walk(d)) - 1 <= 15 for d in directions)
    assert len(source.splitlines()) <= 450


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("reporting.plots")])
def test_pictures_stand_on_the_history_alone(module):
    known = ("reporting.plots", "keeping.history", "symbolic.graph", "extras", "checks")
    assert not [m for m in GRAPH[module] if not m.startswith(known)]


@pytest.mark.parametrize("module", ["first_order", "adaptive", "base", "dataset"])
def test_the_old_paths_are_re_exports_only(module):
    tree = ast.parse(MODULES[module].read_text())
    assert {type(node) for node in tree.body} == {ast.Expr, ast.ImportFrom, ast.Assign}


def test_importing_pulls_in_neither_pandas_nor_matplotlib_nor_more_of_scipy():
    program = """
import json, sys
import pytensor.tensor
before = set(sys.modules)
import downhill2
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    added = {m.split(".")[0] for m in json.loads(done.stdout)}
    assert not added & {"pandas", "polars", "matplotlib", "sklearn", "scipy", "torch", "jax", "numba"}
    assert "downhill2" in added
