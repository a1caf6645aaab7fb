"""From a program to a compiled function: one source text, its globals, its key in the disk cache."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytensor

from . import coefficients, elementary, intrinsics, powers, private, reals, trigonometry
from .parallel import Split
from .program import Program
from .source import INDENT, Kernel
from .steps import LoopTable
from .values import SUPPORTED
from .verify import check_names

NAME = "generated"

TYPES = {dtype: getattr(np, dtype) for dtype in SUPPORTED[1:]}
"""What source text calls to convert numbers: by these names alone, as looking them up in NumPy takes Numba's time."""

INLINE_UP_TO = 40
"""Loops that stand inside the function. LLVM's time grows faster than its length: beyond, they are steps or calls."""


def assemble(program: Program) -> Any:
    """Return the Numba function of a program, to be compiled at its first call.

    Its argument is the address of a table of integers (see :class:`CallTable`), then whatever is no array. It returns
    None, or a tuple of what could not be placed beforehand.
    """
    objects = program.write()
    scope = {"math": math, "__name__": __name__, **TYPES, **program.scope}
    scope.update({name: getattr(intrinsics, name) for name in intrinsics.PLAIN})
    scope.update(elementary.FUNCTIONS, cube_root=powers.cube_root, power=powers.power)
    keys = list(program.keys)
    lines = [INDENT + line for line in _statements(program, objects, scope, keys)]
    if objects:
        lines.append(f"{INDENT}return ({', '.join(objects)},)")
    arguments = ", ".join(["table", *(f"x{index}" for index in program.layout.passed)])
    source = "\n".join([f"def {NAME}({arguments}):", *(lines or [f"{INDENT}pass"])])
    known = all(key is not None for _, key in keys)
    return private.compiled(source, NAME, scope, key_of(source, *keys) if known else None, entry=True)


def _statements(
    program: Program, results: list[str], scope: dict[str, Any], keys: list[tuple[str, str | None]]
) -> list[str]:
    """Return all statements; loops that occur twice are calls of shared functions, in a large graph steps."""
    kernels = [line for line in program.main.lines if isinstance(line, Kernel)]
    check_names(kernels, scope)
    texts = {id(kernel): kernel.function("loops") for kernel in kernels}
    count, large = Counter(texts.values()), len(kernels) > INLINE_UP_TO
    shared = _Shared(scope, keys)
    steps = LoopTable(program, shared.loops)
    constants: dict[str, str] = {}
    for number, line in enumerate(program.main.lines):
        if not isinstance(line, Kernel):
            steps.put(line)
            continue
        text = texts[id(line)]
        if line.split is not None:
            steps.put(*line.split.call(shared.split(line.split, text), shared.loops(text)))
        elif large and line.is_plain():
            steps.add(line, text)
        elif large or count[text] > 1:
            steps.put(line.call(shared.loops(text), constants))
        else:
            steps.put(*line.inline(number))
    lines = steps.statements(results)
    shared.steps(program, steps)
    return [*(f"{name} = {number}" for number, name in constants.items()), *lines]


class _Shared:
    """Functions that the generated one calls, one for each text."""

    def __init__(self, scope: dict[str, Any], keys: list[tuple[str, str | None]]) -> None:
        self._scope, self._keys = scope, keys
        self._names: dict[tuple[str, ...], str] = {}

    def loops(self, text: str) -> str:
        """Return the name of a function of loops."""
        return self._name("loops", text)

    def split(self, split: Split, loops: str) -> str:
        """Return the name of a function that runs those loops by several threads."""
        blocks = self._name("blocks", split.blocks(), loops, loops=self._scope[self.loops(loops)])
        return self._name("split", split.function(), split.blocks(), loops, blocks=self._scope[blocks])

    def steps(self, program: Program, steps: LoopTable) -> None:
        """Make the function of steps, if there are any."""
        if steps.texts:
            source = steps.function()
            self._scope.update(program.scope)
            self._scope["steps"] = self._scope[self._name("steps", source, *steps.texts)]

    def _name(self, kind: str, *texts: str, **within: Any) -> str:
        if texts not in self._names:
            name, key = f"{kind}_{len(self._names)}", key_of(*texts)
            self._scope[name] = private.compiled(texts[0], kind, self._scope | within, key, entry=False)
            self._keys.append((name, key))
            self._names[texts] = name
        return self._names[texts]


def key_of(*parts: Any) -> str:
    """Return the key of compiled code: its text, and all that gives the text its meaning."""
    meaning = (_primitives(), numba.__version__, pytensor.__version__, pytensor.config.numba__fastmath)
    return sha256(repr((*parts, *meaning)).encode()).hexdigest()


@cache
def _primitives() -> str:
    """Return the text of the modules that say what the primitives of a source text do."""
    modules = coefficients, elementary, intrinsics, powers, private, reals, trigonometry
    files = (Path(str(module.__file__)) for module in modules)
    return "".join(file.read_text(encoding="utf-8") for file in files)
