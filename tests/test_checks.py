"""Arguments of every kind, everywhere: each value is taken in its plain form, or refused by an error that names it."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import math
import os
import pathlib
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import downhill2
from downhill2 import checks, projections, schedules
from downhill2.cli.arguments import count
from downhill2.fitting import running
from downhill2.fitting.settings import KINDS, NAMES
from downhill2.loop.plateau import ReduceOnPlateau
from downhill2.loop.stopping import Plateau
from downhill2.symbolic.hyper import Hyper, Setting, declared
from downhill2.tuning.learning_rate import find_learning_rate

HUGE = [10**20, 10**400, -(10**400), 10**5000, 2**63, -(2**63), 2**70]
ODD = [
    None, True, np.True_, "", "1", "0.1", "False", "nan", b"1", 1j, (), [1], [0.1, 0.2], {}, {"a": 1}, {1}, object(),
    object, len, lambda n: n, Decimal("0.1"), Decimal("sNaN"), Decimal("Infinity"), Fraction(1, 3), Fraction(10**400),
    np.array(0.5), np.array(3), np.array(True), np.array("1"), np.array([1]), np.array([0.1]), np.ones((2, 2)),
    np.array(None), np.float16(0.5), np.longdouble("1e4000"), np.int8(3), np.uint64(2**64 - 1), np.complex64(1),
    np.datetime64(0, "ns"), np.timedelta64(5, "ns"), np.str_("1"), np.ma.masked, float("nan"), math.inf, -math.inf,
    pt.dscalar("x"), pt.zscalar("z"), pt.bscalar("i"), pt.dvector("v"), pt.constant(0.5), pytensor.shared(0.5),
    pytensor.shared(np.ones(2)), pytensor.shared(1j), pytensor.shared(True), "x" * 10**5, [[0] * 99] * 99,
    np.ones(10**5), *HUGE,
]  # fmt: skip
ANYTHING = st.one_of(
    st.sampled_from(ODD), st.integers(), st.floats(), st.floats(width=32).map(np.float32), st.booleans(),
    st.integers(-128, 127).map(np.int8), st.floats().map(np.array), st.integers(-3, 40), st.text(max_size=5),
)  # fmt: skip


class Accepted(Exception):
    """What ends a call whose arguments are right."""


def answered(name, call):
    """Make a call with a value that is right or not; in an error, `name` must be called, in few letters."""
    try:
        return call()
    except Accepted:
        return None
    except (TypeError, ValueError) as error:
        message = "\n".join([str(error), *getattr(error, "__notes__", ())])
    assert name in message
    assert len(message) < 1000
    return None


# -- the checks themselves


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (3, 3.0), (0.5, 0.5), (np.float32(0.5), 0.5), (np.int8(3), 3.0), (np.array(0.5), 0.5), (np.array(3), 3.0),
        (Fraction(1, 4), 0.25), (Decimal("0.25"), 0.25), (10**20, 1e20), (np.uint64(2**63), 2.0**63),
    ],
)  # fmt: skip
def test_numbers_of_any_library_become_floats(value, plain):
    found = checks.number("a", value)
    assert (found, type(found)) == (plain, float)


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3), np.array(3)])
def test_integers_of_any_library_become_ints(value):
    found = checks.integer("a", value)
    assert (found, type(found)) == (3, int)


@pytest.mark.parametrize(
    ("check", "value", "kind", "message"),
    [
        (checks.number, True, TypeError, "a must be a number, got True"),
        (checks.number, np.array([1.0]), TypeError, "a must be a number, got array([1.])"),
        (checks.number, pt.dscalar("x"), TypeError, "a must be a number, got x of type TensorVariable"),
        (checks.number, 10**400, ValueError, "a must be a number that float64 holds, got 1000000"),
        (checks.number, Decimal("sNaN"), ValueError, "a must be a number that float64 holds, got Decimal('sNaN')"),
        (checks.number, math.nan, ValueError, "a must be finite, got nan"),
        (checks.integer, 10**5000, ValueError, "a must be at most 9223372036854775807, got a value of type int"),
        (checks.integer, 3.0, TypeError, "a must be an integer, got 3.0"),
        (checks.integer, np.timedelta64(5, "ns"), TypeError, "a must be an integer, got np.timedelta64(5,'ns')"),
        (checks.flag, 1, TypeError, "a must be True or False, got 1"),
        (checks.flag, "False", TypeError, "a must be True or False, got 'False'"),
        (checks.path, b"a", TypeError, "a must be a path, got b'a'"),
        (checks.path, "", ValueError, "a must name a file or directory, got ''"),
        (checks.path, "a\0b", ValueError, r"a must name a file or directory, got 'a\x00b'"),
        (
            checks.path,
            "~nobody-of-this-name/a",
            ValueError,
            "a must begin with the home of a user who exists, got '~no",
        ),
    ],
    ids=lambda value: value.__name__ if callable(value) else checks.shown(value)[:30],
)
def test_what_is_refused_is_shown(check, value, kind, message):
    with pytest.raises(kind) as caught:
        check("a", value)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("within", "words"),
    [
        ({}, "finite"), ({"infinite": True}, "a number, not NaN"), ({"at_least": 0}, "at least 0"),
        ({"above": 0}, "positive"), ({"above": 1.5}, "above 1.5"), ({"at_least": 0, "below": 1}, "in [0, 1)"),
        ({"above": 0, "at_most": 1}, "in (0, 1]"),
    ],
)  # fmt: skip
def test_a_range_says_what_it_holds(within, words):
    assert str(checks.Range(**within)) == words


class Unspeakable:
    def __repr__(self):
        raise RuntimeError("no")


def test_a_message_neither_fails_nor_is_long():
    for value in [*ODD, Unspeakable(), [Unspeakable()], "\n" * 1000, {n: [n] * n for n in range(1000)}]:
        assert len(checks.shown(value)) <= checks.LONGEST
        assert "\n" not in checks.shown(value)


@pytest.mark.parametrize("value", [1, 0, np.ones(2), None, "true", [True]])
def test_a_choice_is_none_that_merely_equals_one(value):
    with pytest.raises(ValueError, match="a must be 'x', True or False, got"):
        checks.choice("a", value, ("x", True, False))
    assert checks.choice("a", np.True_, ("x", True, False)) is True


# -- all arguments of the package


def fields(cls):
    return [f.name for f in dataclasses.fields(cls) if f.init]


def subclasses(cls):
    return [s for c in cls.__subclasses__() for s in (c, *subclasses(c))]


MADE_OF = {
    **{c: {} for c in (*KINDS, Plateau, ReduceOnPlateau)},
    **{s: {} for s in (projections.Simplex, projections.L1Ball, projections.L2Ball)},
    schedules.Constant: {"start": 1.0},
    schedules.Polynomial: {"start": 1.0, "end": 0.5, "length": 10},
    schedules.Linear: {"start": 1.0, "end": 0.5, "length": 10},
    schedules.Step: {"start": 1.0, "every": 3},
    schedules.MultiStep: {"start": 1.0, "boundaries": [3]},
    schedules.Piecewise: {"values": [1, 2], "boundaries": [3]},
    schedules.Exponential: {"start": 1.0, "factor": 0.5},
    schedules.InverseTime: {"start": 1.0, "decay": 0.5},
    schedules.Cosine: {"start": 1.0, "length": 10},
    schedules.CosineWave: {"start": 1.0, "length": 10},
    schedules.CosineRestarts: {"start": 1.0, "length": 10},
    schedules.OneCycle: {"peak": 1.0, "length": 100},
    schedules.Cyclic: {"low": 0.1, "high": 1.0, "rises": 5},
    schedules.WarmUp: {"schedule": 1.0, "length": 10},
    schedules.Join: {"schedules": [1.0, 2.0], "boundaries": [3]},
    schedules.Function: {"function": len},
    schedules.Product: {"factors": [1.0, 2.0]},
}
"""Classes whose arguments are checked when they are made, with right values for those that have no default."""

ARGUMENTS = [(cls, name) for cls in MADE_OF for name in fields(cls) if name not in ("checkpoint", "history")]


def test_every_schedule_is_tried():
    assert {s for s in subclasses(schedules.Schedule) if not inspect.isabstract(s)} <= MADE_OF.keys()


@given(st.sampled_from(ARGUMENTS), ANYTHING)
@example((KINDS[0], "max_updates"), 10**400)
@example((schedules.Step, "every"), np.array(3))
def test_what_is_made_of_numbers_takes_them_plain_or_names_the_argument(argument, value):
    cls, name = argument
    made = answered(name, lambda: cls(**{**MADE_OF[cls], name: value}))
    if isinstance(made, schedules.Schedule) and name not in ("schedule", "schedules", "factors", "function"):
        hash(made)  # which an array without dimensions would prevent
        assert np.shape(made(3)) == ()


HYPER = [
    (cls, name)
    for cls in downhill2.Optimizer.registry.values()
    if cls.__module__.startswith("downhill2.algorithms.")
    for d in declared(cls, Hyper | Setting).values()
    for name in (d.symbol, *([d.keyword] if getattr(d, "keyword", None) else []))
]


@given(st.sampled_from(HYPER), ANYTHING)
def test_a_hyperparameter_of_any_algorithm_takes_a_value_or_names_itself(argument, value):
    cls, name = argument
    answered(name, lambda: cls(**{name: value}))


DATA = [n for n in inspect.signature(downhill2.Dataset).parameters if n != "inputs"]


@given(st.sampled_from(DATA), ANYTHING)
@example("drop_last", "False")
@example("weights", "heavy")
def test_a_setting_of_a_dataset_takes_a_value_or_names_itself(name, value):
    data = answered(name, lambda: downhill2.Dataset(np.arange(10.0), **{name: value}))
    if data is not None:
        assert type(data.drop_last) is bool
        assert type(data.batch_size) is int


@pytest.fixture(scope="module")
def opt():
    return downhill2.build("adam", pytensor.shared(1.0, name="w") ** 2)


def accept(*args, **kwargs):
    raise Accepted


RUN = [n for n in NAMES if n not in ("checkpoint", "history", "valid_loss", "valid_monitors", "callbacks", "backend")]


@given(st.sampled_from(RUN), ANYTHING)
@example("train_batches", 2**40)
@example("max_epochs", 2**62)
@example("keep", "2")
@example("resume", 1)
def test_a_setting_of_a_run_takes_a_value_or_names_itself_before_anything_is_compiled(opt, name, value):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "Session", accept)
        patch.setattr(pytensor, "function", accept)
        rest = {"checkpoint": "never"} if name == "resume" else {}
        answered(name, lambda: opt.minimize(**{"max_updates": 3, "progress": False, **rest, name: value}))


BUILD = [n for n in inspect.signature(downhill2.build).parameters if n != "hyper"] + ["preset", "transforms", "project"]


@given(st.sampled_from(BUILD), ANYTHING)
@example("loss", 10**5000)
@example("algo", 10**5000)
@example("params", np.ones(10**5))
def test_an_argument_of_build_is_taken_or_names_itself(name, value):
    w = pytensor.shared(1.0, name="w")
    given = {"algo": "adam", "loss": w**2, name: value}
    answered("algorithm" if name == "algo" and isinstance(value, str) else name, lambda: downhill2.build(**given))


@given(st.sampled_from(["train", "valid", "valid_loss", "valid_monitors", "callbacks", "backend"]), ANYTHING)
@example("train", 10**5000)
def test_data_and_functions_of_a_run_are_taken_or_refused_in_few_words(opt, name, value):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "Session", accept)
        patch.setattr(pytensor, "function", accept)
        # data has more to say: which of its arrays, which axis
        word = "" if name in ("train", "valid") else name
        answered(word, lambda: opt.minimize(**{"max_updates": 3, "progress": False, name: value}))


OTHERS = ["start", "stop", "max_updates", "smoothing", "diverged", "batch_size", "train_batches", "rng", "drop_last"]


@given(st.sampled_from(OTHERS), ANYTHING)
def test_a_setting_of_the_range_test_takes_a_value_or_names_itself(name, value):
    w = pytensor.shared(1.0, name="w")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("downhill2.tuning.learning_rate.build", accept)
        answered(name, lambda: find_learning_rate(w**2, None, **{name: value}))


@given(ANYTHING)
@example("9" * 5000)
@example("²")
def test_a_count_on_the_command_line_is_a_number_or_refused(value):
    text = value if isinstance(value, str) else checks.shown(value)
    try:
        found = count(text)
    except argparse.ArgumentTypeError as error:
        message = str(error)
    else:
        assert 1 <= found <= checks.LARGEST
        return
    assert "must be a number from 1 on" in message
    assert len(message) < 300


@pytest.mark.parametrize("value", ["False", 1, None, np.ones(2)])
def test_a_flag_that_is_none_is_refused(value, opt):
    w = pytensor.shared(1.0, name="w")
    for name, call in {
        "monitor_gradients": lambda: downhill2.build("sgd", w**2, monitor_gradients=value),
        "strict": lambda: opt.load_state_dict({}, strict=value),
        "drop_last": lambda: downhill2.Dataset(np.arange(3), drop_last=value),
        "restore_best": lambda: opt.minimize(max_updates=1, restore_best=value),
        "staircase": lambda: schedules.Exponential(1.0, 0.5, staircase=value),
    }.items():
        with pytest.raises(TypeError, match=f"{name} must be True or False, got"):
            call()


@pytest.mark.parametrize("state", [None, [], "state", 3, {"meta": None}])
def test_a_state_that_is_no_dict_is_refused(state, opt):
    with pytest.raises(TypeError, match="state must be a dict as state_dict returns it, got"):
        opt.load_state_dict(state)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({3: np.ones(2)}, r"state must have names as keys, such as 'params.W', got 3"),
        ({("params", "w"): np.ones(2)}, r"state must have names as keys, such as 'params.W', got \('params', 'w'\)"),
        ({"params.w": 1.0, None: {}}, r"state must have names as keys, such as 'params.W', got None"),
        ({"params.w": [[1.0], [1.0, 2.0]]}, r"state\['params.w'\] must be an array, got \[\[1.0\], \[1.0, 2.0\]\]"),
        ({"meta": {"places": 3}}, r"state\['meta'\]\['places'\] must be a dict as state_dict returns it, got 3"),
        (
            {"meta": {"hyper": [0.1]}},
            r"state\['meta'\]\['hyper'\] must be a dict as state_dict returns it, got \[0.1\]",
        ),
        ({"meta": {"generators": None}}, r"state\['meta'\]\['generators'\] must be a dict .* got None"),
    ],
)
def test_a_state_of_other_keys_and_kinds_is_refused_and_changes_nothing(state, message, strict, opt):
    before = opt.state_dict()
    with pytest.raises(TypeError, match=message):
        opt.load_state_dict({**before, **state}, strict=strict)
    np.testing.assert_equal(opt.state_dict(), before)


@pytest.mark.parametrize("clock", [2**70, -1, 1.5, "3", None, math.inf])
def test_a_state_with_a_clock_that_is_none_is_refused_and_changes_nothing(clock, opt):
    before = opt.state_dict()
    with pytest.raises(downhill2.CheckpointError, match="the checkpoint has clocks that are none: updates must be"):
        opt.load_state_dict({**before, "meta": {**before["meta"], "updates": clock}})
    assert opt.state_dict()["meta"] == before["meta"]


def test_a_number_is_set_by_a_number_alone_also_where_a_shared_variable_holds_it():
    rate = pytensor.shared(0.1)
    opt = downhill2.build("sgd", pytensor.shared(1.0, name="w") ** 2, learning_rate=rate)
    for value in ("0.5", True, [0.5]):
        with pytest.raises(TypeError, match="learning_rate must be a number, got"):
            opt.learning_rate = value
    opt.learning_rate = np.array(0.5)
    assert rate.get_value() == 0.5


# -- paths


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home, and another directory to be in."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def test_a_path_that_begins_with_a_tilde_is_in_the_home_wherever_a_path_is_taken(home):
    w = pytensor.shared(1.0, name="w")
    opt = downhill2.build("sgd", w**2, learning_rate=0.1)
    callbacks = [downhill2.trackers.CSV("~/run.csv"), downhill2.trackers.JSONLines(pathlib.Path("~/lines.jsonl"))]
    opt.minimize(max_updates=2, checkpoint="~/run", history="~/run.jsonl", callbacks=callbacks)
    for name in ("w", "w.safetensors", "w.npz"):
        opt.save(f"~/{name}")
        opt.load(f"~/{name}")
    opt.history.to_csv("~/own.csv")
    opt.history.to_json_lines("~/own.jsonl")
    assert len(downhill2.History.from_csv("~/own.csv")) == len(downhill2.History.from_json_lines("~/own.jsonl")) == 3
    opt.minimize(max_updates=3, checkpoint="~/run", history="~/run.jsonl", resume=True)
    expected = {"run", "run.csv", "lines.jsonl", "run.jsonl", "w", "w.safetensors", "w.npz", "own.csv", "own.jsonl"}
    assert {p.name for p in home.iterdir()} == expected
    assert os.listdir(".") == []


def test_a_report_and_pictures_of_the_command_line_go_to_the_home(home):
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    opt = downhill2.build("sgd", pytensor.shared(1.0, name="w") ** 2, learning_rate=0.1)
    opt.minimize(max_updates=2, history="~/run.jsonl")
    opt.report("~/run.html")
    from downhill2.cli import main

    assert main(["report", "~/run.jsonl", "--output=~/other.html"]) == 0
    assert main(["plot", "~/run.jsonl", "--output=~/curves.png"]) == 0
    own = {p.name for p in home.iterdir() if not p.name.startswith(".")}  # where matplotlib has its own
    assert own == {"run.jsonl", "run.html", "other.html", "curves.png"}
    assert os.listdir(".") == []


def test_parquet_files_are_found_in_the_home(home):
    pq = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    pq.write_table(pa.table({"a": [1.0, 2.0]}), home / "a.parquet")
    [[batch]] = downhill2.Dataset.from_parquet("~/a.parquet", shuffle=False)
    assert batch.ravel().tolist() == [1.0, 2.0]


TAKERS = {
    (owner, name)
    for owner in (downhill2.Optimizer, downhill2.History, downhill2.Dataset, *vars(downhill2.trackers).values())
    if inspect.isclass(owner)
    for name, f in inspect.getmembers(owner, inspect.isroutine)
    if not name.startswith("_") or name == "__init__"
    for p in (inspect.signature(f).parameters if hasattr(f, "__module__") and f.__module__ else ())
    if p in ("path", "paths", "logdir", "dir", "target")
}


def test_all_that_takes_a_path_is_known():
    assert {(owner.__name__, name) for owner, name in TAKERS} == {
        ("Optimizer", "save"), ("Optimizer", "load"), ("Optimizer", "report"),
        ("History", "to_csv"), ("History", "from_csv"), ("History", "to_json_lines"), ("History", "from_json_lines"),
        ("Dataset", "from_parquet"),
        ("CSV", "__init__"), ("JSONLines", "__init__"), ("TensorBoard", "__init__"), ("WandB", "__init__"),
    }  # fmt: skip


@pytest.mark.parametrize("bad", [b"w", 3, None, "", "a\0b", ["w"]], ids=repr)
def test_what_is_no_path_is_refused_wherever_a_path_is_taken(bad, opt, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    optional = bad is None
    for call in (
        opt.save, opt.load, opt.history.to_csv, opt.history.to_json_lines, downhill2.History.from_csv,
        downhill2.History.from_json_lines, downhill2.trackers.CSV, downhill2.trackers.JSONLines,
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError), match="path must"):
            call(bad)
    for name in () if optional else ("checkpoint", "history"):
        with pytest.raises((TypeError, ValueError), match=f"{name} must"):
            opt.minimize(max_updates=1, **{name: bad})
    assert os.listdir(".") == []
