"""Draw what each algorithm does on two problems: a curved valley, and a quadratic with noise.

Usage: python docs/extensions/algorithm_pictures.py FOLDER [NAME ...]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytensor
import pytensor.tensor as pt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

import downhill2

RATES = np.logspace(-4, 1.5, 12)
VALLEY_STEPS, NOISY_STEPS = 300, 200
VIEW = (-1.8, -0.8), (1.8, 2.2)
# distinct to colour-blind eyes, and in black and white by their dashes
OWN, SGD, ADAM = {"color": "#0072b2"}, {"color": "#d55e00", "linestyle": "--"}, {"color": "#009e73", "linestyle": ":"}


class Curve(NamedTuple):
    """A run: the points that it evaluated, their losses without noise, and the learning rate that it had."""

    points: NDArray[np.float64]
    losses: NDArray[np.float64]
    rate: float


def valley(w: pt.TensorVariable) -> pt.TensorVariable:
    return 100 * (w[1] - w[0] ** 2) ** 2 + (1 - w[0]) ** 2


CURVATURES = np.logspace(0, 2, 10)


def bowl(w: pt.TensorVariable) -> pt.TensorVariable:
    return 0.5 * (CURVATURES * w**2).sum()


def best_run(
    algo: str,
    start: Sequence[float],
    noise: NDArray[np.float64],
    clean: pt.TensorVariable,
    view: Any = (-np.inf, np.inf),
) -> Curve:
    """Run an algorithm at each rate; return the run whose loss is lowest, by the mean of its logarithm.

    Runs that stay in `view`, between its two corners, come before others.
    """
    w = pytensor.shared(np.array(start, dtype="float64"), name="w")
    xi = pt.vector("xi")
    loss = clean(w)
    opt = downhill2.build(algo, loss + (xi * w).sum(), [w], inputs=[xi])
    evaluated = opt.fit.evaluated().get(w, w)
    look = [evaluated, pytensor.graph.clone_replace(loss, {w: evaluated})]
    step = pytensor.function([xi], look, updates=opt.get_updates(), mode="FAST_COMPILE")
    runs = []
    for rate in RATES:
        w.set_value(np.array(start, dtype="float64"))
        opt.reset()
        opt.learning_rate = rate
        with np.errstate(all="ignore"):  # too large a rate overflows: that run is not chosen
            points, losses = zip(*(step(x) for x in noise), strict=True)
        runs.append(Curve(np.array(points), np.array(losses), float(rate)))
    with np.errstate(all="ignore"):
        losses = [np.nan_to_num(np.log(run.losses + 1e-3).mean(), nan=np.inf) for run in runs]
    stays = [bool(((run.points >= view[0]) & (run.points <= view[1])).all()) for run in runs]
    return min(zip(runs, losses, stays, strict=True), key=lambda tried: (not tried[2], tried[1]))[0]


def valley_run(algo: str) -> Curve:
    return best_run(algo, (-1.2, 1.0), np.zeros((VALLEY_STEPS, 2)), valley, VIEW)


def noisy_run(algo: str) -> Curve:
    noise = np.random.default_rng(1).normal(size=(NOISY_STEPS, len(CURVATURES)))
    # no start from which steps of one size end at the minimum
    return best_run(algo, 1 + np.sin(np.arange(len(CURVATURES))) / 3, noise, bowl)


def draw_valley(axes: Axes, curve: Curve, label: str) -> None:
    xlim, ylim = zip(*VIEW, strict=True)
    downhill2.plots.path(curve.points, lambda x, y: valley((x, y)), axes, minimum=(1, 1), xlim=xlim, ylim=ylim)
    axes.set(xlabel="$w_0$", ylabel="$w_1$", title=f"{label}, {len(curve.points)} updates, rate {curve.rate:.2g}")


def draw_losses(axes: Axes, curves: dict[str, Curve]) -> None:
    for (label, curve), style in zip(curves.items(), (OWN, SGD, ADAM), strict=False):
        axes.semilogy(curve.losses, label=f"{label}, rate {curve.rate:.2g}", **style)
    axes.set(xlabel="update", ylabel="loss, without noise")
    axes.set_title("10 dimensions, noisy gradients")
    axes.legend()


def save(draw: Callable[..., None], path: Path, *what: Any) -> None:
    """Draw a picture of its own, wide enough to be read where it fills a narrow screen."""
    figure = Figure(figsize=(5, 4), layout="constrained")
    draw(figure.subplots(), *what)
    figure.savefig(path, dpi=120)


def draw_all(names: Sequence[str], folder: Path) -> None:
    """Draw the pictures of each algorithm that has none yet."""
    missing = [n for n in names if not (folder / f"{n}-noisy.png").exists()]
    others = {n: noisy_run(n.lower()) for n in ("SGD", "Adam")} if missing else {}
    for name in missing:
        label = downhill2.Optimizer.registry[name].__name__
        save(draw_valley, folder / f"{name}-valley.png", valley_run(name), label)
        save(draw_losses, folder / f"{name}-noisy.png", {label: noisy_run(name), **others})


if __name__ == "__main__":
    draw_all(sys.argv[2:] or downhill2.list_algorithms(), Path(sys.argv[1]))
