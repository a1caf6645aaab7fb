"""Values on a device of JAX: their precision, and random generators as keys."""

from __future__ import annotations

from typing import Any

import numpy as np
from pytensor.tensor.random.type import RandomType


def double_precision() -> Any:
    """Return the context in which JAX has float64 and int64, whatever its own default is."""
    import jax

    return jax.enable_x64(True)


# A generator is JAX's key while it is on the device. PyTensor begins with the lower half of PCG64's state; so does
# this, and a key goes back into the same place: a run that is saved goes on with the numbers that were to come.
_WORDS = 1 << 64


def key_of(generator: Any) -> np.ndarray:
    """Return JAX's key for a NumPy generator."""
    state = generator.bit_generator.state
    if state["bit_generator"] != "PCG64":
        raise TypeError(
            f"random generators must be over PCG64 for backend='jax', got {state['bit_generator']}; "
            "make them by numpy.random.default_rng"
        )
    low = state["state"]["state"] % _WORDS
    return np.array([low % (1 << 32), low >> 32], np.uint32)


def generator_of(key: Any) -> np.random.Generator:
    """Return the NumPy generator whose key this is."""
    words = [int(word) for word in np.asarray(key)]
    bits = np.random.PCG64(0)
    state = bits.state
    state["state"]["state"] = state["state"]["state"] // _WORDS * _WORDS + words[0] + (words[1] << 32)
    bits.state = state
    return np.random.Generator(bits)


def is_generator(variable: Any) -> bool:
    """Whether a variable of a graph is a random generator."""
    return isinstance(variable.type, RandomType)
