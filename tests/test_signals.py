import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytensor
import pytest

import downhill2
from downhill2.loop import signals
from downhill2.loop.signals import Signals

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


# ---- what follows when the run has ended

SECOND = "a second signal raises KeyboardInterrupt at once"
UNHANDLED = [("SIGINT", signal.default_int_handler), ("SIGUSR1", signal.SIG_DFL)]


@pytest.fixture
def program(former):
    """What sets a handler of the program; after the test it is gone."""
    yield lambda name, handler: signal.signal(getattr(signal, name), handler)
    for number, handler in zip(signals._NUMBERS, former, strict=True):
        signal.signal(number, handler)


def ended(policy, *names):
    """Send signals in the body of a run; return what is raised when it is over."""
    asking = Signals(policy)
    try:
        with asking.passed_on(), asking.standing():
            send(*names)
    except BaseException as error:
        return error
    return None


@pytest.mark.parametrize(("name", "handler"), UNHANDLED)
def test_a_signal_that_nothing_else_listens_for_lets_the_run_return_unless_others_follow(program, name, handler):
    program(name, handler)
    assert [ended("stop", name), ended("auto", name)] == [None, None]
    error = ended("raise", name)
    assert type(error) is KeyboardInterrupt
    if name != "SIGINT":
        assert str(error) == f"signal {name}"


@pytest.mark.parametrize("policy", signals.POLICIES)
@pytest.mark.parametrize("name", NAMES)
def test_a_signal_that_the_program_ignores_asks_for_nothing_and_others_still_do(program, name, policy):
    program(name, signal.SIG_IGN)
    asking = Signals(policy)
    with asking.passed_on(), asking.standing():
        send(name, name)
        assert signal.getsignal(getattr(signal, name)) == signal.SIG_IGN
        assert asking.asked is None
    other = next(n for n in ("SIGUSR1", "SIGINT") if n != name)
    program(other, lambda number, frame: None)
    asking = Signals("stop")
    with asking.standing():
        send(name, other, name)
        assert asking.asked == f"signal {other}"
    assert signal.getsignal(getattr(signal, name)) == signal.SIG_IGN


@pytest.mark.parametrize("name", NAMES)
def test_a_run_goes_on_through_a_signal_that_the_program_ignores(program, name):
    program(name, signal.SIG_IGN)
    w = pytensor.shared(1.0, name="w")
    opt = downhill2.build("sgd", w**2, [w])
    opt.minimize(max_epochs=3, validate_every=None, callbacks=[lambda opt, record: send(name)])
    assert (opt.stopped, opt.history[-1].epoch) == ("max_epochs", 3)


@pytest.mark.parametrize("name", NAMES)
def test_a_handler_of_the_program_gets_the_signal_once_the_run_is_over(program, name):
    met = []
    program(name, lambda number, frame: met.append((number, signal.getsignal(number) is own)))
    own = signal.getsignal(getattr(signal, name))
    assert ended("stop", name) is None
    assert met == []
    assert ended("auto", name) is None
    assert type(ended("raise", name)) is KeyboardInterrupt
    assert met == [(getattr(signal, name), True)] * 2


def test_what_a_handler_of_the_program_raises_passes(program):
    program("SIGTERM", lambda number, frame: sys.exit(3))
    assert ended("auto", "SIGTERM").code == 3
    assert ended("raise", "SIGTERM").code == 3


@pytest.mark.parametrize("policy", ["auto", "raise"])
@pytest.mark.parametrize("names", [("SIGINT", "SIGTERM"), ("SIGTERM", "SIGTERM"), ("SIGTERM", "SIGINT")])
def test_a_termination_is_passed_on_once_though_a_second_signal_has_raised(program, policy, names):
    met = []
    program("SIGINT", signal.default_int_handler)
    program("SIGTERM", lambda number, frame: met.append(number))
    error = ended(policy, *names)
    assert (type(error), str(error)) == (KeyboardInterrupt, f"signal {names[0]}")
    assert met == [signal.SIGTERM]


def test_the_first_process_of_a_container_ends_itself(program, monkeypatch):
    codes = []
    program("SIGTERM", signal.SIG_DFL)
    with monkeypatch.context() as patch:
        patch.setattr(signals.os, "_exit", codes.append)
        asking = Signals("auto")
        with asking.passed_on(), asking.standing():
            send("SIGTERM")
            patch.setattr(signals.signal, "raise_signal", lambda number: None)  # as the system does with it
    assert codes == [128 + signal.SIGTERM]


@pytest.mark.parametrize("policy", signals.POLICIES)
def test_without_a_signal_nothing_follows(policy):
    assert ended(policy) is None


def test_an_interrupt_that_the_body_raises_is_followed_by_one_among_other_runs():
    asking = Signals("raise")
    with pytest.raises(KeyboardInterrupt, match="signal SIGINT"), asking.passed_on(), asking.standing():
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("policy", "name", "then"),
    [
        *(("stop", name, "returns") for name in NAMES),
        *((policy, "SIGTERM", "passes the signal on") for policy in ("auto", "raise")),
        *(("auto", name, "returns") for name in ("SIGINT", "SIGUSR1")),
        *(("raise", name, "raises KeyboardInterrupt") for name in ("SIGINT", "SIGUSR1")),
    ],
)
def test_a_warning_says_what_follows_a_first_signal(program, caplog, policy, name, then):
    for other, handler in dict(UNHANDLED[:2]).items():
        program(other, handler)
    with Signals(policy).standing():
        send(name)
    assert [(r.levelname, r.message) for r in caplog.records] == [
        ("WARNING", f"signal {name}: the run ends after this update and {then}; {SECOND}")
    ]


# ---- all signals, and all that makes runs

RETURNS = ["minimize", "iterate", "iterate_with_break", "callback_of_a_run"]
RAISES = ["sweep", "find_learning_rate", "fit", "cross_val_score", "compare", "optuna"]


@pytest.fixture(scope="module")
def ways_to_end():
    """How each of those ends at each signal that comes in its first run, and how its runs do."""
    flags = ",".join(filter(None, [os.environ.get("PYTENSOR_FLAGS", "").strip(","), "mode=FAST_COMPILE"]))
    here = Path(__file__).parent
    path = os.pathsep.join([str(here.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTENSOR_FLAGS": flags, "PYTHONPATH": path}
    command = [sys.executable, str(here / "signals_run.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("who", [*RETURNS, "stop", *RAISES])
def test_a_signal_ends_the_run_in_order_and_whatever_loops_over_runs(ways_to_end, who, name):
    if f"{who} {name}" not in ways_to_end:
        pytest.skip("its package is missing")
    found = ways_to_end[f"{who} {name}"]
    if name == "SIGTERM" and who != "stop":
        assert found["how"] == "killed by SIGTERM"
    else:
        assert found["how"] == ("KeyboardInterrupt" if who in RAISES else "returned")
    runs = {"callback_of_a_run": 2, "find_learning_rate": 0}.get(who, 1)
    assert [end for end in found["ends"] if end[0] == f"signal {name}"] == [[f"signal {name}", True]] * runs


def test_an_interrupted_range_test_has_put_everything_back(ways_to_end):
    assert ways_to_end["find_learning_rate SIGINT"]["ends"] == [[5, True]]
