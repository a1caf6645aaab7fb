"""``downhill2 demo``: train a network to read handwritten digits.

Three layers in plain PyTensor, trained by Adam until validation says stop: what examples/digits.py does, where the
code is to be read. Logs a line an epoch, prints the accuracy on images never seen before, and draws the learning
curves. Needs scikit-learn, which brings the digits, and matplotlib: pip install 'downhill2[demo]'.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt

import downhill2

from .. import climate
from ..extras import need
from ..keeping.history import History
from ..reporting import plots
from ..symbolic.graph import Variable
from . import folders
from .arguments import add_json, add_picture, count
from .output import show

HELP = "train a network to read handwritten digits"
EXAMPLES = """\
downhill2 demo
downhill2 demo --epochs 3 --output three.png"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_picture(parser, "digits.png")
    parser.add_argument("--epochs", type=count, metavar="N", help="epochs at most (until validation says stop)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Train, test, draw."""
    target = folders.picture(args.output, "demo")
    rng = np.random.default_rng(1)
    train, valid, test = split(rng)
    opt, valid_loss = reader(rng)
    climate.enable_default_logging()
    stopping = dict(valid_loss=valid_loss, validate_every=1, patience=10, max_epochs=args.epochs, on_signal="raise")
    opt.minimize(train, valid, learning_rate=lambda updates: 0.005 / (1 + updates / 500), rng=rng, **stopping)
    accuracy = opt.evaluate(test)["accuracy"]
    folders.save(drawn(opt.history), target)
    done = {"test_accuracy": accuracy, "epochs": opt.history[-1].epoch, "stopped": opt.stopped, "picture": str(target)}
    show(args.json, done, lambda: print(f"learning curves: {target}", f"test accuracy {accuracy:.3f}", sep="\n"))
    return 0


def split(rng: np.random.Generator) -> list[list[Any]]:
    """Training, validation and test digits, each [images, labels]."""
    images, labels = need("sklearn.datasets", "demo").load_digits(return_X_y=True)
    rows = np.split(rng.permutation(len(images)), [1197, 1497])
    return [[(images[r] / 16).astype("float32"), labels[r]] for r in rows]


def reader(rng: np.random.Generator) -> tuple[downhill2.Optimizer, Any]:
    """Adam on the loss of noisy images, and the loss of clean ones."""
    x, y = pt.fmatrix("x"), pt.lvector("y")
    network = list(layers([64, 128, 64, 10], rng))
    noise_rng = pt.random.shared_rng(np.random.default_rng(2))
    next_rng, noise = noise_rng.normal(scale=0.3, size=x.shape, dtype="float32")
    noisy, clean = log_probabilities(x + noise, network), log_probabilities(x, network)
    loss, valid_loss = (-p[pt.arange(y.shape[0]), y].mean() for p in (noisy, clean))
    accuracy = pt.eq(clean.argmax(axis=1), y).mean()
    return downhill2.build("adam", loss, updates={noise_rng: next_rng}, monitors={"accuracy": accuracy}), valid_loss


def layers(sizes: Sequence[int], rng: np.random.Generator) -> Iterator[tuple[Any, Any]]:
    """Weights and biases of dense layers: one (W, b) for each."""
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        W = rng.normal(scale=np.sqrt(2 / fan_in), size=(fan_in, fan_out)).astype("float32")
        yield pytensor.shared(W, name=f"W{i}"), pytensor.shared(np.zeros(fan_out, "float32"), name=f"b{i}")


def log_probabilities(x: Variable, network: Sequence[tuple[Variable, Variable]]) -> Variable:
    """Return the log-probability of each digit for images `x`."""
    (W0, b0), *rest = network
    x = x @ W0 + b0
    for W, b in rest:
        x = pt.maximum(x, 0) @ W + b
    return pt.special.log_softmax(x, axis=1)


def drawn(history: History) -> Any:
    """Loss and accuracy of every epoch, in training and in validation."""
    figure = need("matplotlib.figure", "demo").Figure(figsize=(8, 3.6), layout="constrained")
    for axes, monitor in zip(figure.subplots(1, 2), ["loss", "accuracy"], strict=True):
        plots.learning_curves(history, monitor, axes)
    figure.axes[0].set_ylabel("loss (in training, of noisy images)")
    return figure
