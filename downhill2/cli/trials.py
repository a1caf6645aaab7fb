"""One algorithm on one problem from one seed."""

from __future__ import annotations

import importlib
import math
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import downhill2

from ..keeping.history import History
from ..loop import reasons
from ..stepping.nonfinite import NonFiniteError
from ..symbolic.declared import nearest
from .errors import UsageError

NEEDED = ("loss", "train")
OTHERS = (str(Path(downhill2.__file__).parent), *map(sysconfig.get_path, ("stdlib", "purelib", "platlib")))
"""The folders of code that is not the caller's."""


@dataclass(frozen=True)
class Trial:
    """The result of a run.

    Attributes
    ----------
    seed : int
    history : History
        Empty if it failed before its first record.
    failure : str
        Why it failed; empty if it did not.
    """

    seed: int
    history: History
    failure: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether it came to its end, at finite numbers."""
        return not self.failure

    @property
    def losses(self) -> list[float]:
        """The loss of each validation; where there was none, of each epoch in training."""
        validated = [r.valid["loss"] for r in self.history if r.validated]
        return validated or [r.train["loss"] for r in self.history if r.train]

    @property
    def best(self) -> float:
        """The lowest of the losses that are finite."""
        return min(loss for loss in self.losses if math.isfinite(loss))

    @property
    def final(self) -> float:
        """The last of the losses."""
        return self.losses[-1]

    @property
    def seconds(self) -> float:
        """How long it took, compiling included."""
        return self.history[-1].seconds

    @property
    def updates(self) -> int:
        """How many updates it made."""
        return self.history[-1].updates

    def described(self) -> dict[str, Any]:
        """Return what there is to know, for JSON."""
        if self.failure:
            return {"seed": self.seed, "failure": self.failure}
        names = ("seed", "best", "final", "seconds", "updates")
        return {name: getattr(self, name) for name in names}


def function_of(name: str) -> Callable[[int], Any]:
    """Return the function that ``module:function`` names.

    Raises
    ------
    UsageError
        If there is none, or importing the module fails.
    """
    module, colon, function = name.partition(":")
    if not colon or not module or not function:
        raise UsageError(f"the problem must be MODULE:FUNCTION, got {name!r}; problem:make is make(seed) of problem.py")
    if module.endswith(".py") or os.sep in module:
        raise UsageError(f"MODULE must be as Python imports it, got {module!r}; write {_importable(module)}:{function}")
    found = getattr(_module(module), function, None)
    if found is None:
        known = [n for n, v in vars(sys.modules[module]).items() if callable(v)]
        raise UsageError(f"{module} has no function {function!r}{nearest(function, known)}")
    if not callable(found):
        raise UsageError(f"{name} must be a function of a seed, got {found!r}")
    return found  # type: ignore[no-any-return]


def _importable(path: str) -> str:
    return path.removesuffix(".py").lstrip(f".{os.sep}").replace(os.sep, ".")


def _module(name: str) -> Any:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(f"there is no module {name!r}, here in {os.getcwd()} or installed") from error
        raise UsageError(f"{name} cannot be imported: {_told(error)}") from error
    except (Exception, SystemExit) as error:
        raise UsageError(f"{name} cannot be imported: {_told(error)}") from error


def _told(error: BaseException) -> str:
    """Return an error in one line, with its place in the caller's code."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not f.filename.startswith(("<", *(f"{folder}{os.sep}" for folder in OTHERS)))]
    where = f" ({os.path.basename(own[-1].filename)}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {error}{where}"


def run(problem: Callable[[int], Any], name: str, algorithm: str, seed: int, settings: Mapping[str, object]) -> Trial:
    """Run an algorithm on the problem of a seed.

    Raises
    ------
    UsageError
        If the problem, called `name`, fails or is no problem, or a setting is wrong.
    KeyboardInterrupt
        If Ctrl-C ended the run.
    """
    defaults = {"rng": seed, "progress": False, "on_signal": "raise"}
    arguments = {**defaults, **_arguments(problem, name, seed), **settings}
    begun: list[Any] = []
    failure = ""
    try:
        callbacks = [*arguments.pop("callbacks", ()), lambda opt, _: begun.append(opt)]
        downhill2.minimize(**arguments, algo=algorithm, callbacks=callbacks)
    except (Exception, SystemExit) as error:
        stopped = begun and begun[0].stopped
        if stopped and reasons.read(stopped) is reasons.SIGNAL:  # the handler of the caller raised it
            raise
        if not begun and not isinstance(error, NonFiniteError):
            raise UsageError(f"{name}, {algorithm}, seed {seed}: {_told(error)}") from error
        failure = " ".join(str(error).split()) or type(error).__name__
    history = begun[0].history if begun else History()
    trial = Trial(seed, history, failure)
    finite = failure or (trial.losses and math.isfinite(trial.final))
    return trial if finite else Trial(seed, history, "the last loss is not finite")


def _arguments(problem: Callable[[int], Any], name: str, seed: int) -> dict[str, Any]:
    try:
        given = problem(seed)
    except (Exception, SystemExit) as error:
        raise UsageError(f"{name}({seed}) fails: {_told(error)}") from error
    if not isinstance(given, Mapping):
        raise UsageError(
            f"{name}({seed}) must return a dict of arguments of downhill2.minimize, got {type(given).__name__}; "
            'return {"loss": ..., "train": ...}'
        )
    for needed in NEEDED:
        if needed not in given:
            raise UsageError(f"{name}({seed}) must return a dict with {needed!r}, got {list(given)}")
    if "algo" in given:
        raise UsageError(f"{name}({seed}) must leave algo to --algos, got {given['algo']!r}")
    return dict(given)
