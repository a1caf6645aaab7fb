"""Learning curves and gradient norms: how numbers changed during a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...keeping.history import History
from . import canvas
from .series import CLOCKS, Band, Curves, Runs, Series, band, check_clock, check_monitor, grouped, smoothed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS: dict[str, dict[str, Any]] = {
    "training": {"linestyle": "--", "markerfacecolor": "white"},
    "validation": {"linestyle": "-", "zorder": 3},
}
BEST: dict[str, Any] = {"marker": "*", "markersize": 12, "markeredgecolor": "black", "linestyle": "none", "zorder": 5}


def learning_curves(
    history: History | Sequence[History] | Mapping[str, History | Sequence[History]],
    monitor: str = "loss",
    ax: Axes | None = None,
    *,
    x: str = "epoch",
    log: bool | str | None = None,
    smooth: float = 0.0,
    rate: object = None,
) -> Axes:
    """Draw a monitor in training and validation, a star where the loss was best, and the learning rate below.

    Parameters
    ----------
    history : History, list of History, or mapping of str to these
        A run; the same run from several seeds, of which the median is drawn in a band from the lowest to the highest;
        or several of these by name. Where one history has several runs, they follow one another. Of a list, runs that
        ended early keep their last value, and values that are not finite do not count.
    monitor : str
        The monitor. Default ``'loss'``.
    ax : matplotlib Axes, optional
        Where to draw. Default: in a new picture.
    x : {'epoch', 'updates', 'seconds'}
        What is on the horizontal axis. Default ``'epoch'``.
    log : bool, 'x', 'y' or 'xy', optional
        Which axis is logarithmic; True: the vertical one. Default: the vertical one, if all values are positive and
        the highest is more than 20 times the lowest.
    smooth : float
        The weight of the past in an exponential moving average of each curve, in [0, 1). The values of a single run
        are drawn faintly behind it. Default 0: no smoothing.
    rate : bool or matplotlib Axes, optional
        Whether to draw the learning rate below, or where. Default: below, in a new picture of runs that have one.

    Returns
    -------
    matplotlib Axes
        That of the curves. Those of the rate are ``ax.figure.axes[1]``.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    TypeError, ValueError
        If a history is something else, is empty or lacks the monitor, and for other wrong arguments.

    Examples
    --------
    >>> from downhill2 import History, Record, plots
    >>> ax = plots.learning_curves(History([Record(i, 10 * i, i, {"loss": 1 / i}, {}, False, False) for i in (1, 2)]))
    >>> ax.get_ylabel()
    'loss'
    """
    runs = grouped(history)
    for histories in runs.values():
        for h in histories:
            check_monitor(h, monitor)
    check_clock(x)
    canvas.check_log(log)
    smooth = canvas.check_fraction("smooth", smooth)
    curves = {name: [Curves(h, x) for h in histories] for name, histories in runs.items()}
    ax, below = _panels(ax, rate, _has_rate(runs))
    _draw_monitor(ax, curves, monitor, smooth)
    canvas.scale(ax, log, (line.get_ydata() for line in ax.get_lines() if line.get_gid() == "curve"))
    for clock in dict.fromkeys(c for several in curves.values() for one in several for c in one.begun):
        ax.axvline(clock, color="0.6", linewidth=0.8, linestyle=":", zorder=0)
    ax.set_ylabel(canvas.label(monitor))
    canvas.clock(ax, CLOCKS[x])
    canvas.legend(ax)
    if below is not None:
        _draw_rate(below, curves, CLOCKS[x])
        if below.get_shared_x_axes().joined(ax, below):
            ax.set_xlabel("")
    return ax


def _has_rate(runs: Runs) -> bool:
    return any("hyper.learning_rate" in h.columns for histories in runs.values() for h in histories)


def _panels(ax: Axes | None, rate: object, has_rate: bool) -> tuple[Axes, Axes | None]:
    """Return the axes of the curves and those of the rate, if it is to be drawn."""
    if rate is True and not has_rate:
        raise ValueError("rate must be False for histories without a learning rate, got True")
    if ax is None and has_rate and (rate is None or rate is True):
        above, below = canvas.figure((6.4, 5.2)).subplots(2, 1, sharex=True, height_ratios=[3, 1])
        return above, below
    below = canvas.second("rate", rate)
    return canvas.axes(ax), below


def _draw_monitor(ax: Axes, curves: Mapping[str, list[Curves]], monitor: str, smooth: float) -> None:
    """Draw each run; if there is only one, training and validation differ by colour too."""
    alone, kinds = len(curves) == 1, dict.fromkeys(KINDS, False)
    for i, (name, several) in enumerate(curves.items()):
        lines = {kind: series for kind, series in _lines(several, monitor).items() if any(s.x.size for s in series)}
        best = several[0].best(monitor) if len(several) == 1 else None
        found = best and ("best" if monitor == "loss" else "at the best loss", best[1])
        labels = _labels(canvas.label(name), list(lines), len(several), found, alone)
        for kind, series in lines.items():
            style = {**canvas.style(list(KINDS).index(kind) if alone else i), **KINDS[kind]}
            if alone and kind == "training":
                style["marker"] = ""
            _draw(ax, series, smooth, style, labels.get(kind, ""), i)
            kinds[kind] = True
        if best:
            ax.plot(*best, **BEST, color=canvas.COLORS[1] if alone else style["color"], label=labels.get("best", ""))
    for kind in () if alone else (kind for kind, drawn in kinds.items() if drawn):
        ax.plot([], [], color="0.4", linestyle=KINDS[kind]["linestyle"], label=kind)


def _lines(several: Sequence[Curves], monitor: str) -> dict[str, list[Series]]:
    return {"training": [c.train(monitor) for c in several], "validation": [c.valid(monitor) for c in several]}


def _labels(name: str, kinds: list[str], seeds: int, best: tuple[str, float] | None, alone: bool) -> dict[str, str]:
    """Return the labels of the lines of a run; among several runs, one line has the name, its style shows the kind."""
    count = f", {seeds} seeds" if seeds > 1 else ""
    value = f"{best[0]}, {best[1]:.4g}" if best else ""
    if alone:
        return {**{kind: f"{name}: {kind}{count}".removeprefix(": ") for kind in kinds}, "best": value}
    return {kind: f"{name}{count}{', ' if best else ''}{value.replace(',', '')}" for kind in kinds[-1:]}


def _draw(ax: Axes, several: Sequence[Series], smooth: float, style: Mapping[str, Any], label: str, i: int = 0) -> None:
    """Draw one line: the smoothed median, and behind it its range, or the values that were smoothed."""
    if smooth and len(several) == 1:
        ax.plot(*several[0], **{**style, "marker": "", "alpha": canvas.RAW, "linewidth": 0.8})
    line = band([Series(s.x, smoothed(s.y, smooth)) for s in several])
    draw_band(ax, line, {**style, "markevery": canvas.few(line.x.size, i)}, label)


def draw_band(ax: Axes, line: Band, style: Mapping[str, Any], label: str) -> None:
    """Draw a median and, if there is one, the range around it."""
    ax.plot(line.x, line.middle, **style, label=label, gid="curve")
    if line.low is not line.high:
        ax.fill_between(line.x, line.low, line.high, color=style["color"], alpha=canvas.RAW / 2, linewidth=0)


def _draw_rate(ax: Axes, curves: Mapping[str, list[Curves]], xlabel: str) -> None:
    lines = {name: band([c.rate() for c in several]) for name, several in curves.items()}
    for i, line in enumerate(lines.values()):
        style = {**canvas.style(i if len(lines) > 1 else 0), "markevery": canvas.few(line.x.size, i)}
        draw_band(ax, line, style if len(lines) > 1 else {**style, "marker": ""}, "")
    canvas.scale(ax, None, [line.middle for line in lines.values()])
    ax.set_ylabel("learning rate")
    canvas.clock(ax, xlabel)


def gradient_norms(
    history: History, ax: Axes | None = None, *, x: str = "epoch", log: bool | str | None = None
) -> Axes:
    """Draw the norm of each parameter's gradient: the root of its mean square over the updates of an epoch.

    Parameters
    ----------
    history : History
        Of an optimizer with ``monitor_gradients=True``.
    ax : matplotlib Axes, optional
        Where to draw. Default: in a new picture.
    x : {'epoch', 'updates', 'seconds'}
        What is on the horizontal axis. Default ``'epoch'``.
    log : bool, 'x', 'y' or 'xy', optional
        Which axis is logarithmic; as for `learning_curves`.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ImportError
        If matplotlib is missing.
    TypeError, ValueError
        If the history is something else, is empty or has no gradients, and for other wrong arguments.
    """
    if not isinstance(history, History):
        raise TypeError(f"history must be a History, got {history!r}")
    grouped(history)
    check_clock(x)
    canvas.check_log(log)
    names = [c for c in history.columns if c.startswith("train.grad(")]
    if not names:
        raise ValueError(f"history must have gradients, got {history!r}; build with monitor_gradients=True")
    ax, curves = canvas.axes(ax), Curves(history, x)
    for i, name in enumerate(names):
        line = curves.train(name.removeprefix("train."))
        label = canvas.label(name.removeprefix("train.grad(").removesuffix(")"))
        ax.plot(line.x, np.sqrt(line.y), **canvas.style(i), markevery=canvas.few(line.x.size, i), label=label)
    canvas.scale(ax, log, (line.get_ydata() for line in ax.get_lines()))
    ax.set_ylabel("gradient norm")
    canvas.clock(ax, CLOCKS[x])
    canvas.legend(ax)
    return ax
