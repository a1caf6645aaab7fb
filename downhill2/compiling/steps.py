"""Loops of a large graph as data: a table tells which run, one after another, and on what.

A call of each would take Numba and LLVM a time that grows with the graph. Here it grows with what differs in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from .program import Program
from .source import Kernel, Place, read, stored

NAMES = re.compile(r"\b[a-z]\d+\b")


class LoopTable:
    """Writes the statements of a function in which most loops are steps.

    Parameters
    ----------
    program : Program
        What the function is for; its table takes the records of the steps.
    loops : callable
        Returns the name of the function for the text of loops.
    """

    def __init__(self, program: Program, loops: Callable[[str], str]) -> None:
        self._program, self._loops = program, loops
        self._table = program.layout.table
        self._kinds: dict[tuple[str, ...], tuple[int, Kernel]] = {}  # by text and types: equal text is for any types
        self._kept: dict[tuple[str, str], int] = {}
        self._waiting: list[list[int]] = []
        self._lines: list[str | Place] = []

    @property
    def texts(self) -> list[str]:
        """Of all loops that are steps, each once."""
        return list(dict.fromkeys(text for text, *_ in self._kinds))

    def put(self, *lines: str | Place) -> None:
        """Append statements; steps before them come first."""
        if not all(isinstance(line, Place) for line in lines):
            self._run()
        self._lines += lines

    def add(self, kernel: Kernel, text: str) -> None:
        """Append loops as a step."""
        types = (kernel.dtypes.get(name) or kernel.numbers.get(name, "") for name in kernel.parameters)
        kind, _ = self._kinds.setdefault((text, *types), (len(self._kinds), kernel))
        record = [kind]
        for name, argument in zip(kernel.parameters, kernel.arguments, strict=True):
            place, shift = self._place(kernel, name, argument)
            record += [place, shift] if name in kernel.dtypes else [place]
        self._waiting.append(record)

    def statements(self, results: Sequence[str]) -> list[str]:
        """Return the statements, without names that neither they nor the results use."""
        self._run()
        used = {name for text in results for name in NAMES.findall(text)}
        lines: list[str] = []
        for line in reversed(self._lines):
            if isinstance(line, str) or line.name in used:
                lines.append(str(line))
                used.update(NAMES.findall(str(line)))
        return lines[::-1]

    def function(self) -> str:
        """Return the text of ``steps``, which runs those whose records follow one another from a place in the table."""
        lines = ["def steps(table, first, count):", "    record = table + 8 * first", "    for _ in range(count):"]
        lines += ["        kind = entry(record, 0)"]
        for (text, *_), (kind, kernel) in self._kinds.items():
            arguments, k = [], 1
            for name in kernel.parameters:
                arguments.append(self._argument(kernel, name, k))
                k += 2 if name in kernel.dtypes else 1
            lines += [
                f"        {'elif' if kind else 'if'} kind == {kind}:",
                f"            {self._loops(text)}({', '.join(arguments)})",
                f"            record += {8 * k}",
            ]
        return "\n".join(lines)

    def _argument(self, kernel: Kernel, name: str, k: int) -> str:
        """Return the expression of the k-th entry of a record, as loops take it."""
        if name in kernel.dtypes:
            return f"{self._program.tool('argument', kernel.dtypes[name])}(table, record, {k})"
        dtype = kernel.numbers.get(name, "int64")
        return read(f"{self._program.tool('told', dtype)}(table, record, {k})", dtype, "0")

    def _place(self, kernel: Kernel, name: str, argument: str) -> tuple[int, int]:
        """Return where in the table an argument stands, and how many bytes it is further on.

        Where nothing else puts it there, the function does when it runs.
        """
        if name not in kernel.numbers and argument in self._program.places:
            return self._program.places[argument]
        dtype = kernel.numbers.get(name, "int64")
        if (argument, dtype) not in self._kept:
            self._kept[argument, dtype] = len(self._table)
            if name not in kernel.numbers and argument.lstrip("-").isdigit():
                self._table.append(("integer", int(argument)))
            else:
                value = f"address({argument})" if name in kernel.dtypes else argument
                place = f"{self._program.tool('block', dtype)}(table, {8 * len(self._table)})[0]"
                self._table.append(("kept",))
                # it is known before all steps that wait, or they would not be waiting
                self._lines.append(f"{place} = {stored(value, dtype)}")
        return self._kept[argument, dtype], 0

    def _run(self) -> None:
        """Write the statement that runs the steps that wait."""
        if self._waiting:
            self._lines.append(f"steps(table, {len(self._table)}, {len(self._waiting)})")
            self._table += [("integer", number) for record in self._waiting for number in record]
            self._waiting = []
