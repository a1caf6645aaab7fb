"""Sparse coding: handwritten digits as sums of a few strokes, where both the strokes and the sums are learnt.

Each image is approximated by non-negative amounts of the atoms of a dictionary. The penalty on the amounts
makes most of them exactly zero, and what the dictionary comes to hold looks like pieces of handwriting.

Usage: python examples/sparse_coding.py [picture]
"""

import sys

import numpy as np
import pytensor
import pytensor.tensor as pt
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import downhill2

ATOMS, PENALTY, EPOCHS = 64, 0.08, 300


def main(path="sparse_coding.png"):
    """Learn dictionary and codes together, draw the dictionary."""
    rng = np.random.default_rng(0)
    images = (load_digits().data / 16).astype("float32")
    x = pt.fmatrix("x")
    start = rng.uniform(size=(ATOMS, images.shape[1])), rng.uniform(size=(len(images), ATOMS)) / 10
    dictionary, codes = (pytensor.shared(values.astype("float32")) for values in start)

    positive = pt.maximum(dictionary, 0)
    atoms = positive / pt.sqrt((positive**2).sum(axis=1, keepdims=True))
    amounts = pt.maximum(codes, 0)
    error = ((x - amounts @ atoms) ** 2).sum(axis=1).mean()
    opt = downhill2.build(
        "adam",
        error + PENALTY * amounts.sum(axis=1).mean(),
        inputs=[x],
        monitors={"error": error, "atoms an image": (amounts > 0).sum(axis=1).mean()},
        learning_rate=0.02,
    )
    run = opt.iterate(images, batch_size=0, max_epochs=EPOCHS, validate_every=None)
    for epoch, (monitors, _) in enumerate(run, 1):
        if epoch % 50 == 0:
            print(f"{epoch}: " + ", ".join(f"{name} {value:.3f}" for name, value in monitors.items()))
    print(f"energy explained: {1 - monitors['error'] / (images**2).sum(axis=1).mean():.1%}")

    figure = Figure(figsize=(6, 6), layout="constrained")
    for axes, atom in zip(figure.subplots(8, 8).flat, atoms.eval(), strict=True):
        axes.imshow(atom.reshape(8, 8), cmap="gray_r")
        axes.set_axis_off()
    figure.savefig(path, dpi=80)
    print(f"picture: {path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
