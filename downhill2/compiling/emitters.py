"""All emitters, registered by being imported."""

from . import emit_elemwise, emit_fallback, emit_index, emit_product, emit_random, emit_reduce, emit_shape
from .program import Program

__all__ = [
    "Program",
    "emit_elemwise",
    "emit_fallback",
    "emit_index",
    "emit_product",
    "emit_random",
    "emit_reduce",
    "emit_shape",
]
