"""Where progress is shown: a terminal, a notebook, or lines in a file."""

from __future__ import annotations

import atexit
import contextlib
import io
import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any, Protocol

from ..extras import need
from .status import Status
from .words import filled

WIDTH = 100
"""Columns that bars take at most."""


class Drawn(Protocol):
    """A run that is shown: it says where it stands."""

    def status(self) -> Status:
        """Return where the run stands."""


class Screen(Protocol):
    """Shows runs.

    Attributes
    ----------
    period : float
        Seconds until it is to be drawn again.
    """

    period: float

    def show(self, source: Drawn) -> None:
        """Begin to show a run."""

    def draw(self) -> None:
        """Show where runs stand now."""

    def hide(self, source: Drawn, end: Status | None) -> None:
        """Stop showing a run; show how it ended, unless `end` is None."""


def notebook_shell() -> Any:
    """Return the shell of IPython in a notebook's kernel, None outside one."""
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    return shell if hasattr(shell, "kernel") else None


def standard_error() -> Any:
    """Return standard error, None if there is none, or it is closed."""
    stream = sys.stderr
    return None if stream is None or getattr(stream, "closed", False) else stream


def is_terminal() -> bool:
    """Whether standard error is a terminal that can move its cursor, and no other package keeps lines at its bottom."""
    stream = standard_error()
    moves = os.environ.get("TERM", "") not in ("dumb", "unknown") and hasattr(stream, "isatty") and stream.isatty()
    return moves and (_terminal.is_open or not hasattr(stream, "rich_proxied_file"))


def screen() -> Screen:
    """Return what to show progress on."""
    if notebook_shell() is not None:
        return Notebook()
    return _terminal if is_terminal() else Lines()


def picture(status: Status, width: int) -> Any:
    """Return what rich draws for a run: a bar for the run, one for its epoch, and numbers."""
    width = min(width, WIDTH)
    bar, group = need("rich.progress_bar", "progress").ProgressBar, need("rich.console", "progress").Group
    text, grid = need("rich.text", "progress").Text, need("rich.table", "progress").Table.grid
    if status.stopped is not None:
        return group(*(text(filled(parts, width)) for parts in (status.end, status.values)))
    part = status.made / status.total if status.total else None
    table = grid(padding=(0, 1), expand=True)
    table.width = width
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    table.add_column(no_wrap=True)
    for label, done, words in (
        (status.name, status.fraction, status.of_run),
        (f"epoch {status.epoch + 1:,}", None if status.phase else part, status.of_epoch),
    ):
        table.add_row(label, bar(total=None if done is None else 1.0, completed=min(1.0, done or 0.0)), words)
    return group(table, *([text(filled(status.values, width))] if status.numbers else []))


class Terminal:
    """The lines at the bottom of standard error's terminal, which all runs of the process share.

    Whatever is printed or logged meanwhile appears above them.
    """

    period = 0.25

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._sources: list[Drawn] = []
        self._live: Any = None
        self._drawn: Any = ""
        self._exits = contextlib.ExitStack()

    @property
    def is_open(self) -> bool:
        """Whether a run is shown."""
        return self._live is not None

    def show(self, source: Drawn) -> None:
        """Begin to show a run."""
        with self._lock:
            self._sources.append(source)
            if self._live is None:
                self._open()
            self.draw()

    def draw(self) -> None:
        """Show where runs stand now."""
        with self._lock:
            if self._live is not None:
                self._drawn = self._rendered([s.status() for s in self._sources])
                self._live.refresh()

    def hide(self, source: Drawn, end: Status | None) -> None:
        """Stop showing a run; show how it ended, unless `end` is None."""
        with self._lock:
            live = self._live
            self._sources.remove(source)
            if self._sources:
                self.draw()
            else:
                self._close()
            if end is not None and live is not None:
                live.console.print(picture(end, live.console.width))

    def _rendered(self, runs: list[Status]) -> Any:
        """Return the lines drawn beforehand, as each logged line makes rich write the bottom lines again."""
        console = self._live.console
        group = need("rich.console", "progress").Group(*(picture(run, console.width) for run in runs))
        return need("rich.segment", "progress").Segments(list(console.render(group)))

    def _open(self) -> None:
        """Take the terminal; log lines that are too long for it stay whole."""
        console = need("rich.console", "progress").Console(file=sys.stderr, force_terminal=True, soft_wrap=True)
        self._live = need("rich.live", "progress").Live(
            get_renderable=lambda: self._drawn,
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
        )
        before = sys.stdout, sys.stderr
        self._live.start()
        self._exits.enter_context(_handlers_moved(before, (sys.stdout, sys.stderr)))
        atexit.register(self._close)

    def _close(self) -> None:
        """Give the terminal back."""
        live, self._live, self._drawn = self._live, None, ""
        if live is not None:
            atexit.unregister(self._close)
            self._exits.close()
            live.stop()


@contextlib.contextmanager
def _handlers_moved(before: tuple[object, ...], after: tuple[object, ...]) -> Iterator[None]:
    """Let log handlers that write to one of the streams `before` write to its counterpart `after` in the body."""
    now = {id(stream): other for stream, other in zip(before, after, strict=True)}
    loggers = [logging.root, *(v for v in logging.root.manager.loggerDict.values() if isinstance(v, logging.Logger))]
    handlers = [h for logger in loggers for h in logger.handlers if isinstance(h, logging.StreamHandler)]
    moved = [(h, h.stream) for h in handlers if id(h.stream) in now]
    for handler, stream in moved:
        handler.setStream(now[id(stream)])
    try:
        yield
    finally:
        for handler, stream in moved:
            handler.setStream(stream)


_terminal = Terminal()


class Notebook:
    """One output of a notebook's cell, which is replaced each time."""

    period = 0.5
    _style = "margin:0;white-space:pre;overflow-x:auto;line-height:normal;font-family:monospace"

    def __init__(self) -> None:
        self._source: Drawn | None = None
        self._handle: Any = None

    def show(self, source: Drawn) -> None:
        """Begin to show a run."""
        self._source = source
        self.draw()

    def draw(self) -> None:
        """Show where the run stands now."""
        if self._source is not None:
            self._put(self._source.status())

    def hide(self, source: Drawn, end: Status | None) -> None:
        """Leave how the run ended, if it did."""
        self._source = None
        if end is not None:
            self._put(end)

    def _put(self, status: Status) -> None:
        console = need("rich.console", "progress").Console(
            file=io.StringIO(), record=True, width=WIDTH, force_terminal=True, force_jupyter=False
        )
        console.print(picture(status, WIDTH))
        format_ = f'<pre style="{self._style}">{{code}}</pre>'
        html = console.export_html(inline_styles=True, code_format=format_, clear=False)
        data = {"text/plain": console.export_text(), "text/html": html}
        if self._handle is None:
            display = need("IPython.display", "progress").display
            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)


class Lines:
    """A line now and then on standard error, without control codes: after 10, 30, 70 seconds and then every minute."""

    def __init__(self) -> None:
        self.period = 10.0
        self._source: Drawn | None = None

    def show(self, source: Drawn) -> None:
        """Begin to show a run."""
        self._source = source

    def draw(self) -> None:
        """Print where the run stands now."""
        if self._source is not None:
            self.period = min(2 * self.period, 60.0)
            self._print(self._source.status())

    def hide(self, source: Drawn, end: Status | None) -> None:
        """Print how the run ended, if it did."""
        self._source = None
        if end is not None:
            self._print(end)

    def _print(self, status: Status) -> None:
        stream = standard_error()
        if stream is not None:
            stream.write(f"{status.line}\n")  # in one call, so that no line of another thread comes in between
            stream.flush()
