"""Normal numbers, drawn in a loop; all other random numbers come from PyTensor's kernels."""

from __future__ import annotations

from typing import Any

from pytensor.tensor.random import op
from pytensor.tensor.random.basic import NormalRV

from . import private
from .emit_shape import refuse_negative
from .plan import is_tensor
from .program import Program, emits
from .scalars import cast
from .source import Kernel
from .values import FLOATS, Unsupported, times


@emits(*private.optional(op, "RandomVariableWithCoreShape"), random=True)
def random_numbers(program: Program, node: Any) -> None:
    """Draw normal numbers of one mean and deviation, the same that PyTensor's kernel draws.

    That takes 40 ns for each, Numba's generator 4.
    """
    kind, (following, draws) = node.op.core_op, node.outputs
    _, rng, size, *moments = node.inputs
    if not (isinstance(kind, NormalRV) and kind.inplace and draws.dtype in FLOATS and is_tensor(size)):
        raise Unsupported(f"{node.op} that is not {NormalRV.name}, in place, of a size")
    if not all(all(moment.type.broadcastable) for moment in moments):
        raise Unsupported(f"{node.op} of several moments")
    shape = program.integers(size, draws.type.ndim)
    refuse_negative(program, shape)
    kernel, target = Kernel(), program.allocate(draws, shape)
    generator = kernel.take(str(program.value(rng).name), "x")
    numbers = [kernel.number(program.number(program.value(moment)), moment.dtype) for moment in moments]
    mean, deviation = (kernel.let(f"float64({number})") for number in numbers)
    with kernel.loops(kernel.sizes([times(*shape)])) as [index]:
        number = cast((f"{mean} + {deviation} * {generator}.standard_normal()", "float64"), draws.dtype)
        kernel.store(target, [index], [1], number)
    program.add(kernel)
    program.define(following, program.value(rng))
