"""Large loops on all cores: the elements in one block for each thread, and each block by the loop that does for all.

Numba's threads run the blocks. Beside OpenBLAS they would make a step several times slower, as its threads go on
spinning after a product; so loops are split where a graph has no product, or where products go through MKL.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from pytensor.tensor.math import Dot

from . import private
from .blas import blas_library
from .emit_reduce import Fold
from .program import EMITTERS, Program
from .source import INDENT, Block, Kernel, stored

ALONE, BESIDE_MKL = 2_000_000, 150_000
"""Elements from which on a loop is split: in a graph without products, or with products by MKL."""

MOST = 64
"""Threads at most."""

CHUNK = 1024
"""Blocks are multiples of this, so that the same elements are left over at the end as without blocks."""

THREADS = np.ones(1, np.int64)
"""How many threads generated functions use: they read it from here. One in a forked process, where Numba's are gone."""


_forked = False


def _after_fork() -> None:  # pragma: no cover  # runs in another process
    global _forked
    _forked, THREADS[0] = True, 1


if hasattr(os, "register_at_fork"):  # pragma: no branch  # Windows does not fork
    os.register_at_fork(after_in_child=_after_fork)


def threads() -> int:
    """Return how many threads there are to use: as many as Numba's, no more than ``OMP_NUM_THREADS``."""
    if _forked:  # pragma: no cover  # in another process
        return 1
    most: int = numba.config.NUMBA_NUM_THREADS
    limit = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(most, int(limit) if limit.isdigit() and int(limit) else MOST, MOST)


def worth_from(nodes: Sequence[Any]) -> int | None:
    """Return how many elements a loop must have to be split, None if none is."""
    THREADS[0] = threads()
    if THREADS[0] == 1:
        return None
    if not any(map(_may_use_blas, nodes)):
        return ALONE
    return BESIDE_MKL if blas_library() == "mkl" else None


def _may_use_blas(node: Any) -> bool:
    unknown = next(kind for kind in type(node.op).__mro__ if kind in EMITTERS) is object
    return unknown or isinstance(node.op, Dot) or type(node.op).__module__ == "pytensor.tensor.blas"


@dataclass
class Split:
    """How one loop is split into blocks.

    Parameters
    ----------
    kernel : Kernel
        The loop; its first result is the total of the first of `folds`, and so on.
    size : str
        Its parameter for the number of elements.
    folds : sequence of Fold
        How totals of blocks, which are booleans, become one.
    threads, room : str
        The number of threads, and memory for what they share, as the surrounding function calls them.
    """

    kernel: Kernel
    size: str
    folds: Sequence[Fold]
    threads: str
    room: str

    @classmethod
    def of(cls, program: Program, kernel: Kernel, size: str, folds: Sequence[Fold]) -> Split:
        """Prepare a program for a loop that is split."""
        private.launch_threads()
        for dtype in {"bool", "int64", *kernel.dtypes.values()}:
            program.tool("block", dtype)
        threads = program.main.let(f"{program.memory_of(THREADS)}[0]", "n")
        # what the loop takes, the number of threads, then the totals of all blocks
        room = program.temporary("int64", [len(kernel.parameters) + 1 + -(-MOST * len(folds) // 8)])
        return cls(kernel, size, folds, threads, str(room.pointer))

    def call(self, split: str, loops: str) -> list[str]:
        """Return the statements that run the loop in blocks, or by itself where there is one thread."""
        names = ", ".join(name for _, name in self.kernel.results)
        arguments = ", ".join([self.threads, self.room, *self.kernel.arguments])
        in_blocks = f"{names}{' = ' if names else ''}{split}({arguments})"
        return [f"if {self.threads} > 1:", INDENT + in_blocks, "else:", INDENT + self.kernel.call(loops)]

    def function(self) -> str:
        """Return the text of ``split``, which writes down what the loop takes and runs ``blocks`` in threads."""
        block, parameters = Block(), self.kernel.parameters
        block.put("data = address(room)")
        for k, parameter in enumerate(parameters):
            value = f"address({parameter})" if parameter in self.kernel.dtypes else parameter
            block.put(f"{self._slot(k, parameter)} = {stored(value, self._dtype(parameter))}")
        block.put(f"room[{len(parameters)}] = threads")
        block.put("in_threads(blocks, threads, data)")
        for k, fold in enumerate(self.folds):
            block.put(f"total{k} = {fold.start}")
            block.put("for i in range(threads):")
            with block.indented():
                fold.into(block, f"total{k}", f"({self._total(k)} != 0)")
        totals = ", ".join(f"total{k}" for k in range(len(self.folds)))
        block.put(f"return {totals}" if totals else "return")
        return self._text("split", f"threads, room, {', '.join(parameters)}", block)

    def blocks(self) -> str:
        """Return the text of ``blocks``, which runs ``loops`` on some blocks."""
        block, parameters = Block(), self.kernel.parameters
        for k, parameter in enumerate(parameters):
            block.put(f"{parameter} = {read_slot(self._slot(k, parameter), self._dtype(parameter))}")
        block.put(f"threads = {self._slot(len(parameters), '')}")
        block.put(f"each = -(-{self.size} // (threads * {CHUNK})) * {CHUNK}")
        block.put("for i in range(first, first + count):")
        with block.indented():
            block.put(f"start = min(i * each, {self.size})")
            block.put(f"size = min(each, {self.size} - start)")
            results = [f"result{k}" for k in range(len(self.folds))]
            call = f"loops({', '.join(map(self._argument, parameters))})"
            block.put(f"{', '.join(results)}{' = ' if results else ''}{call}")
            for k, result in enumerate(results):
                block.put(f"{self._total(k)} = {stored(result, 'bool')}")
        return self._text("blocks", "first, count, data", block)

    def _text(self, name: str, parameters: str, block: Block) -> str:
        lines = [f"def {name}({parameters}):", *(f"{INDENT}{line}" for line in block.lines)]
        return "\n".join(lines).replace("$", "")

    def _argument(self, parameter: str) -> str:
        """Return what a block hands on for a parameter of the loop."""
        if parameter == self.size:
            return "size"
        dtype = self.kernel.dtypes.get(parameter)
        if dtype is None:
            return parameter
        return f"block_{dtype}({parameter}, start * {np.dtype(dtype).itemsize})"

    def _dtype(self, parameter: str) -> str:
        return self.kernel.numbers.get(parameter, "int64")

    def _slot(self, k: int, parameter: str) -> str:
        """Return where the k-th of what the threads share stands."""
        return f"block_{self._dtype(parameter)}(data, {8 * k})[0]"

    def _total(self, k: int) -> str:
        """Return where block ``i`` leaves its k-th total."""
        return f"block_bool(data, {8 * (len(self.kernel.parameters) + 1) + MOST * k})[i]"


def read_slot(slot: str, dtype: str) -> str:
    """Return the expression of a number that threads share; booleans are bytes there."""
    return f"({slot} != 0)" if dtype == "bool" else slot
