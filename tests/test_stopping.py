import dataclasses
import json
import math

import numpy as np
import pytest

from downhill2.running.stopping import Limits, Progress, improved, reason


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("best", [None, 1.0])
def test_a_loss_that_is_not_finite_is_never_best(loss, best):
    assert not improved(loss, best, 0.0)


@pytest.mark.parametrize("loss", [-1e300, 0.0, 1e300])
def test_the_first_finite_loss_is_best_whatever_must_be_improved(loss):
    assert improved(loss, None, 1e9)


@pytest.mark.parametrize(
    ("loss", "best", "min_improvement", "expected"),
    [
        (0.9, 1.0, 0.0, True),
        (1.0, 1.0, 0.0, False),
        (1.1, 1.0, 0.0, False),
        (0.85, 1.0, 0.125, True),
        (0.875, 1.0, 0.125, False),
        (0.9, 1.0, 0.125, False),
        (-1.15, -1.0, 0.125, True),
        (-1.1, -1.0, 0.125, False),
        (-0.9, -1.0, 0.125, False),
        (-1e-9, 0.0, 0.125, True),
    ],
)
def test_an_improvement_is_measured_against_the_magnitude_of_the_best(loss, best, min_improvement, expected):
    assert improved(loss, best, min_improvement) is expected


@pytest.mark.parametrize(
    ("progress", "limits", "expected"),
    [
        ({}, {}, None),
        ({"failures": 5}, {}, None),
        ({"failures": 6}, {}, "patience"),
        ({"failures": 1}, {"patience": 0}, "patience"),
        ({"failures": 10**6}, {"patience": None}, None),
        ({"updates": 9}, {"max_updates": 10}, None),
        ({"updates": 10}, {"max_updates": 10}, "max_updates"),
        ({}, {"max_updates": 0}, "max_updates"),
        ({"epoch": 2}, {"max_epochs": 3}, None),
        ({"epoch": 3}, {"max_epochs": 3}, "max_epochs"),
        ({"seconds": 0.5}, {"max_seconds": 0.6}, None),
        ({"seconds": 0.6}, {"max_seconds": 0.6}, "max_seconds"),
        ({"loss": None}, {"target": math.inf}, None),
        ({"loss": 0.2}, {"target": 0.1}, None),
        ({"loss": 0.1}, {"target": 0.1}, "target"),
        ({"loss": math.nan}, {"target": 0.1}, None),
    ],
)
def test_a_limit_ends_the_run_when_it_is_reached(progress, limits, expected):
    assert reason(Progress(**progress), Limits(**limits)) == expected


def test_the_target_is_named_before_a_limit_and_a_limit_before_patience():
    reached = {"loss": 0.0, "updates": 1, "failures": 9}
    assert reason(Progress(**reached), Limits(target=0.0, max_updates=1)) == "target"
    assert reason(Progress(**reached), Limits(max_updates=1)) == "max_updates"


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("patience", 2.5, "patience must be an integer or None, got 2.5; None means no early stopping"),
        ("patience", True, "patience must be an integer or None, got True"),
        (
            "validate_every",
            "10",
            "validate_every must be an integer or None, got '10'; None means no validation",
        ),
        ("max_updates", 1e3, r"max_updates must be an integer or None, got 1000\.0; None means no limit"),
        ("max_epochs", [3], r"max_epochs must be an integer or None, got \[3\]"),
        ("min_improvement", None, "min_improvement must be a number, got None"),
        ("min_improvement", False, "min_improvement must be a number, got False"),
        ("max_seconds", "60", "max_seconds must be a number, got '60'"),
        ("target", True, "target must be a number, got True"),
        ("restore_best", 1, "restore_best must be True or False, got 1"),
    ],
)
def test_a_limit_of_the_wrong_kind_is_a_type_error(setting, value, message):
    with pytest.raises(TypeError, match=message):
        Limits(**{setting: value})


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("patience", -1, "patience must be at least 0, got -1; None means no early stopping"),
        ("validate_every", 0, "validate_every must be at least 1, got 0; None means no validation at all"),
        ("max_updates", -1, "max_updates must be at least 0, got -1; None means no limit"),
        ("max_epochs", -5, "max_epochs must be at least 0, got -5"),
        ("min_improvement", -0.1, "min_improvement must be at least 0, got -0.1"),
        ("max_seconds", -1, "max_seconds must be at least 0, got -1"),
        ("max_seconds", math.nan, "max_seconds must be at least 0, got nan"),
        ("target", math.nan, "target must be a number, not NaN, got nan"),
    ],
)
def test_a_limit_out_of_its_range_is_a_value_error(setting, value, message):
    with pytest.raises(ValueError, match=message):
        Limits(**{setting: value})


@pytest.mark.parametrize(
    "settings",
    [
        {"patience": 0, "validate_every": 1, "max_updates": 0, "max_epochs": 0, "max_seconds": 0},
        {"patience": np.int64(3), "max_updates": np.int32(3), "min_improvement": np.float32(0.5)},
        {"target": -math.inf, "max_seconds": math.inf},
    ],
)
def test_the_ends_of_the_ranges_and_numbers_of_numpy_are_accepted(settings):
    limits = Limits(**settings)
    assert {name: getattr(limits, name) for name in settings} == settings


def test_the_defaults_are_those_of_downhill():
    assert dataclasses.astuple(Limits()) == (5, 10, 0.0, None, None, None, None, True)


@pytest.mark.parametrize("limit", [{"max_updates": 1}, {"max_epochs": 1}, {"max_seconds": 1}, {"target": 1}])
def test_a_run_without_validation_is_endless_unless_it_has_a_limit(limit):
    assert Limits(validate_every=None).endless
    assert not Limits(validate_every=None, **limit).endless
    assert not Limits().endless


def test_progress_survives_json():
    progress = Progress(updates=7, sums={"loss": 1.5}, rows=3.0, loss=0.1, best=0.1, validation={"loss": 0.1})
    assert Progress(**json.loads(json.dumps(dataclasses.asdict(progress)))) == progress
