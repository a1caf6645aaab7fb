"""What the kill tests start, kill and start again: train a small network on the digits, saved every other update.

Usage: python digits_run.py data.npz

Builds once. For each line of standard input, a JSON object of keywords of `train`, a copy of this process trains. It
says ``loading`` before it looks for a run to go on with, ``training`` after an epoch, and at last how many `Moments`
there were and, in hexadecimal digits, all that it came to. Then ``over`` and its exit code are said.
"""

from __future__ import annotations

import builtins
import hashlib
import json
import logging
import os
import signal
import sys
import time
import warnings

import numpy as np
import pytensor
import pytensor.tensor as pt

import downhill2

SHAPES = {"W": (64, 16), "V": (16, 10)}
EPOCHS, ROWS, BATCHES = 4, 300, 10
SETTINGS = {"rng": 2, "batch_size": ROWS // BATCHES, "validate_every": 2, "patience": None}


def build():
    """Return the optimizer of a network whose hidden layer is shaken by noise, and what is as at its beginning."""
    draw = np.random.default_rng(0)
    x, y = pt.matrix("x", dtype="float32"), pt.lvector("y")
    W, V = (pytensor.shared(draw.normal(scale=0.1, size=s).astype("float32"), n) for n, s in SHAPES.items())
    shaking, shake = pt.random.shared_rng(np.random.default_rng(1), name="shaking").normal(size=(16,))
    generator = shake.owner.inputs[0]
    hidden = pt.tanh(x @ W) * (1 + 0.1 * shake).astype("float32")
    log_p = pt.special.log_softmax(hidden @ V, axis=1)
    loss = -log_p[pt.arange(y.shape[0]), y].mean()
    updates = {generator: shaking}
    return downhill2.build("adam", loss, [W, V], [x, y], updates=updates, learning_rate=0.01), generator


class Moments:
    """The moments at which files change, counted from 1.

    Parameters
    ----------
    last : int or None
        At which of them the process dies, as of a kill.
    seconds : float
        How long each takes.
    """

    def __init__(self, last, seconds):
        self.count, self.last, self.seconds = 0, last, seconds
        for name in ("fsync", "replace", "unlink"):
            setattr(os, name, self.noted(getattr(os, name)))
        self.open = builtins.open
        builtins.open = lambda *args, **kwargs: Torn(self.open(*args, **kwargs), self)

    def noted(self, function):
        def noted(*args, **kwargs):
            self.pass_one()
            return function(*args, **kwargs)

        return noted

    def pass_one(self):
        self.count += 1
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.seconds)


class Torn:
    """An open file that is, at the moment of a write, half written."""

    def __init__(self, file, moments):
        self.file, self.moments = file, moments

    def write(self, data):
        half = len(data) // 2
        written = self.file.write(data[:half])
        if written == half:
            self.file.flush()
            self.moments.pass_one()
            written += self.file.write(data[half:])
        return written

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __iter__(self):
        return iter(self.file)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()


def fingerprint(opt):
    """Return a digest of parameters, state and history, but for what it tells of saving: a disk may be full."""
    digest = hashlib.sha256()
    for value in (*(p.get_value() for p in opt.params), *opt.state.values()):
        digest.update(value.tobytes())
    for r in opt.history:
        events = [event for event in r.events if not event.startswith("checkpoint after")]
        digest.update(repr((r.epoch, r.updates, r.train, r.valid, r.validated, r.improved, events)).encode())
    return digest.hexdigest()


def say(*words):
    print(*words, flush=True)


def train(opt, data, directory, last=None, alarm=0.0, seconds=0.0, wait=False):
    """Train, from where the run in a directory stands.

    Parameters
    ----------
    opt : Optimizer
    data : pair of lists of ndarray
    directory : str
    last, seconds
        As `Moments` takes them.
    alarm : float
        After how many seconds the system is to end the process, without a word; 0: never.
    wait : bool
        Whether to wait, after an epoch, for an empty line of standard input, and to count moments from there.
    """

    def told(opt, record):
        nonlocal wait
        say("training")
        if wait:
            os.read(0, 1)
            wait, moments.count, moments.last = False, 0, last

    say("loading")
    signal.setitimer(signal.ITIMER_REAL, alarm)
    moments = Moments(None if wait else last, seconds)
    saving = {"checkpoint": directory, "checkpoint_every": "2 updates", "resume": "auto"}
    opt.minimize(*data, **SETTINGS, max_epochs=EPOCHS, callbacks=[told], **saving)
    say("moments", moments.count)
    say(fingerprint(opt))


def compiled(data):
    """Return an optimizer that need not compile, as if just built: what is forked shares it."""
    opt, generator = build()
    start, drawn = [p.get_value() for p in opt.params], generator.get_value()
    opt.minimize(*data, **SETTINGS, max_updates=1)
    opt.set_params(start)
    opt.reset()
    generator.set_value(drawn)
    return opt


def main(path):
    """Train once for each line of standard input, each time in a child that is as this process is now."""
    pytensor.config.mode = "FAST_COMPILE"
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    logging.basicConfig()
    images, labels = np.load(path).values()
    data = [images[:ROWS], labels[:ROWS]], [images[ROWS:], labels[ROWS:]]
    opt = compiled(data)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            train(opt, data, **json.loads(line))
            os._exit(0)
        say("over", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    main(*sys.argv[1:])
