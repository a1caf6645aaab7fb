"""Which part of the package may import which."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import downhill2

ROOT = Path(downhill2.__file__).parent
# Files are in the order in which they may build on each other.
DATA = (
    *("data.stretches", "data.sources", "data.files", "data.readahead", "data.cursor", "data.feeds"),
    *("data.streams", "data.supply", "dataset"),
)
GROUND = ("checks", "climate", "config", "extras", "symbolic", "compiling", "running", "data", "dataset")
NEIGHBOURS = {"running.functions": ("compiling", "config"), "running.formats": ("extras",), "dataset": ("data",)}
LOOP = (
    *("running.signals", "running.saving", "running.plateau", "running.stopping"),
    *("running.records", "running.loop"),
)
ALGORITHMS = (
    "sgd", "rprop", "adagrad", "rmsprop", "adadelta", "adam", "curvature", "adam_variants", "adamax", "sign",
    "belief", "mixtures", "averaged", "regret", "smorms3", "layerwise", "factored", "loss_scaled", "parameter_free",
    "schedule_free",
)  # fmt: skip


def name_of(path):
    """Return the name of a module below the package; that of the package itself is empty."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module):
    return module.split(".")[0]


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}
FACADE = ("", "first_order", "adaptive")
# What stands on the ground and carries the algorithms, `base` the last of it.
MIDDLE = [m for m in MODULES if m == "base" or room(m) == "fitting"]


def absolute(node, module):
    """Return what a `from ... import ...` names, from the root of the package or of another."""
    if not node.level:
        return node.module
    package = module.split(".") if MODULES[module].name == "__init__.py" else module.split(".")[:-1]
    above = [p for p in package if p][: len([p for p in package if p]) - node.level + 1]
    return ".".join(["downhill2", *above, *([node.module] if node.module else [])])


def at_module_level(tree):
    """Yield the statements that importing runs: not those in functions, nor for type checkers only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from at_module_level(node)


def imports(module):
    """Return the modules of the package that a module imports at its top, `''` being the package itself."""
    found = set()
    for node in at_module_level(ast.parse(MODULES[module].read_text())):
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
    return found


def outside(module, *allowed):
    """Return what a module imports besides its own room and those allowed."""
    return {m for m in imports(module) if room(m) != room(module) and room(m) not in allowed}


def test_imports_are_found():
    assert {"symbolic.graph", "symbolic.hyper", "running.loop", "fitting.fit"} <= imports("base")
    assert {"symbolic.graph", "symbolic.state"} <= imports("symbolic.rule")
    assert {"base", "symbolic.formulas"} <= imports("algorithms.adam")


@pytest.mark.parametrize("module", [m for m in MODULES if room(m) in GROUND])
def test_the_ground_rooms_import_no_neighbour(module):
    assert not outside(module, "checks", *NEIGHBOURS.get(module, ()))


def test_each_file_of_the_data_imports_only_those_before_it():
    for position, module in enumerate(DATA):
        assert imports(module) <= {"checks", *DATA[:position]}


def test_the_loop_imports_nothing_of_the_package_but_its_parts():
    for position, module in enumerate(LOOP):
        assert imports(module) <= {"checks", *LOOP[:position]}


@pytest.mark.parametrize("module", MIDDLE)
def test_what_carries_the_algorithms_stands_on_the_ground(module):
    assert not outside(module, *GROUND, "fitting")


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("algorithms.")])
def test_an_algorithm_file_imports_only_the_house_and_those_before_it(module):
    position = ALGORITHMS.index(module.removeprefix("algorithms."))
    assert not outside(module, "base", "symbolic")
    siblings = {m.removeprefix("algorithms.") for m in imports(module) if room(m) == "algorithms"}
    assert siblings <= set(ALGORITHMS[:position])


@pytest.mark.parametrize("module", ALGORITHMS)
def test_an_algorithm_is_short(module):
    source = (ROOT / "algorithms" / f"{module}.py").read_text()
    directions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef) and n.name == "direction"]
    assert directions
    assert all(sum(isinstance(n, ast.stmt) for n in ast.walk(d)) - 1 <= 15 for d in directions)
    assert len(source.splitlines()) <= 450


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("reporting.trackers")])
def test_trackers_stand_on_the_history(module):
    known = ("reporting.trackers", "reporting.choices", "running.history", "running.loop", "extras", "checks")
    assert not [m for m in imports(module) if not m.startswith(known)]


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("reporting.plots")])
def test_pictures_stand_on_the_history_alone(module):
    assert not [
        m for m in imports(module) if not m.startswith(("reporting.plots", "running.history", "extras", "checks"))
    ]


@pytest.mark.parametrize("module", ["reporting.report", "reporting.facts", "reporting.environment"])
def test_the_report_stands_on_the_history_and_the_pictures(module):
    rooms = ("facts", "environment", "choices", "plots", "words")
    known = (*(f"reporting.{name}" for name in rooms), "running.history")
    assert not [m for m in imports(module) if m not in ("reporting", "extras", "checks") and not m.startswith(known)]


@pytest.mark.parametrize("module", ["progress", "screens", "status", "words"])
def test_progress_stands_on_nothing_but_its_parts(module):
    parts = {f"reporting.{part}" for part in ("screens", "status", "words")}
    assert imports(f"reporting.{module}") <= {"reporting", "extras", *parts}


@pytest.mark.parametrize("module", [m for m in MODULES if room(m) == "tuning"])
def test_tuning_stands_on_the_optimizer(module):
    assert not outside(module, *GROUND, "base", "fitting", "schedules")


@pytest.mark.parametrize("module", [m for m in MODULES if room(m) == "integrations"])
def test_integrations_stand_on_the_optimizer(module):
    assert not outside(module, *GROUND, "base", "fitting", "plugin", "schedules")


@pytest.mark.parametrize("module", ["first_order", "adaptive"])
def test_the_old_paths_are_re_exports_only(module):
    assert not outside(module, "algorithms")
    tree = ast.parse(MODULES[module].read_text())
    assert {type(node) for node in tree.body} == {ast.Expr, ast.ImportFrom, ast.Assign}


def test_only_the_facade_imports_algorithms_and_only_the_command_line_imports_the_facade():
    users = {m for m in MODULES if {room(x) for x in imports(m)} & {"algorithms", "first_order", "adaptive"}}
    assert {m for m in users if room(m) != "algorithms"} == set(FACADE)
    assert {room(m) for m in MODULES if "" in imports(m)} <= {"cli"}


def test_nothing_stands_on_the_command_line():
    assert [m for m in MODULES if "cli" in {room(x) for x in imports(m)} and room(m) != "cli"] == ["__main__"]


def test_imports_have_no_cycle():
    done, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path, module])
        if module in done:
            return
        path.append(module)
        for other in imports(module) - {module}:
            visit(other)
        path.pop()
        done.add(module)

    for module in MODULES:
        visit(module)
    assert done == set(MODULES)


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
