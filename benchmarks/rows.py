"""A row of the results, and the table of all rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

HEAD = ("case", "what", "against", "ratio (quartiles)", "of minima", "at most", "ours", "theirs", "limit")


@dataclass(frozen=True)
class Row:
    """One comparison, or why there is none.

    Attributes
    ----------
    what : str
        What was measured of downhill2.
    against : str
        What it was compared with; empty for a plain amount.
    value : float, optional
        Median of ours over median of theirs, or an amount in `unit`; None: not measured, `note` says why.
    low, high : float, optional
        Quartiles of the ratio from round to round.
    minima : float, optional
        The ratio of the minima.
    goal : float, optional
        What `value` is to be at most.
    unit : str
        Of `value`; 'x' for a ratio.
    ours, theirs : float, optional
        Medians, in `amounts`.
    limit_name, limit : optional
        What cannot be beaten, and its median in `amounts`.
    amounts : str
        's' (seconds) or 'B' (bytes).
    note : str
        What else is to be known.
    """

    what: str
    against: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    minima: float | None = None
    goal: float | None = None
    unit: str = "x"
    ours: float | None = None
    theirs: float | None = None
    limit_name: str = ""
    limit: float | None = None
    amounts: str = "s"
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None without a goal or a measurement."""
        return None if self.value is None or self.goal is None else self.value <= self.goal


def as_dict(row: Row) -> dict[str, Any]:
    """Return a row for JSON."""
    return asdict(row) | {"reached": row.reached}


def from_dict(values: Mapping[str, Any]) -> Row:
    """Return the row that `as_dict` wrote."""
    return Row(**{name: value for name, value in values.items() if name != "reached"})


def table(rows: Iterable[tuple[str, Row]]) -> str:
    """Return (case, row) pairs as a table in Markdown."""
    lines = [cells(case, row) for case, row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [HEAD, ["---"] * len(HEAD), *lines])


def cells(case: str, row: Row) -> list[str]:
    """Return a line of the table."""
    if row.value is None:
        return [case, row.what, row.against, f"not measured: {row.note}", "", bound(row), "", "", ""]
    what = f"{row.what} ({row.note})" if row.note else row.what
    value = number(row.value) + ("" if row.unit == "x" else f" {row.unit}")
    spread = "" if row.low is None or row.high is None else f" ({number(row.low)}-{number(row.high)})"
    minima = "" if row.minima is None else number(row.minima)
    amounts = ["" if a is None else amount(a, row.amounts) for a in (row.ours, row.theirs)]
    limit = "" if row.limit is None else f"{row.limit_name} {amount(row.limit, row.amounts)}"
    if row.limit and row.ours is not None:
        limit += f", x{number(row.ours / row.limit)}"
    return [case, what, row.against, value + spread, minima, bound(row), *amounts, limit]


def bound(row: Row) -> str:
    """Return the goal, with a mark where it is missed."""
    if row.goal is None:
        return ""
    text = f"{row.goal:g}" + ("" if row.unit == "x" else f" {row.unit}")
    return f"{text} **missed**" if row.reached is False else text


def number(value: float) -> str:
    """Return two or three digits."""
    return f"{value:.3g}" if abs(value) < 0.1 else f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}"


def amount(value: float, unit: str) -> str:
    """Return three digits with a unit of handy size."""
    scales = {
        "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")),
        "B": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")),
    }[unit]
    scale, name = next((s for s in scales if abs(value) >= s[0]), scales[-1])
    return f"{value / scale:.3g} {name}"
