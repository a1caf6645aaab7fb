"""The settings of a run: data, limits, faults, checkpoints, validation."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..checks import choice, conform, flag, integer, kind_of, path
from ..compiling import backends
from ..data.dataset import SHUFFLES, Dataset, Feed, generator
from ..jsonable import scalar_or_text
from ..keeping.checkpoint import HISTORY
from ..loop.run import Record
from ..loop.saving import Every
from ..loop.signals import POLICIES
from ..loop.stopping import Limits
from ..stepping.nonfinite import Guard
from ..symbolic import graph
from ..symbolic.graph import Variable
from ..symbolic.problem import Pairs, Problem, check_loss, check_monitors, listed

RESUME = (False, True, "auto", "params")


@dataclasses.dataclass(frozen=True)
class Feeding:
    """How data that is not yet a Dataset becomes one."""

    batch_size: int = 32
    train_batches: int | None = None
    valid_batches: int | None = None
    rng: Any = None
    shuffle: Any = "rows"
    drop_last: bool = False

    def __post_init__(self) -> None:
        conform(self, "batch_size", integer)
        for batches in ("train_batches", "valid_batches"):
            conform(self, batches, integer, 1, none="a pass over the data")
        conform(self, "shuffle", choice, SHUFFLES)
        conform(self, "drop_last", flag)
        generator(self.rng, "")  # raises for a wrong one

    def dataset(self, data: object, name: str) -> Dataset:
        """Return `data` as a Dataset for training or, with the name ``'valid'``, for evaluation."""
        if isinstance(data, Dataset):
            return data
        if name == "valid":
            return Dataset(data, name, self.batch_size, self.valid_batches, shuffle=False)
        how = {"shuffle": self.shuffle, "drop_last": self.drop_last}
        return Dataset(data, name, self.batch_size, self.train_batches, rng=self.rng, **how)

    def datasets(self, train: object, valid: object) -> tuple[Dataset, Dataset]:
        """Return training and validation data; without validation data, the training data serves as both."""
        data = self.dataset(train, "train")
        # a loss without data has valid_batches evaluations in a validation, not as many as an epoch has updates
        same = valid is None and train is not None and self.valid_batches is None
        return data, data if same else self.dataset(train if valid is None else valid, "valid")


@dataclasses.dataclass(frozen=True)
class Saving:
    """Where and when a run is saved, and whether it goes on from there."""

    checkpoint: str | os.PathLike[str] | None = None
    checkpoint_every: Any = 1
    keep: int = 2
    resume: bool | str = False
    history: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        self.every()
        conform(self, "checkpoint", path, none="that the run is not saved")
        conform(self, "history", path, none="the history of the checkpoints, if any")
        conform(self, "keep", integer, 1)
        conform(self, "resume", choice, RESUME)
        if self.resume and self.checkpoint is None:
            raise ValueError(f"checkpoint must name a directory to resume from, got None with resume={self.resume!r}")

    def every(self) -> Every:
        """Return how often to save."""
        return Every.parsed("checkpoint_every", self.checkpoint_every)

    @property
    def directory(self) -> Path | None:
        """The directory of the checkpoints, if any."""
        return None if self.checkpoint is None else Path(self.checkpoint)

    @property
    def shared_history(self) -> Path | None:
        """The file that the records are appended to, if any, besides the history in the directory."""
        if self.history is None:
            return None
        path, own = Path(self.history), self.directory and self.directory / HISTORY
        return None if own and path.resolve() == own.resolve() else path


@dataclasses.dataclass(frozen=True)
class Calls:
    """How many updates are made in one compiled call."""

    updates_per_call: Any = "auto"

    def __post_init__(self) -> None:
        given = self.updates_per_call
        if isinstance(given, str) and given == "auto":
            return
        try:
            conform(self, "updates_per_call", integer, 1)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{error}; or 'auto'") from None

    @property
    def count(self) -> int | None:
        """The number of updates in a call; None for an estimate."""
        return None if self.updates_per_call == "auto" else int(self.updates_per_call)

    def check(self, feed: Feed) -> None:
        """Raise ValueError if updates cannot share a call as the caller wants."""
        if self.updates_per_call not in ("auto", 1) and feed.sources is None:
            raise ValueError(
                f"updates_per_call must be 'auto' or 1 for {feed.name}, whose batches are made one by one, got "
                f"{self.updates_per_call}; updates share a call where there is no data, or arrays in memory without "
                "prefetch and retries"
            )


KINDS = (Limits, Feeding, Guard, Saving, Calls)


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings of a run that are not hyperparameters."""

    limits: Limits
    feeding: Feeding
    guard: Guard
    saving: Saving
    valid_loss: Variable
    valid_monitors: Pairs | None
    callbacks: tuple[Callable[[Any, Record], None], ...]
    backend: Any
    calls: Calls
    progress: bool | None
    on_signal: str

    @classmethod
    def taken_from(cls, given: dict[str, Any]) -> Settings:
        """Remove settings from the keywords of a call and return them; the hyperparameters are left."""
        of = [{f.name: given.pop(f.name) for f in dataclasses.fields(k) if f.name in given} for k in KINDS]
        limits, feeding, guard, saving = Limits(**of[0]), Feeding(**of[1]), Guard(**of[2]), Saving(**of[3])
        calls = Calls(**of[4])
        for name in of[3].keys() & {"checkpoint_every", "keep"} if saving.checkpoint is None else ():
            raise ValueError(f"checkpoint must name a directory to save in, got None with {name}={of[3][name]!r}")
        if guard.on_nonfinite == "rollback" and limits.validate_every is None:
            raise ValueError("on_nonfinite='rollback' must have validations to go back to, got validate_every=None")
        callbacks = _callbacks(given.pop("callbacks", ()))
        valid = given.pop("valid_loss", None), given.pop("valid_monitors", None)
        backends.check(backend := given.pop("backend", None))
        progress = given.pop("progress", None)
        if progress is not None:
            progress = flag("progress", progress)
        on_signal = _on_signal(given.pop("on_signal", "auto"), callbacks)
        return cls(limits, feeding, guard, saving, *valid, callbacks, backend, calls, progress, on_signal)

    def noted(self, train: Feed) -> dict[str, Any]:
        """Return the settings of a run on this data for trackers: numbers and text, without those that are None."""
        parts = (self.limits, self.guard, self.saving, self.calls)
        found = {f.name: getattr(part, f.name) for part in parts for f in dataclasses.fields(part)}
        found |= {"batch_size": train.size or None, "seed": train.seed, "backend": self.backend}
        found |= {n.replace(" ", "_"): v for n, v in train.signature().items() if n != "rows a batch"}
        return {n: scalar_or_text(v) for n, v in found.items() if v is not None}

    def check_end(self) -> None:
        """Raise ValueError if nothing can end the run."""
        if self.limits.endless:
            raise ValueError(
                "minimize must have an end, got validate_every=None and no limit; "
                "give max_updates, max_epochs, max_seconds, target or plateau"
            )

    def monitors(self, problem: Problem, reported: Mapping[str, Variable]) -> dict[str, Variable]:
        """Return what validations report, the loss first, where training reports `reported`."""
        out = evaluated_monitors(problem, reported, self.valid_loss, self.valid_monitors, "valid_")
        if self.limits.reduce_on_plateau is not None:
            _check_reported(self.limits.reduce_on_plateau.monitor, {"train": reported, "valid": out})
        return out


def evaluated_monitors(
    problem: Problem, reported: Mapping[str, Variable], loss: Variable, monitors: Pairs | None, prefix: str = ""
) -> dict[str, Variable]:
    """Return what to evaluate, the loss first: the arguments, checked, or else what training reports.

    Errors name the arguments `prefix` + ``loss`` and `prefix` + ``monitors``.
    """
    out = dict(reported)
    if monitors is not None:
        out = {"loss": problem.loss, **check_monitors(f"{prefix}monitors", monitors)}
    if loss is not None:
        out["loss"] = check_loss(f"{prefix}loss", loss)
    for v in graph.explicit_inputs(out.values()):
        if v not in problem.inputs:
            raise ValueError(f"{prefix}loss and {prefix}monitors must use the inputs of the loss, got {v} too")
    problem.advanced(out.values())  # raises if a generator cannot advance
    return out


def _callbacks(given: Iterable[Callable[[Any, Record], None]]) -> tuple[Callable[[Any, Record], None], ...]:
    try:
        callbacks = tuple(listed("callbacks", given, "a sequence of functions"))
    except TypeError as error:
        raise TypeError(f"{error}; put a single one in a list") from None
    for f in callbacks:
        if isinstance(f, type):
            raise TypeError(f"callbacks must be functions or objects, got the class {f.__name__}; call it to make one")
        if not callable(f):
            hint = "; its on_epoch_end is the function to give" if hasattr(f, "on_epoch_end") else ""
            raise TypeError(f"callbacks must be functions of an optimizer and a Record, got {kind_of(f)}{hint}")
    return callbacks


def _on_signal(given: str, callbacks: Iterable[object]) -> str:
    """Return the policy for signals: that of the caller, or else the attribute of a callback."""
    given = choice("on_signal", given, POLICIES)
    told = [getattr(f, "on_signal", "auto") for f in callbacks] if given == "auto" else []
    return next((policy for policy in told if policy in ("stop", "raise")), given)


def _check_reported(monitor: str, reported: Mapping[str, Mapping[str, Variable]]) -> None:
    known = [f"{group}.{name}" for group, names in reported.items() for name in names]
    if monitor not in known:
        raise ValueError(f"monitor of reduce_on_plateau must be one of {', '.join(known)}, got {monitor!r}")


OTHERS = ("valid_loss", "valid_monitors", "callbacks", "backend", "progress", "on_signal")
NAMES = (*(f.name for kind in KINDS for f in dataclasses.fields(kind)), *OTHERS)

_OF_RUN = dict.fromkeys(("train", "valid", *NAMES), "is an option of a run; give it to minimize or iterate")
_OF_BUILD = dict.fromkeys(
    ("algo", "loss", "params", "inputs", "updates", "monitors", "monitor_gradients", "groups"),
    "is part of what is optimized; give it to build or downhill2.minimize",
)
# keywords that are no hyperparameters, and where they belong: in calls of `build`, of a run, of `get_updates`
BESIDE_BUILD = dict.fromkeys(_OF_BUILD, "") | _OF_RUN
BESIDE_RUN = dict.fromkeys(_OF_RUN, "") | _OF_BUILD
BESIDE_UPDATES = _OF_RUN | _OF_BUILD
