"""Draw docs/stopping.png: losses of single updates on real data, and where several rules would stop.

Prints the numbers that docs/stopping.md cites.

Usage: python docs/pictures/stopping.py [picture]
"""

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytensor
import pytensor.tensor as pt
from matplotlib.figure import Figure
from sklearn.datasets import load_diabetes, load_digits

import downhill2


def digits():
    """Logistic regression with a penalty on 1797 handwritten digits."""
    images, labels = load_digits(return_X_y=True)
    x, y = pt.matrix("x"), pt.lvector("y")
    W, b = pytensor.shared(np.zeros((64, 10)), name="W"), pytensor.shared(np.zeros(10), name="b")
    log_p = pt.special.log_softmax(x @ W + b, axis=1)
    loss = -log_p[pt.arange(y.shape[0]), y].mean() + 0.001 * (W**2).sum()
    return loss, [x, y], [images / 16, labels], 0.1


def diabetes():
    """Linear regression of the progression of diabetes in 442 patients."""
    rows, targets = load_diabetes(return_X_y=True)
    x, y = pt.matrix("x"), pt.vector("y")
    w, b = pytensor.shared(np.zeros(10), name="w"), pytensor.shared(0.0, name="b")
    data = [rows / rows.std(axis=0), (targets - targets.mean()) / targets.std()]
    return ((x @ w + b - y) ** 2).mean(), [x, y], data, 0.003


def train(make):
    """Train to the plateau and as long again; return the loss of each update, and the one of the plateau."""
    loss, inputs, data, rate = make()
    opt = downhill2.build("sgd", loss, inputs=inputs, learning_rate=rate)
    dataset = downhill2.Dataset(data, batch_size=16, iteration_size=1, rng=1)
    settings = {"validate_every": None}  # an epoch is one update here
    losses = [monitors["loss"] for monitors, _ in opt.iterate(dataset, plateau=True, **settings)]
    reached = len(losses)
    losses += [monitors["loss"] for monitors, _ in opt.iterate(dataset, max_updates=reached, **settings)]
    return np.array(losses), reached


def not_below_the_last(losses):
    """Return the first update whose loss is not below the one before."""
    return 2 + int(np.argmax(np.diff(losses) >= 0))


def no_new_lowest(losses, patience):
    """Return the first update after so many without a new lowest loss."""
    best = 0
    for i, loss in enumerate(losses):
        if loss < losses[best]:
            best = i
        if i - best == patience:
            return i + 1
    raise ValueError(f"patience must be below {len(losses)}, got {patience}")


def panel(axes, name, losses, stops):
    """Draw single losses as dots, means as a line, stops as vertical lines; print the loss after each."""
    updates = np.arange(1, len(losses) + 1)
    shown = np.unique(np.geomspace(1, len(losses), 900).astype(int)) - 1
    axes.plot(updates[shown], losses[shown], ".", ms=2, color="0.7", label="loss of one update")
    edges = np.unique(np.geomspace(1, len(losses) + 1, 40).astype(int))
    means = [losses[a - 1 : b - 1].mean() for a, b in pairwise(edges)]
    axes.plot(np.sqrt(edges[:-1] * edges[1:]), means, color="black", lw=1.5, label="mean of neighbours")
    for (rule, at), color in zip(stops.items(), ["tab:red", "tab:orange", "tab:blue"], strict=True):
        axes.axvline(at, color=color, lw=1.5, label=rule)
        print(f"{name}, {rule}: update {at}, loss {losses[at : at + 200].mean():.3f}")
    print(f"{name}, as long again: update {len(losses)}, loss {losses[len(losses) // 2 :].mean():.3f}")
    axes.set(xscale="log", yscale="log", xlabel="update", ylabel="training loss", title=name)
    axes.set_yticks(ticks := [0.2, 0.5, 1, 2], map(str, ticks))
    axes.yaxis.set_minor_formatter("")


def main(path=Path(__file__).parents[1] / "stopping.png"):
    """Train on both, draw both."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    for axes, make in zip(figure.subplots(1, 2), [digits, diabetes], strict=True):
        losses, reached = train(make)
        stops = {
            "not below the last": not_below_the_last(losses),
            "no new lowest in 100": no_new_lowest(losses, 100),
            "plateau=True": reached,
        }
        panel(axes, make.__name__, losses, stops)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(*sys.argv[1:])
