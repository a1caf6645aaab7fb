"""Docstrings as text for a terminal: formulas in letters, paragraphs as wide as the screen."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from . import latex

_INDENT = "    "
_MATH = ".. math::"


def as_text(doc: str, width: int) -> str:
    """Return a docstring, in reStructuredText as numpydoc has it, as text.

    Parameters
    ----------
    doc : str
        Without the indentation of the code around it.
    width : int
        Columns. Formulas and examples may be wider.
    """
    # the formula may be one line below its directive
    blocks = re.split(r"\n\n+", re.sub(rf"({_MATH})\n+", r"\1\n", doc.strip()))
    return "\n\n".join("\n".join(_lines(block.split("\n"), width)) for block in blocks)


def _lines(block: list[str], width: int) -> Iterator[str]:
    """Yield the lines of a block, which ends at an empty line."""
    if block[0].startswith(_MATH):
        source = "\n".join([block[0].removeprefix(_MATH), *block[1:]])
        yield from (_INDENT + line for line in latex.equations(source))
    elif block[0].startswith(">>>"):
        yield from (_INDENT + line for line in block)
    elif len(block) > 1 and set(block[1]) == {"-"}:
        yield from block[:2]
        yield from _lines(block[2:], width) if block[2:] else ()
    else:
        yield from _paragraphs(block, width)


def _paragraphs(block: list[str], width: int) -> Iterator[str]:
    """Yield a paragraph, entries of a reference list, or settings with what is indented below them."""
    entries = any(line.startswith((" ", ".. [")) for line in block)
    for part in re.findall(r"^\S.*(?:\n +.*)*" if entries else r"(?s).+", "\n".join(block), re.MULTILINE):
        head, _, rest = part.partition("\n")
        if entries and not head.startswith(".. ["):
            yield _inline(head)
            yield from _wrapped(rest, width, _INDENT, _INDENT)
        else:
            yield from _wrapped(part, width, "", _INDENT if entries else "")


def _wrapped(text: str, width: int, first: str, later: str) -> list[str]:
    words = _inline(" ".join(text.split()).removeprefix(".. "))
    return textwrap.wrap(words, width, initial_indent=first, subsequent_indent=later, break_on_hyphens=False)


def _inline(text: str) -> str:
    """Resolve formulas and marks inside a line."""
    return re.sub(r"``(.+?)``", r"\1", re.sub(r":math:`(.+?)`", lambda m: latex.formula(m[1]), text))
