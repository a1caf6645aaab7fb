"""The PyTensor mode of generated functions."""

from __future__ import annotations

from typing import Any

from pytensor.compile.mode import Mode, get_mode, optdb
from pytensor.graph.rewriting.basic import SequentialGraphRewriter
from pytensor.link.numba.linker import NumbaLinker

from .garbage import uncollected
from .linker import FunctionLinker
from .rewrites import (
    BEFORE_FUSION,
    BEFORE_PRODUCTS,
    GUARD,
    IN_PLACE,
    ElementwiseUpdates,
    InPlace,
    Requirements,
    one_product,
)

# Rewrites of PyTensor 3.3 that melt nodes together for its own kernels; we have loops for each node.
EXCLUDED = ("fuse_indexed_into_elemwise", "inline_symbolic_for_fusion", "merge_inlined_symbolic")


def fast_mode(base: Any = None, *, fused: bool = True, products: bool = True, parallel: bool = True) -> Mode:
    """Return a mode that compiles a whole graph as one generated function.

    It computes what PyTensor's Numba mode computes, to rounding, in place where that one works in place. The
    first compile takes a tenth of the time or less. Graphs that can't be generated go PyTensor's way, with one
    line at level INFO on the logger ``downhill2``.

    Parameters
    ----------
    base : str or Mode, optional
        The mode whose rewrites are used; its linker must be Numba's. Default: PyTensor's "NUMBA".
    fused : bool, optional
        Whether to generate at all. Default True; else ``base`` is returned.
    products : bool, optional
        Whether matrix products of float32 and float64 call BLAS directly (see :func:`use_blas`), without
        copying transposed operands. Default True; else they are PyTensor's kernels.
    parallel : bool, optional
        Whether loops over very many elements run on all cores: over 2 million where the graph has no matrix product,
        over 150,000 where products go through MKL (see :func:`blas_library`). Default True. They compute the same,
        bit for bit.

    Returns
    -------
    Mode
        For ``pytensor.function(..., mode=...)``.

    Raises
    ------
    ValueError
        If ``base`` has another linker.
    """
    base = get_mode("NUMBA" if base is None else base)
    if not isinstance(base.linker, NumbaLinker):
        raise ValueError(f"base must be a mode with the Numba linker, got {base}")
    if not fused:
        return base
    ours = (one_product, BEFORE_PRODUCTS), (ElementwiseUpdates(), BEFORE_FUSION)
    rewrites = base.provided_optimizer.excluding(*EXCLUDED).register(*ours)
    return Mode(FunctionLinker(products=products, parallel=parallel), rewrites, Database())


class Database:
    """PyTensor's rewrites, run as `Rewrites` does."""

    def query(self, *tags: Any) -> Rewrites:
        """Return those that a mode asks for."""
        return Rewrites(optdb.query(*tags))


class Rewrites(SequentialGraphRewriter):  # type: ignore[misc]
    """Rewrites, one after another: without a search for garbage, and with `InPlace` where PyTensor has its own.

    What guards memory is attached to the graph before the first rewrite that overwrites any, not before all: it would
    look at all outputs after every replacement.

    Parameters
    ----------
    rewrites : SequentialGraphRewriter
    """

    def __init__(self, rewrites: Any) -> None:
        ours = [InPlace(r) if getattr(r, "name", None) == IN_PLACE else r for r in rewrites.data]
        names = [getattr(r, "name", None) for r in ours]
        first = names.index(GUARD) if GUARD in names else len(ours)
        self._later = Requirements(ours[first:])
        super().__init__([*ours[:first], self._later, *ours[first:]], failure_callback=rewrites.failure_callback)
        self.name = getattr(rewrites, "name", None)

    def add_requirements(self, fgraph: Any) -> None:
        """Attach what rewrites need from the start; all of it where something is overwritten already."""
        for rewrite in self.data[: self.data.index(self._later)]:
            rewrite.add_requirements(fgraph)
        if any(node.op.destroy_map for node in fgraph.apply_nodes):
            self._later.apply(fgraph)

    @uncollected()
    def apply(self, fgraph: Any) -> Any:
        """Rewrite a graph, and return how long it took."""
        return super().apply(fgraph)
