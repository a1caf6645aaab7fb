"""Whether loops use only names that they have: found before Numba looks, with an error that names who wrote them."""

from __future__ import annotations

import ast
import builtins
import difflib
from collections.abc import Collection, Iterable

from .fallback import KernelError
from .source import Kernel

MARK = "__kernel"
"""What stands for ``$`` in a text that Python can parse: the names of a kernel stay apart from all others."""


def check_names(kernels: Iterable[Kernel], tools: Collection[str]) -> None:
    """Raise for the first name in a kernel that is neither taken nor assigned there, nor one of the tools.

    Parameters
    ----------
    kernels
        Of one program.
    tools
        Names that all generated functions know.

    Raises
    ------
    KernelError
        Also where the text of a kernel is no Python.
    """
    for text, kernel in {kernel.text("loops"): kernel for kernel in kernels}.items():
        tree = _parsed(text, kernel)
        names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
        own = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
        own |= {node.id for node in names if isinstance(node.ctx, ast.Store)}
        for node in names:
            if node.id not in own and node.id not in tools and not hasattr(builtins, node.id):
                name = node.id.replace(MARK, "$")
                raise KernelError(
                    f"{_described(kernel)} use {name!r}, {_remedy(tree, node, name, tools)}", _is_own(kernel)
                )


def _parsed(text: str, kernel: Kernel) -> ast.AST:
    try:
        return ast.parse(text.replace("$", MARK))
    except SyntaxError as error:
        line = text.splitlines()[(error.lineno or 1) - 1].strip()
        message = f"{_described(kernel)} must be Python, got {line!r}; {error.msg}"
        raise KernelError(message, _is_own(kernel)) from error


def _is_own(kernel: Kernel) -> bool:
    """Whether an emitter of this package wrote the loops."""
    return kernel.author is None or str(kernel.author[1].__module__).startswith(f"{__package__}.")


def _described(kernel: Kernel) -> str:
    """Return what the loops are for, and who wrote them."""
    if kernel.author is None:
        return "loops that copy outputs"
    op, emitter = kernel.author
    return f"loops of {op}, written by {emitter.__module__}.{emitter.__qualname__},"


def _remedy(tree: ast.AST, name: ast.Name, text: str, tools: Collection[str]) -> str:
    """Return what is wrong with a name, and what to do, as its place in the text suggests."""
    if text.endswith("$"):
        return "which belongs to another kernel, or is never assigned; name it by let(...) or new(...) of this one"
    if any(isinstance(node, ast.Call) and node.func is name for node in ast.walk(tree)):
        near = difflib.get_close_matches(text, list(tools), 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"which is no tool; {hint}program.tool(kind, dtype) returns the name of one that is made for a dtype"
    if any(isinstance(node, ast.Subscript) and node.value is name for node in ast.walk(tree)):
        return "an address that was not taken; call kernel.load, kernel.store or kernel.pointer(value)"
    return "which was not taken; call kernel.size(size) for a size, kernel.number(name, dtype) for a number"
