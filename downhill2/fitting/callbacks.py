"""How callbacks are called: with each record, and, to close what they hold open, at the end of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .. import climate
from ..loop.run import Record

logger = climate.get_logger("downhill2")


def call(callbacks: Iterable[Callable[..., object]], opt: object, record: Record) -> None:
    """Call each callback with a record; add to an exception which callback raised it, and after which epoch."""
    for callback in callbacks:
        try:
            callback(opt, record)
        except Exception as error:
            error.add_note(f"raised by the callback {_name(callback)} after epoch {record.epoch}")
            raise


def _name(callback: object) -> str:
    """Return the name of a function, or of the class of a callable object."""
    return str(getattr(callback, "__qualname__", type(callback).__qualname__))


def close(callbacks: Iterable[Callable[..., object]], opt: object, whole: bool) -> None:
    """Call the method ``close(opt)`` of each callback that has one; ``opt.stopped`` is then set.

    An exception does not keep the others from being closed.

    Parameters
    ----------
    callbacks : iterable of callables
    opt : Optimizer
    whole : bool
        Whether the run ended by itself. Only then the first exception is raised. If a signal, an exception or the
        caller ended the run, exceptions are logged, as that end is known to the caller already.
    """
    raised: Exception | None = None
    for callback in callbacks:
        finish = getattr(callback, "close", None)
        if not callable(finish):
            continue
        try:
            finish(opt)
        except Exception as error:
            if whole and raised is None:
                raised = error
            else:
                logger.error("closing the callback %r raised %s: %s", callback, type(error).__name__, error)
    if raised is not None:
        raise raised
