"""The linker: a graph becomes one generated function, or goes PyTensor's way when that fails."""

from __future__ import annotations

from typing import Any

from pytensor.link.numba.linker import NumbaLinker
from pytensor.link.utils import raise_with_op

from . import blas, memory
from .fallback import KernelError, log_fallback, logger


class FunctionLinker(NumbaLinker):  # type: ignore[misc]  # PyTensor has no annotations
    """Compiles a whole graph as one generated Numba function.

    Parameters
    ----------
    products : bool, optional
        Whether matrix products call BLAS directly. Default True; else they are PyTensor's kernels.
    parallel : bool, optional
        Whether large loops run on all cores where that pays. Default True.
    """

    def __init__(self, *, products: bool = True, parallel: bool = True) -> None:
        super().__init__()
        self.products, self.parallel = products, parallel

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
        except KernelError as error:
            if not error.own:
                raise
            logger.warning("%s; please report this. PyTensor's Numba linker compiles this function", error)
            return plain()
        # whatever goes wrong here, PyTensor's own path compiles the same graph
        except Exception as error:
            log_fallback(error)
            return plain()

    def create_jitable_thunk(self, *args: Any, **kwargs: Any) -> Any:
        """Return what PyTensor calls; a generated function takes values from their cells, and puts new ones there."""
        from .caller import CallPool, GeneratedFunction  # imports Numba

        thunks, nodes, function = super().create_jitable_thunk(*args, **kwargs)
        updates = self.fgraph.update_mapping
        # None: not of a `pytensor.function`, but of somebody who reads the cells of outputs
        if not isinstance(function, GeneratedFunction) or updates is None:
            return thunks, nodes, function
        [thunk] = thunks

        def failed() -> None:
            if nodes:
                raise_with_op(self.fgraph, nodes[0], thunk)

        return [CallPool(function, thunk.inputs, updates, failed)], nodes, function

    def _generated(self, plain: Any, fgraph: Any, order: Any, storage_map: Any) -> Any:
        # these import Numba: only who compiles waits for that
        from . import emitters
        from . import parallel as threads
        from .caller import GeneratedFunction

        blas.blas_library()
        memory.register()
        nodes = list(order or fgraph.toposort())
        least = threads.worth_from(nodes) if self.parallel else None
        program = emitters.Program(
            fgraph.inputs, fgraph.outputs, nodes, storage_map, products=self.products, parallel_from=least
        )
        return GeneratedFunction(program, plain)


def many_updates(function: Any, sources: Any, size: int, count: int | None = None) -> Any:
    """Return what makes many updates of a ``pytensor.function`` in one call, None if each is to have its own.

    Parameters and result are those of :class:`Many`.
    """
    if not _is_ours(function):
        return None
    from .many import many  # imports Numba

    return many(function, sources, size, count)


def direct(function: Any) -> Any:
    """Return what calls a ``pytensor.function`` in less time, for arrays that it can trust."""
    if not _is_ours(function):
        return function
    from . import caller  # imports Numba

    return caller.direct(function)


def _is_ours(function: Any) -> bool:
    return isinstance(getattr(getattr(function, "maker", None), "linker", None), FunctionLinker)
