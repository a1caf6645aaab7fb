"""Progress of a run: what it does and how long it will, while it does it."""

from __future__ import annotations

import importlib.util
import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..extras import need
from ..loop import reasons
from ..loop.work import Work, changed
from . import screens
from .status import Meter, Status

if TYPE_CHECKING:
    from ..data.dataset import Feed
    from ..loop.run import Limits, Monitors, Progress, Record, Tally

PERIOD = 0.1
"""Seconds from one look at the numbers of an epoch to the next."""

_log = logging.getLogger("downhill2")

Step = Callable[["Tally", int | None, Callable[[], bool]], None]


def display(progress: bool | None, name: str, limits: Limits, hyper: Callable[[], dict[str, float]]) -> Display | None:
    """Return what shows a run, if it is to be shown.

    Parameters
    ----------
    progress : bool or None
        Whether to show it; None: if somebody may look, and rich is there.
    name : str
        The algorithm.
    limits : Limits
    hyper : callable
        Returns the hyperparameters as they are now.

    Raises
    ------
    ImportError
        If it is asked for, and rich is missing.
    """
    if progress is None:
        somebody = screens.notebook_shell() is not None or screens.is_terminal()
        progress = somebody and importlib.util.find_spec("rich") is not None
    if not progress:
        return None
    need("rich", "progress")
    return Display(Meter(name, limits), hyper)


class Display:
    """Shows a run on a screen, which is drawn by a thread of its own.

    As a context manager it is on the screen while the body runs. That may be repeated: while functions are compiled,
    and later while the run is on.

    Parameters
    ----------
    meter : Meter
        Follows the run.
    hyper : callable
        Returns the hyperparameters as they are now.
    screen : Screen, optional
        Default: the terminal, the notebook, or lines in a file.
    clock : callable
        Returns seconds.
    """

    _thread: threading.Thread

    def __init__(
        self,
        meter: Meter,
        hyper: Callable[[], dict[str, float]] = dict,
        screen: screens.Screen | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._meter, self._hyper, self._clock = meter, hyper, clock
        self._screen = screens.screen() if screen is None else screen
        self._due = 0.0
        self._over = threading.Event()
        self._validated = self._failed = False

    def status(self) -> Status:
        """Return where the run stands."""
        return self._meter.status()

    def follow(self, progress: Progress, feed: Feed, accumulate: int) -> None:
        """Take the place where the run keeps its numbers, and its data, of so many batches an update."""
        length = feed.length
        total = None if length is None else math.ceil(length / accumulate)
        self._meter.follow(progress, total, feed.done // accumulate)

    def busy(self, what: str) -> AbstractContextManager[None]:
        """Say what is going on while the body runs."""
        return self._meter.busy(what)

    # -- on the screen

    def __enter__(self) -> Display:
        self._try(self._screen.show, self)
        self._over.clear()
        self._thread = threading.Thread(target=self._draw, name="downhill2 progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._over.set()
            self._thread.join()
        finally:
            self._try(self._screen.hide, self, self._end(kind))

    def _end(self, kind: type[BaseException] | None) -> Status | None:
        """Return how it ended: as the run says, or with an exception before there was a run; None if it goes on."""
        status = self.status()
        if status.stopped is None and kind is not None:
            status = replace(status, stopped=reasons.EXCEPTION.of(kind.__name__))
        return status if status.stopped is not None else None

    def _draw(self) -> None:
        while not self._over.wait(self._screen.period) and self._try(self._screen.draw):
            pass

    def _try(self, act: Callable[..., None], *args: Any) -> bool:
        """Do something on the screen; a terminal that is gone, say, is no reason to end the run."""
        try:
            act(*args)
        except Exception as error:
            if not self._failed:
                _log.info("progress cannot be shown: %r; the run goes on", error)
            self._failed = True
        return not self._failed

    # -- what the run calls

    def watched(self, work: Work) -> Work:
        """Return work that does the same, and lets itself be watched."""

        def validate(progress: Progress) -> Monitors:
            what = "validating" if self._validated else "compiling the evaluation, validating"
            with self._meter.busy(what):
                monitors = work.validate(progress)
            self._validated = True
            return monitors

        def report(record: Record) -> None:
            self._meter.record(record)
            work.report(record)

        return changed(work, step=self._stepping(work.step), validate=validate, report=report)

    def _stepping(self, step: Step) -> Step:
        """Return what makes updates in shorter stretches, between which there are numbers to see."""
        clock, warm = self._clock, False

        def stepping(tally: Tally, most: int | None, halt: Callable[[], bool]) -> None:
            nonlocal warm
            if warm:
                step(tally, most, lambda: halt() or clock() >= self._due)
            else:
                self._meter.begin()
                with self._meter.busy("compiling the updates"):
                    step(tally, most, lambda: True)
                warm = True
            if clock() >= self._due:
                self._meter.look(tally, self._hyper())
                self._due = clock() + PERIOD

        return stepping
