"""What the loop asks for: the one object that a `Run` drives."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Protocol, cast

from .plateau import ReduceOnPlateau
from .records import Monitors, Pair, Record, Tally
from .saving import Every
from .stopping import Progress


class Work(Protocol):
    """What a run does, as its `Run` asks for it.

    Attributes
    ----------
    every : Every or None
        How often to save. None: at the end only.
    recorded : pair of dict or None
        The last pair of a run that has made no update since. If its limits end it there, it ends at once.
    """

    every: Every | None
    recorded: Pair | None

    def step(self, tally: Tally, most: int | None, halt: Callable[[], bool], /) -> None:
        """Make at most `most` updates of the present epoch (None: all that are left of it).

        They are added to the tally, those before an exception too. A new epoch begins when the last one is over.
        Return early when ``halt()``, which is asked after each update (or chunk of updates), is true.
        """

    def validate(self, progress: Progress, /) -> Monitors:
        """Return the monitors, with `loss`, of the present parameters on the validation data."""

    def keep(self, progress: Progress, /) -> None:
        """Remember the present parameters as the best; their monitors are in ``progress.validation``."""

    def restore(self) -> None:
        """Put the best parameters back."""

    def fault(self, progress: Progress, /) -> str | None:
        """Act on an update that the tally calls bad.

        Raise, return why the run is to end, or return None to go on without that update.
        """

    def report(self, record: Record, /) -> None:
        """Take the record of an epoch."""

    def hyper(self) -> dict[str, float]:
        """Return the hyperparameters for a record."""

    def reduce(self, plan: ReduceOnPlateau, /) -> float | None:
        """Reduce the learning rate as the plan says; return the new one, None if it stays."""

    def tick(self) -> None:
        """Count the epoch that is over."""

    def save(self, progress: Progress, /) -> str | None:
        """Save the run, if runs are saved; return why that was not possible, None otherwise.

        It is asked for as `every` says, and at the end of the run, not after an exception. A run that had not ended
        would go on there.
        """

    def finish(self, progress: Progress, pair: Pair | None, /) -> None:
        """Take the end of the run, after the best is restored.

        `pair` is the last pair of monitors; None if a signal, an exception or the caller cut the run short.
        """

    def release(self) -> None:
        """Let go of what the run alone may use. Called last, however the run ends, and for one that never began."""


MEMBERS = tuple(name for name in (*Work.__annotations__, *vars(Work)) if not name.startswith("_"))


def changed(work: Work, **methods: Callable[..., Any]) -> Work:
    """Return work that does the same, but with these methods in the place of its own.

    The others are the work's own, with nothing around them, so that they cost nothing at an epoch.
    """
    own = {name: getattr(work, name) for name in MEMBERS}
    return cast("Work", SimpleNamespace(**{**own, **methods}))
