"""A small training that can be begun anew without compiling anew, and all that an exact resume must bring back."""

from __future__ import annotations

import contextlib
import dataclasses

import numpy as np
import pytensor
import pytensor.tensor as pt

import downhill2
from downhill2.fitting import session
from downhill2.keeping.generators import generator_state

ROWS, BATCH = 23, 4  # six batches an epoch, the last of which is shorter


class Crash(Exception):
    """What ends a run as a kill does, but for the process."""


def rows(count, seed, dtype="float64"):
    """Return inputs and targets of a problem that a small network learns."""
    x = np.random.default_rng(seed).normal(size=(count, 4))
    return [x.astype(dtype), (np.sin(x[:, 0]) + x[:, 1] * x[:, 2]).astype(dtype)]


class Training:
    """A network of one hidden layer with an optimizer; ``fresh()`` is a new process that builds it.

    Parameters
    ----------
    algo, dtype : str
    noise : bool
        Whether a generator that `updates` advance shakes the hidden layer, as dropout does.
    counter : bool
        Whether `updates` also count rows, as the statistics of a normalization do.
    **hyper
        Given to each run.
    """

    def __init__(self, algo="adam", dtype="float64", noise=False, counter=False, **hyper):
        draw = np.random.default_rng(1)
        self.x, self.y = pt.matrix("x", dtype=dtype), pt.vector("y", dtype=dtype)
        self.start = {n: draw.normal(size=s).astype(dtype) for n, s in {"W": (4, 3), "b": (3,), "v": (3,)}.items()}
        params = [pytensor.shared(value, name=name) for name, value in self.start.items()]
        hidden = pt.tanh(self.x @ params[0] + params[1])
        updates = {}
        if noise:
            generator = pt.random.shared_rng(np.random.default_rng(7), name="generator")
            updates[generator], shake = generator.normal(size=(3,))
            hidden *= (1 + 0.1 * shake).astype(dtype)
        if counter:
            count = pytensor.shared(np.array(0.0, dtype), name="count")
            updates[count] = count + self.x.shape[0].astype(dtype)
        loss = ((hidden @ params[2] - self.y) ** 2).mean()
        self.loose = {v: v.get_value() for v in updates}
        self.hyper = {"learning_rate": 0.01, **hyper}
        self.opt = downhill2.build(
            algo, loss, params, updates=updates, monitors={"size": abs(hidden).max()}, **self.hyper
        )
        self.numbers = self.opt.hyper.numbers()
        self.data = {"train": rows(ROWS, 2, dtype), "valid": rows(9, 3, dtype)}

    def fresh(self):
        """Set everything to what it is in a new process."""
        self.opt.hyper.set_numbers(self.numbers)
        self.opt.reset()
        self.opt.set_params(self.start.values())
        for v, value in self.loose.items():
            v.set_value(value)

    def run(self, anew=True, **settings):
        """Run and return all that a resumed run must have in common with one that was never interrupted."""
        if anew:
            self.fresh()
        given = {**self.data, "rng": 5, "batch_size": BATCH, "validate_every": 2, "max_epochs": 4, **self.hyper}
        pair = self.opt.minimize(**{**given, **settings})
        return self.outcome(pair)

    def outcome(self, pair):
        """Return where a run has come to, with bytes for arrays so that they compare bit for bit."""
        opt, loose = self.opt, {v.name: v.get_value() for v in self.loose}
        state = {**{p.name: p.get_value() for p in opt.params}, **opt.state, **loose}
        return {
            "pair": pair,
            "stopped": opt.stopped,
            "best": opt.best_monitors,
            "rate factor": opt.context.rate_factor.get_value().item(),
            "updates": opt.context.clock.get_value().item(),
            "hyper": dict(opt.hyper),
            "history": records(opt.history),
            **{name: plain(value) for name, value in state.items()},
        }

    def interrupted(self, directory, stops, **settings):
        """Run, each time resumed, to each of some updates and then to the end; return what `run` does."""
        for updates in stops:
            self.run(checkpoint=directory, resume="auto", **{**settings, "max_updates": updates})
        return self.run(checkpoint=directory, resume="auto", **settings)


def plain(value):
    """Return what compares equal if, and only if, two arrays or generators are the same to the last bit."""
    return generator_state(value) if isinstance(value, np.random.Generator) else (value.dtype.name, value.tobytes())


def records(history):
    """Return the records of a history without what the clock says, and what tells how often a run was saved."""
    return [
        dataclasses.replace(
            record,
            seconds=0.0,
            rows_per_second=0.0,
            events=tuple(e for e in record.events if not e.startswith("checkpoint")),
        )
        for record in history
    ]


def contents(directory):
    """Return what files are in a directory, and what in them."""
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


@contextlib.contextmanager
def after(update, act):
    """Call `act` in the middle of the loop, when a run of this process has made so many updates."""

    class Steps(session.Steps):
        def __init__(self, function, *rest):
            super().__init__(lambda: acting(function()), *rest)

    def acting(function):
        def called(*arrays):
            nonlocal update
            values = function(*arrays)
            update -= 1
            if update == 0:
                act()
            return values

        return called

    real, session.Steps = session.Steps, Steps
    try:
        yield
    finally:
        session.Steps = real
