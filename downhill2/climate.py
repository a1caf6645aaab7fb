"""The console: loggers, one handler that prints them, and the lines of an epoch and of a validation.

It uses the standard `logging` module. What costs work or numbers is a warning, which Python prints on standard error
while no logging is set up. :func:`enable_default_logging` prints everything else.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from typing import TextIO

INFO = logging.INFO
_ROOT = "downhill2"
_GREEN, _CYAN, _YELLOW, _RED, _PLAIN = "\x1b[32m", "\x1b[36m", "\x1b[33m", "\x1b[31m", "\x1b[0m"


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        colour = _colour(record)
        return f"{colour}{line}{_PLAIN}" if colour and _is_coloured(sys.stderr) else line


class _Console(logging.StreamHandler[TextIO]):
    """Prints on the standard error of the moment, since test runners and notebooks replace it.

    It skips a record that another handler prints there, such as the handler of `logging.basicConfig`.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if any(_prints(handler, record) for handler in _handlers(record.name)):
            return
        self.stream = sys.stderr
        super().emit(record)


def _handlers(name: str) -> Iterator[logging.Handler]:
    """Yield the handlers that receive a record of a logger."""
    logger: logging.Logger | None = logging.getLogger(name)
    while logger is not None:
        yield from logger.handlers
        logger = logger.parent if logger.propagate else None


def _prints(handler: logging.Handler, record: logging.LogRecord) -> bool:
    """Whether a handler other than ours prints a record on the console; `rich` keeps its stream in `console`."""
    if isinstance(handler, _Console) or record.levelno < handler.level:
        return False
    stream = getattr(handler, "stream", None) or getattr(getattr(handler, "console", None), "file", None)
    return stream is not None and stream in (sys.stderr, sys.stdout, sys.__stderr__, sys.__stdout__)


def _colour(record: logging.LogRecord) -> str:
    if record.levelno >= logging.ERROR:
        return _RED
    if record.levelno >= logging.WARNING:
        return _YELLOW
    improved: bool | None = getattr(record, "improved", None)
    return "" if improved is None else _GREEN if improved else _CYAN


def _is_coloured(stream: TextIO) -> bool:
    """Whether the stream is a terminal that may be coloured (https://no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()


def get_logger(name: str) -> logging.Logger:
    """Return a logger that :func:`enable_default_logging` prints.

    Parameters
    ----------
    name : str
        Its name, put below ``downhill2`` unless it is there already.

    Examples
    --------
    >>> get_logger("digits").name
    'downhill2.digits'
    """
    own = name == _ROOT or name.startswith(f"{_ROOT}.")
    return logging.getLogger(name if own else f"{_ROOT}.{name}")


def enable_default_logging(level: int | str = logging.INFO) -> None:
    """Print what the package logs on standard error, coloured on a terminal unless ``NO_COLOR`` is set.

    The root logger stays as it is. A second call only sets the level. A line that another handler prints on the
    console, such as the handler of `logging.basicConfig`, is not printed twice.

    Parameters
    ----------
    level : int or str
        The least severe level to print: a number or a name of `logging`, as ``"DEBUG"``.

    Raises
    ------
    TypeError, ValueError
        If `level` is no level of `logging`.
    """
    logger = logging.getLogger(_ROOT)
    logger.setLevel(level)
    if any(isinstance(handler, _Console) for handler in logger.handlers):
        return
    handler = _Console()
    handler.setFormatter(_Formatter("%(levelname).1s %(asctime)s %(message)s", datefmt="%H:%M:%S"))
    logger.addHandler(handler)


def _monitors(values: Mapping[str, float]) -> str:
    return "".join(f" {name}={value:.6g}" for name, value in values.items())


def epoch_line(name: str, epoch: int, train: Mapping[str, float]) -> str:
    """Return the console line of an epoch.

    Parameters
    ----------
    name : str
        The algorithm.
    epoch : int
        The number of the epoch.
    train : mapping of str to float
        Its monitors.

    Examples
    --------
    >>> epoch_line("RMSProp", 12, {"loss": 0.123, "accuracy": 0.95})
    'RMSProp 12 loss=0.123 accuracy=0.95'
    """
    return f"{name} {epoch}{_monitors(train)}"


def validation_line(name: str, epoch: int, valid: Mapping[str, float], improved: bool) -> str:
    """Return the console line of a validation, with a mark at its end if the best improved.

    Log it with ``extra={"improved": improved}`` to have it coloured.

    Parameters
    ----------
    name : str
        The algorithm.
    epoch : int
        The epoch after which it ran; 0 for the one at the start.
    valid : mapping of str to float
        Its monitors.
    improved : bool
        Whether it is the best so far.

    Examples
    --------
    >>> validation_line("RMSProp", 10, {"loss": 0.25}, improved=True)
    'RMSProp 10 validation loss=0.25 *'
    """
    return f"{name} {epoch} validation{_monitors(valid)}{' *' if improved else ''}"
