"""What the update rules are held against: NumPy references, optax, and torch, live or as numbers in goldens/.

All of them are driven alike: five parameters of five shapes, fed the same gradients. The inputs come from the
file of golden numbers, and are float32 numbers, so that a float32 run and its float64 oracle begin with, and
are fed, exactly the same values.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens"
SHAPES: tuple[tuple[int, ...], ...] = ((), (3,), (1, 3), (2, 1), (4, 3))
STEPS = (1, 10, 100)

Arrays = list[np.ndarray]


def split(flat: np.ndarray, shapes: Sequence[tuple[int, ...]] = SHAPES) -> Arrays:
    """Return one array per shape, cut from a vector in order."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    parts = np.split(np.asarray(flat), ends[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def join(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Return the values of all arrays as one vector."""
    return np.concatenate([np.ravel(array) for array in arrays])


def inputs() -> tuple[Arrays, list[Arrays]]:
    """Return the five parameters at the start, and the gradients of each update, as float64 arrays."""
    with np.load(GOLDENS / "torch.npz") as goldens:
        start, gradients = goldens["start"].astype("f8"), goldens["gradients"].astype("f8")
    return split(start), [split(row) for row in gradients]
