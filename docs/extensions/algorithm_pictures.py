"""Draw what each algorithm does on two problems: a curved valley, and a quadratic with noise.

Usage: python docs/extensions/algorithm_pictures.py FOLDER [NAME ...]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytensor
import pytensor.tensor as pt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

import downhill2

RATES = np.logspace(-4, 1.5, 12)
VALLEY_STEPS, NOISY_STEPS = 300, 200
# distinct to colour-blind eyes, and in black and white by their dashes
OWN, SGD, ADAM = {"color": "#d55e00"}, {"color": "#0072b2", "linestyle": "--"}, {"color": "#009e73", "linestyle": ":"}


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


def best_run(algo: str, start: Sequence[float], noise: NDArray[np.float64], clean: pt.TensorVariable) -> Curve:
    """Run an algorithm at each rate; return the run whose loss is lowest, by the mean of its logarithm."""
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
        return min(runs, key=lambda run: np.nan_to_num(np.log(run.losses + 1e-3).mean(), nan=np.inf))


def valley_run(algo: str) -> Curve:
    return best_run(algo, (-1.2, 1.0), np.zeros((VALLEY_STEPS, 2)), valley)


def noisy_run(algo: str) -> Curve:
    noise = np.random.default_rng(1).normal(size=(NOISY_STEPS, len(CURVATURES)))
    # no start from which steps of one size end at the minimum
    return best_run(algo, 1 + np.sin(np.arange(len(CURVATURES))) / 3, noise, bowl)


def draw_valley(axes: Axes, curve: Curve, label: str) -> None:
    x, y = np.meshgrid(np.linspace(-1.8, 1.8, 181), np.linspace(-0.8, 2.2, 151))
    height = 100 * (y - x**2) ** 2 + (1 - x) ** 2
    axes.contour(x, y, np.log10(height + 0.01), levels=12, colors="0.75", linewidths=0.6)
    axes.plot(*curve.points.T, marker=".", markersize=3, linewidth=1, **OWN)
    axes.plot(1, 1, "k*", markersize=9)
    axes.set(xlim=(-1.8, 1.8), ylim=(-0.8, 2.2), xlabel="$w_0$", ylabel="$w_1$")
    axes.set_title(f"{label} on Rosenbrock's function: {len(curve.points)} updates, rate {curve.rate:.2g}", fontsize=9)


def draw_losses(axes: Axes, curves: dict[str, Curve]) -> None:
    for (label, curve), style in zip(curves.items(), (OWN, SGD, ADAM), strict=False):
        axes.semilogy(curve.losses, label=f"{label}, rate {curve.rate:.2g}", **style)
    axes.set(xlabel="update", ylabel="loss, without noise")
    axes.set_title("quadratic in 10 dimensions, noisy gradients", fontsize=9)
    axes.legend(fontsize=8)


def draw_all(names: Sequence[str], folder: Path) -> None:
    """Draw the picture of each algorithm that has none yet."""
    missing = [n for n in names if not (folder / f"{n}.png").exists()]
    others = {n: noisy_run(n.lower()) for n in ("SGD", "Adam")} if missing else {}
    for name in missing:
        label = downhill2.Optimizer.registry[name].__name__
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        draw_valley(left, valley_run(name), label)
        draw_losses(right, {label: noisy_run(name), **others})
        figure.savefig(folder / f"{name}.png", dpi=120)


if __name__ == "__main__":
    draw_all(sys.argv[2:] or downhill2.list_algorithms(), Path(sys.argv[1]))
