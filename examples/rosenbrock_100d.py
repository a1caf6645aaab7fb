"""Random search: how much depends on an algorithm's settings, in a valley of 100 dimensions?

Each algorithm is compiled once. Between runs `set_params` and `reset` put it back to the start, and new
settings go to `iterate`: numbers never make it compile again.

Usage: python examples/rosenbrock_100d.py [picture]
"""

import sys

import numpy as np
import pytensor
from matplotlib.figure import Figure

import downhill2

RUNS, UPDATES = 12, 500
ALGORITHMS = ["adadelta", "adagrad", "adam", "esgd", "nag", "rmsprop", "rprop", "sgd"]


def main(path="rosenbrock_100d.png"):
    """Run each algorithm with random settings, print the best of each, draw the losses of all."""
    rng = np.random.default_rng(3)
    start = rng.uniform(-1.5, 1.5, size=100)
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    grid = figure.subplots(2, 4, sharex=True, sharey=True).flat
    for axes, name in zip(grid, ALGORITHMS, strict=True):
        w = pytensor.shared(start, name="w")
        loss = (100 * (w[1:] - w[:-1] ** 2) ** 2 + (1 - w[:-1]) ** 2).mean()
        opt = downhill2.build(name, loss, max_gradient_norm=1.0)
        results = []
        for _ in range(RUNS):
            opt.set_params([start])
            opt.reset()
            settings = dict(learning_rate=10 ** rng.uniform(-3, 0), momentum=rng.uniform(0.1, 0.95))
            run = opt.iterate(max_updates=UPDATES, validate_every=None, **settings)
            curve = [monitors["loss"] for monitors, _ in run]
            axes.semilogy(curve, color="C0", alpha=0.5, linewidth=1)
            results.append((np.mean(curve[-10:]), settings))
        best, settings = min(results, key=lambda result: result[0])
        print(f"{name:>10}: {best:8.3f} with", ", ".join(f"{k}={v:.3g}" for k, v in settings.items()))
        axes.set(title=f"{name}: {best:.2g}", xlabel="update", ylabel="loss", ylim=(0.1, 1e4))
        axes.label_outer()
    figure.savefig(path, dpi=100)
    print(f"picture: {path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
