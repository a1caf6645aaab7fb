"""What is known of a run: from its optimizer, its history alone, or what it left on disk."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import checks
from ..keeping.history import History, latest_run
from ..loop.stopping import Limits
from ..symbolic.hyper import Hyperparameters
from .choices import choices, recorded_choices
from .reported import Reported

__all__ = ["Facts", "Param", "known_of"]

Numbers = Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Param:
    """What a table says of a parameter.

    Attributes
    ----------
    name, dtype : str
    shape : tuple of int
    norm, low, high : float or None
        The Euclidean norm, the smallest and the largest of the finite elements; None if there are none.
    lost : int
        How many elements are not finite.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    norm: float | None
    low: float | None
    high: float | None
    lost: int

    @classmethod
    def of(cls, name: str, value: object) -> Param:
        """Look at the value of a parameter."""
        value = np.asarray(value)
        known = value[np.isfinite(value)].astype("float64")
        with np.errstate(over="ignore"):  # a norm may be infinite where no element is
            norm, low, high = (float(f(known)) if known.size else None for f in (np.linalg.norm, np.min, np.max))
        return cls(name, value.shape, str(value.dtype), norm, low, high, value.size - known.size)


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known of a run; the unknown is None or empty.

    Attributes
    ----------
    history : History
    name : str
        What its files are called.
    algorithm : str or None
    stopped : str or None
        Why it ended.
    state : str
        What else is known of its end.
    params : list of Param
    which : str
        Which values of the parameters: the present ones, the best ones ...
    hyper : dict of str to object
        Settings of the algorithm that are no numbers of the history.
    settings : dict of str to object
        Limits of the run, its data, its backend.
    groups : list of (str, str)
        The algorithm and the names of the parameters of each group.
    here : bool
        Whether the run was made by this process, so that the environment is the run's.
    """

    history: History
    name: str = ""
    algorithm: str | None = None
    stopped: str | None = None
    state: str = "not recorded"
    params: list[Param] = dataclasses.field(default_factory=list)
    which: str = ""
    hyper: dict[str, Any] = dataclasses.field(default_factory=dict)
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    groups: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    here: bool = False


def known_of(source: Reported | History | str | os.PathLike[str]) -> Facts:
    """Return what is known of a run.

    Parameters
    ----------
    source : Optimizer, History or path
        A path names a checkpoint directory or the file of a history: comma-separated values if it ends in ``.csv``,
        else JSON lines.

    Raises
    ------
    TypeError
        If it is something else.
    ValueError
        If there is no history, it has no records, or it is damaged.
    OSError
        If a file cannot be read.
    """
    if isinstance(source, History):
        facts = Facts(source)
    elif isinstance(source, str | os.PathLike):
        path = checks.path("source", source)
        facts = _of_directory(path) if path.is_dir() else Facts(_history(path), path.name)
    elif hasattr(source, "fit") and isinstance(getattr(source, "history", None), History):
        facts = _of_optimizer(source)
    else:
        raise TypeError(f"source must be an Optimizer, a History or the path of a run, got {checks.kind_of(source)}")
    if not len(facts.history):
        raise ValueError(f"source must have records of a run, got {source!r}, whose history is empty; run it first")
    return facts


def _history(path: Path) -> History:
    return History.from_csv(path) if path.suffix == ".csv" else History.from_json_lines(path)


# -- from an optimizer


def _of_optimizer(opt: Reported) -> Facts:
    fit, names = opt.fit, dict(zip(opt.params, opt.fit.problem.names, strict=True))
    fit.settle()
    inputs = {"inputs": ", ".join(map(str, opt.inputs)) or "none"}
    return Facts(
        opt.history,
        algorithm=type(opt.rule).__name__,
        stopped=opt.stopped,
        state="" if opt.stopped else "still running",
        params=[Param.of(name, p.get_value()) for p, name in names.items()],
        which="as they are now",
        hyper=_hyper(opt.hyper),
        settings=_limits(opt.limits) | inputs | _data(fit.data) | _compiler(fit.backend),
        groups=[(type(rule).__name__, ", ".join(names[p] for p in params)) for rule, params in opt.rule.members],
        here=True,
    )


def _hyper(hyper: Hyperparameters) -> dict[str, Any]:
    """Return numbers that depend on data, which no history has, and choices other than the default."""
    present = hyper.present_numbers()
    fed = {n: "depends on data" for n in hyper.numeric() if hyper.present(n) and n not in present}
    return fed | choices(hyper)


def _compiler(backend: object) -> dict[str, str]:
    if backend is not None:
        return {"backend": str(backend)}
    from pytensor import config

    return {"backend": f"PyTensor's mode, {config.mode}"}


def _data(signature: Mapping[str, object]) -> dict[str, Any]:
    """Return the known sizes of the data: a stream has no number of batches."""
    return {name: count for name, count in signature.items() if count}


def _limits(limits: Limits) -> dict[str, Any]:
    """Return the limits of a run that were set."""
    values = {field.name: getattr(limits, field.name) for field in dataclasses.fields(limits)}
    always = ("patience", "validate_every")
    return {n: "none" if v is None else v for n, v in values.items() if v is not None or n in always}


# -- from files


def _of_directory(path: Path) -> Facts:
    """Return what a run with ``checkpoint=`` left: the newest of its files that is whole, and its history."""
    from ..keeping.checkpoint import RESULT

    file = path / "history.jsonl"
    if not file.exists():
        raise ValueError(f"source must be a directory with the run's {file.name}, got {path}")
    files = sorted(path.glob("update-*.safetensors"), key=lambda f: (len(f.name), f.name), reverse=True)
    (tensors, meta), (_, end) = _first_whole(files), _first_whole([path / RESULT])
    # the last validation follows the last checkpoint: if it was the best, the latest parameters are the best
    kind = "params." if end.get("improved") or not any(n.startswith("best.") for n in tensors) else "best."
    return Facts(
        _history(file),
        path.resolve().name,
        algorithm=meta.get("algorithm"),
        state="not recorded, the run has ended" if end else "the run has not ended",
        params=[Param.of(n.removeprefix(kind), t) for n, t in tensors.items() if n.startswith(kind)],
        which=f"{'the best' if kind == 'best.' else 'the latest'} of the newest checkpoint",
        hyper=recorded_choices(meta),
        settings=_data(meta.get("data", {})),
        groups=[(algorithm, ", ".join(names)) for algorithm, *names in meta.get("groups", [])],
    )


def _first_whole(files: Iterable[Path]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return tensors and meta of the first file that can be read; for a report an older one is good enough."""
    from ..keeping.checkpoint import CheckpointError, read

    for file in files:
        with contextlib.suppress(CheckpointError):
            return read(file)
    return {}, {}


# -- tables


def monitors(history: History) -> list[tuple[str, list[float | None]]]:
    """Return each monitor with its last training, last validation and best value in the latest run, or None."""
    latest = latest_run(history)
    trained = next((r.train for r in reversed(latest) if r.train), {})
    validated = next((r.valid for r in reversed(latest) if r.validated), {})
    found = best(latest)
    names = dict.fromkeys([*trained, *validated])
    sources: Iterable[Numbers] = (trained, validated, found.valid if found else {})
    return [(name, [s.get(name) for s in sources]) for name in names]


def best(history: History) -> Any:
    """Return the record of the latest run's last improvement; None if there was none."""
    latest = latest_run(history)
    improved = np.flatnonzero(latest["improved"])
    return latest[int(improved[-1])] if len(improved) else None


def changes(facts: Facts) -> list[tuple[str, Any, Any]]:
    """Return each hyperparameter with its first value, if it changed, and its last."""
    columns = [c for c in facts.history.columns if c.startswith("hyper.")]
    seen = {}
    for column in columns:
        values = facts.history[column]
        values = values[~np.isnan(values)]
        if len(values):
            seen[column.removeprefix("hyper.")] = float(values[0]), float(values[-1])
    changed = {name: first for name, (first, last) in seen.items() if not math.isclose(first, last)}
    values = {name: last for name, (_, last) in seen.items()} | facts.hyper
    return [(name, changed.get(name), value) for name, value in values.items()]


def events(history: History, most: int = 500) -> tuple[list[tuple[int, int, str]], int]:
    """Return epoch, updates and text of the latest events, and how many earlier ones are left out."""
    columns = history["epoch"], history["updates"], history["events"]
    found = [(int(epoch), int(made), text) for epoch, made, texts in zip(*columns, strict=True) for text in texts]
    return found[-most:], max(0, len(found) - most)
