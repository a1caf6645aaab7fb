"""The paths of all algorithms through Rosenbrock's valley: the same start, the same number of updates.

Usage: python examples/rosenbrock_2d.py [picture]
"""

import sys

import numpy as np
import pytensor
from matplotlib.figure import Figure

import downhill2

START, GOAL, UPDATES = [-1.2, 1.0], [1.0, 1.0], 300
# The learning rate that suits each here: of 10 ** (k / 2) from 1e-4 to 30, the one with the lowest mean of the
# logarithm of the loss, of those whose path stays in the picture.
RATES = {
    0.001: "nag optimisticgd radam simplifiedademamix",
    0.003: "asgd noisysgd novograd rprop schedulefree sgd signsgd",
    0.01: "acprop lion signum",
    0.03: "madgrad rmsprop smorms3",
    0.1: "esgd fromage lamb",
    0.3: "adagradwindow adam adamax adamaxw adamw adan ademamix amsgrad momo nadam nadamw optimisticadam "
    "schedulefreeadamw sps spsplus yogi",
    1: "adabelief adafactor adagrad cocob dadaptadamw dowg ftrl polyak",
    3: "adopt dog sm3",
    10: "momoadam",
    30: "adadelta lars prodigy",
}
RATE = {name: rate for rate, names in RATES.items() for name in names.split()}


def rosenbrock(x, y):
    """Curved, flat along its floor, steep across it; 0 at (1, 1)."""
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def trajectory(algo):
    """The points that an algorithm visits: array of shape (updates + 1, 2)."""
    w = pytensor.shared(np.array(START), name="w")
    momentum = 0.9 if algo == "nag" else 0
    # Each function runs for a moment only: Python code is ready sooner than machine code.
    quick = {"backend": "FAST_COMPILE"}
    opt = downhill2.build(algo, rosenbrock(w[0], w[1]), learning_rate=RATE[algo], momentum=momentum, **quick)
    # No data: an epoch is one update.
    run = opt.iterate(max_updates=UPDATES, validate_every=None)
    return np.array([START, *(w.get_value() for _ in run)])


def main(path="rosenbrock_2d.png"):
    """Run them, draw all paths over the contours."""
    figure = Figure(figsize=(18, 11))
    figure.subplots_adjust(left=0.02, right=0.99, bottom=0.03, top=0.97, wspace=0.06, hspace=0.2)
    grid = figure.subplots(6, 9, sharex=True, sharey=True).flat
    x, y = np.meshgrid(np.linspace(-1.7, 1.7, 100), np.linspace(-0.7, 2.2, 100))
    height = np.log10(rosenbrock(x, y) + 1e-3)
    for name, axes in zip(downhill2.list_algorithms(), grid, strict=False):
        points = trajectory(name)
        loss = rosenbrock(*points[-1])
        print(f"{name:>18}: loss {loss:.2e} after {UPDATES} updates at rate {RATE[name]:g}")
        axes.contourf(x, y, height, levels=12, cmap="Blues_r", alpha=0.7)
        axes.plot(*points.T, ".-", color="darkorange", markersize=2, linewidth=1)
        axes.plot(*GOAL, "k*")
        axes.set(xlim=(-1.7, 1.7), ylim=(-0.7, 2.2))
        axes.set_title(f"{name}: {loss:.0e}", fontsize=10)
    for axes in grid:  # more of them than algorithms
        axes.axis("off")
    figure.savefig(path, dpi=80)
    print(f"picture: {path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
