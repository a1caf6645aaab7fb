"""What all trackers share: a failing store does not end the run; names and values suit all stores."""

from __future__ import annotations

import logging
import platform
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from ...keeping.history import History, latest_run
from ...loop.run import Record
from ..choices import choices
from ..environment import version_of
from ..reported import Reported

logger = logging.getLogger("downhill2")


class Tracker(ABC):
    """A callback that writes each record to a store.

    A subclass defines `write` and, if it needs them, `begin` and `end`. Their first error is logged; the run goes on.
    """

    gives_up = True
    """Whether nothing more of the run is written after an error; otherwise each record is another attempt."""

    _begun = _failed = False

    def __call__(self, opt: Reported, record: Record) -> None:
        """Write a record of `opt`."""
        if self._failed and self.gives_up:
            return
        with self._surviving("write"):
            if not self._begun:
                self.begin(opt, record)
                self._begun = True
            self.write(opt, record)

    def close(self, opt: Reported) -> None:
        """Write what is left of a run that has ended, and be ready for another."""
        with self._surviving("close"):
            if self._begun:
                self.end(opt)
        self._begun = self._failed = False

    def begin(self, opt: Reported, record: Record) -> None:  # noqa: B027  (nothing to do is an answer)
        """Open the store; called before the first record of a run is written. If it raises, `end` is not called."""

    @abstractmethod
    def write(self, opt: Reported, record: Record) -> None:
        """Write a record."""

    def end(self, opt: Reported) -> None:  # noqa: B027  (nothing to do is an answer)
        """Write what is left and close the store; called if it was opened."""

    @contextmanager
    def _surviving(self, what: str) -> Iterator[None]:
        """Log the first exception of the body and go on."""
        try:
            yield
        except Exception as error:  # stores raise any kind of error, and none should end a run
            if not self._failed:
                again = what == "write" and not self.gives_up
                rest = "each record tries again" if again else "the rest of it is not written there"
                kind = f"{type(error).__name__}: {error}".strip()
                logger.warning("%s cannot %s its store; the run goes on, %s; %s", self, what, rest, kind)
            self._failed = True

    def __repr__(self) -> str:
        """Return the name by which the log calls it."""
        return f"trackers.{type(self).__name__}"


@contextmanager
def undone(undo: Callable[[], object]) -> Iterator[None]:
    """Call `undo` if the body raises; errors of `undo` do not hide that exception."""
    try:
        yield
    except BaseException:
        with suppress(Exception):
            undo()
        raise


def checked_config(config: object) -> dict[str, Any]:
    """Return a caller's own settings, or raise TypeError."""
    if config is None:
        return {}
    if not isinstance(config, Mapping) or not all(isinstance(name, str) for name in config):
        raise TypeError(f"config must be a mapping with names, got {config!r}")
    return dict(config)


def configuration(opt: Reported, record: Record) -> dict[str, Any]:
    """Return the configuration of a run: algorithm, size, hyperparameters, settings, versions."""
    size = sum(p.get_value(borrow=True).size for p in opt.params)
    versions = {f"{package}_version": version_of(package) for package in ("downhill2", "pytensor", "numpy")}
    python = {"python_version": platform.python_version()}
    known = {"algorithm": type(opt.rule).__name__, "parameters": size, **opt.fit.noted, **versions, **python}
    return {**known, **choices(opt.hyper), **record.hyper}


def written_before(history: History) -> History:
    """Return the records of the present run that were made before its last one."""
    return latest_run(history)[:-1]


class MonitorSeries:
    """The numbers of records, by names that every store accepts: ``train/loss``, ``valid/grad.W`` ...

    Each record has its monitors, and those of a validation if there was one. A hyperparameter is left out until it
    changes for the first time.
    """

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._hyper: dict[str, float] = {}
        self._moving: set[str] = set()

    def values(self, record: Record) -> dict[str, float]:
        """Return the numbers of a record."""
        groups = {
            "train": record.train,
            "valid": record.valid if record.validated else {},
            "hyper": self._hypers(record),
        }
        out = {self.name(f"{group}/{name}"): value for group, of in groups.items() for name, value in of.items()}
        return {**out, "epoch": float(record.epoch), "rows_per_second": record.rows_per_second}

    def best(self, opt: Reported) -> dict[str, float]:
        """Return the monitors of the best parameters."""
        return {self.name(f"best/{name}"): value for name, value in opt.best_monitors.items()}

    def _hypers(self, record: Record) -> dict[str, float]:
        was = {**record.hyper, **self._hyper}
        self._moving |= {name for name, value in record.hyper.items() if value != was[name]}
        self._hyper = dict(record.hyper)
        return {name: value for name, value in record.hyper.items() if name in self._moving}

    def name(self, name: str) -> str:
        """Return the name for a store; no two names become the same."""
        if name not in self._names:
            plain = stem = _accepted(name)
            count = 1
            while plain in self._names.values():
                count += 1
                plain = f"{stem}_{count}"
            self._names[name] = plain
        return self._names[name]


def _accepted(name: str) -> str:
    """Return a name of letters, digits, ``_``, ``-``, ``.`` and single slashes between words."""
    parts = [re.sub(r"[^\w.-]", "_", part.replace("(", ".").replace(")", "")) for part in name.split("/")]
    return "/".join(part if part.strip(".") else "_" * len(part) for part in parts if part)
