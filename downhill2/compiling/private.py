"""Every private or unstable name of PyTensor and Numba that generated functions lean on, in one place.

Works on PyTensor 3.0 to 3.3 and Numba 0.65 to 0.68. When a name goes away, the linker fails to generate and
PyTensor's plain Numba path takes over; the tests that compare both paths notice.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numba
import numba.extending
import numpy as np
import pytensor
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.imputils import impl_ret_borrowed
from numba.np.arrayobj import _empty_nd_impl, populate_array
from numba.np.ufunc import parallel
from pytensor.link.numba.cache import compile_numba_function_src

from .numba_passes import Pipeline

FAST = {"contract", "afn", "reassoc", "nsz"}
"""What LLVM may do to floating-point arithmetic: NaN and infinity keep their meaning.

PyTensor's kernels allow "arcp" too. With it, division by a number becomes a product with its reciprocal: 49 / 49 is
0.9999999999999999, and 1e-320 / 1e-320 is infinite.
"""

intrinsic: Callable[[Callable[..., Any]], Any] = numba.extending.intrinsic


def new_array(context: Any, builder: Any, array: Any, sizes: Any) -> Any:
    """Allocate an array of a Numba type inside an intrinsic."""
    return _empty_nd_impl(context, builder, array, sizes)._getvalue()


def fill_array(context: Any, array: Any, data: Any, shape: Any, strides: Any, itemsize: Any) -> None:
    """Describe memory that nobody owns as an array, inside an intrinsic."""
    populate_array(array, data=data, shape=shape, strides=strides, itemsize=itemsize, meminfo=None)


def borrowed_reference(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """Return a value that the caller goes on owning."""
    return impl_ret_borrowed(context, builder, kind, value)


def compiled(
    source: str,
    name: str,
    scope: dict[str, Any],
    key: str | None,
    *,
    entry: bool,
    exact: bool = False,
) -> Any:
    """Return the Numba function of a source text, compiled at its first call and kept on disk under ``key``.

    Parameters
    ----------
    source
        Text of one function.
    name
        Its name.
    scope
        Its globals.
    key
        Identifies the machine code in PyTensor's Numba cache; None: not kept, as when ``config.numba__cache`` is off.
    entry
        Whether Python calls it (else only compiled code does).
    exact
        Whether products and sums are rounded one by one, as Python does it.
    """
    function = compile_numba_function_src(source, name, scope, cache_key=key)
    made = numba.njit(
        function,
        fastmath=FAST if pytensor.config.numba__fastmath and not exact else False,
        no_cpython_wrapper=not entry,
        no_cfunc_wrapper=True,
        # what is part of another function is kept with that one
        cache=entry and key is not None and pytensor.config.numba__cache,
        error_model="numpy",
        boundscheck=False,
        pipeline_class=Pipeline,
    )
    made.get_call_template = _looked_up_once(made.get_call_template)
    return made


def _looked_up_once(resolve: Callable[..., Any]) -> Callable[..., Any]:
    """Return what finds the compiled form for types of arguments; what :func:`compiled` returns is called by position.

    Numba would compile a copy for each combination of sizes that stand in a call, and look anew at every call.
    """
    found: dict[Any, Any] = {}

    def look_up(args: Any, kws: Any) -> Any:
        kinds = tuple(map(types.unliteral, args))
        if kinds not in found:
            found[kinds] = resolve(kinds, kws)
        return found[kinds]

    return look_up


def address_of(function: Any) -> int:
    """Return where the machine code of a function is that `compiled` returned and that takes one integer."""
    made = function.overloads[(types.int64,)]
    address: int = made.library.get_pointer_to_function(made.fndesc.llvm_func_name)
    if not address:
        raise ValueError("the machine code of a function must have an address")
    return address


def call_at(context: Any, builder: Any, address: Any, argument: Any) -> None:
    """Call the function at an address, inside an intrinsic; what it raises, the caller raises."""
    convention = context.call_conv
    kind = convention.get_function_type(types.none, (types.intp,))
    function = builder.inttoptr(address, kind.as_pointer())
    status, _ = convention.call_function(builder, function, types.none, (types.intp,), [argument])
    with cgutils.if_unlikely(builder, status.is_error):
        convention.return_status_propagate(builder, status)


def data_of(array: np.ndarray) -> int:
    """Return the address of an array's elements."""
    return int(array.ctypes.data)


def data_in(array: np.ndarray) -> int:
    """Return the address of an array's elements from where NumPy keeps it: ten times faster."""
    address: int = _integer_at(id(array) + object.__basicsize__).value
    return address


_integer_at = ctypes.c_ssize_t.from_address
_sample = np.zeros(3)[1:]
pointer = data_in if data_in(_sample) == data_of(_sample) else data_of


def launch_threads() -> None:
    """Start Numba's threads, once per process, in whichever of its layers is configured."""
    parallel._launch_threads()


def in_threads(context: Any, builder: Any, blocks: Any, threads: Any, data: Any) -> None:
    """Let Numba's threads call a function ``(first, count, data)``, inside an intrinsic, for all blocks.

    `blocks` is its compiled result. Numba's layers call what has the signature of a generalised ufunc, with a share
    of the elements of its arguments. Ours has one argument, of one byte an element, at address 0: a block's number.
    """
    byte, size = ir.IntType(8).as_pointer(), ir.IntType(64)
    kind = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), size.as_pointer(), size.as_pointer(), byte])
    share = ir.Function(builder.module, kind, builder.module.get_unique_name("downhill2_share"))
    share.linkage = "internal"
    inside = ir.IRBuilder(share.append_basic_block())
    first = inside.ptrtoint(inside.load(share.args[0]), size)
    arguments = [first, inside.load(share.args[1]), inside.ptrtoint(share.args[3], size)]
    context.add_linking_libs([blocks.library])
    context.call_internal_no_propagate(inside, blocks.fndesc, blocks.signature, arguments)
    inside.ret_void()
    cells = [cgutils.alloca_once_value(builder, value) for value in (ir.Constant(byte, None), threads, size(1))]
    kind = ir.FunctionType(ir.VoidType(), [byte] * 5 + [size] * 3)
    run = cgutils.get_or_insert_function(builder.module, kind, "numba_parallel_for")
    pointers = [builder.bitcast(value, byte) for value in (share, *cells)]
    builder.call(run, [*pointers, builder.inttoptr(data, byte), size(0), size(1), threads])


def parts(function: Any) -> tuple[Any, list[list[Any]], dict[int, int]]:
    """Return what a ``pytensor.function`` runs, the cells of its inputs' values, and which output becomes which."""
    updates = dict(function.maker.fgraph.update_mapping)
    return function.vm.jit_fn, [container.storage for container in function.input_storage], updates


def cells(function: Any) -> list[list[Any]]:
    """Return where the arrays lie that a ``pytensor.function`` is called with."""
    return [container.storage for container in function.input_storage if container.required]


def kernel_of(node: Any, storage_map: Any) -> tuple[Callable[..., Any], str | None]:
    """Return PyTensor's own kernel of a node and its cache key (None: it can't be kept on disk)."""
    # not above: with all of PyTensor's kernels come SciPy's linear algebra and sparse matrices, a quarter of a second
    from pytensor.link.numba.dispatch.basic import numba_funcify_ensure_cache

    kernel, key = numba_funcify_ensure_cache(node.op, node=node, storage_map=storage_map)
    return kernel, key


def constant(variable: Any) -> tuple[Any, str]:
    """Return a constant as compiled code takes it, and a key of its value."""
    from pytensor.link.numba.dispatch.basic import cache_key_for_constant, numba_typify

    return numba_typify(variable.data, variable=variable), str(cache_key_for_constant(variable.data))


def optional(module: Any, *names: str) -> tuple[type | None, ...]:
    """Return Op classes that only some versions of PyTensor have."""
    return tuple(getattr(module, name, None) for name in names)
