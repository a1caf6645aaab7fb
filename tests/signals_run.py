"""What the tests of signals start: everything that makes runs gets each signal in its first run, in a process each.

Prints a line of JSON: by who makes runs and signal, how that ended (``returned``, an exception, ``killed by`` a
signal), and for each run why it stopped and whether its best parameters were back when its callbacks were closed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import types

import numpy as np
import pytensor
import pytensor.tensor as pt

import downhill2
from downhill2 import cli

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1")
X = np.random.default_rng(0).normal(size=(32, 3))
Y = (X[:, 0] > 0).astype(int)
LIMITS = dict(max_epochs=3, validate_every=1, rng=0)


class Ends(list):
    """What runs came to; in a process of its own, what the other process reads."""


ends = Ends()


def parabola():
    x, w = pt.matrix("x"), pytensor.shared(np.zeros(3), name="w")
    return downhill2.build("sgd", ((x @ w - 1) ** 2).mean(), learning_rate=0.01)


class Sends:
    """A callback that sends a signal to this process at a record, and notes the ends of runs."""

    def __init__(self, number, at=lambda record: record.updates > 0):
        self.number, self.at = number, at

    def __call__(self, opt, record):
        if self.number and self.at(record):
            os.kill(os.getpid(), self.number)

    def close(self, opt):
        best = zip(opt.params, opt.fit.best.values, strict=True)
        ends.append([opt.stopped, all(np.array_equal(p.get_value(), value) for p, value in best)])


optimizer, other = parabola(), parabola()
estimator = downhill2.sklearn.Estimator(max_epochs=3, validate_every=1, batch_size=32, random_state=0)


def minimize(number, **settings):
    optimizer.minimize([X], callbacks=[Sends(number)], **LIMITS, **settings)


def iterate(number):
    for _ in optimizer.iterate([X], callbacks=[Sends(number)], **LIMITS):
        pass


def iterate_with_break(number):
    closing = Sends(number, lambda record: record.updates > 0 and not record.train)
    for _ in optimizer.iterate([X], callbacks=[closing], max_epochs=3, rng=0):
        break


def stop(number):
    minimize(number, on_signal="stop")


def sweep(number):
    for _ in range(2):
        minimize(number, on_signal="raise")


def callback_of_a_run(number):
    other.minimize([X], callbacks=[lambda *_: minimize(number), Sends(None)], **LIMITS)


def fit(number):
    estimator.set_params(callbacks=[Sends(number)]).fit(X, Y)


def cross_val_score(number):
    from sklearn.model_selection import cross_val_score

    cross_val_score(estimator.set_params(callbacks=[Sends(number)]), X, Y, cv=2)


def find_learning_rate(number):
    w, draws = pytensor.shared(np.zeros(3), name="w"), []

    def batch():
        draws.append(1)
        if number and len(draws) == 5:
            os.kill(os.getpid(), number)
        return [X]

    x = pt.matrix("x")
    try:
        downhill2.find_learning_rate(((x @ w - 1) ** 2).mean(), batch, algo="sgd", max_updates=10)
    finally:
        ends.append([len(draws), not w.get_value().any()])


def compare(number):
    def problem(seed):
        x, w = pt.matrix("x"), pytensor.shared(np.zeros(3), name="w")
        return dict(loss=((x @ w - 1) ** 2).mean(), train=[X], callbacks=[Sends(number)], **LIMITS)

    sys.modules["parabolas"] = types.ModuleType("parabolas")
    sys.modules["parabolas"].problem = problem
    code = cli.main(["compare", "parabolas:problem", "--algos", "sgd", "--seeds", "2"])
    if code == 130:
        raise KeyboardInterrupt
    assert code == 0, code


def optuna(number):
    import optuna

    def objective(trial):
        callbacks = [downhill2.trackers.Optuna(trial), Sends(number)]
        optimizer.minimize([X], callbacks=callbacks, **LIMITS)
        return optimizer.best_monitors["loss"]

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    optuna.create_study().optimize(objective, n_trials=2)


WHO = [
    *(minimize, iterate, iterate_with_break, stop, sweep, callback_of_a_run),
    *(find_learning_rate, fit, cross_val_score, compare, optuna),
]
NEEDS = {fit: "sklearn", cross_val_score: "sklearn", optuna: "optuna"}


def in_a_process(who, number):
    """Return how `who` ends when it gets a signal, and what it has noted by then."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        Ends.append = lambda self, end: os.write(writer, f"{json.dumps(end)}\n".encode())
        how = "returned"
        try:
            who(number)
        except BaseException as error:
            how = type(error).__name__
        os.write(writer, f"{json.dumps(how)}\n".encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as lines:
        noted = [json.loads(line) for line in lines]
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    how = f"killed by {signal.Signals(-status).name}" if status else noted.pop()
    return {"how": how, "ends": noted}


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a process may be started with it ignored
    found = {}
    for who in WHO:
        if importlib.util.find_spec(NEEDS.get(who, "numpy")):
            who(None)  # compiled, for the processes
            found |= {f"{who.__name__} {name}": in_a_process(who, getattr(signal, name)) for name in NAMES}
    print(json.dumps(found))
