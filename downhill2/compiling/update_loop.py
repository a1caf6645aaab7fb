"""The compiled loop over updates: batches in, a generated function, monitors out, without Python and allocations.

It is compiled once for all generated functions, which it calls by their address.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from numba.core import cgutils, types

from . import intrinsics, private
from .assemble import key_of
from .private import intrinsic

KINDS = ("float64", "float32", "int64", "bool")
"""What monitors may be; the loop is told by the position here."""

SOURCE = """
def updates(
    kernel, address, table, monitors, sound, swaps, windows, gathers,
    starts, order, ordered, size, weights, totals, losses, made
):
    for i in range(len(starts)):
        start = starts[i]
        for k in range(len(windows)):
            table[windows[k, 0]] = windows[k, 1] + start * windows[k, 2]
        for k in range(len(gathers)):
            target, source, pieces, rows, nbytes = gathers[k]
            for _ in range(pieces):
                for place in range(start, start + size):
                    row = order[place] if ordered else place
                    copied(target, source + row * nbytes, nbytes)
                    target += nbytes
                source += rows * nbytes
        called(kernel, address)
        losses[i] = number(address, monitors[0, 0], monitors[0, 1])
        kept = boolean(address, sound)[0] != 0
        if kept:
            for k in range(len(monitors)):
                totals[k] += weights[i] * number(address, monitors[k, 0], monitors[k, 1])
            totals[len(monitors)] += weights[i]
            made[0] = i + 1
        for k in range(len(swaps)):
            a, b = swaps[k]
            table[a], table[b] = table[b], table[a]
        if not kept:
            break
"""

COPY = """
def copied(target, source, nbytes):
    if nbytes == 8:
        int64_at(target, 0)[0] = int64_at(source, 0)[0]
    elif nbytes == 4:
        int32_at(target, 0)[0] = int32_at(source, 0)[0]
    else:
        moved(target, source, nbytes)
"""

NUMBER = """
def number(address, place, kind):
    if kind == 0:
        return float64(address, place)[0]
    if kind == 1:
        return float(float32(address, place)[0])
    if kind == 2:
        return float(int64(address, place)[0])
    return float(boolean(address, place)[0])
"""


@intrinsic
def called(typing: Any, kernel: Any, table: Any) -> Any:
    """Call the generated function at an address with the address of its table; what it raises goes on up."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        private.call_at(context, builder, *args)
        return context.get_dummy_value()

    return types.none(types.intp, types.intp), generate


@intrinsic
def moved(typing: Any, target: Any, source: Any, nbytes: Any) -> Any:
    """Copy bytes from address to address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to, start = (builder.inttoptr(address, intrinsics.I8.as_pointer()) for address in args[:2])
        cgutils.raw_memcpy(builder, to, start, args[2], 1)
        return context.get_dummy_value()

    return types.none(*[types.intp] * 3), generate


@cache
def updates() -> Any:
    """Return the loop, compiled."""
    scope: dict[str, Any] = {"called": called, "moved": moved, "__name__": __name__}
    scope.update({kind.replace("bool", "boolean"): intrinsics.array(kind) for kind in KINDS})
    scope.update({f"{kind}_at": intrinsics.block(kind) for kind in ("int32", "int64")})
    text = Path(__file__).read_text(encoding="utf-8")
    for name, part in (("number", NUMBER), ("copied", COPY)):
        scope[name] = private.compiled(part, name, scope, key_of(part, text), entry=False, exact=True)
    loop = private.compiled(SOURCE, "updates", scope, key_of(SOURCE, text), entry=True, exact=True)
    integer, (integers, pairs), numbers = types.int64, (types.int64[::1], types.int64[:, ::1]), types.float64[::1]
    loop.compile(
        (integer, integer, integers, pairs, integer, *[pairs] * 3)
        + (*[integers] * 2, types.boolean, integer, *[numbers] * 3, integers)
    )
    return loop
