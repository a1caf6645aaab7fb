"""Numba's compiler, without what costs time and gives generated functions nothing.

They are long, plain, and call one another; Numba is made for short functions that may be anything. It optimizes each
of them alone, then again within its caller, looks for closures, ``with`` and array expressions, and notes variables in
a time that grows with the square of a function's length (in Numba 0.65).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from numba.core import analysis, ir, lowering
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import BaseNativeLowering, NativeLowering

NEEDLESS = {
    *("WithLifting", "InlineClosureLikes", "MakeFunctionToJitFunction", "InlineInlinables", "InlineOverloads"),
    *("RewriteSemanticConstants", "DeadBranchPrune", "NopythonRewrites", "LiteralUnroll", "FindLiterallyCalls"),
    *("LiteralPropagationSubPipelinePass", "RewriteDynamicRaises", "DumpParforDiagnostics"),
}
"""Passes of Numba for what generated source does not have, by their names: they differ between versions."""


class InnerLibrary(JITCodeLibrary):  # type: ignore[misc]  # Numba has no annotations
    """The code of a function that only generated functions call: optimized and made machine code with its caller's."""

    def finalize(self) -> None:
        """Join the libraries that this one calls; no more."""
        for library in dict.fromkeys(self._linking_libraries):
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalized = True


class Lowering(lowering.Lower):  # type: ignore[misc]
    """From Numba's representation to LLVM's."""

    def setup_function(self, fndesc: Any) -> None:
        """Declare the function; loops that several places call are not to be copied into each."""
        super().setup_function(fndesc)
        if isinstance(self.library, InnerLibrary):
            self.function.attributes.add("noinline")

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
class GeneratedLowering(BaseNativeLowering):  # type: ignore[misc]
    """The pass that lowers, by `Lowering`."""

    _name = "downhill2_lowering"

    @property
    def lowering_class(self) -> type[Lowering]:
        """Return the class that does it."""
        return Lowering

    def run_pass(self, state: Any) -> bool:
        """Compile; what Python does not call has no machine code of its own."""
        inner = state.flags.no_cpython_wrapper
        if inner:
            state.library = InnerLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
            state.flags.no_compile = True
        changed: bool = super().run_pass(state)
        if inner:
            # Numba finds a function by the built-in that Python would call: here a new one, never called
            key: Any = [].append
            state.targetctx.insert_user_function(key, state["cr"].fndesc, [state.library])
            state["cr"] = state["cr"]._replace(cfunc=key)
        return changed


class Pipeline(CompilerBase):  # type: ignore[misc]
    """Numba's passes for functions without Python objects, with `GeneratedLowering` in its place."""

    def define_pipelines(self) -> list[Any]:
        """Return the one list of passes."""
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        kept = [(p, why) for p, why in passes.passes if p.__name__ not in NEEDLESS]
        passes.passes = [(GeneratedLowering if p is NativeLowering else p, why) for p, why in kept]
        passes.finalize()
        return [passes]
