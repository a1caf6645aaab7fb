"""Read handwritten digits: three layers in plain PyTensor, trained by Adam until validation says stop.

Noise on the training images keeps the network from learning them by heart; validation goes without. Prints a
line an epoch, ends with the accuracy on images never seen before, draws the learning curve.

Usage: python examples/digits.py [picture]
"""

import sys
from itertools import pairwise

import numpy as np
import pytensor
import pytensor.tensor as pt
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import downhill2


def split(rng):
    """Training, validation and test digits, each [images, labels]."""
    images, labels = load_digits(return_X_y=True)
    rows = np.split(rng.permutation(len(images)), [1197, 1497])
    return [[(images[r] / 16).astype("float32"), labels[r]] for r in rows]


def layers(sizes, rng):
    """Weights and biases of dense layers: one (W, b) for each."""
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        W = rng.normal(scale=np.sqrt(2 / fan_in), size=(fan_in, fan_out)).astype("float32")
        yield pytensor.shared(W, name=f"W{i}"), pytensor.shared(np.zeros(fan_out, "float32"), name=f"b{i}")


def log_probabilities(x, network):
    """What the network says of images `x`: the log-probability of each digit."""
    (W0, b0), *rest = network
    x = x @ W0 + b0
    for W, b in rest:
        x = pt.maximum(x, 0) @ W + b
    return pt.special.log_softmax(x, axis=1)


def draw(history, path):
    """Loss and accuracy of every epoch, in training and in validation."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    for axes, monitor in zip(figure.subplots(1, 2), ["loss", "accuracy"], strict=True):
        downhill2.plots.learning_curves(history, monitor, axes)
    figure.axes[0].set_ylabel("loss (in training, of noisy images)")
    figure.savefig(path, dpi=100)


def main(path="digits.png"):
    """Train, test, draw."""
    rng = np.random.default_rng(1)
    train, valid, test = split(rng)
    x, y = pt.fmatrix("x"), pt.lvector("y")
    network = list(layers([64, 128, 64, 10], rng))
    noise_rng = pt.random.shared_rng(np.random.default_rng(2))
    next_rng, noise = noise_rng.normal(scale=0.3, size=x.shape, dtype="float32")
    noisy, clean = log_probabilities(x + noise, network), log_probabilities(x, network)
    loss, valid_loss = (-p[pt.arange(y.shape[0]), y].mean() for p in (noisy, clean))
    accuracy = pt.eq(clean.argmax(axis=1), y).mean()

    downhill2.climate.enable_default_logging()
    opt = downhill2.build("adam", loss, updates={noise_rng: next_rng}, monitors={"accuracy": accuracy})
    settings = dict(learning_rate=lambda updates: 0.005 / (1 + updates / 500), rng=rng)
    stopping = dict(valid_loss=valid_loss, validate_every=1, patience=10)
    opt.minimize(train, valid, **settings, **stopping)
    draw(opt.history, path)
    print(f"learning curve: {path}")
    print(f"test accuracy {opt.evaluate(test)['accuracy']:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
