"""The path of an algorithm over the contours of a loss of two numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...checks import integer
from . import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ...symbolic.graph import Variable

Array = NDArray[np.float64]
Loss = Callable[[Array, Array], Any]
Limits = tuple[float, float] | None
Pair = Sequence[float] | None


class Walker(Protocol):
    """An optimizer, as its path needs it."""

    @property
    def params(self) -> Sequence[Variable]: ...
    @property
    def inputs(self) -> Sequence[Variable]: ...
    @property
    def fit(self) -> Any: ...
    def get_updates(self) -> list[tuple[Variable, Variable]]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> object: ...


def path(
    points: Any,
    loss: Loss | None = None,
    ax: Axes | None = None,
    *,
    updates: int = 100,
    minimum: Pair = None,
    xlim: Limits = None,
    ylim: Limits = None,
) -> Axes:
    """Draw the path of one or several algorithms over the contours of a loss of two numbers.

    Parameters
    ----------
    points : array of shape (n, 2), Optimizer, or mapping of str to these
        The places of the algorithm, from its start to its end. An optimizer makes updates from its present place, and
        is set back afterwards: its parameters must be two numbers (one vector or two scalars), and it has no inputs.
    loss : callable, optional
        ``loss(x, y)`` returns the loss at each place of two arrays of one shape. Default: that of the optimizer.
    ax : matplotlib Axes, optional
        Where to draw. Default: in a new picture.
    updates : int
        How many updates an optimizer makes. Default 100.
    minimum : pair of float, optional
        A place to mark as the minimum.
    xlim, ylim : pair of float, optional
        What to show. Default: the path, with room around it.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ImportError
        If matplotlib is missing.
    TypeError, ValueError
        If points are something else, for an optimizer with other parameters, and for other wrong arguments.

    Examples
    --------
    >>> from downhill2 import plots
    >>> ax = plots.path([[2.0, 1.0], [1.0, 0.0], [0.1, 0.0]], lambda x, y: x**2 + 4 * y**2)
    """
    updates = integer("updates", updates, 1)
    for name, pair in {"minimum": minimum, "xlim": xlim, "ylim": ylim}.items():
        if pair is not None and np.shape(pair) != (2,):
            raise ValueError(f"{name} must be a pair of numbers, got {pair!r}")
    named = points if isinstance(points, Mapping) else {"": points}
    if not named:
        raise ValueError(f"points must have a path, got {points!r}")
    side = 201 if loss is not None else 81  # the loss of an optimizer is computed for each place separately
    if loss is None:
        loss = next((_loss_of(p) for p in named.values() if hasattr(p, "get_updates")), None)
    if not callable(loss):
        raise TypeError(f"loss must be a function of two arrays, got {loss!r}")
    paths = {str(name): _walked(p, updates) for name, p in named.items()}
    ax = canvas.axes(ax)
    _draw_contours(ax, loss, side, *_limits(paths, minimum, xlim, ylim))
    _draw_paths(ax, paths, minimum)
    if [*paths] != [""]:
        canvas.legend(ax)
    return ax


def _walked(points: Any, updates: int) -> Array:
    """Return the points of a path, checked; an optimizer makes them."""
    found = _walk(points, updates) if hasattr(points, "get_updates") else _numbers(points)
    if found.ndim != 2 or found.shape[1] != 2 or not len(found):
        raise ValueError(f"points must have shape (n, 2), got {found.shape}")
    if not np.isfinite(found).all(axis=1).any():
        raise ValueError("points must have a finite one, got none")
    return found


def _numbers(points: object) -> Array:
    try:
        return np.asarray(points, dtype=float)
    except (TypeError, ValueError) as error:
        raise TypeError(f"points must be an array of shape (n, 2) or an Optimizer, got {points!r}") from error


def _draw_contours(ax: Axes, loss: Loss, side: int, xlim: tuple[float, float], ylim: tuple[float, float]) -> None:
    """Draw lines of equal loss, dense where it is low: in valleys algorithms differ."""
    x, y = np.meshgrid(np.linspace(*xlim, side), np.linspace(*ylim, side))
    with np.errstate(all="ignore"):  # a loss may be infinite away from the paths
        height = np.asarray(loss(x, y), dtype=float)
    if height.shape not in ((), x.shape):
        raise ValueError(f"loss must return a number for each place, of shape {x.shape}, got shape {height.shape}")
    height = np.broadcast_to(height, x.shape)
    known = height[np.isfinite(height)]
    if known.size and known.max() > known.min():
        levels = known.min() + (known.max() - known.min()) * np.geomspace(1e-4, 0.8, 14)
        height = np.ma.masked_invalid(height)
        ax.contour(x, y, height, levels=levels, colors="0.75", linewidths=0.6)
    ax.set(xlim=xlim, ylim=ylim, xlabel="$x_0$", ylabel="$x_1$")


def _draw_paths(ax: Axes, paths: Mapping[str, Array], minimum: Pair) -> None:
    for i, (name, points) in enumerate(paths.items()):
        look: dict[str, Any] = {**canvas.style(i), "markersize": 3.5, "markeredgewidth": 0, "linewidth": 1}
        every = canvas.few(len(points), i, 25) if len(paths) > 1 else 1
        ax.plot(*points.T, **look, markevery=every, label=canvas.label(name))
        ax.plot(*points[-1], **{**look, "markersize": 7}, zorder=4)
    starts = np.unique([p[0] for p in paths.values()], axis=0)
    marks: dict[str, Any] = {"linestyle": "none", "markeredgecolor": "black", "zorder": 4}
    ax.plot(*starts.T, marker="o", color="white", label="start", **marks)
    if minimum is not None:
        ax.plot(*minimum, marker="*", markersize=11, color="black", label="minimum", **marks)


def _limits(paths: Mapping[str, Array], minimum: Pair, xlim: Limits, ylim: Limits) -> list[tuple[float, float]]:
    """Return what to show: `xlim` and `ylim`, or all points with a sixth of their extent around them."""
    places = np.concatenate([*paths.values(), np.reshape([] if minimum is None else minimum, (-1, 2))])
    places = places[np.isfinite(places).all(axis=1)]
    low, high = places.min(axis=0), places.max(axis=0)
    room = np.where(high > low, (high - low) / 6, 1.0)
    around = zip(low - room, high + room, strict=True)
    return [given or (float(a), float(b)) for given, (a, b) in zip((xlim, ylim), around, strict=True)]


# -- the path of an optimizer


def _check(opt: Walker) -> None:
    """Raise ValueError unless the loss depends on two numbers alone."""
    sizes = [p.get_value(borrow=True).size for p in opt.params]
    if sum(sizes) != 2:
        raise ValueError(f"points must be of an optimizer with two numbers for parameters, got {sum(sizes)}")
    if opt.inputs:
        raise ValueError(f"points must be of an optimizer whose loss needs no data, got inputs {opt.inputs}")


def _walk(opt: Walker, updates: int) -> Array:
    """Make updates and set everything back; return the evaluated parameters before, between and after them."""
    import pytensor

    _check(opt)
    new, evaluated = opt.get_updates(), opt.fit.evaluated()
    look = pytensor.tensor.concatenate([evaluated.get(p, p).ravel() for p in opt.params])
    step = pytensor.function([], look, updates=new, mode="FAST_COMPILE")
    before = opt.state_dict()
    try:
        return np.array([step() for _ in range(updates + 1)], dtype=float)
    finally:
        opt.load_state_dict(before)


def _loss_of(opt: Walker) -> Loss:
    """Return the loss of an optimizer as a function of its two numbers."""
    import pytensor

    from ...symbolic import graph

    _check(opt)
    stand_ins = {p: p.type() for p in opt.params}
    loss = pytensor.graph.clone_replace(opt.fit.problem.loss, stand_ins)
    moving = (v for v in graph.shared_inputs([loss]) if v.default_update is not None)
    still = {v: v for v in moving}  # so that a generator draws the same at each place
    inputs = [*stand_ins.values()]
    function = pytensor.function(inputs, loss, updates=still, mode="FAST_COMPILE", on_unused_input="ignore")
    function.trust_input = True  # they fit, and there are thousands

    def at(x: float, y: float) -> Any:
        flat, values = [x, y], []
        for p in stand_ins:
            n = p.get_value(borrow=True).size
            values.append(np.reshape(flat[:n], p.get_value(borrow=True).shape).astype(p.dtype))
            flat = flat[n:]
        return function(*values)

    return np.vectorize(at, otypes=[float])
