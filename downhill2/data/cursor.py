"""The order of rows or batches, and the position of training in it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..jsonable import arrays_as_lists
from .stretches import Index

log = logging.getLogger("downhill2")


class Order:
    """A random order of rows or batches.

    Parameters
    ----------
    count : int
        How many there are.
    edges : array of shape (blocks + 1,), optional
        Where blocks of neighbours begin, and ``count``.
    mixed : int, optional
        How many blocks are mixed with each other.

    Notes
    -----
    Blocks are shuffled and pass through a window of ``mixed`` blocks; each step adds one and removes one. The rows of a
    block are divided among the steps during which it is in the window; the rows of a step are shuffled.
    """

    def __init__(self, count: int, edges: Index | None = None, mixed: int = 1) -> None:
        self._count, self._edges, self._mixed = count, edges, mixed
        self.label = str(count) if edges is None else f"{count} in {len(edges) - 1} blocks, {mixed} mixed"

    def drawn(self, rng: np.random.Generator) -> Index:
        """Return a new random order of all of them."""
        edges, mixed = self._edges, self._mixed
        if edges is None:
            return rng.permutation(self._count)
        blocks = rng.permutation(len(edges) - 1).tolist()
        steps: list[list[Index]] = [[] for _ in range(max(1, len(blocks) - mixed + 1))]
        for place, block in enumerate(blocks):
            rows = rng.permutation(np.arange(edges[block], edges[block + 1]))
            taking_part = steps[max(0, place - mixed + 1) : place + 1] or steps[-1:]
            for step, part in zip(taking_part, np.array_split(rows, len(taking_part)), strict=True):
                step.append(part)
        return np.concatenate([rng.permutation(np.concatenate(step)) for step in steps])


class Cursor:
    """The position of training in the data: the order of this pass, and how much of pass and epoch is done.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the order of a pass when the pass begins.
    shuffled : Order or None
        The random order of the rows, or batches, if they are put in one.
    batches : int
        Batches per pass.
    note : str, optional
        Logged when an order is drawn for the first time.
    """

    def __init__(self, rng: np.random.Generator, shuffled: Order | None, batches: int, note: str = "") -> None:
        self.rng, self.shuffled, self.batches, self.note = rng, shuffled, batches, note
        self.order: Index = np.arange(0)
        self.used = batches  # batches of this pass that are used: all, before the first pass
        self.done = 0  # batches of this epoch that are done
        self.resume = 0  # batches done of the epoch that the next call of train() continues
        self._start: Any = None  # the generator's state before it drew the order

    @property
    def seed(self) -> int | None:
        """The seed of the generator that draws orders; None without an order, or if NumPy does not know it."""
        if self.shuffled is None:
            return None
        bits = self.rng.bit_generator  # the bit generator of a RandomState reports another seed than the one it used
        seeds = bits.seed_seq if isinstance(bits, np.random.PCG64) else None
        if not isinstance(seeds, np.random.SeedSequence) or seeds.spawn_key:
            return None
        return seeds.entropy if isinstance(seeds.entropy, int) else None

    def begin(self) -> None:
        """Begin a pass."""
        self.used = 0
        if self.shuffled:
            if self.note:
                log.info(self.note)
            self.note = ""
            self._start = self.rng.bit_generator.state
            self.order = self.shuffled.drawn(self.rng)

    def numbers(self, start: int, stop: int) -> Sequence[int]:
        """Return which batches come at the positions from ``start`` to ``stop``, where batches are shuffled."""
        return self.order[start:stop].tolist() if self.shuffled else range(start, stop)

    def coming(self, most: int) -> Index:
        """Return the positions of at most `most` next batches in a pass; past its end only if all batches are alike."""
        if self.used >= self.batches:
            self.begin()
        if self.shuffled:
            return np.arange(self.used, min(self.batches, self.used + most))
        return np.arange(self.used, self.used + most) % self.batches

    def move(self, count: int) -> None:
        """Move on by `count` batches."""
        self.done += count
        self.used = (self.used + count - 1) % self.batches + 1

    def state(self) -> dict[str, Any]:
        """Return the position, as JSON holds it."""
        begun = self._start is not None
        state = {
            "batches": self.batches,
            "used": self.used if begun or not self.shuffled else 0,
            "done": self.done,
        }
        if not self.shuffled:
            return state | {"generator": None}
        generator = self._start if begun else self.rng.bit_generator.state
        return state | {"generator": arrays_as_lists(generator), "order": self.shuffled.label}

    def restore(self, state: dict[str, Any]) -> None:
        """Go to the position that :meth:`state` returned."""
        generator, order = state["generator"], state.get("order")
        label = self.shuffled and self.shuffled.label
        if (state["batches"], order) != (self.batches, label):
            raise ValueError(
                "state must be of the same data, batch size and shuffling: a pass has "
                f"{self.batches} batches in the random order {label}, "
                f"got a state with {state['batches']} in the order {order}; make the Dataset as it was made then"
            )
        if self.shuffled:
            self.rng.bit_generator.state = as_arrays(generator, self.rng.bit_generator.state)
            self.note = ""
            self.begin()
        self.used, self.done, self.resume = state["used"], state["done"], state["done"]


def as_arrays(state: object, like: object) -> Any:
    """The inverse of `arrays_as_lists`, for a generator whose state looks ``like`` this."""
    if isinstance(like, dict):
        if not isinstance(state, dict) or state.keys() != like.keys():
            raise ValueError(f"state must be of a {like.get('bit_generator')} generator, got {state!r}")
        return {key: as_arrays(state[key], like[key]) for key in like}
    return np.array(state, like.dtype) if isinstance(like, np.ndarray) else state
