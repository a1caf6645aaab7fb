"""From a graph to a fast function.

:func:`fast_mode` is a PyTensor mode that writes a whole graph as one function and lets Numba compile that: the
first call of a training step comes after about a second. Importing this package is cheap; Numba is imported when
something is compiled.
"""

from .blas import blas_library, use_blas
from .mode import fast_mode

__all__ = ["blas_library", "fast_mode", "use_blas"]
