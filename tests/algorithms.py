"""The table of algorithms: what each is set to, and what it then equals. Every generic test runs over it.

To add an algorithm, add its cases to a module of `cases`: a registered one that is in none of them fails a test.
After a change of what torch is asked for, run `make_goldens.py`.
"""

from __future__ import annotations

import importlib
import pkgutil

import cases

MODULES = [importlib.import_module(f"cases.{m.name}") for m in pkgutil.iter_modules(cases.__path__)]
CASES = [case for module in MODULES for case in module.CASES]

# Settings under which an algorithm adds nothing of its own to gradients; algorithms that move without one.
QUIET = {algo: settings for module in MODULES for algo, settings in getattr(module, "QUIET", {}).items()}
MOVES = {algo for module in MODULES for algo in getattr(module, "MOVES", ())}

# Of each algorithm the case with most settings and no schedule, for tests that vary something else.
TYPICAL = {case.algo: case for case in sorted(CASES, key=lambda c: len(c.settings)) if not case.rate}
