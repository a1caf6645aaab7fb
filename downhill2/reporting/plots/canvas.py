"""Where pictures are drawn, and in which colours: axes, legends, scales."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...checks import number
from ...extras import need

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Okabe and Ito (2008), "Color universal design", without the yellow, which is too light for a line on white.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
RAW = 0.3
"""The opacity of what was smoothed; bands have half of it."""

LONGEST = 40
"""Characters of a name in a legend."""

HANDLE, LETTER, LINE = 0.5, 0.062, 0.2
"""Inches of an entry of a legend: beside its text, for each letter, and from one line to the next."""

DECADES = 1.3
"""An axis is logarithmic by default if the ratio of highest to lowest, as a power of ten, is above this."""


def style(i: int) -> dict[str, Any]:
    """Return colour and marker of the curve number `i`; 49 of them differ."""
    n = len(COLORS)
    return {"color": COLORS[i % n], "marker": MARKERS[(i + i // n) % n], "markersize": 4, "linewidth": 1.4}


def few(n: int, i: int = 0, many: int = 12) -> tuple[int, int]:
    """Return start and step of the points with a marker: about `many` of `n`, at other places for each curve `i`."""
    every = max(1, -(-n // many))
    return i * every // 3 % every, every


def axes(ax: Axes | None, size: tuple[float, float] = (6.4, 4.4)) -> Axes:
    """Return the axes to draw in: `ax`, checked, or new ones for None.

    Raises
    ------
    TypeError
        If `ax` is something else, or has other than straight coordinates.
    """
    return figure(size).subplots() if ax is None else check_axes("ax", ax)


def check_axes(name: str, ax: object) -> Axes:
    """Return axes, checked."""
    if not isinstance(ax, need("matplotlib.axes", "plot").Axes):
        raise TypeError(f"{name} must be an Axes of matplotlib, got {ax!r}")
    if ax.name != "rectilinear":
        raise TypeError(f"{name} must be an Axes with straight coordinates, got {ax.name} ones")
    found: Axes = ax
    return found


def figure(size: tuple[float, float]) -> Figure:
    """Return a new figure of this size in inches, one of pyplot's if pyplot or IPython is in use."""
    make = need("matplotlib.pyplot", "plot").figure if _is_shown() else need("matplotlib.figure", "plot").Figure
    made: Figure = make(figsize=size, layout="constrained")
    return made


def _is_shown() -> bool:
    ipython = sys.modules.get("IPython")
    return "matplotlib.pyplot" in sys.modules or (ipython is not None and ipython.get_ipython() is not None)


def second(name: str, given: object) -> Axes | None:
    """Return the axes for a second panel beside the axes of the caller; None without a panel.

    Raises
    ------
    TypeError, ValueError
        If it is no axes, or True.
    """
    if given is True:
        raise ValueError(f"{name} must be axes to draw in, or False, where ax is given, got True")
    return None if given is None or given is False else check_axes(name, given)


def label(text: str) -> str:
    """Return a name as a label: without mathematics, not hidden by an underscore, and not too long."""
    return f"{' ' if text.startswith('_') else ''}{shortened(text, LONGEST)}".replace("$", r"\$")


def shortened(text: str, most: int) -> str:
    """Return a text cut to `most` characters: its beginning and its end, as names often differ in either."""
    if len(text) <= most:
        return text
    return f"{text[: (most - 1) // 2]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - most // 2 :]}"


def legend(ax: Axes) -> None:
    """Draw the legend above the axes or, if it needs many lines, at their right: never over data."""
    handles, labels = ax.get_legend_handles_labels()
    if not labels:
        return
    place = ax.get_position()
    whole = ax.figure.bbox  # the box of a figure, or of a figure in a figure
    inches, tall = place.width * whole.width / ax.figure.dpi, place.height * whole.height / ax.figure.dpi
    labels = [shortened(text, _letters(inches)) for text in labels]
    widths = [HANDLE + LETTER * len(text) for text in labels]
    columns = len(labels) if sum(widths) < inches else max(1, int(inches / max(widths)))
    look: dict[str, Any] = {"frameon": False, "fontsize": "small", "columnspacing": 1.2}
    if len(labels) <= max(5, 3 * columns):
        ax.legend(handles, labels, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2, **look)
        return
    rows = max(3, int(tall / LINE))
    title = f"the first {rows} of {len(labels)}" if rows < len(labels) else None
    labels = [shortened(text, _letters(inches / 2)) for text in labels[:rows]]
    ax.legend(handles[:rows], labels, loc="upper left", bbox_to_anchor=(1, 1), title=title, **look)


def _letters(inches: float) -> int:
    """Return how many letters of an entry there is room for."""
    return max(6, int((inches - HANDLE) / LETTER))


def check_log(log: object) -> None:
    """Raise ValueError unless it says which axis is logarithmic."""
    if not (log is None or isinstance(log, bool) or (isinstance(log, str) and log in ("x", "y", "xy"))):
        raise ValueError(f"log must be None, True, False, 'x', 'y' or 'xy', got {log!r}")


def scale(ax: Axes, log: bool | str | None, values: Iterable[ArrayLike]) -> None:
    """Make axes logarithmic as `log` says; for None, the vertical one if `values` span decades."""
    known = np.concatenate([np.array([]), *map(np.ravel, values)])
    known = known[np.isfinite(known)]
    if log is None:
        log = bool(known.size and known.min() > 0 and decades(known) > DECADES)
    if log is True or (isinstance(log, str) and "y" in log):
        if not (known > 0).any():
            raise ValueError(f"log must be False for values of which none is positive, got {log!r}")
        ax.set_yscale("log", nonpositive="mask")
        readable(ax.yaxis, decades(known[known > 0]))
    if isinstance(log, str) and "x" in log:
        ax.set_xscale("log", nonpositive="mask")
        ax.xaxis.set_major_formatter("{x:g}")


def decades(values: NDArray[np.float64]) -> float:
    """Return the ratio of the highest to the lowest of positive values, as a power of ten."""
    return float(np.log10(values.max()) - np.log10(values.min()))


def readable(axis: Axis, span: float) -> None:
    """Label a logarithmic axis of few decades between the powers of ten too, without labels like ``2 x 10^-1``."""
    ticker = need("matplotlib.ticker", "plot")
    if span < 0.7:
        axis.set_major_locator(ticker.MaxNLocator(5))
        axis.set_minor_locator(ticker.NullLocator())
    elif span < 2:
        axis.set_minor_locator(ticker.LogLocator(subs=range(2, 10)))
        axis.set_minor_formatter(lambda v, _: f"{v:g}" if f"{v:e}"[0] in "25" else "")
    if span < 4:
        axis.set_major_formatter("{x:g}")


def clock(ax: Axes, label: str) -> None:
    """Label the horizontal axis; for epochs and updates, use whole numbers only."""
    ax.set_xlabel(label)
    locator = ax.xaxis.get_major_locator()
    if label in ("epoch", "updates") and isinstance(locator, need("matplotlib.ticker", "plot").MaxNLocator):
        locator.set_params(integer=True)  # other locators belong to a logarithmic axis, or to the caller


def check_fraction(name: str, value: object) -> float:
    """Return a number in [0, 1), or raise."""
    return number(name, value, at_least=0, below=1)
