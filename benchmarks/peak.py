"""Peak memory of a fresh process: ``python -m benchmarks.peak problem contender file``."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

from . import one_step
from .peers import makes
from .problems import Problem, mlp, network, quadratic

STEPS = 100

CONTENDERS = {**one_step.CONTENDERS, "optax": ("with_optax", "fed")}


def problem(name: str, tiny: bool) -> Problem:
    """Return a problem, or a tiny one whose graph is the same; who solves it is given its first values to own."""
    if name == "mlp":
        return replace(network([3, 2, 2, 2], 4, 2) if tiny else mlp(STEPS), lasting=False)
    return replace(quadratic(1, 10 if tiny else 10_000_000), chunk=STEPS, lasting=False)


def needed(what: Problem, snapshot: bool) -> int:
    """Return the bytes of parameters, gradients, Adam's two moments, best snapshot, data and activations."""
    copies = 5 if snapshot else 4
    data = sum(a.nbytes for a in what.data)
    return copies * sum(p.nbytes for p in what.params) + data + what.activations


def status(field: str) -> int:
    """Return a field of this process's status in bytes."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if not found:
        raise OSError(f"this system does not tell {field}")
    return 1024 * int(found[1])


def use(what: Problem, name: str) -> None:
    """Make the steps: downhill2 as users run it, with a validation before and after, so that a snapshot is kept."""
    if name == "minimize":
        makes("symbolic", "validated", what)()
    else:
        module, function, *args = CONTENDERS[name]
        makes(module, function, what, *args)().advance(STEPS)


def main(name: str, contender: str, path: str) -> None:
    """Measure and write down."""
    use(problem(name, tiny=True), contender)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = status("VmRSS")
    what = problem(name, tiny=False)
    held = needed(what, contender == "minimize")
    use(what, contender)
    Path(path).write_text(json.dumps({"growth": status("VmHWM") - before, "needed": held}))


if __name__ == "__main__":
    main(*sys.argv[1:])
