"""Signals while the loop runs: the first asks it to end, the second raises; and who gets them when it has ended."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from . import reasons

try:
    # what signal.signal calls; on Python 3.11 that spends 2.8 us a call on looking for enums, which six calls
    # between two epochs make more than the rest of the loop
    from _signal import signal as _exchange  # type: ignore[import-not-found, unused-ignore]
except ImportError:  # pragma: no cover  (an interpreter without CPython's module)
    _exchange = signal.signal

_Handler = Callable[[int, FrameType | None], Any] | int | None

# SIGINT comes first and leaves last: while the others are exchanged, Ctrl-C is only noted.
# Windows has no SIGUSR1.
_NUMBERS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))

POLICIES = ("auto", "stop", "raise")

_log = logging.getLogger("downhill2")


class Signals:
    """What the signals of one run have asked for, the handlers that listen, and what follows when the run has ended.

    Parameters
    ----------
    policy : {'stop', 'auto', 'raise'}
        What `passed_on` does. ``'stop'``: nothing, so that the run returns. ``'auto'``: pass SIGTERM on, and each
        signal that the program has a handler of its own for; otherwise the run returns. ``'raise'``: the same, and
        then raise KeyboardInterrupt, because whoever called the run makes others after it.

    Attributes
    ----------
    asked : str or None
        ``'signal SIGTERM'`` and the like, from the first signal on.
    """

    def __init__(self, policy: str = "stop") -> None:
        self.asked: str | None = None
        self._policy = policy
        self._came: list[int] = []
        self._insisted = False  # a second signal came
        self._held = False  # it must wait
        self._waiting = False  # it waits
        self._depth = 0  # of bodies inside each other
        self._former: dict[int, _Handler] = {}
        # None: a handler that was not installed from Python, and could not be put back. What the program ignores, as
        # shells have their background jobs ignore Ctrl-C, is to go on being ignored.
        left_alone = (None, signal.SIG_IGN)
        self._numbers = [number for number in _NUMBERS if signal.getsignal(number) not in left_alone]

    def standing(self) -> Signals:
        """Return what handles signals inside the body of a ``with``, if this is the main thread; may be nested.

        A KeyboardInterrupt that the body itself raises is taken for a first signal and ends the body; the one
        of a second signal passes.
        """
        return self

    def __enter__(self) -> None:
        if not self._depth:
            self._install()
        self._depth += 1

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> bool:
        self._depth -= 1
        if not self._depth:
            self._put_back()
        if kind is None or self._insisted or not issubclass(kind, KeyboardInterrupt):
            return False
        self.asked = self.asked or reasons.SIGNAL.of("SIGINT")
        return True

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let a second signal wait until the body is done, because half of the body would do harm."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._waiting:
            self._waiting = False
            raise KeyboardInterrupt(self.asked)

    @contextlib.contextmanager
    def passed_on(self) -> Iterator[None]:
        """Give the signals that came in the body to whom they would have met without it, once the body is over.

        Raises
        ------
        KeyboardInterrupt
            If the policy is ``'raise'`` and there was a signal.
        """
        raised = False
        try:
            yield
        except KeyboardInterrupt:
            raised = True
            raise
        finally:
            for number in dict.fromkeys(self._came):
                if self._is_passed_on(number, signal.getsignal(number)):
                    _send(number)
            if self._policy == "raise" and self.asked and not raised:
                raise KeyboardInterrupt(self.asked)

    def _is_passed_on(self, number: int, handler: _Handler) -> bool:
        own = callable(handler) and handler is not signal.default_int_handler
        return self._policy != "stop" and (own or number == signal.SIGTERM)

    def _install(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        try:
            for number in self._numbers:
                self._former[number] = _exchange(number, self._note)
        except BaseException:
            self._put_back()
            raise

    def _put_back(self) -> None:
        with self.held():
            while self._former:
                number, handler = self._former.popitem()
                if handler is not None:  # of an interpreter that ends, which has taken all handlers away
                    _exchange(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came.append(number)
        if self.asked is None:
            self.asked = reasons.SIGNAL.of(signal.Signals(number).name)
            _log.warning(
                "%s: the run ends after this update and %s; a second signal raises KeyboardInterrupt at once",
                self.asked,
                self._consequence(number),
            )
            return
        self._insisted, self._waiting = True, self._held
        if not self._held:
            raise KeyboardInterrupt(self.asked)

    def _consequence(self, number: int) -> str:
        if self._is_passed_on(number, self._former.get(number)):
            return "passes the signal on"
        return "raises KeyboardInterrupt" if self._policy == "raise" else "returns"


def _send(number: int) -> None:
    """Send a signal to this process, which ends if nothing handles it."""
    ends = signal.getsignal(number) == signal.SIG_DFL
    if ends:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # closed, or a pipe that nobody reads
                stream.flush()
    signal.raise_signal(number)
    if ends:  # still here: the system spares the first process of a container
        os._exit(128 + number)
