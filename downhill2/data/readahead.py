"""Reading batches: again after an error, and ahead in a thread."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

log = logging.getLogger("downhill2")

R = TypeVar("R")
T = TypeVar("T")

Pause = Callable[[float], object]  # waits for so many seconds
Outcome = tuple[Any, BaseException | None]  # what a read returned, and what it raised

FIRST_DELAY = 0.1  # seconds until a failed read is tried again; doubled each time
EXIT_WAIT = 1.0  # seconds that the exit of the interpreter waits for a read


class ReadGuard:
    """Reads batches of ``owner``: tries ``retries`` times more after an OSError, and names the batch that failed."""

    def __init__(self, owner: str, retries: int) -> None:
        self.owner, self.retries = owner, retries

    def __call__(self, read: Callable[[], T], number: int, pause: Pause = time.sleep) -> T:
        """Return what ``read`` returns: batch ``number`` of a pass.

        Raises
        ------
        OSError
            If every attempt raised one, or an iterator ended with it; the cause is the original error.
        RuntimeError
            If ``read`` raised another error, which is the cause.
        StopIteration
            If the data is at its end.
        """
        where, attempt = f"{self.owner}: batch {number}", 0
        failed: OSError | None = None
        while True:
            try:
                return read()
            except StopIteration:
                if failed is None:
                    raise
                # A generator that raised has ended: its StopIteration does not mean the end of the data.
                raise OSError(f"{where} could not be read, and the iterator cannot go on: {failed}") from failed
            except OSError as error:
                if attempt == self.retries:
                    raise OSError(f"{where} could not be read: {error}") from error
                failed = error
            except Exception as error:
                raise RuntimeError(f"{where} could not be read: {error!r}") from error
            delay, attempt = FIRST_DELAY * 2**attempt, attempt + 1
            log.warning("%s could not be read (%s); trying again in %g s", where, failed, delay)
            pause(delay)


class Halted(Exception):
    """Raised in the thread to end it while it waits to try again."""


class Line:
    """The queues between a thread that reads and the thread that uses what it read.

    They are of SimpleQueue, because the garbage collector may end a reader at any point, also inside their methods.
    """

    def __init__(self) -> None:
        self.asked: SimpleQueue[Any] = SimpleQueue()
        self.answered: SimpleQueue[Outcome] = SimpleQueue()
        self._halt: SimpleQueue[None] = SimpleQueue()

    def serve(self, read: Callable[[Any, Pause], Any]) -> None:
        """Answer requests until a read fails, the data ends or :meth:`end` is called."""
        error: BaseException | None = None
        while error is None:
            request, value = self.asked.get(), None
            if not self._halt.empty():
                return
            try:
                value = read(request, self._pause)
            except Halted:
                return
            except BaseException as raised:
                error = raised
            self.answered.put((value, error))

    def end(self, thread: threading.Thread, wait: float | None) -> None:
        """End the thread; wait `wait` seconds for its present read, or, if None, until that ends."""
        self._halt.put(None)
        self.asked.put(None)
        if thread is not threading.current_thread():  # the garbage collector may call this in the thread itself
            thread.join(wait)

    def _pause(self, seconds: float) -> None:
        try:
            self._halt.get(timeout=seconds)
        except Empty:
            return
        raise Halted


class ReadAhead(Iterator[T], Generic[R, T]):
    """Reads the answers to requests in a thread, and yields them in the order of the requests.

    Parameters
    ----------
    read : callable
        Takes a request and a function that waits; returns the answer. StopIteration ends the iteration.
    requests : iterable
        Consumed in the thread that iterates, ``depth`` requests ahead of the answers it has taken.
    depth : int
        How many answers are read ahead; these exist beside the latest answer.

    Notes
    -----
    The thread ends with the requests, at the first error, with :meth:`close`, and at the interpreter's exit.
    """

    def __init__(self, read: Callable[[R, Pause], T], requests: Iterable[R], depth: int) -> None:
        self._requests = iter(requests)
        self._depth = depth
        self._line = line = Line()
        self._ready: deque[Outcome] = deque()
        self._open = 0  # requests without an answer
        self._over = False  # whether the thread has ended
        self._thread = threading.Thread(target=line.serve, args=(read,), name="downhill2 read-ahead", daemon=True)
        self._thread.start()
        # Neither the thread nor this finalizer refers to self, so self is collected when nobody iterates any more.
        self._finalizer = weakref.finalize(self, line.end, self._thread, EXIT_WAIT)

    def __next__(self) -> T:
        """Return the next answer; raise what the read raised."""
        self._ask()
        if not self._ready and not self._open:
            self.close()
            raise StopIteration
        value, error = self._ready.popleft() if self._ready else self._answer()
        if error is not None:
            self.close()
            raise error
        answer: T = value
        return answer

    def settle(self) -> None:
        """Wait until every request is answered, so that the source is not read any more."""
        while self._open and self._thread is not threading.current_thread():  # see Line.end
            self._ready.append(self._answer())

    def close(self) -> list[Outcome]:
        """End the thread; return what was read ahead and not used."""
        if self._finalizer.detach():
            self._line.end(self._thread, None)
        while self._open and not self._line.answered.empty():
            self._ready.append(self._answer())
        self._over, self._open = True, 0
        left = list(self._ready)
        self._ready.clear()
        return left

    def _ask(self) -> None:
        while not self._over and self._open + len(self._ready) <= self._depth:
            try:
                self._line.asked.put(next(self._requests))
            except StopIteration:
                return
            self._open += 1

    def _answer(self) -> Outcome:
        outcome = self._line.answered.get()
        self._over = outcome[1] is not None
        self._open = 0 if self._over else self._open - 1
        return outcome


def answers(read: Callable[[R, Pause], T], requests: Iterable[R], depth: int) -> ReadAhead[R, T] | Generator[T]:
    """Yield the answers to requests in their order: ``depth`` read ahead, or, if 0, each when it is needed."""
    return ReadAhead(read, requests, depth) if depth else in_turn(read, requests)


def in_turn(read: Callable[[R, Pause], T], requests: Iterable[R]) -> Generator[T]:
    """Yield the answers to requests in their order, each read when it is needed."""
    for request in requests:
        try:
            answer = read(request, time.sleep)
        except StopIteration:
            return
        yield answer
