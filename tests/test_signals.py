import os
import signal
import threading

import pytest

from downhill2.running import signals
from downhill2.running.signals import Signals

NAMES = ["SIGINT", "SIGTERM", "SIGUSR1"]


def send(*names):
    for name in names:
        signal.raise_signal(getattr(signal, name))


def handlers():
    return [signal.getsignal(getattr(signal, name)) for name in NAMES]


@pytest.fixture(autouse=True)
def former():
    """Handlers of our own, so that no signal of a test can end the tests; they must stand afterwards."""

    def unexpected(number, frame):
        raise AssertionError(f"signal {number} met the handler from outside")

    outside = {number: signal.signal(number, unexpected) for number in signals._NUMBERS}
    yield [unexpected] * len(NAMES)
    left = handlers()
    for number, handler in outside.items():
        signal.signal(number, handler)
    assert left == [unexpected] * len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_first_signal_is_noted(name):
    asking = Signals()
    with asking.standing():
        assert asking.asked is None
        os.kill(os.getpid(), getattr(signal, name))
        assert asking.asked == f"signal {name}"


@pytest.mark.parametrize("name", NAMES)
def test_the_second_signal_raises_at_once_and_the_first_stays_noted(name):
    asking = Signals()
    with pytest.raises(KeyboardInterrupt, match="signal SIGTERM"), asking.standing():
        send("SIGTERM", name)
    assert asking.asked == "signal SIGTERM"


def test_handlers_stand_in_the_body_only(former):
    asking = Signals()
    assert handlers() == former
    with asking.standing():
        assert all(now != then for now, then in zip(handlers(), former, strict=True))
    assert handlers() == former


def test_handlers_are_put_back_after_an_exception(former):
    with pytest.raises(ZeroDivisionError), Signals().standing():
        raise ZeroDivisionError
    assert handlers() == former


def test_an_inner_body_leaves_the_handlers_to_the_outer_one(former):
    asking = Signals()
    with asking.standing():
        ours = handlers()
        with asking.standing():
            assert handlers() == ours
        assert handlers() == ours
    assert handlers() == former


def test_handlers_are_left_alone_outside_the_main_thread(former):
    seen = []

    def body():
        with Signals().standing():
            seen.append(handlers())

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [former]


def test_a_handler_that_python_cannot_put_back_is_left_alone(monkeypatch):
    real = signal.getsignal
    monkeypatch.setattr(signal, "getsignal", lambda number: None if number == signal.SIGUSR1 else real(number))
    asking = Signals()
    monkeypatch.undo()
    before = signal.getsignal(signal.SIGUSR1)
    with asking.standing():
        assert signal.getsignal(signal.SIGUSR1) is before
        assert signal.getsignal(signal.SIGTERM) is not before


def test_handlers_installed_by_half_are_put_back(monkeypatch, former):
    install = signal.signal

    def fail_on_sigusr1(number, handler):
        if number == signal.SIGUSR1:
            raise OSError("no")
        return install(number, handler)

    monkeypatch.setattr(signals, "_exchange", fail_on_sigusr1)
    with pytest.raises(OSError, match="no"), Signals().standing():
        pytest.fail("the body ran")
    monkeypatch.undo()
    assert handlers() == former


def test_an_interrupt_raised_by_the_body_ends_it_as_the_signal_would():
    asking = Signals()
    reached = False
    with asking.standing():
        with asking.standing():
            raise KeyboardInterrupt
        reached = True
    assert reached
    assert asking.asked == "signal SIGINT"


def test_an_interrupt_raised_by_the_body_after_a_signal_leaves_the_signal_noted():
    asking = Signals()
    with asking.standing():
        signal.raise_signal(signal.SIGUSR1)
        raise KeyboardInterrupt
    assert asking.asked == "signal SIGUSR1"


def test_a_second_signal_waits_while_it_is_held():
    asking, done = Signals(), []

    def body():
        with asking.held():
            send("SIGINT", "SIGINT", "SIGINT")
            done.append("held")
        done.append("too late")

    with pytest.raises(KeyboardInterrupt), asking.standing():
        body()
    assert done == ["held"]


def test_a_first_signal_is_noted_while_it_is_held():
    asking = Signals()
    with asking.standing(), asking.held():
        signal.raise_signal(signal.SIGTERM)
    assert asking.asked == "signal SIGTERM"


def test_a_second_signal_that_waited_raises_only_once():
    asking = Signals()
    with pytest.raises(KeyboardInterrupt), asking.standing(), asking.held():
        send("SIGINT", "SIGINT")
    with asking.standing(), asking.held():
        pass


def test_a_second_signal_raises_again_after_what_was_held_failed():
    asking = Signals()
    with pytest.raises(ValueError, match="no"), asking.standing(), asking.held():
        raise ValueError("no")
    with pytest.raises(KeyboardInterrupt), asking.standing():
        send("SIGINT", "SIGINT")


def test_a_second_signal_while_the_handlers_leave_waits_until_all_are_put_back(monkeypatch, former):
    asking, install = Signals(), signal.signal

    def signal_once_more(number, handler):
        if asking.asked and number == signal.SIGTERM:
            signal.raise_signal(signal.SIGINT)
        return install(number, handler)

    monkeypatch.setattr(signals, "_exchange", signal_once_more)
    with pytest.raises(KeyboardInterrupt), asking.standing():
        signal.raise_signal(signal.SIGTERM)
    monkeypatch.undo()
    assert handlers() == former


def test_handlers_that_an_ending_interpreter_has_taken_away_are_not_put_back(former, monkeypatch):
    asking = Signals()
    with asking.standing():
        # what the interpreter returns for former handlers once its own are gone
        monkeypatch.setattr(asking, "_former", dict.fromkeys(asking._former))
        own = handlers()
    assert handlers() == own
    for number in signals._NUMBERS:
        signal.signal(number, former[0])
