"""Every private or unstable name of PyTensor and Numba that generated functions lean on, in one place.

Works on PyTensor 3.0 to 3.3 and Numba 0.65 to 0.68. When a name goes away, the linker fails to generate and
PyTensor's plain Numba path takes over; the tests that compare both paths notice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba.extending
import pytensor
from numba.core.imputils import impl_ret_borrowed
from numba.np.arrayobj import _empty_nd_impl, populate_array
from pytensor.link.numba.cache import compile_numba_function_src
from pytensor.link.numba.dispatch.basic import (
    cache_key_for_constant,
    numba_funcify_ensure_cache,
    numba_njit,
    numba_typify,
)

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


def compiled(source: str, name: str, scope: dict[str, Any], key: str | None, *, entry: bool) -> Any:
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
    """
    function = compile_numba_function_src(source, name, scope, cache_key=key)
    return numba_njit(
        function,
        final_function=entry,
        no_cfunc_wrapper=True,
        cache=key is not None and pytensor.config.numba__cache,
        error_model="numpy",
        boundscheck=False,
    )


def kernel_of(node: Any, storage_map: Any) -> tuple[Callable[..., Any], str | None]:
    """Return PyTensor's own kernel of a node and its cache key (None: it can't be kept on disk)."""
    kernel, key = numba_funcify_ensure_cache(node.op, node=node, storage_map=storage_map)
    return kernel, key


def constant(variable: Any) -> tuple[Any, str]:
    """Return a constant as compiled code takes it, and a key of its value."""
    return numba_typify(variable.data, variable=variable), str(cache_key_for_constant(variable.data))


def optional(module: Any, *names: str) -> tuple[type | None, ...]:
    """Return Op classes that only some versions of PyTensor have."""
    return tuple(getattr(module, name, None) for name in names)
