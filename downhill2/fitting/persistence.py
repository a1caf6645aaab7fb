"""Saving an optimizer to a file, and loading it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import checks
from ..keeping import formats
from ..keeping.checkpoint import Tensors
from ..keeping.generators import Differences
from .fit import Fit
from .snapshot import Snapshot


class Persistent:
    """The part of `Optimizer` that saves and loads.

    Attributes
    ----------
    fit : Fit
        What is saved.
    """

    fit: Fit

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write parameters, state, clocks, hyperparameters, random generators and the best to a file.

        Each tensor has its name and a checksum. The file is written beside the one it replaces, which stays until the
        new one is whole.

        Parameters
        ----------
        path : path
            Its suffix selects the format, with the same contents: ``.safetensors``, also for none; ``.npz``, for
            `numpy.load`; ``.h5`` or ``.hdf5``, which needs h5py.

        Raises
        ------
        CheckpointError
            If the file cannot be written.
        ValueError
            If its name has another suffix.
        ImportError
            If h5py is missing.
        """
        snapshot, best = self._snapshot(), self.fit.best
        tensors = {**snapshot.tensors(), **snapshot.best_tensors(best)}
        formats.write(checks.path("path", path), tensors, {**snapshot.meta(), "best_monitors": best.monitors})

    def load(self, path: str | os.PathLike[str]) -> None:
        """Set everything to the values in a file that `save` or a run with `checkpoint` wrote.

        Parameters
        ----------
        path : path

        Raises
        ------
        CheckpointError
            If the file is damaged, or of another model or algorithm. Nothing is changed then.
        """
        with self.fit.rule.context.store.undone_on_error():
            snapshot = self._snapshot()
            tensors, meta = _without_validations(*formats.read(checks.path("path", path)))
            snapshot.check(tensors, meta)
        snapshot.restore(tensors, meta)
        self.fit.best = best = self.fit.no_best()
        best.values, best.monitors = snapshot.best_values(tensors), dict(meta.get("best_monitors", {}))

    def state_dict(self) -> dict[str, Any]:
        """Return copies of all tensors by name, ``'params.W'``, ``'state.W.adam.m'`` ...; the rest under ``'meta'``.

        Parameters without a name are called ``unnamed0``, ``unnamed1`` in their order, the second W ``W#2``.
        """
        snapshot = self._snapshot()
        return {**{n: np.array(t) for n, t in snapshot.tensors().items()}, "meta": snapshot.meta()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> Differences:
        """Set everything to what `state_dict` returned.

        Parameters
        ----------
        state : dict
        strict : bool
            Whether names, shapes and dtypes must all fit. If not, what fits is set and the rest stays: so do variables
            without a name of their own, and their state, where certainly others stand in the loss now.

        Returns
        -------
        Differences
            What was missing, unexpected, of another shape or dtype, or stands elsewhere in the loss.

        Raises
        ------
        CheckpointError
            If `strict` and not all fits. Nothing is changed then.
        """
        tensors, given = _parts(state)
        strict = checks.flag("strict", strict)
        with self.fit.rule.context.store.undone_on_error():
            snapshot = self._snapshot()
            own = snapshot.meta()
            _check_kinds(own, given)
            meta = {**own, **given}
            if strict:
                snapshot.check(tensors, meta)
        return snapshot.apply(tensors, meta)

    def _snapshot(self) -> Snapshot:
        self.fit.changed()  # creates the state that does not exist yet
        snapshot = Snapshot(self.fit)
        snapshot.warn()
        return snapshot


def _parts(state: Any) -> tuple[Tensors, Mapping[str, Any]]:
    """Return the arrays of what `state_dict` returned, and what is no array."""
    if not isinstance(state, Mapping) or not isinstance(state.get("meta", {}), Mapping):
        raise TypeError(f"state must be a dict as state_dict returns it, got {checks.kind_of(state)}")
    if wrong := [name for name in state if not isinstance(name, str)]:
        raise TypeError(f"state must have names as keys, such as 'params.W', got {checks.shown(wrong[0])}")
    tensors = {}
    for name, value in state.items():
        if name != "meta":
            try:
                tensors[name] = np.asarray(value)
            except ValueError as error:  # rows of several lengths
                raise TypeError(f"state[{name!r}] must be an array, got {checks.kind_of(value)}: {error}") from error
    return tensors, state.get("meta", {})


def _check_kinds(own: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise TypeError if something that is no array is of another kind than what an optimizer has there."""
    for name, value in own.items():
        found = given.get(name, value)
        if isinstance(value, dict) and not isinstance(found, Mapping):
            raise TypeError(
                f"state['meta'][{name!r}] must be a dict as state_dict returns it, got {checks.kind_of(found)}"
            )


def _without_validations(tensors: Tensors, meta: dict[str, Any]) -> tuple[Tensors, dict[str, Any]]:
    """Leave out what only validations of a run change, as an optimizer does not have it."""
    generators = {n: g for n, g in meta.get("generators", {}).items() if not n.startswith("valid.")}
    known = {n: t for n, t in tensors.items() if not n.startswith("valid.")}
    return known, {**meta, "generators": generators} if "generators" in meta else meta
