"""The picture of a learning-rate range test."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from . import canvas
from .series import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDED = ("rates", "losses", "smoothed", "suggestion", "reason")


def range_test(found: Any, ax: Axes | None = None) -> Axes:
    """Draw the loss against the learning rate of a range test, and the rate that it suggests.

    Parameters
    ----------
    found : what `downhill2.find_learning_rate` returns
        Its ``rates``, ``losses``, ``smoothed``, ``suggestion`` (None: there is none) and ``reason``.
    ax : matplotlib Axes, optional
        Where to draw. Default: in a new picture.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ImportError
        If matplotlib is missing.
    TypeError, ValueError
        If `found` is something else, or holds no updates.
    """
    if missing := [name for name in NEEDED if not hasattr(found, name)]:
        raise TypeError(f"found must be what find_learning_rate returns, got {found!r}, which has no {missing[0]!r}")
    rates, losses, smooth = (np.asarray(v, dtype=float) for v in (found.rates, found.losses, found.smoothed))
    if not rates.size:
        raise ValueError(f"found must hold the loss of an update at least, got {found!r}")
    ax = canvas.axes(ax)
    ax.plot(rates, losses, ".", color="0.6", markersize=3, label="loss of one update")
    ax.plot(rates, smooth, **{**canvas.style(0), "marker": ""}, label="smoothed")
    if found.suggestion is not None:
        look: dict[str, Any] = {"color": canvas.COLORS[1], "linestyle": "--", "linewidth": 1.2}
        ax.axvline(found.suggestion, **look, label=f"suggestion, {found.suggestion:.2g}")
    _cut(ax, losses, smooth)
    ax.set(xscale="log", xlabel="learning rate", ylabel="loss")
    ax.text(0.0, -0.2, textwrap.fill(found.reason, 80), transform=ax.transAxes, fontsize="small", va="top")
    canvas.legend(ax)
    return ax


def _cut(ax: Axes, losses: Array, smooth: Array) -> None:
    """Cut the picture where the loss climbs at rates that are too large."""
    if not np.isfinite(smooth).any():
        return
    lowest = int(np.where(np.isfinite(smooth), smooth, np.inf).argmin())
    before = np.concatenate([smooth[: lowest + 1], losses[: lowest + 1]])
    low, high = (f(before[np.isfinite(before)]) for f in (np.min, np.max))
    room = 0.15 * (high - low) or abs(high) or 1.0
    ax.set_ylim(low - room, high + 2 * room)
