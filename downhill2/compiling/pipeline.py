"""Numba's compiler, but for one step, whose time grows with the square of a function's length in Numba 0.65.

Generated functions are long: for a network of 50 layers that step took more than half of the time of Numba.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from numba.core import analysis, ir, lowering
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import BaseNativeLowering, NativeLowering


class Lowering(lowering.Lower):  # type: ignore[misc]  # Numba has no annotations
    """From Numba's representation to LLVM's."""

    def _find_singly_assigned_variable(self) -> None:
        """Note which variables need no memory: those assigned once, and read in no block but that one."""
        blocks = self.func_ir.blocks
        assigned = Counter(a.target.name for block in blocks.values() for a in block.find_insts(ir.Assign))
        uses = analysis.compute_use_defs(blocks)
        # what a block defines before it reads it is not among its uses
        elsewhere = set().union(*uses.usemap.values()) | analysis.must_use_alloca(blocks)
        self._singly_assigned_vars = {name for name, count in assigned.items() if count == 1} - elsewhere
        self._blk_local_varmap: dict[str, Any] = {}


@register_pass(mutates_CFG=True, analysis_only=False)
class LinearLowering(BaseNativeLowering):  # type: ignore[misc]
    """The pass that lowers, by `Lowering`."""

    _name = "downhill2_lowering"

    @property
    def lowering_class(self) -> type[Lowering]:
        """Return the class that does it."""
        return Lowering


class Pipeline(CompilerBase):  # type: ignore[misc]
    """Numba's passes for functions without Python objects, with `LinearLowering` in its place."""

    def define_pipelines(self) -> list[Any]:
        """Return the one list of passes."""
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.passes = [(LinearLowering if p is NativeLowering else p, why) for p, why in passes.passes]
        passes.finalize()
        return [passes]
