"""Progress: what it says, where it is shown, and that it leaves run, log and terminal as they are."""

from __future__ import annotations

import copy
import io
import logging
import re
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import downhill2
from downhill2 import climate
from downhill2.loop.run import Limits, Progress, Record, Tally
from downhill2.loop.work import MEMBERS
from downhill2.reporting import progress, screens
from downhill2.reporting.status import Meter, Status
from downhill2.reporting.words import clock_time, counted, duration, filled
from tests.training import Training

pytest.importorskip("rich")
from rich.console import Console
from rich.live import Live

HANGS = 120  # seconds after which another thread will never do what it should


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    """A terminal; ``shown()`` is what stands on it, as far as the codes that rich writes tell."""

    def isatty(self):
        return True

    def shown(self):
        lines, row = [""], 0
        for part in re.split(r"(\x1b\[[?\d;]*[A-Za-z]|\r|\n)", self.getvalue()):
            if part == "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            elif part == "\x1b[1A":
                row -= 1
            elif part == "\x1b[2K":
                lines[row] = ""
            elif part and not part.startswith(("\x1b", "\r")):
                lines[row] += part
        return [line.rstrip() for line in lines if line.strip()]

    def cursor_is_shown(self):
        return self.getvalue().rfind("\x1b[?25l") <= self.getvalue().rfind("\x1b[?25h")


def closed(stream):
    stream.close()
    return stream


@pytest.fixture
def terminal(monkeypatch):
    """Return what puts a terminal in place of standard error; it is called in the test, as pytest exchanges streams."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    logger = logging.getLogger("downhill2")
    level, handlers = logger.level, list(logger.handlers)

    def put():
        stream = Terminal()
        monkeypatch.setattr(sys, "stderr", stream)
        return stream

    yield put
    logger.handlers[:] = handlers
    logger.setLevel(level)


def quadratic(**settings):
    """Return an optimizer of a loss without data, three updates an epoch, and what to give to its runs."""
    w = pytensor.shared(np.ones(3), name="w")
    opt = downhill2.build("sgd", (w**2).sum(), learning_rate=0.1)
    return opt, {"train_batches": 3, "max_epochs": 4, "validate_every": 2, **settings}


def last_line(text):
    return text.strip().splitlines()[-1]


# -- what it says


def followed(**limits):
    """Return a clock, the numbers of a run that begins, and a meter that follows it."""
    clock, place = Clock(), Progress()
    meter = Meter("Adam", Limits(**limits), clock)
    meter.follow(place, total=10)
    return clock, place, meter


def test_a_run_that_is_not_there_yet_is_prepared():
    clock = Clock()
    meter = Meter("Adam", Limits(max_epochs=3), clock)
    clock.now += 65
    status = meter.status()
    assert (status.phase, status.waiting, status.epochs, status.seconds) == ("preparing", 65, 3, 65)
    assert status.of_epoch == "preparing  1:05"
    meter.begin()
    meter.look(Tally({}, 0.0), {})
    assert meter.status().updates == 0


def test_what_goes_on_is_told_with_how_long_it_has():
    clock, _, meter = followed()
    with meter.busy("compiling the training step"):
        clock.now += 7
        assert meter.status().of_epoch == "compiling the training step  0:07"
        with meter.busy("compiling the evaluation"):
            assert meter.status().of_epoch == "compiling the evaluation  0:00"
        assert meter.status().phase == "compiling the training step"
    meter.begin()
    assert meter.status().phase == ""


@pytest.mark.parametrize(
    ("limits", "fraction"),
    [
        ({"max_updates": 50}, 0.5),
        ({"max_epochs": 5}, 0.5),
        ({"max_epochs": 10, "max_updates": 50}, 0.5),
        ({"max_epochs": 10, "max_seconds": 40}, 0.5),
        ({"max_updates": 5}, 1.0),
    ],
    ids=str,
)
def test_the_time_left_is_that_of_the_limit_that_comes_first(limits, fraction):
    clock, place, meter = followed(**limits)
    meter.begin()
    clock.now += 20
    place.updates, place.seconds, place.epoch = 20, 20.0, 2
    meter.record(record(2, 20))
    meter.look(Tally({"loss": 5.0}, 5.0, 5), {})
    status = meter.status()
    assert (status.fraction, status.updates, status.made, status.total) == (pytest.approx(fraction), 25, 5, 10)
    assert status.left == pytest.approx(20 * (1 - fraction) / fraction)


def record(epoch, updates, **given):
    return Record(
        epoch, updates, 1.0, **{"train": {"loss": 0.25}, "valid": {}, "validated": False, **given}, improved=False
    )


def test_no_limit_tells_no_time():
    clock, _, meter = followed(max_updates=0)
    meter.begin()
    clock.now += 1
    status = meter.status()
    assert status.fraction is None
    assert status.left is None
    assert status.of_run == "0 epochs  0:01"


def test_a_run_that_goes_on_has_its_epoch_and_its_speed_from_there():
    clock, place = Clock(), Progress(updates=104, epoch=10)
    meter = Meter("Adam", Limits(max_updates=204), clock)
    meter.follow(place, total=10, done=4)
    meter.begin()
    assert (meter.status().made, meter.status().epoch) == (4, 10)
    assert meter.status().left is None
    clock.now += 10
    place.updates = 154
    assert meter.status().left == pytest.approx(10)
    place.stopped = "max_updates"
    assert meter.status().speed == pytest.approx(5)


def test_a_window_that_is_not_full_is_no_update_of_the_epoch():
    display = progress.Display(Meter("Adam", Limits(), Clock()), screen=Silent())
    display.follow(Progress(updates=11, epoch=2), SimpleNamespace(length=10, done=5), 4)
    assert (display.status().made, display.status().total) == (1, 3)


def test_the_speed_is_that_of_the_latest_seconds():
    clock, place, meter = followed()
    meter.begin()
    meter.status()
    for pace in (100, 100, 10, 10, 10, 10, 10, 10):
        clock.now += 1
        place.updates += pace
        status = meter.status()
    assert status.speed == pytest.approx(10)
    assert status.rate == "10/s"


def test_a_run_that_made_no_update_has_no_speed():
    _, place, meter = followed()
    place.stopped = "max_updates"
    assert meter.status().speed == 0
    assert meter.status().rate == "0/s"


def test_the_latest_numbers_are_told():
    _, place, meter = followed(patience=5)
    assert meter.status().values == ["patience 5 of 5 left"]
    meter.record(
        Record(
            0,
            0,
            0.0,
            {},
            {"loss": 2.0},
            validated=True,
            improved=True,
            hyper={"learning_rate": 0.1, "rate_factor": 0.5},
        )
    )
    place.validation, place.best, place.failures = {"loss": 2.0}, 2.0, 0
    assert meter.status().values == ["valid 2", "best 2 in epoch 0", "rate 0.05", "patience 5 of 5 left"]
    meter.look(Tally({"loss": 3.0}, 2.0, 4), {"learning_rate": 0.25})
    assert meter.status().values[0] == "loss 1.5"
    assert meter.status().values[-2:] == ["rate 0.25", "patience 5 of 5 left"]
    place.updates, place.failures, place.validation = 10, 7, {"loss": 123456.0}
    meter.record(record(1, 10))
    assert meter.status().values == [
        *("loss 0.25", "valid 1.2346e+05", "best 2 in epoch 0", "patience 0 of 5 left"),
    ]


def test_a_best_from_before_the_run_went_on_has_no_epoch():
    _, place, meter = followed(patience=None)
    place.best = 0.5
    assert meter.status().values == ["best 0.5"]


def test_an_epoch_is_looked_at_until_its_record():
    _, place, meter = followed(max_epochs=4)
    place.epoch, place.updates = 1, 10  # over, and validated now
    assert (meter.status().epoch, meter.status().made, meter.status().fraction) == (0, 10, 0.25)
    meter.record(record(1, 10))
    assert (meter.status().epoch, meter.status().made, meter.status().fraction) == (1, 0, 0.25)


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (
            Status("Adam", 70.0, epoch=1, updates=1234, epochs=5, speed=1.25, left=3725.0, numbers={"loss": "0.5"}),
            "Adam  1 of 5 epochs  1:10  1:02:05 left  1,234 updates  1.2/s  loss 0.5",
        ),
        (Status("Adam", 3.0, "compiling", 2.0), "Adam  0 epochs  0:03  0 updates  compiling  0:02"),
        (
            Status("Adam", 3.0, epoch=1, updates=1, stopped="target", speed=2000.4),
            "Adam stopped: target  1 update in 1 epoch  3 s  2,000/s",
        ),
    ],
    ids=["on", "waiting", "over"],
)
def test_a_run_is_one_line(status, line):
    assert status.line == line


@pytest.mark.parametrize(("seconds", "expected"), [(0, "0:00"), (59.9, "0:59"), (3600, "1:00:00"), (90061, "25:01:01")])
def test_times_that_go_on_are_read_as_on_a_clock(seconds, expected):
    assert clock_time(seconds) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.01234, "0.0123 s"), (59.9, "59.9 s"), (61, "1 min 01 s"), (3599.7, "1 h 00 min"), (7500, "2 h 05 min")],
)
def test_what_something_took_is_told_as_people_say_it(seconds, expected):
    assert duration(seconds) == expected


def test_words_are_counted_and_lines_filled():
    assert (counted(1, "epoch"), counted(2000, "epoch")) == ("1 epoch", "2,000 epochs")
    assert filled(["loss 0.5", "best 0.25", "rate 0.1"], 20) == "loss 0.5  best 0.25\nrate 0.1"
    assert filled(["longer than the line"], 5) == "longer than the line"
    assert filled([], 5) == ""


# -- a run that is looked at


class Silent:
    """A screen that nobody sees."""

    period = 60.0

    def __init__(self):
        self.calls = []

    def show(self, source):
        self.calls.append("show")

    def draw(self):
        self.calls.append("draw")

    def hide(self, source, end):
        self.calls.append(end and end.stopped)


def test_stretches_of_updates_end_where_it_is_time_for_a_look():
    clock, place = Clock(), Progress()
    meter = Meter("Adam", Limits(), clock)
    meter.follow(place)
    display = progress.Display(meter, lambda: {"learning_rate": 0.5}, Silent(), clock)
    made = []

    def step(tally, most, halt):
        while tally.updates < 50:
            tally.updates += 1
            clock.now += 0.01
            if halt():
                break
        tally.sums, tally.rows = {"loss": 2.0 * tally.updates}, tally.updates
        made.append((tally.updates, display.status().phase))
        place.updates += 0 if tally.updates == 50 else tally.updates

    work = display.watched(SimpleNamespace(**{**dict.fromkeys(MEMBERS), "step": step}))
    for _ in range(3):
        work.step(Tally({}, 0.0), None, lambda: False)
    work.step(Tally({}, 0.0), None, lambda: True)
    # the first alone, as it may have to be compiled; then as many as take a tenth of a second; then what the run says
    assert made == [(1, "compiling the updates"), (10, ""), (10, ""), (1, "")]
    assert display.status().values[:2] == ["loss 2", "rate 0.5"]


@pytest.mark.parametrize("settings", [{}, {"accumulate": 2}], ids=str)
def test_a_run_that_is_shown_is_the_same_to_the_bit(settings, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "PERIOD", 0.0)  # a look after each update
    train = Training(**settings)
    whole = train.run(checkpoint=tmp_path / "a", checkpoint_every="4 updates")
    assert train.run(checkpoint=tmp_path / "b", checkpoint_every="4 updates", progress=True) == whole
    events = [event for r in train.opt.history for event in r.events]
    assert len(events) == len(set(events))  # no save is told of twice
    assert last_line(capsys.readouterr().err).startswith("Adam stopped: max_epochs")


def test_what_takes_its_time_is_told(monkeypatch):
    heard = []
    real = Meter.busy
    monkeypatch.setattr(Meter, "busy", lambda self, what: heard.append(what) or real(self, what))
    opt, settings = quadratic()
    opt.minimize(**settings, progress=True)
    first = ["compiling the training step", "compiling the evaluation", "compiling the evaluation, validating"]
    assert heard == [*first, "compiling the updates", "validating", "validating"]


def test_an_optimizer_whose_run_was_shown_can_be_copied():
    opt, settings = quadratic()
    opt.minimize(**settings, progress=True)
    assert copy.deepcopy(opt).history[-1] == opt.history[-1]


# -- whether and where it is shown


@pytest.fixture
def displays(monkeypatch):
    """Return the screens that runs are shown on, each with what it was told."""
    made = []

    def screen():
        made.append(Silent())
        return made[-1]

    monkeypatch.setattr(screens, "screen", screen)
    return made


@pytest.mark.parametrize(
    ("given", "somebody", "shown"),
    [(None, True, True), (None, False, False), (True, False, True), (False, True, False)],
)
def test_minimize_is_shown_where_somebody_may_look_or_who_asks_for_it(given, somebody, shown, displays, monkeypatch):
    monkeypatch.setattr(screens, "is_terminal", lambda: somebody)
    opt, settings = quadratic()
    opt.minimize(**settings, progress=given)
    assert [d.calls for d in displays] == [["show", None, "show", "max_epochs"]] * shown


@pytest.mark.parametrize(("given", "shown"), [({}, False), ({"progress": None}, False), ({"progress": True}, True)])
def test_iterate_is_shown_to_who_asks_for_it(given, shown, displays, monkeypatch):
    monkeypatch.setattr(screens, "is_terminal", lambda: True)
    opt, settings = quadratic()
    pairs = opt.iterate(**settings, **given)
    assert [d.calls for d in displays] == [["show", None]] * shown
    next(pairs)
    pairs.close()
    assert [d.calls for d in displays] == [["show", None, "show", "closed"]] * shown
    assert opt.stopped == "closed"


@pytest.mark.parametrize("given", [None, False, True])
def test_without_rich_only_who_asks_for_progress_is_told(given, terminal, monkeypatch):
    stream = terminal()
    for name in [n for n in sys.modules if n.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setattr(progress.importlib.util, "find_spec", lambda name: None)
    opt, settings = quadratic()
    if given:
        monkeypatch.setattr(pytensor, "function", None)
        with pytest.raises(
            ImportError, match=r"this needs rich, which is not installed; pip install 'downhill2\[progress\]'"
        ):
            opt.minimize(**settings, progress=given)
    else:
        opt.minimize(**settings, progress=given)
    assert stream.getvalue() == ""


def test_an_exception_on_the_way_takes_it_off_the_screen(displays):
    def failing():
        yield [np.ones(3)]
        raise OSError("the disk is gone")

    x = pt.vector("x")
    opt = downhill2.build("sgd", (x * pytensor.shared(np.ones(3), name="w")).sum())
    with pytest.raises(OSError, match="the disk is gone"):
        opt.minimize(failing, max_epochs=2, progress=True)
    assert displays[0].calls == ["show", None, "show", "exception: OSError"]


@pytest.mark.parametrize("error", [TypeError("no such dtype"), KeyboardInterrupt()], ids=repr)
def test_an_exception_while_compiling_ends_what_is_shown_and_passes_unchanged(error, displays, monkeypatch):
    opt, settings = quadratic()

    def failing(*args, **kwargs):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(pytensor, "function", failing)
        with pytest.raises(type(error)) as raised:
            opt.minimize(**settings, progress=True)
    assert raised.value is error
    assert (error.__cause__, error.__context__, getattr(error, "__notes__", [])) == (None, None, [])
    assert displays[0].calls == ["show", f"exception: {type(error).__name__}"]
    copy.deepcopy(opt).minimize(**settings, progress=True)
    assert displays[1].calls == ["show", None, "show", "max_epochs"]


def test_a_screen_that_cannot_be_drawn_ends_no_run(displays, monkeypatch, caplog):
    opt, settings = quadratic()

    def failing(self, *args):
        raise OSError("the terminal is gone")

    drawn = threading.Event()
    for name in ("show", "hide"):
        monkeypatch.setattr(Silent, name, failing)
    monkeypatch.setattr(Silent, "draw", lambda self: drawn.set() or failing(self))
    monkeypatch.setattr(Silent, "period", 0.001)
    with caplog.at_level("INFO", "downhill2"):
        opt.minimize(**settings, callbacks=[lambda *_: drawn.wait(HANGS)], progress=True)
    assert drawn.is_set()
    assert opt.stopped == "max_epochs"
    told = "progress cannot be shown: OSError('the terminal is gone'); the run goes on"
    assert caplog.messages.count(told) == 1


# -- a terminal


@pytest.mark.parametrize(
    ("term", "stream", "expected"),
    [
        ("xterm", Terminal, True),
        ("dumb", Terminal, False),
        ("xterm", io.StringIO, False),
        ("xterm", lambda: None, False),
        ("xterm", object, False),
        ("xterm", lambda: closed(Terminal()), False),
    ],
)
def test_a_terminal_moves_its_cursor(term, stream, expected, monkeypatch):
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys, "stderr", stream())
    assert screens.is_terminal() is expected
    assert isinstance(screens.screen(), screens.Terminal if expected else screens.Lines)


def test_a_terminal_whose_last_lines_somebody_else_keeps_is_left_alone(terminal):
    stream = terminal()
    console = Console(file=stream, force_terminal=True)
    with Live("theirs", console=console, auto_refresh=False):
        assert not screens.is_terminal()
    assert screens.is_terminal()


def test_bars_and_numbers_stand_at_the_bottom_and_how_it_ended_stays(terminal):
    stream, seen = terminal(), []
    opt, settings = quadratic()

    def look(opt, record):
        screens._terminal.draw()
        seen.append(stream.shown())

    opt.minimize(**settings, callbacks=[look], progress=True)
    label, epoch, values = seen[2]
    assert re.fullmatch(r"SGD +[━╸╺]+ 2 of 4 epochs  \d:\d\d  \d:\d\d left", label)
    assert re.fullmatch(r"epoch 3 [━╸╺]+ 0 of 3 updates  [\d,]+/s", epoch)
    assert re.fullmatch(r"loss \S+  valid \S+  best \S+ in epoch 2  rate 0.1  patience 5 of 5 left", values)
    end, values = stream.shown()
    assert re.fullmatch(r"SGD stopped: max_epochs  12 updates in 4 epochs  [\d.e-]+ s  [\d,]+/s", end)
    assert values.startswith("loss ")
    assert stream.cursor_is_shown()


@pytest.mark.parametrize("width", [40, 60])
def test_a_narrow_terminal_breaks_no_number(width, terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    stream, seen = terminal(), []
    opt, settings = quadratic()
    opt.minimize(**settings, callbacks=[lambda *_: seen.append(stream.shown())], progress=True)
    assert "patience 5 of 5 left" in "\n".join(seen[-1])
    assert all(len(line) <= width for line in (*seen[-1], *stream.shown()))


@pytest.mark.parametrize("kind", ["of Python's last resort", "of basicConfig", "of enable_default_logging"])
def test_warnings_stand_whole_above_the_bars_however_logging_is_set_up(kind, terminal, monkeypatch):
    stream, words = terminal(), "a checkpoint that cannot be written, for reasons longer than the terminal is wide " * 2
    monkeypatch.setattr(logging.root, "handlers", [])
    if kind == "of basicConfig":
        logging.basicConfig(format="%(message)s")
    elif kind == "of enable_default_logging":
        climate.enable_default_logging()
    seen = []

    def fail(opt, record):
        logging.getLogger("downhill2").warning(words)
        seen.append(stream.shown())

    opt, settings = quadratic(max_epochs=1)
    opt.minimize(**settings, callbacks=[fail], progress=True)
    lines = [line for line in stream.shown() if line.endswith(words.strip())]
    assert len(lines) == len(seen) == 2
    assert seen[-1][-3].startswith("SGD ")  # the bars, below


def test_log_lines_and_prints_stand_whole_above_the_bars(terminal, monkeypatch):
    stream, words = terminal(), "a line longer than the terminal is wide " * 4
    own = logging.StreamHandler(stream)  # as of logging.basicConfig, which keeps the stream
    logging.root.addHandler(own)
    climate.enable_default_logging()
    monkeypatch.setattr(sys, "stdout", Terminal())
    seen = []

    def talk(opt, record):
        climate.get_logger("test").info(words)
        print("printed on standard error", file=sys.stderr)
        print("printed on standard output")
        seen.append(stream.shown())

    try:
        opt, settings = quadratic(max_epochs=1)
        opt.minimize(**settings, callbacks=[talk], progress=True)
    finally:
        logging.root.removeHandler(own)
    assert own.stream is sys.stderr is stream
    lines = stream.shown()
    assert sum(line.endswith(words.strip()) for line in lines) == len(seen)  # by one of two handlers
    assert lines.count("printed on standard error") == lines.count("printed on standard output") == len(seen)
    assert seen[-1][-3].startswith("SGD ")
    assert not [line for line in lines[:-2] if "━" in line]


def test_standard_output_that_goes_elsewhere_is_left_alone(terminal, capsys):
    stream = terminal()
    opt, settings = quadratic(max_epochs=1)
    opt.minimize(**settings, callbacks=[lambda *_: print("a result")], progress=True)
    assert capsys.readouterr().out == "a result\n" * 2
    assert "a result" not in stream.getvalue()


def test_a_run_inside_another_has_bars_below(terminal):
    stream, seen = terminal(), []
    outer, settings = quadratic(max_epochs=1)
    inner, others = quadratic(max_epochs=1)

    def look(opt, record):
        screens._terminal.draw()
        seen.append(stream.shown())

    def run(opt, record):
        if record.epoch == 1:
            inner.minimize(**others, callbacks=[look], progress=True)
            seen.append(stream.shown())

    outer.minimize(**settings, callbacks=[run], progress=True)
    assert sum("epochs" in line for line in seen[-2]) == 2
    assert seen[-1][0].startswith("SGD stopped: max_epochs")
    assert sum("━" in line for line in seen[-1]) == 2
    assert len(stream.shown()) == 4
    assert stream.cursor_is_shown()


def test_runs_in_threads_share_the_terminal(terminal):
    stream = terminal()
    meet, made = threading.Barrier(2), [quadratic(max_epochs=1) for _ in range(2)]
    seen = []

    def wait(opt, record):
        meet.wait(HANGS)
        screens._terminal.draw()
        seen.append(sum("━" in line for line in stream.shown()))
        meet.wait(HANGS)

    threads = [
        threading.Thread(target=opt.minimize, kwargs={**settings, "callbacks": [wait], "progress": True})
        for opt, settings in made
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [opt.stopped for opt, _ in made] == ["max_epochs"] * 2
    assert seen == [4] * 4
    assert len([line for line in stream.shown() if line.startswith("SGD stopped")]) == 2
    assert not screens._terminal.is_open


def test_it_is_drawn_by_a_thread_of_its_own(terminal, monkeypatch):
    stream = terminal()
    monkeypatch.setattr(screens.Terminal, "period", 0.001)
    drawn, real = threading.Event(), screens.Terminal.draw

    def draw(self):
        real(self)
        if threading.current_thread().name == "downhill2 progress":
            drawn.set()

    monkeypatch.setattr(screens.Terminal, "draw", draw)
    opt, settings = quadratic(max_epochs=1)
    opt.minimize(**settings, callbacks=[lambda *_: drawn.wait(HANGS)], progress=True)
    assert drawn.is_set()
    assert stream.cursor_is_shown()
    assert "downhill2 progress" not in [thread.name for thread in threading.enumerate()]


def test_a_terminal_is_given_back_when_the_interpreter_ends(terminal):
    stream = terminal()
    one = screens.Terminal()
    source = SimpleNamespace(status=lambda: Status("Adam"))
    one.show(source)
    one._close()  # what is called at exit
    assert stream.cursor_is_shown()
    one.draw()
    one.hide(source, Status("Adam", stopped="closed"))
    one._close()
    assert stream.shown() == []


# -- a file


def test_a_file_has_plain_lines(capsys):
    opt, settings = quadratic()
    opt.minimize(**settings, progress=True)
    err = capsys.readouterr().err
    assert re.fullmatch(r"SGD stopped: max_epochs  12 updates in 4 epochs  [\d.e-]+ s  [\d,]+/s  loss .*\n", err)
    assert err.isascii()
    assert "\x1b" not in err


@pytest.mark.parametrize("given", [None, True])
@pytest.mark.parametrize("stream", [None, closed(io.StringIO())], ids=["missing", "closed"])
def test_without_standard_error_nothing_is_shown_and_nothing_lost(stream, given, monkeypatch, capsys, caplog):
    monkeypatch.setattr(sys, "stderr", stream)
    opt, settings = quadratic()
    train, _ = opt.minimize(**settings, progress=given)
    assert train == opt.history[-1].train
    assert capsys.readouterr().out == ""
    assert not caplog.records


def test_a_line_is_written_at_once(monkeypatch):
    written = []
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(write=written.append, flush=lambda: written.append("flush")))
    screens.Lines().hide(None, Status("Adam", 1.0, stopped="target"))
    assert written == ["Adam stopped: target  0 updates in 0 epochs  1 s  0/s\n", "flush"]


def test_lines_come_less_and_less_often(capsys):
    lines, periods = screens.Lines(), []
    lines.draw()
    lines.show(SimpleNamespace(status=lambda: Status("Adam", 10.0, epoch=1, updates=3)))
    for _ in range(5):
        periods.append(lines.period)
        lines.draw()
    lines.hide(None, None)
    assert periods == [10, 20, 40, 60, 60]
    assert capsys.readouterr().err == "Adam  1 epoch  0:10  3 updates  0/s\n" * 5


# -- a notebook


class Handle:
    def __init__(self, data):
        self.data, self.written = [data], threading.Event()

    def update(self, data, raw):
        self.data.append(data)
        if "epoch 1" in data["text/plain"]:
            self.written.set()


@pytest.fixture
def notebook(monkeypatch):
    """Return the outputs of a notebook's cell."""
    outputs = []

    def display(data, raw, display_id):
        outputs.append(Handle(data))
        return outputs[-1]

    shell = SimpleNamespace(kernel=None)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    return outputs


def test_a_notebook_has_one_output_that_is_written_anew(notebook, monkeypatch):
    monkeypatch.setattr(screens.Notebook, "period", 0.001)
    opt, settings = quadratic(max_epochs=2)
    waiting = lambda _, record: record.epoch == 0 or notebook[0].written.wait(HANGS)  # noqa: E731
    opt.minimize(**settings, callbacks=[waiting])
    [output] = notebook
    assert "preparing" in output.data[0]["text/plain"]
    assert any("━" in data["text/html"] and "epoch 1" in data["text/plain"] for data in output.data)
    assert output.data[-1]["text/plain"].startswith("SGD stopped: max_epochs  6 updates in 2 epochs")
    assert output.data[-1]["text/html"].startswith("<pre ")


def test_a_notebook_keeps_that_compiling_failed(notebook, monkeypatch):
    opt, settings = quadratic()
    monkeypatch.setattr(pytensor, "function", None)
    with pytest.raises(TypeError, match="not callable"):
        opt.minimize(**settings)
    [output] = notebook
    shown = output.data[-1]["text/plain"]
    assert shown.startswith("SGD stopped: exception: TypeError")
    assert "compiling" not in shown


def test_a_notebook_takes_no_name_for_html(notebook):
    screens.Notebook().hide(None, Status("<b>Adam</b>", stopped="callback: <script>"))
    assert "<script>" not in notebook[0].data[0]["text/html"]
    assert "&lt;b&gt;Adam" in notebook[0].data[0]["text/html"]


def test_a_notebook_whose_run_is_over_is_not_drawn(notebook):
    output = screens.Notebook()
    output.draw()
    output.hide(None, None)
    assert notebook == []


def test_a_shell_in_a_terminal_is_no_notebook(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert screens.notebook_shell() is None
    monkeypatch.setitem(sys.modules, "IPython", None)  # as of who keeps it from being imported
    assert screens.notebook_shell() is None
    monkeypatch.delitem(sys.modules, "IPython")
    assert screens.notebook_shell() is None


CELL = """
import threading
import numpy as np, pytensor
pytensor.config.mode = "FAST_COMPILE"
import downhill2

def run(algo):
    w = pytensor.shared(np.ones(3), name="w")
    downhill2.minimize((w**2).sum(), None, algo=algo, max_epochs=3)

run("adam")
threads = [threading.Thread(target=run, args=(algo,)) for algo in ("sgd", "nag")]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


@pytest.mark.extras
@pytest.mark.filterwarnings("default")  # of the kernel's own libraries
def test_an_executed_notebook_keeps_how_runs_ended(tmp_path):
    import nbclient
    import nbformat

    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    nbclient.NotebookClient(book, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output["data"]["text/plain"] for output in book.cells[0].outputs if output.output_type == "display_data"]
    assert sorted(text.partition("  ")[0] for text in shown) == [
        f"{n} stopped: max_epochs" for n in ("Adam", "NAG", "SGD")
    ]
