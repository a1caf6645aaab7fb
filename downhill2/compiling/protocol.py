"""What those who compile a training step and those who run it agree on."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class Many(Protocol):
    """Many updates in one call: what a backend makes of a compiled step, for data in memory.

    A compiled step that is no plain ``pytensor.function`` says by its own method ``many(sources, size, count)`` what
    makes many of its updates, or returns None if each is to have its own call. `count` is how many updates to make in
    a call, None for an estimate from sizes. There is a source for each input of a batch: a pair of the ``array`` that
    holds all rows and the ``axis`` along which they lie, with a method ``batch(size)`` that returns the shape of a
    batch. `size`, rows per batch, and the sources are what the stretches will have.

    Attributes
    ----------
    most : int
        How many updates to make in a call.
    made : int
        How many updates of the latest call were sound, also if it raised. If that is less than the stretch has, the
        next one was tried: like the step alone, it has left everything as it was, or else (a step that checks
        gradients, not values) made a value that is not finite.
    """

    most: int
    made: int

    def __call__(self, stretch: Any, totals: np.ndarray, losses: np.ndarray) -> None:
        """Make the updates of a stretch, up to the first that is not sound or raises.

        When it returns, whoever looks at shared variables finds there what as many calls of the step leave there.

        Parameters
        ----------
        stretch
            Batches of one length, ``len(stretch)`` of them, of ``size`` rows. Each begins at a row of ``starts``, or
            where there is an ``order`` of rows, at a place there; it weighs what ``weights`` says.
        totals : float64 array of shape (monitors + 1,)
            Goes on, in place: for each update that is sound, in turn, the batch's weight times each monitor, in the
            order of the step's outputs, is added, and last the weight. In float64, product and sum rounded one
            after the other: bit for bit what a loop in Python adds up.
        losses : float64 array of shape (batches of the stretch,)
            Is filled with the loss of each update that was tried, before it.
        """
