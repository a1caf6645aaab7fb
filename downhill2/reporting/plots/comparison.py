"""Algorithms side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...keeping.history import History
from . import canvas
from .curves import draw_band
from .series import CLOCKS, Curves, Runs, Series, band, check_clock, check_monitor, grouped, outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def compare(
    runs: Mapping[str, History | Sequence[History]],
    monitor: str = "loss",
    ax: Axes | None = None,
    *,
    x: str = "epoch",
    log: bool | str | None = None,
    ranking: object = None,
) -> Axes:
    """Draw the validation of several algorithms, over several seeds each, and their final values.

    Each curve is the median over the seeds, in a band from the lowest to the highest; without validations, it shows
    training. A curve is cut off above ten times the highest start.

    Parameters
    ----------
    runs : mapping of str to History, or list of History
        By the name of the algorithm, one history for each seed.
    monitor : str
        The monitor. Default ``'loss'``.
    ax : matplotlib Axes, optional
        Where to draw the curves. Default: in a new picture.
    x : {'epoch', 'updates', 'seconds'}
        What is on the horizontal axis. Default ``'epoch'``.
    log : bool, 'x', 'y' or 'xy', optional
        Which axis is logarithmic; as for `learning_curves`.
    ranking : bool or matplotlib Axes, optional
        Whether to draw, beside the curves, the monitor at each seed's best validation as a dot and their median as a
        bar, or where. Default: beside them in a new picture.

    Returns
    -------
    matplotlib Axes
        That of the curves. Those of the ranking are ``ax.figure.axes[1]``.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    TypeError, ValueError
        If a history is something else, is empty or lacks the monitor, and for other wrong arguments.
    """
    if not isinstance(runs, Mapping):
        raise TypeError(f"runs must be a mapping of names to lists of History, got {runs!r}")
    known = grouped(runs)
    for h in (h for histories in known.values() for h in histories):
        check_monitor(h, monitor)
    check_clock(x)
    canvas.check_log(log)
    ax, beside = _panels(ax, ranking, len(known))
    _draw_curves(ax, known, monitor, x)
    canvas.scale(ax, log, (line.get_ydata() for line in ax.get_lines()))
    _cut(ax)
    ax.set_ylabel(canvas.label(monitor))
    canvas.clock(ax, CLOCKS[x])
    canvas.legend(ax)
    if beside is not None:
        _draw_ranking(beside, {name: [outcome(h, monitor) for h in hs] for name, hs in known.items()}, monitor)
    return ax


def _panels(ax: Axes | None, ranking: object, n: int) -> tuple[Axes, Axes | None]:
    """Return the axes of the curves and those of the ranking of `n` algorithms, if it is to be drawn."""
    if ax is None and (ranking is None or ranking is True):
        size = (9.6, max(4.0, 1.6 + 0.25 * n))
        left, right = canvas.figure(size).subplots(1, 2, width_ratios=[5, 3])
        return left, right
    beside = canvas.second("ranking", ranking)
    return canvas.axes(ax), beside


def _draw_curves(ax: Axes, runs: Runs, monitor: str, clock: str) -> None:
    for i, (name, histories) in enumerate(runs.items()):
        several = [_judged(Curves(h, clock), monitor) for h in histories]
        line = band(several)
        label = canvas.label(name) + (f", {len(histories)} seeds" if len(histories) > 1 else "")
        draw_band(ax, line, {**canvas.style(i), "markevery": canvas.few(line.x.size, i)}, label)


def _judged(curves: Curves, monitor: str) -> Series:
    """Return the validations, or, where there were none, training."""
    valid = curves.valid(monitor)
    return valid if valid.x.size else curves.train(monitor)


def _cut(ax: Axes) -> None:
    """Cut the picture where diverging curves climb far."""
    lines = [y[np.isfinite(y)] for y in (np.asarray(line.get_ydata()) for line in ax.get_lines())]
    lines = [y for y in lines if y.size]
    if not lines:
        return
    lowest, start, highest = min(y.min() for y in lines), max(y[0] for y in lines), max(y.max() for y in lines)
    if start > 0 and highest > 10 * start:
        ax.set_ylim(top=10 * start)
        ax.set_ylim(bottom=lowest / 2 if ax.get_yscale() == "log" else min(0, lowest))


def _draw_ranking(ax: Axes, outcomes: Mapping[str, list[float]], monitor: str) -> None:
    """Draw the final value of each seed as a dot, and their median as a bar."""
    labels = []
    for i, (name, found) in enumerate(outcomes.items()):
        values, style = np.array([v for v in found if np.isfinite(v)]), canvas.style(i)
        lost = len(found) - len(values)
        labels.append(
            canvas.label(canvas.shortened(name, 24)) + (f"\n{lost} of {len(found)} not finite" if lost else "")
        )
        ax.plot(values, np.full(len(values), i), linestyle="none", alpha=0.6, **{**style, "linewidth": 0})
        if len(values):
            ax.plot(np.median(values), i, color="black", marker="|", markersize=16, markeredgewidth=2)
    values = np.array([v for found in outcomes.values() for v in found if np.isfinite(v)])
    if values.size and values.min() > 0 and canvas.decades(values) > canvas.DECADES:
        ax.set_xscale("log")
        canvas.readable(ax.xaxis, canvas.decades(values))
    else:
        ax.locator_params(axis="x", nbins=4)
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.set_xlabel(f"{canvas.label(monitor)}\nat the best validation")
    ax.grid(axis="y", linewidth=0.5, color="0.85")
    ax.set_axisbelow(True)
