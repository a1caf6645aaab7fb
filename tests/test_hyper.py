"""Hyperparameters: declared, checked, live."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import downhill2
from downhill2.symbolic.hyper import Hyper, Hyperparameters, Setting, nearest


class Declares:
    rate = Hyper(0.1, at_least=0)
    rho = Hyper(halflife=14, keyword="rms_halflife")
    beta = Hyper(halflife=7)
    factor = Hyper(1.5, "the_factor", above=0)
    power = Hyper(3.0, above=2)
    shift = Hyper(0.0)
    momentum = Hyper(0.0, at_least=0, below=1, off=True)
    open = Hyper(0.5, above=0, below=1)
    limit = Hyper(0.0, at_least=0, off=True, former=("old_limit",))
    centered = Setting(True)
    at = Setting("inside", ("inside", "outside"))
    seed = Setting(0)


@pytest.fixture
def count():
    return pytensor.shared(np.array(0, "int64"), name="updates")


@pytest.fixture
def hyper(count):
    return Hyperparameters(Declares, count.astype("float64"))


def give(hyper, **values):
    hyper.assign(hyper.parse(values))


def test_defaults_are_what_was_declared(hyper):
    assert hyper["rate"] == 0.1
    assert hyper["rho"] == 0.5 ** (1 / 14)
    assert hyper["centered"] is True
    assert list(hyper) == [n for n in vars(Declares) if not n.startswith("__")]
    assert len(hyper) == 12
    assert repr(hyper) == repr(dict(hyper))


def test_an_unknown_name_is_a_key_error_with_the_nearest_one(hyper):
    with pytest.raises(KeyError, match=r"Declares has no hyperparameter 'rat'; did you mean 'rate'\?"):
        hyper["rat"]
    assert "rat" not in hyper


@pytest.mark.parametrize(
    ("name", "value", "symbol", "expected"),
    [
        ("rate", 0, "rate", 0),
        ("rate", np.float32(0.5), "rate", 0.5),
        ("rate", np.int64(2), "rate", 2),
        ("rho", 0.9, "rho", 0.9),
        ("rms_halflife", 1, "rho", 0.5),
        ("rms_halflife", np.float64(2), "rho", 0.5**0.5),
        ("beta_halflife", 7, "beta", 0.5 ** (1 / 7)),
        ("the_factor", 2, "factor", 2),
        ("shift", -3, "shift", -3),
        ("open", 0.2, "open", 0.2),
        ("at", "outside", "at", "outside"),
        ("seed", 3, "seed", 3),
        ("centered", False, "centered", False),
    ],
)
def test_a_value_is_taken_under_each_of_its_names(hyper, name, value, symbol, expected):
    give(hyper, **{name: value})
    assert hyper[symbol] == expected


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rate", -1, "rate must be at least 0, got -1.0"),
        ("rate", np.nan, "rate must be at least 0, got nan"),
        ("rate", np.inf, "rate must be at least 0, got inf"),
        ("rho", 1, r"rho must be in \[0, 1\), got 1.0"),
        ("rho", -0.1, r"rho must be in \[0, 1\), got -0.1"),
        ("open", 0, r"open must be in \(0, 1\), got 0.0"),
        ("factor", 0, "factor must be positive, got 0.0"),
        ("the_factor", -1, "the_factor must be positive, got -1.0"),
        ("power", 2, "power must be above 2, got 2.0"),
        ("shift", np.nan, "shift must be finite, got nan"),
        ("rms_halflife", 0, "rms_halflife must be positive, got 0"),
        ("rms_halflife", -3, "rms_halflife must be positive, got -3"),
        ("beta_halflife", np.inf, "beta_halflife must be positive, got inf"),
        ("at", "beside", "at must be 'inside' or 'outside', got 'beside'"),
        ("rate", pytensor.shared(-0.5), "rate must be at least 0, got -0.5"),
        ("rms_halflife", pytensor.shared(0.0), "rms_halflife must be positive, got 0.0"),
        ("rate", lambda t: -1, "rate must be at least 0, got -1.0"),
    ],
)
def test_a_value_out_of_range_is_refused_and_changes_nothing(hyper, name, value, message):
    before, version = dict(hyper), hyper.version
    with pytest.raises(ValueError, match=message):
        give(hyper, **{name: value})
    assert (dict(hyper), hyper.version) == (before, version)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rat": 1}, "Declares has no hyperparameter 'rat'; did you mean 'rate'?"),
        ({"zzz": 1}, "Declares has no hyperparameter 'zzz'"),
        ({"rho": 0.9, "rms_halflife": 3}, "rho and rms_halflife are the same hyperparameter; give one of them"),
        ({"rate": "fast"}, "rate must be a number, a shared variable, a symbolic scalar or a function of the update"),
        ({"rate": None}, "rate must be a number, a shared variable"),
        ({"rate": True}, "rate must be a number, a shared variable"),
        ({"rms_halflife": "long"}, "rms_halflife must be a number, a shared variable"),
        ({"rate": lambda t: "fast"}, "rate must be a number, a shared variable"),
        ({"rate": pt.vector("r")}, "rate must be a scalar, got Vector(float64, shape=(?,))"),
        ({"rate": pt.random.shared_rng(np.random.default_rng(0))}, "rate must be a scalar, got RandomGeneratorType"),
        ({"rate": lambda t: pt.stack([t, t])}, "rate must be a scalar, got Vector"),
        ({"centered": 1}, "centered must be True or False, got 1"),
        ({"seed": True}, "seed must be an integer, got True"),
        ({"seed": 0.5}, "seed must be an integer, got 0.5"),
    ],
)
def test_a_wrong_kind_or_name_is_refused_and_changes_nothing(hyper, values, message):
    before, version = dict(hyper), hyper.version
    with pytest.raises(TypeError) as caught:
        give(hyper, shift=7, **values)
    assert str(caught.value).startswith(message)
    assert (dict(hyper), hyper.version) == (before, version)


def test_a_setting_of_a_run_is_not_taken_for_a_misspelt_hyperparameter(hyper):
    with pytest.raises(TypeError, match=r"^max_updates belongs elsewhere$"):
        hyper.parse({"max_updates": 3}, {"max_updates": "belongs elsewhere"})
    with pytest.raises(TypeError, match=r"^there is no option 'max_update'; did you mean 'max_updates'\?"):
        hyper.parse({"max_update": 3}, {"max_updates": ""})


def test_a_former_name_works_and_warns_where_it_was_written(hyper):
    w = pytensor.shared(1.0)
    with pytest.warns(DeprecationWarning, match="old_limit is now called limit") as seen:
        parsed = hyper.parse({"old_limit": 2})
    hyper.assign(parsed)
    assert hyper["limit"] == 2
    calls = [
        lambda: downhill2.SGD(w**2, max_gradient_clip=1),
        lambda: downhill2.build("sgd", w**2, max_gradient_clip=1),
        lambda: downhill2.minimize(w**2, None, max_gradient_clip=1, max_epochs=1),
    ]
    for call in calls:
        with pytest.warns(DeprecationWarning, match="max_gradient_clip is now called max_gradient_elem") as seen:
            call()
        assert [warning.filename for warning in seen] == [__file__]


# -- what a value may be


def test_a_number_is_a_shared_float64_scalar_that_stays_the_same_variable(hyper):
    variable = hyper.variable("rate")
    give(hyper, rate=0.7)
    assert hyper.variable("rate") is variable
    assert (variable.get_value(), variable.type.dtype) == (0.7, "float64")


def test_a_shared_variable_is_used_as_it_is(hyper):
    rate = pytensor.shared(np.float32(0.25))
    give(hyper, rate=rate)
    assert hyper.variable("rate") is rate
    rate.set_value(np.float32(0.5))
    assert hyper["rate"] == 0.5


def test_a_symbolic_scalar_is_read_as_a_float(hyper):
    rate = pytensor.shared(3.0)
    give(hyper, rate=rate / 2)
    assert hyper["rate"] == 1.5


def test_a_schedule_is_a_function_of_the_number_of_updates_made(hyper, count):
    give(hyper, rate=lambda t: 1 / (1 + t))
    assert hyper["rate"] == 1
    count.set_value(4)
    assert hyper["rate"] == 0.2


@pytest.mark.parametrize("halflife", [lambda t: t + 2, lambda t: 2, pytensor.shared(2.0), pytensor.shared(2)])
def test_a_half_life_may_be_symbolic_too(hyper, halflife):
    give(hyper, rms_halflife=halflife)
    assert hyper["rho"] == pytest.approx(0.5**0.5, rel=1e-15)


def test_symbols_are_the_values_that_came_from_outside(hyper):
    rate, other = pytensor.shared(1.0), pytensor.shared(2.0)
    give(hyper, rate=rate, shift=3)
    assert hyper.symbols() == {"rate": rate}
    parsed = hyper.parse({"shift": other, "centered": False, "rate": 1})
    assert hyper.symbols(parsed) == {"shift": other}
    assert hyper.symbols() == {"rate": rate}


# -- structure: what a compiled function is made for


def test_numbers_do_not_change_the_structure(hyper):
    before = hyper.structure(), hyper.version
    give(hyper, rate=0.7, shift=-1, rms_halflife=3)
    assert (hyper.structure(), hyper.version) == before


@pytest.mark.parametrize(
    "values",
    [{"momentum": 0.9}, {"centered": False}, {"rate": pytensor.shared(1.0)}, {"rate": lambda t: t}],
)
def test_what_shapes_the_graph_changes_the_structure_and_going_back_restores_it(hyper, values):
    before, version = hyper.structure(), hyper.version
    old = {name: hyper[name] for name in values}
    give(hyper, **values)
    assert hyper.structure() != before
    assert hyper.version == version + 1
    give(hyper, **old)
    assert hyper.structure() == before
    assert hyper.version == version + 2


def test_zero_means_absent_only_where_that_was_declared_and_only_as_a_number(hyper):
    assert hyper.optional == ["momentum", "limit"]
    assert not hyper.present("momentum")
    assert hyper.present("shift")
    give(hyper, momentum=pytensor.shared(0.0), shift=0)
    assert hyper.present("momentum")
    assert hyper.present("shift")


def test_the_same_schedule_again_changes_nothing(hyper):
    def rate(t):
        return 1 / (1 + t)

    give(hyper, rate=rate)
    before = hyper.structure(), hyper.version
    give(hyper, rate=rate)
    assert (hyper.structure(), hyper.version) == before


def test_numbers_are_set_where_they_are_known_and_still_are_numbers(hyper):
    rate = pytensor.shared(np.float32(0.5))
    give(hyper, rate=rate, factor=lambda t: 2 + t)
    hyper.set_numbers({"rate": 0.25, "rho": 0.5, "factor": 7.0, "unknown": 1.0})
    assert (rate.get_value(), hyper["rho"], hyper["factor"]) == (0.25, 0.5, 2)
    assert hyper["shift"] == 0


def test_schedules_follow_clocks_that_are_exchanged(hyper):
    give(hyper, rate=lambda t: 1 / (1 + t), rms_halflife=lambda t: 1 + t)
    version = hyper.version
    other = pytensor.shared(np.array(3.0))
    hyper.recount(other, other)
    assert (hyper["rate"], hyper["rho"]) == (0.25, 0.5**0.25)
    assert hyper.version > version


# -- set between calls


@pytest.fixture
def opt():
    w = pytensor.shared(np.ones(2), name="w")
    return downhill2.build("sgd", (w**2).sum())


def test_assigning_sets_the_value_and_reading_is_symbolic(opt):
    opt.learning_rate = 0.5
    assert opt.hyper["learning_rate"] == 0.5
    assert opt.learning_rate.eval() == 0.5
    opt.nesterov = True
    assert opt.nesterov is True


def test_assigning_to_a_shared_variable_sets_that_variable(opt):
    rate = pytensor.shared(np.float32(1))
    opt.get_updates(learning_rate=rate)
    opt.learning_rate = 0.5
    assert rate.get_value() == 0.5
    assert rate.get_value().dtype == "float32"
    with pytest.raises(ValueError, match="learning_rate must be at least 0, got -1"):
        opt.learning_rate = -1
    assert rate.get_value() == 0.5


@pytest.mark.parametrize(
    ("value", "driver"), [(lambda t: 0.1 / (1 + t), "a schedule"), (2 * pytensor.shared(0.1), "a symbolic expression")]
)
def test_assigning_to_what_is_driven_is_refused_with_advice(opt, value, driver):
    opt.get_updates(learning_rate=value)
    with pytest.raises(ValueError, match=f"learning_rate is driven by {driver}, so 0.5 cannot be set; give learn"):
        opt.learning_rate = 0.5
    opt.get_updates(learning_rate=0.5)
    opt.learning_rate = 0.25
    assert opt.hyper["learning_rate"] == 0.25


@pytest.mark.parametrize(("name", "value"), [("learning_rate", -1), ("momentum", 1), ("max_global_norm", np.nan)])
def test_assigning_is_checked(opt, name, value):
    with pytest.raises(ValueError, match=f"{name} must be"):
        setattr(opt, name, value)
    with pytest.raises(TypeError, match=f"{name} must be a number"):
        setattr(opt, name, "much")


def test_a_declaration_is_read_from_the_class():
    assert downhill2.SGD.learning_rate.default == 1e-4
    assert downhill2.SGD.nesterov.default is False
    assert downhill2.ADADELTA.learning_rate.default == 1


def test_two_optimizers_have_their_own_values(opt):
    other = downhill2.build("sgd", (opt.params[0] ** 2).sum(), learning_rate=3)
    opt.learning_rate = 2
    assert (opt.hyper["learning_rate"], other.hyper["learning_rate"]) == (2, 3)


@pytest.mark.parametrize(("name", "hint"), [("learning_rat", "; did you mean 'learning_rate'?"), ("qqqq", "")])
def test_the_nearest_name_is_offered_where_there_is_one(name, hint):
    assert nearest(name, ["learning_rate", "momentum"]) == hint
