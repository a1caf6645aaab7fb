"""Scalar operations as source text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pytensor.scalar.basic import Composite

from .source import Block
from .values import FLOATS, SUPPORTED, Unsupported

Operand = tuple[str, str]
"""An expression and the dtype that it has."""

# Operands are cast to the (floating) dtype of the result; T is that dtype's constructor.
FLOATING = {
    "TrueDiv": "{0} / {1}",
    "Reciprocal": "{T}(1) / {0}",
    "Sqrt": "math.sqrt({0})",
    "Exp": "exp({0})",
    "Exp2": "exp2({0})",
    "Expm1": "expm1({0})",
    "Log": "log({0})",
    "Log1p": "log1p({0})",
    "Log2": "log2({0})",
    "Log10": "log10({0})",
    "Sin": "math.sin({0})",
    "Cos": "math.cos({0})",
    "Tan": "math.tan({0})",
    "ArcSin": "math.asin({0})",
    "ArcCos": "math.acos({0})",
    "ArcTan": "math.atan({0})",
    "ArcTan2": "math.atan2({0}, {1})",
    "Sinh": "math.sinh({0})",
    "Cosh": "math.cosh({0})",
    "Tanh": "tanh({0})",
    "ArcSinh": "math.asinh({0})",
    "ArcCosh": "math.acosh({0})",
    "ArcTanh": "math.atanh({0})",
    "Erf": "erf({0})",
    "Erfc": "erfc({0})",
    "GammaLn": "math.lgamma({0})",
    "Floor": "rounded_floor({0})",
    "Ceil": "rounded_ceil({0})",
    "Trunc": "rounded_trunc({0})",
    "RoundHalfToEven": "rounded_rint({0})",
    "Deg2Rad": "{0} * {T}(0.017453292519943295)",
    "Rad2Deg": "{0} * {T}(57.29577951308232)",
    "Sigmoid": "sigmoid({0})",
    "Softplus": "softplus({0})",
    "Log1mexp": "log1mexp({0})",
    "Sign": "select({0} > {T}(0), {T}(1), select({0} < {T}(0), {T}(-1), abs({0})))",
    "Maximum": "select(({0} >= {1}) | ({0} != {0}), {0}, {1})",
    "Minimum": "select(({0} <= {1}) | ({0} != {0}), {0}, {1})",
}

# In double precision the arguments take more of pi than loops should compute with.
SINGLE = FLOATING | {"Sin": "sin({0})", "Cos": "cos({0})", "Tan": "tan({0})"}

# Operands are cast to the dtype of the result, which is an integer.
INTEGER = {
    "Sign": "{T}({0} > {T}(0)) - {T}({0} < {T}(0))",
    "Maximum": "select({0} >= {1}, {0}, {1})",
    "Minimum": "select({0} <= {1}, {0}, {1})",
    "AND": "{0} & {1}",
    "OR": "{0} | {1}",
    "XOR": "{0} ^ {1}",
    "Invert": "~{0}",
}

BOOLEAN = {
    "Add": "{0} | {1}",
    "Mul": "{0} & {1}",
    "AND": "{0} & {1}",
    "OR": "{0} | {1}",
    "XOR": "{0} != {1}",
    "Invert": "{0} == False",
    "Maximum": "{0} | {1}",
    "Minimum": "{0} & {1}",
    "Sqr": "{0}",
    "Abs": "{0}",
}

# Operands are cast to the dtype of the result, of either kind.
NUMBER = {
    "Add": "{0} + {1}",
    "Mul": "{0} * {1}",
    "Sub": "{0} - {1}",
    "Neg": "-{0}",
    "Sqr": "{0} * {0}",
    "Abs": "abs({0})",
    "Clip": "select({0} < {1}, {1}, select({0} > {2}, {2}, {0}))",
    "IntDiv": "{0} // {1}",
    "Mod": "{0} % {1}",
}

COMPARISON = {"LT": "<", "GT": ">", "LE": "<=", "GE": ">=", "EQ": "==", "NEQ": "!="}

SYNONYMS = {"ScalarMaximum": "Maximum", "ScalarMinimum": "Minimum"}


def literal(value: Any, dtype: str) -> str:
    """Return a constant as source text of exactly this dtype."""
    if dtype == "bool":
        return str(bool(value))
    if dtype not in FLOATS:
        return str(int(value)) if dtype == "int64" else f"{dtype}({int(value)})"
    number = float(value)
    text = repr(number) if math.isfinite(number) else f"math.{abs(number)}" if number >= 0 else "-math.inf"
    text = "math.nan" if math.isnan(number) else text
    return text if dtype == "float64" else f"{dtype}({text})"


def cast(operand: Operand, dtype: str) -> str:
    """Return the expression converted to a dtype."""
    expression, have = operand
    if have == dtype:
        return expression
    return f"({expression} != 0)" if dtype == "bool" else f"{dtype}({expression})"


def write(block: Block, op: Any, operands: Sequence[Operand], dtypes: Sequence[str]) -> list[Operand]:
    """Write one scalar operation into a block.

    Parameters
    ----------
    block
        Where the statements go.
    op : ScalarOp
        May be a Composite, whose inner operations are written one after another.
    operands
        One per input.
    dtypes
        dtype of each output.

    Returns
    -------
    list of Operand
        One name per output.

    Raises
    ------
    Unsupported
        If the operation, or one inside it, has no rule here.
    """
    graph = inner_graph(op)
    if graph is not None:
        return write_graph(block, graph, operands, range(len(dtypes)))
    [dtype] = dtypes
    if dtype not in SUPPORTED or any(have not in SUPPORTED for _, have in operands):
        raise Unsupported(f"{op} on {[have for _, have in operands]}")
    return [(block.let(expression(block, op, operands, dtype)), dtype)]


def inner_graph(op: Any) -> Any | None:
    """Return the graph of a Composite, None for any other operation."""
    return op.fgraph if isinstance(op, Composite) else None


def write_graph(block: Block, graph: Any, operands: Sequence[Operand], wanted: Sequence[int]) -> list[Operand]:
    """Write those operations of a Composite's inner graph that the wanted outputs need."""
    outputs = [graph.outputs[i] for i in wanted]
    known: dict[Any, Operand] = dict(zip(graph.inputs, operands, strict=True))

    def operand(variable: Any) -> Operand:
        if variable in known:
            return known[variable]
        return literal(variable.data, variable.dtype), str(variable.dtype)

    needed = needed_nodes(outputs)
    for node in graph.toposort():
        if node in needed:
            dtypes = [out.dtype for out in node.outputs]
            results = write(block, node.op, [operand(i) for i in node.inputs], dtypes)
            known.update(zip(node.outputs, results, strict=True))
    return [operand(out) for out in outputs]


def needed_nodes(outputs: Sequence[Any]) -> set[Any]:
    """Return the nodes from which these variables are computed."""
    nodes: set[Any] = set()
    pending = [out.owner for out in outputs]
    while pending:
        node = pending.pop()
        if node is not None and node not in nodes:
            nodes.add(node)
            pending += [i.owner for i in node.inputs]
    return nodes


def expression(block: Block, op: Any, operands: Sequence[Operand], dtype: str) -> str:
    """Return the expression of one elementary operation, of exactly the given dtype."""
    name = SYNONYMS.get(type(op).__name__, type(op).__name__)
    if not type(op).__module__.startswith("pytensor.scalar"):
        raise Unsupported(f"scalar operation {op}")
    special = SPECIAL.get(name)
    if special is not None:
        return special(block, operands, dtype)
    kinds = {"bool": BOOLEAN, "float32": NUMBER | SINGLE, "float64": NUMBER | FLOATING}
    table = kinds.get(dtype, NUMBER | INTEGER)
    if name not in table:
        raise Unsupported(f"scalar operation {op} on {dtype}")
    names = [block.let(cast(operand, dtype)) for operand in operands]
    result = chained(block, table[name], names, f"{dtype}")
    # Numba computes integers narrower than 64 bits in 64
    return f"{dtype}({result})" if dtype in SUPPORTED[1:] and dtype not in FLOATS else result


def chained(block: Block, template: str, names: Sequence[str], constructor: str) -> str:
    """Fill a template; one for two operands is folded over more of them."""
    if "{1}" not in template or "{2}" in template:
        return template.format(*names, T=constructor)
    result = names[0]
    for name in names[1:]:
        # named, as Python reads no more than 200 nested parentheses
        result = template.format(block.let(result), name, T=constructor)
    return result


def _converted(block: Block, operands: Sequence[Operand], dtype: str) -> str:
    return cast(operands[-1], dtype)


def _switch(block: Block, operands: Sequence[Operand], dtype: str) -> str:
    condition, yes, no = operands
    return f"select({cast(condition, 'bool')}, {cast(yes, dtype)}, {cast(no, dtype)})"


def _comparison(sign: str) -> Callable[[Block, Sequence[Operand], str], str]:
    def compare(block: Block, operands: Sequence[Operand], dtype: str) -> str:
        common = np.result_type(*(have for _, have in operands)).name
        left, right = (cast(operand, common) for operand in operands)
        return f"{left} {sign} {right}"

    return compare


def _power(block: Block, operands: Sequence[Operand], dtype: str) -> str:
    if dtype not in FLOATS:
        raise Unsupported(f"power of {dtype}")
    x, exponent = (cast(operand, dtype) for operand in operands)
    number = block.given(operands[1][0])
    if (number or exponent) == literal(np.dtype(dtype).type(1 / 3), dtype):
        return f"cube_root({x})"
    return f"power({x}, {exponent})" if number else f"pow({x}, {exponent})"


def _is_nan(block: Block, operands: Sequence[Operand], dtype: str) -> str:
    name = block.let(operands[0][0])
    return f"{name} != {name}"


def _is_inf(block: Block, operands: Sequence[Operand], dtype: str) -> str:
    expression, have = operands[0]
    return f"abs({expression}) == {literal(np.inf, have)}" if have in FLOATS else f"{expression} != {expression}"


SPECIAL: dict[str, Callable[[Block, Sequence[Operand], str], str]] = {
    "Cast": _converted,
    "Identity": _converted,
    "Second": _converted,
    "Switch": _switch,
    "Pow": _power,
    "IsNan": _is_nan,
    "IsInf": _is_inf,
    **{name: _comparison(sign) for name, sign in COMPARISON.items()},
}
