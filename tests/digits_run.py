"""What the kill tests start, kill and start again: train a small network on the digits, saved every other update.

Usage: python digits_run.py data.npz directory [seconds that each write takes]

Says ``loading`` before it looks for a run to go on with, ``training`` after its first epoch, and at last, in
hexadecimal digits, all that it came to.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import time
import warnings

import numpy as np
import pytensor
import pytensor.tensor as pt

import downhill2
from downhill2.running import checkpoint

EPOCHS, BATCHES = 20, 15


def slowed(write, seconds):
    """Return a function that writes half of its bytes, waits, and writes the others."""

    def slow(file, data):
        half = len(data) // 2
        write(file, data[:half])
        file.flush()
        time.sleep(seconds)
        write(file, data[half:])

    return slow


def build():
    """Return the optimizer of a network whose hidden layer is shaken by noise."""
    draw = np.random.default_rng(0)
    x, y = pt.matrix("x", dtype="float32"), pt.lvector("y")
    W, V = (pytensor.shared(draw.normal(scale=0.1, size=s).astype("float32"), n) for n, s in SHAPES.items())
    shaking, shake = pt.random.shared_rng(np.random.default_rng(1), name="shaking").normal(size=(16,))
    generator = shake.owner.inputs[0]
    hidden = pt.tanh(x @ W) * (1 + 0.1 * shake).astype("float32")
    log_p = pt.special.log_softmax(hidden @ V, axis=1)
    loss = -log_p[pt.arange(y.shape[0]), y].mean()
    return downhill2.build("adam", loss, [W, V], [x, y], updates={generator: shaking}, learning_rate=0.01)


SHAPES = {"W": (64, 16), "V": (16, 10)}


def fingerprint(opt):
    """Return a digest of parameters, state and history, but for what it tells of saving: a disk may be full."""
    digest = hashlib.sha256()
    for value in (*(p.get_value() for p in opt.params), *opt.state.values()):
        digest.update(value.tobytes())
    for r in opt.history:
        events = [event for event in r.events if not event.startswith("checkpoint after")]
        digest.update(repr((r.epoch, r.updates, r.train, r.valid, r.validated, r.improved, events)).encode())
    return digest.hexdigest()


def main(data, directory, seconds="0"):
    """Train, from where the run in a directory stands."""
    pytensor.config.mode = "FAST_COMPILE"
    warnings.simplefilter("ignore")
    logging.basicConfig()
    checkpoint._put = slowed(checkpoint._put, float(seconds)) if float(seconds) else checkpoint._put
    images, labels = np.load(data).values()
    opt = build()
    print("loading", flush=True)
    opt.minimize(
        [images[:300], labels[:300]],
        [images[300:], labels[300:]],
        rng=2,
        batch_size=300 // BATCHES,
        max_epochs=EPOCHS,
        validate_every=3,
        patience=None,
        checkpoint=directory,
        checkpoint_every="2 updates",
        resume="auto",
        callbacks=[lambda opt, record: print("training", flush=True)],
    )
    print(fingerprint(opt), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
