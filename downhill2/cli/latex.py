"""Formulas of docstrings, in LaTeX, as text for a terminal."""

from __future__ import annotations

import re
import unicodedata
from collections import deque

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\s+|.", re.DOTALL)
_ACCENTS = {r"\hat": "\u0302", r"\bar": "\u0304"}
_FONTS = {r"\mathrm", r"\mathcal", r"\text"}
_FRACTIONS = {r"\frac", r"\tfrac"}
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_EMPTY = {r"\,", r"\ ", r"\quad", r"\right"}
_ROW, _COLUMN = "\n", "\t"
_SYMBOLS = {
    **dict(zip((r"\alpha", r"\beta", r"\gamma", r"\Delta", r"\epsilon", r"\varepsilon"), "αβγΔεε", strict=True)),
    **dict(zip((r"\eta", r"\theta", r"\lambda", r"\mu", r"\nu", r"\rho"), "ηθλμνρ", strict=True)),
    **dict(zip((r"\sigma", r"\tau", r"\psi", r"\sum", r"\prod", r"\infty"), "στψΣΠ∞", strict=True)),
    **dict(zip((r"\|", r"\langle", r"\rangle", r"\cdot", r"\times", r"\leftarrow"), "‖⟨⟩·×←", strict=True)),
    **dict(zip((r"\le", r"\sim", r"\,", r"\ ", r"\\", "&"), f"≤~  {_ROW}{_COLUMN}", strict=True)),
    **dict.fromkeys((r"\left", r"\right", r"\textstyle"), ""),
    r"\quad": "   ",
    r"\max": "max",
    r"\min": "min",
}


def formula(source: str) -> str:
    r"""Return a formula in a line of text.

    Parameters
    ----------
    source : str
        LaTeX: the commands that the docstrings of algorithms use. Others stay as they are.

    Examples
    --------
    >>> formula(r"\theta_{t-1} - \eta\, \hat m_t / (\sqrt{\hat v_t} + \epsilon)").isascii()
    False
    >>> formula(r"\frac{a + b}{c_i}, x^{2}, \max(1, d)")
    '(a + b) / c_i, x², max(1, d)'
    """
    return " ".join(_Reader(source).read().split())


def equations(source: str) -> list[str]:
    """Return the lines of a displayed formula, aligned where it says so."""
    rows = [row.split(_COLUMN, 1) for row in _Reader(source).read().split(_ROW)]
    cells = [[" ".join(cell.split()) for cell in row] for row in rows]
    width = max((_columns(row[0]) for row in cells if len(row) > 1), default=0)
    return [" ".join([" " * (width - _columns(row[0])) + row[0], *row[1:]]) for row in cells if any(row)]


class _Reader:
    """Reads tokens from the left; what it returns has a newline between rows and a tab between columns."""

    def __init__(self, source: str) -> None:
        self._tokens = deque(_TOKEN.findall(source))

    def read(self, end: str = "") -> str:
        """Read up to a token, which is taken off too, or to the end."""
        out = ""
        while self._tokens:
            token = self._tokens.popleft()
            if token == end:
                break
            out += self._text(token)
        return out

    def _text(self, token: str) -> str:
        if token in "_^":
            return _script(token, self._argument())
        if token in _FRACTIONS:
            quotient = f"{_grouped(self._argument())} / {_grouped(self._argument())}"
            return f"({quotient})" if self._multiplies() else quotient
        if token == r"\sqrt":
            return self._root()
        if token in _ACCENTS:
            return self._argument() + _ACCENTS[token]
        if token == r"\begin":
            return self._environment(self._argument())
        if token == "{":
            return self.read("}")
        if token in _FONTS:
            return self._argument()
        return " " if token.isspace() else _SYMBOLS.get(token, token)

    def _argument(self) -> str:
        while self._tokens and self._tokens[0].isspace():
            self._tokens.popleft()
        return self._text(self._tokens.popleft()) if self._tokens else ""

    def _root(self) -> str:
        if self._tokens and self._tokens[0] == "[":
            self._tokens.popleft()
            return f"{self.read(']').translate(_SUPERSCRIPTS)}√{_grouped(self._argument())}"
        return f"√{_grouped(self._argument())}"

    def _multiplies(self) -> bool:
        """Whether what was read is a factor of what comes next."""
        after = next((t for t in self._tokens if t not in _EMPTY and not t.isspace()), "}")
        return after not in ("}", "+", "-", "=", ",", ".", ")", r"\\", r"\end")

    def _environment(self, name: str) -> str:
        inside = self.read(r"\end")
        self._argument()  # the name once more
        if name != "cases":
            return inside
        rows = [" if ".join(cell.strip() for cell in row.split(_COLUMN)) for row in inside.split(_ROW)]
        return f"{{{'; '.join(rows)}}}".replace(" if otherwise", " otherwise")


def _script(kind: str, text: str) -> str:
    if text.isdecimal():
        return text.translate(_SUBSCRIPTS if kind == "_" else _SUPERSCRIPTS)
    return f"{kind}{text}" if text.isalnum() or len(text) == 1 else f"{kind}({text})"


def _grouped(text: str) -> str:
    """Put in parentheses what has an operator or a space outside of parentheses."""
    outside = text
    while outside != (outside := re.sub(r"\([^()]*\)", "", outside)):
        pass
    return f"({text})" if re.search(r"[\s+\-/]", outside) else text


def _columns(text: str) -> int:
    """Return how many columns a text takes: an accent takes none."""
    return sum(not unicodedata.combining(c) for c in text)
