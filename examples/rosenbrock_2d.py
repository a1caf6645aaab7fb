"""The paths of nine algorithms through Rosenbrock's valley: the same start, the same number of updates.

Usage: python examples/rosenbrock_2d.py [picture]
"""

import sys

import numpy as np
import pytensor
from matplotlib.figure import Figure

import downhill2

START, GOAL, UPDATES = [-1.2, 1.0], [1.0, 1.0], 1000
# settings that suit this valley
SETTINGS = {
    "adam": dict(learning_rate=0.02),
    "nadam": dict(learning_rate=0.02),
    "sgd": dict(learning_rate=0.001, momentum=0.9),
    "nag": dict(learning_rate=0.001, momentum=0.9),
    "rprop": dict(learning_rate=0.01, step_increase=1.2, step_decrease=0.5),
    "rmsprop": dict(learning_rate=0.01),
    "adagrad": dict(learning_rate=1),
    "adadelta": dict(learning_rate=10),
    "esgd": dict(learning_rate=0.1),
}


def rosenbrock(x, y):
    """Curved, flat along its floor, steep across it; 0 at (1, 1)."""
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def trajectory(algo):
    """The points that an algorithm visits: array of shape (updates + 1, 2)."""
    w = pytensor.shared(np.array(START), name="w")
    opt = downhill2.build(algo, rosenbrock(w[0], w[1]), **SETTINGS[algo])
    # No data: an epoch is one update.
    run = opt.iterate(max_updates=UPDATES, validate_every=None)
    return np.array([START, *(w.get_value() for _ in run)])


def main(path="rosenbrock_2d.png"):
    """Run them, draw all paths over the contours."""
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    grid = figure.subplots(3, 3, sharex=True, sharey=True, squeeze=False).flat
    x, y = np.meshgrid(np.linspace(-1.7, 1.7, 200), np.linspace(-0.7, 2.2, 200))
    for axes, name in zip(grid, SETTINGS, strict=True):
        points = trajectory(name)
        loss = rosenbrock(*points[-1])
        print(f"{name:>10}: loss {loss:.2e} after {UPDATES} updates")
        axes.contourf(x, y, np.log10(rosenbrock(x, y) + 1e-3), levels=20, cmap="Blues_r", alpha=0.7)
        axes.plot(*points.T, ".-", color="darkorange", markersize=2, linewidth=1)
        axes.plot(*GOAL, "k*")
        axes.set(xlim=(-1.7, 1.7), ylim=(-0.7, 2.2), title=f"{name}: {loss:.0e}")
    figure.savefig(path, dpi=100)
    print(f"picture: {path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
