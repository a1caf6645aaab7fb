"""Updates by JAX: state and data stay on the device from update to update, and come back when they are asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pytensor.compile.sharedvalue import SharedVariable

from .estimate import updates_in_a_call
from .jax_values import double_precision, generator_of, is_generator, key_of

logger = logging.getLogger("downhill2")


class DeviceFunction:
    """A function of JAX arrays, as PyTensor calls it: with the values of all inputs of a graph.

    What it returns for a shared variable that it updates, an array of JAX, PyTensor puts into that variable. There the
    next call finds it, and works in its memory. An array of NumPy that it finds is copied to the device.

    Parameters
    ----------
    function : callable
        The graph as a function of JAX arrays.
    fgraph : FunctionGraph
    cells : sequence of lists of one element
        They hold the values of its inputs.
    """

    def __init__(self, function: Callable[..., Any], fgraph: Any, cells: Sequence[list[Any]]) -> None:
        import jax

        self._function, self._cells, self.fgraph, self.inputs = function, cells, fgraph, list(fgraph.inputs)
        shared = [i for i, v in enumerate(self.inputs) if isinstance(v, SharedVariable)]
        self.given = len(self.inputs) - len(shared)
        self.updates: dict[int, int] = dict(fgraph.update_mapping or {})
        self.results = len(fgraph.outputs) - len(self.updates)
        self._dtypes = [getattr(v.type, "dtype", None) for v in fgraph.outputs]
        self._generators = [i for i in shared if is_generator(self.inputs[i])]
        self._kept = [i for i in shared if i not in self.updates.values()]
        self._copies: dict[int, tuple[Any, Any]] = {}
        self._jitted = jax.jit(self.step, donate_argnums=sorted(self.updates.values()))

    def step(self, *values: Any) -> tuple[Any, ...]:
        """Compute the outputs of the graph; JAX traces this."""
        import jax.numpy as jnp

        args = list(values)
        for i in self._generators:
            args[i] = {"jax_state": values[i]}  # all that PyTensor's conversion of random variables looks at
        outputs = self._function(*args)
        return tuple(
            x["jax_state"] if isinstance(x, dict) else jnp.asarray(x, dtype)
            for x, dtype in zip(outputs, self._dtypes, strict=True)
        )

    def __call__(self, *values: Any) -> tuple[Any, ...]:
        """Return the outputs for these inputs; the memory of those that are updated is taken."""
        with double_precision():
            outputs: tuple[Any, ...] = explained(self._jitted, *self._on_device(values))
        return outputs

    def state(self) -> list[Any]:
        """Return the values of all inputs but those that are given to each call, as JAX takes them."""
        return self._on_device([cell[0] for cell in self._cells])[self.given :]

    def keep(self, state: Sequence[Any]) -> None:
        """Put new values of the inputs that are updated into their variables."""
        for i, value in zip(self.updates.values(), state, strict=True):
            self._cells[i][0] = value

    def _on_device(self, values: Sequence[Any]) -> list[Any]:
        args = list(values)
        for i in self._kept:
            value = args[i]
            copy = self._copies.get(i)
            if copy is None or copy[0] is not value:
                self._copies[i] = copy = value, _copied(value)
            args[i] = copy[1]
        for i in self._generators:
            if isinstance(args[i], np.random.Generator):
                args[i] = key_of(args[i])
        return args

    def renew(self) -> None:
        """Forget copies of what is not updated: from now on somebody may have written into the arrays of NumPy."""
        self._copies.clear()

    def settle(self) -> None:
        """Have variables that hold arrays of JAX hold arrays, and generators, of NumPy again."""
        import jax

        for i in self.updates.values():
            cell = self._cells[i]
            if not isinstance(cell[0], jax.Array):
                continue
            if cell[0].is_deleted():  # a call failed after it had taken their memory
                logger.error("the value of %s is lost on the device", self.inputs[i].name)
            else:
                cell[0] = generator_of(cell[0]) if i in self._generators else np.array(cell[0])


def _copied(value: Any) -> Any:
    import jax.numpy as jnp

    # not device_put: on a CPU that would share the array's memory
    return jnp.array(value, copy=True) if isinstance(value, np.ndarray) else value


def explained(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function that JAX may trace; an error of tracing becomes one that says what to do."""
    import jax

    try:
        return function(*args)
    except (TypeError, jax.errors.JAXIndexError) as error:
        reason = str(error).partition("\n")[0]
        if not isinstance(error, jax.errors.JAXTypeError | jax.errors.JAXIndexError) and "concrete" not in reason:
            raise
        raise ValueError(
            "the shapes of all arrays must follow from those of the inputs for backend='jax', "
            f"got a graph where they depend on values: {reason}; choose another backend"
        ) from error


class DeviceStep:
    """A compiled function whose values are on JAX's device.

    Parameters
    ----------
    function : pytensor.compile.executor.Function
        Of the mode that `device_mode` returns.
    """

    def __init__(self, function: Any) -> None:
        self._function = function
        self._device: DeviceFunction = function.vm.jit_fn
        self._loop = DeviceLoop(self._device)

    def __call__(self, *arrays: Any) -> Sequence[Any]:
        """Return the outputs for a batch."""
        outputs: Sequence[Any] = self._function(*arrays)
        return outputs

    def renew(self) -> None:
        """As `DeviceFunction.renew`."""
        self._device.renew()

    def settle(self) -> None:
        """As `DeviceFunction.settle`."""
        self._device.settle()

    def many(self, sources: Sequence[Any], size: int, count: int | None = None) -> DeviceMany | None:
        """Return what makes many updates in one call, as `Many` says."""
        most = self._updates_in_a_call(sources, size) if count is None else count
        return DeviceMany(self._device, self._loop, sources, most) if most > 1 else None

    def _updates_in_a_call(self, sources: Sequence[Any], size: int) -> int:
        shapes = [source.batch(size) for source in sources] + [np.shape(value) for value in self._device.state()]
        return updates_in_a_call(self._device.fgraph, shapes)


class DeviceMany:
    """Many updates in one call of JAX, on data that is copied to the device once.

    Parameters
    ----------
    device : DeviceFunction
        Returns the monitors, the loss first, and last whether the update is sound.
    loop : DeviceLoop
        Of that function.
    sources : sequence
    most : int
        How many updates to make in a call.

    Attributes
    ----------
    most, made : int
        As `Many` says.
    """

    def __init__(self, device: DeviceFunction, loop: DeviceLoop, sources: Sequence[Any], most: int) -> None:
        self._device, self._loop, self.most, self.made = device, loop, most, 0
        with double_precision():
            self._sources = [_copied(source.array) for source in sources]
        self._axes = tuple(source.axis for source in sources)
        self._order: tuple[Any, Any] = None, None

    def __call__(self, stretch: Any, totals: np.ndarray, losses: np.ndarray) -> None:
        """Make the updates of a stretch, up to the first that is not sound; as `Many` says."""
        self.made = 0
        with double_precision():
            data = self._sources, self._ordered(stretch.order)
            made, state, sums, seen = self._loop(stretch, self._axes, data, totals)
        self._device.keep(state)
        totals[:], losses[:] = sums, np.asarray(seen)[: len(losses)]
        self.made = int(made)

    def _ordered(self, order: Any) -> Any:
        """Return an order of rows on the device, the same one as long as it is the same."""
        if order is not self._order[0]:
            self._order = order, None if order is None else _copied(order)
        return self._order[1]


class DeviceLoop:
    """The loop over updates of one function; JAX compiles it once for each size of a batch.

    Parameters
    ----------
    device : DeviceFunction
    """

    def __init__(self, device: DeviceFunction) -> None:
        import jax

        self._device, self._room = device, 0
        self._jitted = jax.jit(self._updates, static_argnums=(0, 1), donate_argnums=2)

    def __call__(self, stretch: Any, axes: tuple[int, ...], data: Any, totals: np.ndarray) -> Any:
        """Return how many updates were sound, the new state, the totals and the losses."""
        count = len(stretch)
        # JAX compiles anew for each length of these: there is one, the longest
        self._room = max(self._room, count)
        starts, weights = np.zeros(self._room, np.int64), np.zeros(self._room)
        starts[:count], weights[:count] = stretch.starts, stretch.weights
        updated, kept = self._parted(self._device.state())
        plan = starts, weights, count
        return explained(self._jitted, stretch.size, axes, updated, kept, data, plan, totals)

    def _parted(self, state: Sequence[Any]) -> tuple[list[Any], dict[int, Any]]:
        """Return what is updated, and the rest by position."""
        values = dict(enumerate(state, self._device.given))
        return [values.pop(i) for i in self._device.updates.values()], values

    def _updates(
        self, size: int, axes: tuple[int, ...], state: Any, kept: Any, data: Any, plan: Any, totals: Any
    ) -> tuple[Any, ...]:
        """Make updates one after the other; JAX traces this."""
        import jax.numpy as jnp
        from jax.lax import while_loop

        starts, weights, count = plan

        def begins(carry: Any) -> Any:
            made, sound, *_ = carry
            return sound & (made < count)

        def update(carry: Any) -> Any:
            made, _, state, totals, losses = carry
            batch = _batch(size, axes, data, starts[made])
            monitors, sound, state = self._one(state, kept, batch)
            values = jnp.stack([jnp.asarray(m, "float64") for m in (*monitors, 1.0)])
            totals = jnp.where(sound, totals + weights[made] * values, totals)
            return made + sound, sound, state, totals, losses.at[made].set(values[0])

        start = jnp.int64(0), jnp.bool_(True), state, totals, jnp.zeros(len(starts))
        made, _, *results = while_loop(begins, update, start)
        return made, *results

    def _one(self, state: Sequence[Any], kept: dict[int, Any], batch: Sequence[Any]) -> tuple[Any, Any, list[Any]]:
        """Return the monitors, whether the update is sound, and the new state."""
        device = self._device
        values = {**dict(enumerate(batch)), **kept, **dict(zip(device.updates.values(), state, strict=True))}
        outputs = device.step(*[values[i] for i in range(len(values))])
        return outputs[: device.results - 1], outputs[device.results - 1], [outputs[o] for o in device.updates]


def _batch(size: int, axes: Sequence[int], data: Any, start: Any) -> list[Any]:
    """Return the rows of a batch that begins at a place of the sources or, where there is one, of an order."""
    import jax.numpy as jnp
    from jax.lax import dynamic_slice_in_dim as window

    sources, order = data
    pairs = list(zip(sources, axes, strict=True))
    if order is None:
        return [window(source, start, size, axis) for source, axis in pairs]
    rows = window(order, start, size)
    return [jnp.take(source, rows, axis, mode="clip") for source, axis in pairs]
