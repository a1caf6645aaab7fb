import dataclasses
import itertools
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from downhill2.loop import reasons
from downhill2.loop.stopping import Limits, LossBlocks, Plateau, Progress, diverged, improved, reason, trend


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
        ("patience", 2.5, "patience must be an integer, got 2.5; None means no early stopping"),
        ("patience", True, "patience must be an integer, got True"),
        (
            "validate_every",
            "10",
            "validate_every must be an integer, got '10'; None means no validation",
        ),
        ("max_updates", 1e3, r"max_updates must be an integer, got 1000\.0; None means no limit"),
        ("max_epochs", [3], r"max_epochs must be an integer, got \[3\]"),
        ("min_improvement", None, "min_improvement must be a number, got None"),
        ("min_improvement", False, "min_improvement must be a number, got False"),
        ("max_seconds", "60", "max_seconds must be a number, got '60'"),
        ("target", True, "target must be a number, got True"),
        ("diverged", "3", "diverged must be a number, got '3'"),
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
        ("diverged", 1, "diverged must be above 1, got 1"),
        ("diverged", math.nan, "diverged must be above 1, got nan"),
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
    assert dataclasses.astuple(Limits()) == (5, 10, 0.0, None, None, None, None, None, None, True, None)


@pytest.mark.parametrize(
    "limit", [{"max_updates": 1}, {"max_epochs": 1}, {"max_seconds": 1}, {"target": 1}, {"plateau": True}]
)
def test_a_run_without_validation_is_endless_unless_it_has_a_limit(limit):
    assert Limits(validate_every=None).endless
    assert not Limits(validate_every=None, **limit).endless
    assert not Limits().endless
    assert Limits(validate_every=None, diverged=2).endless


def test_progress_survives_json():
    progress = Progress(updates=7, sums={"loss": 1.5}, rows=3.0, loss=0.1, best=0.1, validation={"loss": 0.1})
    assert Progress(**json.loads(json.dumps(dataclasses.asdict(progress)))) == progress


# ---- divergence


@pytest.mark.parametrize(
    ("loss", "lowest", "factor", "expected"),
    [
        (1.5, 0.5, 3, False),
        (1.75, 0.5, 3, True),
        (0.5, 0.5, 1.5, False),
        (0.0, -1.0, 2, False),
        (0.25, -1.0, 2, True),
        (-1.0, -2.0, 1.25, True),
        (0.0, 0.0, 10, False),
        (1e-300, 0.0, 10, True),
        (math.inf, 1.0, 10, True),
        (math.nan, 1.0, 10, False),
    ],
)
def test_a_loss_diverges_when_its_rise_exceeds_so_many_magnitudes_of_the_lowest(loss, lowest, factor, expected):
    assert diverged(loss, lowest, factor) is expected


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([], None),
        ([math.nan], None),
        ([math.inf], None),
        ([1.0, 0.5, 1.0], None),
        ([1.0, 0.5, 1.1], "diverged"),
        ([1.1, math.nan, 0.5, math.inf], "diverged"),
        ([0.5, 2.0, 0.75], None),
        ([2.0, 0.5, math.nan], None),
    ],
)
def test_a_run_diverges_by_the_latest_loss_against_the_lowest(losses, expected):
    progress = Progress()
    for loss in losses:
        progress.meet(loss)
    assert reason(progress, Limits(diverged=2)) == expected
    assert reason(progress, Limits()) is None


def test_a_limit_is_named_before_divergence_and_divergence_before_a_plateau_and_patience():
    progress = Progress(loss=9.0, lowest=1.0, updates=1, failures=9, blocks=LossBlocks([1.0] * 6))
    every = {"diverged": 2, "plateau": {"blocks": 3}, "patience": 0}
    assert reason(progress, Limits(max_updates=1, **every)) == "max_updates"
    assert reason(progress, Limits(**every)) == "diverged"
    assert reason(progress, Limits(**every | {"diverged": None})) == "plateau"
    assert reason(progress, Limits(patience=0)) == "patience"


# ---- plateau

OFTEN = {"block": 3, "blocks": 3, "max_error": 0.1}


def decide(plateau, losses, cut=lambda state: None):
    """Feed losses as the loop does, never past the end of a block; return the update that stops, or None."""
    state, made = LossBlocks(), 0
    while made < len(losses):
        n = min(cut(state) or math.inf, plateau.left(state), len(losses) - made)
        plateau.add(state, losses[made : made + n])
        made += n
        if plateau.reached(state):
            return made
    return None


@pytest.mark.parametrize("values", [[3.0, 1.0, 2.0, 5.0, 1.0], [1.0, 2.0, 4.0], list(np.arange(9.0) ** 2)])
def test_the_trend_and_its_error_are_those_of_linear_regression(values):
    n = len(values)
    (slope, _), covariance = np.polyfit(range(n), values, 1, cov=True)
    assert trend(values) == pytest.approx((np.mean(values), -n * slope, n * math.sqrt(covariance[0, 0])))


@pytest.mark.parametrize(("losses", "expected"), [([2.0] * 99, 18), ([0.0] * 99, 18), ([-1.0] * 99, 18)])
def test_a_constant_loss_is_a_plateau_as_soon_as_there_are_enough_blocks(losses, expected):
    assert decide(Plateau(**OFTEN), losses) == expected


def test_a_rising_loss_is_a_plateau():
    assert decide(Plateau(**OFTEN), [1 + i / 1000 for i in range(99)]) == 18


@pytest.mark.parametrize("sign", [1, -1])
def test_the_smallest_fall_that_counts_is_relative_to_the_magnitude(sign):
    losses = [sign * 100 - i / 10 for i in range(60)]  # falls by 0.9 % over 9 updates
    assert decide(Plateau(**OFTEN, min_fall=0.0085), losses) is None
    assert decide(Plateau(**OFTEN, min_fall=0.0095), losses) == 18


def test_while_noise_could_hide_a_fall_there_is_no_decision():
    losses = np.random.default_rng(0).normal(1, 0.5, size=3000).tolist()
    assert decide(Plateau(block=10, blocks=5, max_error=1e-4), losses) is None
    assert decide(Plateau(block=10, blocks=5, max_error=0.1), losses) is not None


def test_blocks_double_so_that_the_state_stays_small():
    plateau, state = Plateau(block=2, blocks=3), LossBlocks()
    plateau.add(state, map(float, range(2 * 12)))
    assert state == LossBlocks([1.5, 5.5, 9.5, 13.5, 17.5, 21.5], doublings=1)
    assert plateau.left(state) == 4
    plateau.add(state, [1.0] * 100_001)
    assert len(state.means) < 12
    assert (state.updates, state.total) == (100_025 % (2 << state.doublings),) * 2


losses_of_a_run = st.one_of(
    st.lists(st.floats(-10, 10), max_size=200),
    st.tuples(st.integers(0, 99), st.floats(0, 0.3), st.floats(0, 0.05)).map(
        lambda given: (
            np.exp(-np.arange(200) * given[2]) + given[1] * np.random.default_rng(given[0]).normal(size=200)
        ).tolist()
    ),
)


@given(losses=losses_of_a_run, cuts=st.lists(st.integers(1, 7), min_size=1, max_size=9))
def test_the_decision_does_not_depend_on_how_stretches_are_cut(losses, cuts):
    cutting = itertools.cycle(cuts)
    plateau = Plateau(**OFTEN)
    assert decide(plateau, losses, lambda state: next(cutting)) == decide(plateau, losses)


@given(losses=losses_of_a_run, at=st.integers(0, 200))
def test_a_state_that_was_json_in_between_goes_on_to_the_last_bit(losses, at):
    plateau, whole, parts = Plateau(**OFTEN), LossBlocks(), LossBlocks()
    plateau.add(whole, losses)
    plateau.add(parts, losses[:at])
    progress = Progress(**json.loads(json.dumps(dataclasses.asdict(Progress(blocks=parts)))))
    plateau.add(progress.blocks, losses[at:])
    assert progress.blocks == whole


def simulated(curve, noise, seed, blocks=200):
    """A run as means of 100 updates whose losses are a curve times noise of this relative size."""
    t = 100 * np.arange(blocks) + 50
    return (curve(t) * np.random.default_rng(seed).normal(1, noise / math.sqrt(100), size=blocks)).tolist()


@pytest.mark.parametrize(
    ("curve", "noise", "false_stops"),
    [
        (lambda t: 0.5 ** (t / 20_000), 0.05, 0),  # 3.5 % in 1000 updates
        (lambda t: (1 + t) ** -0.1, 0.1, 0),
        (lambda t: (1 + t) ** -0.3, 0.2, 0),
        (lambda t: 1 - t / 100_000, 0.1, 0.03),  # 2 % in the first 2000 updates, 2.6 standard errors
    ],
)
def test_a_loss_that_falls_slowly_but_steadily_is_hardly_ever_stopped(curve, noise, false_stops):
    stops = [decide(Plateau(block=1), simulated(curve, noise, seed)) for seed in range(200)]
    assert sum(at is not None for at in stops) <= false_stops * 200


@pytest.mark.parametrize(
    ("curve", "noise", "by"),
    [
        (lambda t: 0 * t + 1.0, 0.1, 10_000),
        (lambda t: 1 + 2 * np.exp(-t / 500), 0.05, 12_000),
    ],
)
def test_a_plateau_is_found_in_every_simulated_run(curve, noise, by):
    stops = [decide(Plateau(block=1), simulated(curve, noise, seed)) for seed in range(200)]
    assert all(at is not None and 100 * at <= by for at in stops)


def test_plateau_may_be_given_as_true_or_by_its_options():
    assert Limits(plateau=True).plateau == Plateau() == Limits(plateau={}).plateau
    assert Limits(plateau={"blocks": np.int64(9), "max_error": 1}).plateau == Plateau(blocks=9, max_error=1)
    assert Limits(plateau=Plateau(block=7)).plateau.block == 7
    assert Limits(plateau=False).plateau is Limits().plateau is None


@pytest.mark.parametrize(
    ("plateau", "error", "message"),
    [
        (1, TypeError, "plateau must be True, False or a mapping of options, got 1"),
        ({"blok": 3}, TypeError, "plateau has no option 'blok'; did you mean 'block'?"),
        ({1: 3}, TypeError, "no option 1; did you mean 'block' or 'blocks' or 'min_fall' or 'max_error'?"),
        ({"block": 2.5}, TypeError, "plateau's block must be an integer, got 2.5"),
        ({"block": 0}, ValueError, "plateau's block must be at least 1, got 0"),
        ({"blocks": 2}, ValueError, "plateau's blocks must be at least 3, got 2"),
        ({"min_fall": None}, TypeError, "plateau's min_fall must be a number, got None"),
        ({"min_fall": -0.1}, ValueError, "plateau's min_fall must be at least 0, got -0.1"),
        ({"max_error": 0}, ValueError, "plateau's max_error must be positive, got 0"),
    ],
)
def test_a_plateau_that_makes_no_sense_is_refused(plateau, error, message):
    with pytest.raises(error, match=re.escape(message)):
        Limits(plateau=plateau)


# ---- why a run ended


REACHED = {
    "target": 2.0,
    "max_updates": 1,
    "max_epochs": 1,
    "max_seconds": 1,
    "diverged": 1.5,
    "plateau": {"block": 1, "blocks": 3},
    "patience": 0,
}
NONE = dict.fromkeys(REACHED)


@pytest.mark.parametrize("kind", REACHED)
def test_a_limit_that_is_reached_alone_is_named(kind):
    assert reason(everything_reached(), Limits(**{**NONE, kind: REACHED[kind]})) == kind


def test_of_limits_reached_together_the_first_of_the_table_is_named():
    limits, named = dict(REACHED), []
    while why := reason(everything_reached(), Limits(**{**NONE, **limits})):
        named.append(why)
        del limits[why]
    assert named == [r.text for r in reasons.LIMITS] == [r.kind for r in reasons.LIMITS]


def everything_reached():
    blocks = LossBlocks(means=[1.0] * 6)
    return Progress(updates=1, epoch=1, seconds=1.0, loss=2.0, lowest=1.0, failures=1, blocks=blocks)


@pytest.mark.parametrize("detail", ["why", "{} of {0}", "a: b", "  spaces"])
@pytest.mark.parametrize("known", reasons.REASONS, ids=lambda r: r.kind)
def test_a_reason_is_known_again_by_what_it_says(known, detail):
    assert reasons.read(known.of(detail)) is known


@pytest.mark.parametrize(
    ("said", "stopped"),
    [
        (reasons.CALLBACK.of("{enough}"), "callback: {enough}"),
        (reasons.SIGNAL.of("SIGTERM"), "signal SIGTERM"),
        (reasons.EXCEPTION.of("ValueError"), "exception: ValueError"),
    ],
)
def test_a_detail_follows_the_reason(said, stopped):
    assert said == stopped


def rows(page, header):
    """Return the cells of the table under a header, row by row."""
    _, _, below = page.partition(f"| {header} |\n")
    return [line.strip("| ").split(" | ") for line in below.partition("\n\n")[0].splitlines()[1:]]


def test_the_page_says_of_each_reason_what_the_table_says():
    page = (Path(__file__).parents[1] / "docs" / "stopping.md").read_text()
    limits = rows(page, "setting | stops when | `opt.stopped`")
    assert {(setting.split("=")[0], words, stopped) for setting, words, stopped in limits} == {
        (f"`{r.kind}", r.words, f"`{r.kind}`") for r in reasons.LIMITS
    }
    others = rows(page, "`opt.stopped` | what happened | a tracker notes the run as")
    assert [(reasons.read(stopped.split("`")[1]), words, outcome) for stopped, words, outcome in others] == [
        (r, r.words, r.outcome) for r in reasons.REASONS if r not in reasons.LIMITS
    ]
