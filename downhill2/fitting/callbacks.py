"""Callbacks: told of each record, and those that hold something open of the end of their run."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .. import climate
from ..loop.run import Record

logger = climate.get_logger("downhill2")


def call(callbacks: Iterable[Callable[..., object]], opt: object, record: Record) -> None:
    """Call each callback with a record; an exception is told which of them raised it, and after which epoch."""
    for callback in callbacks:
        try:
            callback(opt, record)
        except Exception as error:
            error.add_note(f"raised by the callback {_name(callback)} after epoch {record.epoch}")
            raise


def _name(callback: object) -> str:
    """Return what a function is called, or the class of an object that can be called."""
    return str(getattr(callback, "__qualname__", type(callback).__qualname__))


def close(callbacks: Iterable[Callable[..., object]], opt: object, whole: bool) -> None:
    """Call the method ``close(opt)`` of each callback that has one; ``opt.stopped`` says by then how the run ended.

    An exception does not keep the others from being closed.

    Parameters
    ----------
    callbacks : iterable of callables
    opt : Optimizer
    whole : bool
        Whether the run ended by itself. Only then the first exception is raised; a run that was cut short by a signal,
        by an exception or by its caller has told its end already, and the log takes it.
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
