"""All emitters of this package, registered by being imported, and what they are written with."""

from . import emit_elemwise, emit_fallback, emit_index, emit_product, emit_random, emit_reduce, emit_shape
from .program import Program, emits
from .source import Kernel
from .values import Unsupported, Value

__all__ = [
    "Kernel",
    "Program",
    "Unsupported",
    "Value",
    "emit_elemwise",
    "emit_fallback",
    "emit_index",
    "emit_product",
    "emit_random",
    "emit_reduce",
    "emit_shape",
    "emits",
]
