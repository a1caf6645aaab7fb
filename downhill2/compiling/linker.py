"""The linker: a graph becomes one generated function, or goes PyTensor's way when that fails."""

from __future__ import annotations

import logging
from typing import Any

from pytensor.link.numba.linker import NumbaLinker

logger = logging.getLogger("downhill2")


class FunctionLinker(NumbaLinker):  # type: ignore[misc]  # PyTensor has no annotations
    """Compiles a whole graph as one generated Numba function.

    Parameters
    ----------
    products : bool, optional
        Whether matrix products call BLAS directly. Default True; else they are PyTensor's kernels.
    """

    def __init__(self, *, products: bool = True) -> None:
        super().__init__()
        self.products = products

    def fgraph_convert(self, fgraph: Any, order: Any = None, storage_map: Any = None, **kwargs: Any) -> Any:
        """Return what :meth:`jit_compile` takes."""

        def plain() -> Any:
            convert = super(FunctionLinker, self).fgraph_convert
            converted = convert(fgraph, order=order, storage_map=storage_map, **kwargs)
            return super(FunctionLinker, self).jit_compile(converted)

        return plain, fgraph, order, storage_map

    def jit_compile(self, converted: Any) -> Any:
        """Return the function of arrays that PyTensor calls."""
        plain, fgraph, order, storage_map = converted
        try:
            return self._generated(plain, fgraph, order, storage_map)
        # whatever goes wrong here, PyTensor's own path compiles the same graph
        except Exception as error:
            log_fallback(error)
            return plain()

    def _generated(self, plain: Any, fgraph: Any, order: Any, storage_map: Any) -> Any:
        # Numba is imported when something is compiled, not with downhill2
        from . import blas, emitters, memory
        from .caller import GeneratedFunction

        blas.blas_library()
        memory.register()
        nodes = list(order or fgraph.toposort())
        program = emitters.Program(fgraph.inputs, fgraph.outputs, nodes, storage_map, products=self.products)
        return GeneratedFunction(program, plain)


def log_fallback(error: Exception) -> None:
    """Say that PyTensor's own linker compiles a function, and why."""
    logger.info("PyTensor's Numba linker compiles this function: %s: %s", type(error).__name__, error)
