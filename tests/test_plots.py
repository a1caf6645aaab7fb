"""Pictures show what histories hold, say what is wrong with what they are given, and cover nothing."""

from __future__ import annotations

import io
import math
import sys
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytensor
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import downhill2
from downhill2 import History, Record, plots
from downhill2.reporting.plots import canvas, series


@pytest.fixture(autouse=True)
def _without_pyplot(monkeypatch):
    """Have no picture become one of pyplot's, whichever tests ran before."""
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    monkeypatch.delitem(sys.modules, "IPython", raising=False)


def record(epoch, train=None, valid=None, improved=False, rate=0.1, **more):
    values = {"updates": 10 * epoch, "seconds": 0.5 * epoch, "hyper": {"learning_rate": rate}, **more}
    monitors = {} if train is None else {"loss": train, "accuracy": 1 - train / 4}
    validated = {} if valid is None else {"loss": valid, "accuracy": 1 - valid / 4}
    return Record(epoch, train=monitors, valid=validated, validated=valid is not None, improved=improved, **values)


def run(factor=1.0, epochs=6, **more):
    """Return a history that validates at epoch 0 and every second one, the best at 4."""
    valid = {0: 3.0, 2: 1.2, 4: 0.9, 6: 1.0}
    return History(
        record(e, 2.0 * factor / e if e else None, valid[e] * factor if e in valid else None, e in (0, 2, 4), **more)
        for e in range(epochs + 1)
    )


def drawn(ax):
    """Draw it: what cannot be drawn, or warns, raises here."""
    ax.figure.draw_without_rendering()


def lines(ax):
    """Return the curves by their colour and dashes."""
    found = [line for line in ax.get_lines() if line.get_gid() == "curve"]
    return {(to_hex(line.get_color()), line.get_linestyle()): line.get_xydata() for line in found}


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


BLUE, RED, GREEN = canvas.COLORS[:3]

# ---- learning curves


def test_training_is_dashed_and_validation_solid_at_the_epochs_that_had_them():
    ax = plots.learning_curves(run())
    found = lines(ax)
    np.testing.assert_allclose(found[BLUE, "--"], [(e, 2 / e) for e in range(1, 7)])
    np.testing.assert_allclose(found[RED, "-"], [(0, 3.0), (2, 1.2), (4, 0.9), (6, 1.0)])
    assert (ax.get_ylabel(), legend(ax)) == ("loss", ["training", "validation", "best, 0.9"])
    ax.figure.savefig(file := io.BytesIO())
    assert file.getvalue().startswith(b"\x89PNG")


def test_the_best_is_marked_where_the_last_improvement_was():
    [best] = [line for line in plots.learning_curves(run(), "accuracy").get_lines() if line.get_marker() == "*"]
    np.testing.assert_allclose(best.get_xydata(), [(4, 1 - 0.9 / 4)])
    assert best.get_label() == "at the best loss, 0.775"


def test_the_learning_rate_is_drawn_below_with_what_it_was_multiplied_by():
    history = History([record(e, 1.0, hyper={"learning_rate": 0.1, "rate_factor": f}) for e, f in ((1, 1), (2, 0.5))])
    above, below = plots.learning_curves(history).figure.axes
    np.testing.assert_allclose(below.get_lines()[0].get_ydata(), [0.1, 0.05])
    assert (above.get_xlabel(), below.get_xlabel(), below.get_ylabel()) == ("", "epoch", "learning rate")


@pytest.mark.parametrize("rate", [None, False])
def test_there_is_no_second_panel_without_a_learning_rate_or_where_none_is_wanted(rate):
    history = run() if rate is False else History([record(1, 1.0, hyper={})])
    ax = plots.learning_curves(history, rate=rate)
    assert (ax.figure.axes, ax.get_xlabel()) == ([ax], "epoch")


def test_given_axes_are_drawn_in_and_the_rate_only_where_it_is_given_a_place():
    one, two, three = Figure().subplots(3)
    assert plots.learning_curves(run(), ax=one) is one
    assert plots.learning_curves(run(), ax=one, rate=two) is one
    assert (one.figure.axes, len(two.get_lines()), one.get_xlabel()) == ([one, two, three], 1, "epoch")
    ax = plots.learning_curves(run(), rate=three)
    assert ax is not one
    assert len(three.get_lines()) == 1


@pytest.mark.parametrize(("x", "scale", "label"), [("updates", 10, "updates"), ("seconds", 0.5, "time (s)")])
def test_the_horizontal_axis_tells_another_clock(x, scale, label):
    ax = plots.learning_curves(run(), x=x, rate=False)
    np.testing.assert_allclose(lines(ax)[BLUE, "--"][:, 0], scale * np.arange(1, 7))
    assert ax.get_xlabel() == label


def test_runs_of_one_history_follow_one_another_and_the_best_is_of_the_latest():
    history = History([*run(), *run(2.0, epochs=3)])
    ax = plots.learning_curves(history, x="updates")
    assert lines(ax)[BLUE, "--"][:, 0].tolist() == [10, 20, 30, 40, 50, 60, 70, 80, 90]
    [best] = [line.get_xydata() for line in ax.get_lines() if line.get_marker() == "*"]
    np.testing.assert_allclose(best, [(80, 2.4)])
    assert [line.get_xdata()[0] for line in ax.get_lines() if line.get_linestyle() == ":"] == [60]


def test_runs_of_as_many_updates_without_validation_are_told_apart():
    history = History([record(1, 2.0), record(1, 1.0)])
    np.testing.assert_allclose(lines(plots.learning_curves(history))[BLUE, "--"], [(1, 2), (2, 1)])


def test_one_epoch_after_another_of_fewer_updates_is_told_apart():
    history = History([record(1, 2.0), record(1, 1.0, updates=25)])
    np.testing.assert_allclose(lines(plots.learning_curves(history, x="updates"))[BLUE, "--"], [(10, 2), (35, 1)])


def test_a_validation_after_the_end_belongs_to_the_run_that_ended():
    history = History([record(1, 2.0), record(1, None, 1.0)])
    np.testing.assert_allclose(lines(plots.learning_curves(history))[RED, "-"], [(1, 1.0)])


def test_a_loss_that_is_not_finite_leaves_a_gap():
    history = History([record(1, 2.0), record(2, math.nan), record(3, 1.0)])
    ax = plots.learning_curves(history)
    np.testing.assert_equal(lines(ax)[BLUE, "--"], [(1, 2.0), (2, math.nan), (3, 1.0)])
    drawn(ax)


def test_a_history_of_which_no_loss_is_finite_is_drawn_without_curves():
    drawn(plots.learning_curves(History([record(1, math.nan), record(2, math.inf)])))


def test_several_runs_have_colours_of_their_own_and_one_entry_each():
    ax = plots.learning_curves({"adam": run(), "nag": run(2.0), "sgd": run(3.0)})
    found = lines(ax)
    for color, factor in ((BLUE, 1), (RED, 2), (GREEN, 3)):
        np.testing.assert_allclose(found[color, "--"][:, 1], [2 * factor / e for e in range(1, 7)])
        np.testing.assert_allclose(found[color, "-"][:, 1], np.array([3.0, 1.2, 0.9, 1.0]) * factor)
    assert legend(ax) == ["adam, best 0.9", "nag, best 1.8", "sgd, best 2.7", "training", "validation"]
    assert len(ax.figure.axes[1].get_lines()) == 3
    drawn(ax)


def test_a_run_with_a_name_says_it():
    assert legend(plots.learning_curves({"adam": run()}))[:2] == ["adam: training", "adam: validation"]


def test_seeds_become_their_median_in_a_band_from_the_lowest_to_the_highest():
    factors = [1.0, 4.0, 2.0]
    ax = plots.learning_curves([run(f) for f in factors], rate=False)
    np.testing.assert_allclose(lines(ax)[RED, "-"][:, 1], 2 * np.array([3.0, 1.2, 0.9, 1.0]))
    assert legend(ax) == ["training, 3 seeds", "validation, 3 seeds"]
    corners = np.concatenate([band.get_paths()[0].vertices for band in ax.collections])
    assert {(2.0, 1.0), (2.0, 4.0), (4.0, 0.9), (4.0, 3.6)} <= {(x, round(y, 6)) for x, y in corners.tolist()}
    drawn(ax)


def test_a_run_that_ended_early_keeps_its_last_value_and_one_between_two_points_is_straight():
    short = History([record(0, None, 8.0, True), record(2, 1.0, 4.0, True)])
    long = History([record(0, None, 6.0, True), record(1, 1.0, 5.0, True), record(4, 1.0, 2.0, True)])
    found = lines(plots.learning_curves([short, long]))[RED, "-"]
    # at 1: (6 + 5) / 2, at 2: (4 + 4) / 2, at 4: (4 + 2) / 2
    np.testing.assert_allclose(found, [(0, 7.0), (1, 5.5), (2, 4.0), (4, 3.0)])


def test_a_seed_that_diverged_does_not_count_from_there_on():
    histories = [History([record(1, 1.0), record(2, y)]) for y in (2.0, math.nan, 4.0)]
    np.testing.assert_allclose(lines(plots.learning_curves(histories))[BLUE, "--"], [(1, 1.0), (2, 3.0)])


def test_smoothing_is_a_corrected_moving_average_over_what_is_finite():
    y = np.array([1.0, math.nan, 3.0, 2.0, math.inf, 5.0])
    known = y[np.isfinite(y)]
    expected = [np.average(known[: n + 1], weights=0.8 ** np.arange(n, -1, -1)) for n in range(len(known))]
    found = series.smoothed(y, 0.8)
    np.testing.assert_allclose(found[np.isfinite(y)], expected)
    np.testing.assert_equal(found[~np.isfinite(y)], y[~np.isfinite(y)])


def test_what_was_smoothed_is_drawn_faintly_behind():
    ax = plots.learning_curves(run(), smooth=0.5)
    faint = [line for line in ax.get_lines() if line.get_alpha() == canvas.RAW]
    np.testing.assert_allclose(faint[0].get_ydata(), [2 / e for e in range(1, 7)])
    np.testing.assert_allclose(lines(ax)[BLUE, "--"][:, 1], series.smoothed(2 / np.arange(1.0, 7), 0.5))
    assert not [x for x in plots.learning_curves([run(), run()], smooth=0.5).get_lines() if x.get_alpha()]


@pytest.mark.parametrize(
    ("log", "scales"),
    [
        (None, ("linear", "linear")),
        (True, ("linear", "log")),
        (False, ("linear", "linear")),
        ("x", ("log", "linear")),
        ("y", ("linear", "log")),
        ("xy", ("log", "log")),
    ],
)
def test_axes_are_logarithmic_as_they_are_asked_to_be(log, scales):
    ax = plots.learning_curves(run(), log=log)
    assert (ax.get_xscale(), ax.get_yscale()) == scales
    drawn(ax)


@pytest.mark.parametrize("lowest", [0.5, 0.09, 1e-3, 1e-9])
def test_a_logarithmic_axis_has_numbers_to_read(lowest):
    ax = plots.learning_curves(History([record(1, 1.0), record(2, lowest)]), log=True)
    drawn(ax)
    low, high = ax.get_ylim()
    ticks = [*zip(ax.get_yticks(), ax.get_yticklabels(), strict=True)]
    ticks += zip(ax.get_yticks(minor=True), ax.get_yticklabels(minor=True), strict=True)
    texts = [text.get_text() for at, text in ticks if low <= at <= high and text.get_text()]
    assert 2 <= len(texts) <= 12
    assert lowest < 1e-4 or not any("10^" in text for text in texts)


def test_values_of_decades_are_on_a_logarithmic_axis_unless_some_are_not_positive():
    decades = [record(1, 1.0), record(2, 0.04)]
    assert plots.learning_curves(History(decades)).get_yscale() == "log"
    assert plots.learning_curves(History([*decades, record(3, 0.0)])).get_yscale() == "linear"


def test_epochs_are_whole_numbers():
    ax = plots.learning_curves(History([record(1, 1.0), record(2, 0.5)]), rate=False)
    drawn(ax)
    assert all(tick == int(tick) for tick in ax.get_xticks())


def test_places_for_numbers_that_the_caller_chose_stay():
    ax = Figure().subplots()
    ax.set_xticks([0, 2.5, 5])
    plots.learning_curves(run(), ax=ax)
    assert ax.get_xticks().tolist() == [0, 2.5, 5]


def test_a_history_without_the_values_is_drawn_without_curves():
    # what it has is the latest validation, of an epoch before
    between = History([Record(3, 30, 1.5, {"loss": 1.0}, {"accuracy": 0.5}, False, False)])
    drawn(plots.learning_curves(between, "accuracy"))


def test_the_history_draws_itself():
    ax = run().plot("accuracy", smooth=0.5)
    assert ax.get_ylabel() == "accuracy"
    assert run().plot(ax=ax) is ax


# ---- what all have in common


def test_names_that_mean_something_to_matplotlib_are_drawn_as_they_are():
    names = ["_hidden", "$x_{", "a$b$", "<script>", "long " * 40]
    ax = plots.learning_curves({name: run() for name in names})
    drawn(ax)
    assert [text.split(", best")[0].strip() for text in legend(ax)[:4]] == ["_hidden", r"\$x_{", r"a\$b\$", "<script>"]
    assert len(legend(ax)[4]) < 60
    assert legend(ax)[4].startswith("long long")


@pytest.mark.parametrize(("runs", "width"), [(1, 6.4), (3, 6.4), (3, 3), (8, 6.4), (30, 6.4), (30, 3)])
def test_the_legend_covers_no_data_and_stays_in_the_picture(runs, width):
    ax = Figure(figsize=(width, 4), layout="constrained").subplots()
    plots.learning_curves({f"{i}, an algorithm of a long name": run(i + 1) for i in range(runs)}, ax=ax)
    drawn(ax)
    box, picture = ax.get_legend().get_window_extent(), ax.figure.bbox
    assert not box.overlaps(ax.get_window_extent().shrunk(0.99, 0.99))
    assert picture.x0 <= box.x0 < box.x1 <= picture.x1
    assert picture.y0 <= box.y0 < box.y1 <= picture.y1
    assert ax.get_window_extent().width > picture.width / 4
    title = ax.get_legend().get_title().get_text()
    assert (title.startswith("the first ") and title.endswith(" of 32")) if runs == 30 else not title


def test_the_legend_of_a_part_of_a_figure_stays_in_it():
    part = Figure(figsize=(8, 4), layout="constrained").subfigures(1, 2)[0]
    ax = plots.learning_curves({f"{i}, an algorithm of a long name": run(i + 1) for i in range(3)}, ax=part.subplots())
    ax.get_figure(root=True).draw_without_rendering()
    box = ax.get_legend().get_window_extent()
    assert part.bbox.x0 <= box.x0 < box.x1 <= part.bbox.x1


def test_49_curves_differ_in_colour_or_marker_and_neighbours_in_both():
    looks = [(canvas.style(i)["color"], canvas.style(i)["marker"]) for i in range(49)]
    assert len(set(looks)) == 49
    assert all(a[0] != b[0] and a[1] != b[1] for a, b in pairwise(looks))


def test_a_picture_is_pyplots_only_where_that_is_in_use():
    assert type(plots.learning_curves(run()).figure) is Figure
    import matplotlib.pyplot as plt  # ours alone: the fixture takes it out of sys.modules

    ax = plots.learning_curves(run())
    try:
        assert plt.figure(ax.figure.number) is ax.figure
    finally:
        plt.close("all")


def test_in_a_notebook_a_picture_is_pyplots(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert not hasattr(plots.learning_curves(run()).figure, "number")
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=object))
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", SimpleNamespace(figure=lambda **_: Figure(label="shown")))
    assert plots.gradient_norms(with_gradients()).figure.get_label() == "shown"


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda: plots.learning_curves(3), TypeError, "history must be a History or a list of them, got 3"),
        (lambda: plots.learning_curves({"a": 3}), TypeError, r"history\['a'\] must be a History or a list"),
        (lambda: plots.learning_curves("run"), TypeError, "history must be a History or a list of them, got 'run'"),
        (lambda: plots.learning_curves({}), ValueError, "history must have runs, got {}"),
        (lambda: plots.learning_curves({"a": []}), ValueError, r"history\['a'\] must have runs, got none"),
        (lambda: plots.learning_curves(History()), ValueError, "history must have records, got an empty history; run"),
        (lambda: plots.learning_curves(run(), "los"), ValueError, "one of 'loss', 'accuracy', got 'los'"),
        (lambda: plots.learning_curves(History([record(0)])), ValueError, "one of none, got 'loss'"),
        (lambda: plots.learning_curves(run(), 3), TypeError, "monitor must be a str, got 3"),
        (lambda: plots.learning_curves(run(), ax=3), TypeError, "ax must be an Axes of matplotlib, got 3"),
        (lambda: plots.learning_curves(run(), rate=3), TypeError, "rate must be an Axes of matplotlib, got 3"),
        (lambda: plots.learning_curves(run(), ax=Figure().subplots(), rate=3), TypeError, "rate must be an Axes"),
        (lambda: plots.learning_curves(run(), ax=Figure().subplots(), rate=True), ValueError, "rate must be axes"),
        (lambda: plots.learning_curves(run(hyper={}), rate=True), ValueError, "rate must be False for histories"),
        (lambda: plots.learning_curves(run(), x="epochs"), ValueError, "x must be one of 'epoch', 'updates', 'sec"),
        (lambda: plots.learning_curves(run(), log="z"), ValueError, "log must be None, True, False, 'x', 'y'"),
        (lambda: plots.learning_curves(run(), log=1), ValueError, "log must be None, True, False.* got 1"),
        (lambda: plots.learning_curves(run(-1.0), log=True), ValueError, "log must be False for values of which none"),
        (lambda: plots.learning_curves(run(), smooth="a"), TypeError, "smooth must be a number, got 'a'"),
        (lambda: plots.learning_curves(run(), smooth=True), TypeError, "smooth must be a number, got True"),
        (lambda: plots.learning_curves(run(), smooth=1), ValueError, r"smooth must be in \[0, 1\), got 1"),
        (lambda: plots.learning_curves(run(), smooth=math.nan), ValueError, r"smooth must be in \[0, 1\), got nan"),
        (lambda: plots.gradient_norms(run()), ValueError, "build with monitor_gradients=True"),
        (lambda: plots.gradient_norms([run()]), TypeError, "history must be a History, got"),
        (lambda: plots.gradient_norms(History()), ValueError, "history must have records"),
        (lambda: plots.gradient_norms(with_gradients(), x="no"), ValueError, "x must be one of"),
        (lambda: plots.gradient_norms(with_gradients(), log=3), ValueError, "log must be"),
        (lambda: plots.gradient_norms(with_gradients(), ax=[]), TypeError, "ax must be an Axes of matplotlib"),
        (lambda: plots.compare([run()]), TypeError, "runs must be a mapping of names to lists of History"),
        (lambda: plots.compare({"a": [run()]}, "los"), ValueError, "monitor must be one of 'loss', 'accuracy'"),
        (lambda: plots.compare({"a": [run()]}, x="no"), ValueError, "x must be one of"),
        (lambda: plots.compare({"a": [run()]}, log="no"), ValueError, "log must be"),
        (lambda: plots.compare({"a": [run()]}, ranking=3), TypeError, "ranking must be an Axes of matplotlib, got 3"),
        (lambda: plots.compare({"a": [run()]}, ax=3), TypeError, "ax must be an Axes of matplotlib, got 3"),
        (lambda: plots.path([[1, 2, 3]], bowl), ValueError, r"points must have shape \(n, 2\), got \(1, 3\)"),
        (lambda: plots.path(np.zeros((0, 2)), bowl), ValueError, r"points must have shape \(n, 2\), got \(0, 2\)"),
        (lambda: plots.path({}, bowl), ValueError, "points must have a path, got {}"),
        (lambda: plots.path("ab", bowl), TypeError, "points must be an array of shape .* or an Optimizer, got 'ab'"),
        (lambda: plots.path([[math.nan, 1], [1, math.inf]], bowl), ValueError, "points must have a finite one"),
        (lambda: plots.path([[1, 1]]), TypeError, "loss must be a function of two arrays, got None"),
        (lambda: plots.path([[1, 1]], bowl, ax=1), TypeError, "ax must be an Axes of matplotlib, got 1"),
        (lambda: plots.path([[1, 1]], bowl, updates=0), ValueError, "updates must be at least 1, got 0"),
        (lambda: plots.path([[1, 1]], bowl, minimum=(0, 0, 0)), ValueError, "minimum must be a pair of numbers, got"),
        (lambda: plots.path([[1, 1]], bowl, xlim=(0,)), ValueError, r"xlim must be a pair of numbers, got \(0,\)"),
        (lambda: plots.path([[1, 1]], bowl, ylim=3), ValueError, "ylim must be a pair of numbers, got 3"),
        (lambda: plots.path([[1, 1]], lambda x, y: x[0]), ValueError, r"loss must return .* got shape \(201,\)"),
        (lambda: plots.path([[1, 1]], bowl, updates=1.5), TypeError, "updates must be an integer, got 1.5"),
        (lambda: plots.path([[1, 1]], bowl, updates=True), TypeError, "updates must be an integer, got True"),
        (lambda: plots.range_test(3), TypeError, "found must be what find_learning_rate returns, got 3, .* 'rates'"),
        (lambda: plots.range_test(range_of([])), ValueError, "found must hold the loss of an update at least"),
        (lambda: plots.range_test(range_of([1.0]), ax=3), TypeError, "ax must be an Axes of matplotlib, got 3"),
    ],
)
def test_what_is_wrong_is_told(draw, error, message):
    with pytest.raises(error, match=message):
        draw()


def test_axes_that_are_round_are_refused():
    with pytest.raises(TypeError, match="ax must be an Axes with straight coordinates, got polar ones"):
        plots.learning_curves(run(), ax=Figure().add_subplot(projection="polar"))


@pytest.mark.parametrize("module", ["matplotlib.axes", "matplotlib.figure"])
def test_a_missing_matplotlib_is_named_with_what_installs_it(monkeypatch, module):
    ax = Figure().subplots() if module == "matplotlib.axes" else None
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"needs matplotlib, .* pip install 'downhill2\[plot\]'"):
        plots.learning_curves(run(), ax=ax)


# ---- gradient norms


def with_gradients():
    monitors = [{"loss": 1.0, "grad(W)": 4.0 * e, "grad(b)": 9.0 * e} for e in (1, 2)]
    return History(Record(e, 10 * e, e, monitors[e - 1], {}, False, False) for e in (1, 2))


def test_gradient_norms_are_roots_of_the_mean_squares():
    ax = plots.gradient_norms(with_gradients(), x="updates")
    first, second = (line.get_xydata() for line in ax.get_lines())
    np.testing.assert_allclose(first, [(10, 2), (20, 2 * math.sqrt(2))])
    np.testing.assert_allclose(second, [(10, 3), (20, 3 * math.sqrt(2))])
    assert (legend(ax), ax.get_ylabel(), ax.get_xlabel()) == (["W", "b"], "gradient norm", "updates")
    drawn(ax)


# ---- comparison


def test_algorithms_are_compared_by_the_median_of_their_validations_and_what_each_seed_came_to():
    ax = plots.compare({"adam": [run(), run(3.0), run(2.0)], "nag": run(5.0)})
    curves, ranking = ax.figure.axes
    assert curves is ax
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), 2 * np.array([3.0, 1.2, 0.9, 1.0]))
    assert legend(ax) == ["adam, 3 seeds", "nag"]
    assert [text.get_text() for text in ranking.get_yticklabels()] == ["adam", "nag"]
    dots = [line.get_xdata().tolist() for line in ranking.get_lines() if line.get_marker() != "|"]
    bars = [line.get_xdata().tolist() for line in ranking.get_lines() if line.get_marker() == "|"]
    np.testing.assert_allclose(dots[0], [0.9, 2.7, 1.8])
    np.testing.assert_allclose(bars, [[1.8], [4.5]])
    drawn(ax)


def test_algorithms_without_validation_are_compared_by_training():
    ax = plots.compare({"a": History([record(1, 2.0), record(2, 1.0)])}, x="updates")
    np.testing.assert_allclose(ax.get_lines()[0].get_xydata(), [(10, 2.0), (20, 1.0)])
    assert ax.figure.axes[1].get_lines()[1].get_xdata() == [1.0]


def test_a_validation_that_never_improved_counts_with_its_last():
    assert series.outcome(History([record(1, 2.0, 3.0), record(2, 1.0, 4.0)]), "loss") == 4.0


def test_a_history_without_the_values_comes_to_nothing():
    assert math.isnan(series.outcome(History([record(1, 2.0), record(2)])[1:], "loss"))


def test_seeds_that_are_not_finite_are_counted():
    lost = History([record(1, math.nan)])
    ax = plots.compare({"a": [lost, run()], "b": lost})
    texts = [text.get_text() for text in ax.figure.axes[1].get_yticklabels()]
    assert texts == ["a\n1 of 2 not finite", "b\n1 of 1 not finite"]
    drawn(ax)


def test_what_diverges_is_cut_off():
    diverging = History(record(e, 10.0**e, 10.0 ** (4 * e), not e) for e in range(4))
    ax = plots.compare({"good": run(), "bad": diverging})
    assert ax.get_ylim()[1] == pytest.approx(30)
    assert 0 < ax.get_ylim()[0] < 0.9
    assert plots.compare({"bad": diverging}, log=False).get_ylim() == (0, 10)


def test_one_algorithm_without_a_name_has_no_legend():
    assert plots.compare({"": run()}).get_legend() is None


def test_nothing_finite_is_compared_without_curves():
    drawn(plots.compare({"a": History([record(1, math.nan)])}))


def test_the_ranking_is_drawn_where_it_is_asked_for():
    left, right = Figure().subplots(1, 2)
    assert plots.compare({"a": run()}, ax=left).figure.axes == [left, right]
    assert not right.get_lines()
    plots.compare({"a": run(), "b": run(1e3)}, ax=left, ranking=right)
    assert right.get_xscale() == "log"
    assert len(plots.compare({"a": run()}, ranking=False).figure.axes) == 1


# ---- paths


def bowl(x, y):
    return x**2 + 4 * y**2


def optimizer(algo="sgd", start=(4.0, -2.0), loss=None, **settings):
    w = pytensor.shared(np.array(start), name="w")
    return downhill2.build(algo, w[0] ** 2 + 4 * w[1] ** 2 if loss is None else loss(w), [w], **settings)


def test_a_path_of_points_is_drawn_over_contours_with_its_start_and_the_minimum():
    points = [[2.0, 1.0], [1.0, 0.5], [0.5, 0.0]]
    ax = plots.path({"a": points, "b": np.ones((1, 2))}, bowl, minimum=(0, 0))
    np.testing.assert_allclose(ax.get_lines()[0].get_xydata(), points)
    assert legend(ax) == ["a", "b", "start", "minimum"]
    assert plots.path(points, bowl).get_legend() is None
    assert ax.collections
    low, high = ax.get_xlim()
    assert low < 0 < 2 < high
    drawn(ax)


def check_contours(ax):
    """Check that what is drawn as lines of equal loss are such."""
    [contours] = ax.collections
    for level, path in zip(contours.levels, contours.get_paths(), strict=True):
        for vertices in path.to_polygons(closed_only=False):
            np.testing.assert_allclose(bowl(*np.transpose(vertices)), level, rtol=0.05, atol=2e-3)


def test_contours_are_lines_of_equal_loss():
    check_contours(plots.path([[2.0, 1.0]], bowl, xlim=(-2, 2), ylim=(-1, 1)))


def test_the_path_of_an_optimizer_is_that_of_its_updates_and_everything_is_set_back():
    opt = optimizer(learning_rate=0.1, momentum=0.5)
    [w] = opt.params
    before = w.get_value(), opt.context.clock.get_value()
    ax = plots.path({"momentum": opt}, updates=3)
    x, velocity, expected = np.array([4.0, -2.0]), np.zeros(2), [[4.0, -2.0]]
    for _ in range(3):
        velocity = 0.5 * velocity + 0.1 * np.array([2.0, 8.0]) * x
        x = x - velocity
        expected.append(x)
    np.testing.assert_allclose(ax.get_lines()[0].get_xydata(), expected)
    np.testing.assert_array_equal(w.get_value(), before[0])
    assert opt.context.clock.get_value() == before[1]
    assert not any(v.any() for v in opt.state.values())


def test_a_loss_that_draws_random_numbers_goes_on_where_it_was():
    def noisy():
        generator = pytensor.tensor.random.shared_rng(np.random.default_rng(3))
        with pytest.warns(DeprecationWarning, match="default_update"):
            generator.default_update, noise = generator.normal(size=(2,))
        return optimizer(loss=lambda w: ((w - noise) ** 2).sum(), learning_rate=0.1)

    opt, other = noisy(), noisy()
    plots.path(opt, updates=3)
    run = {"max_epochs": 4, "validate_every": None}
    assert opt.minimize(**run) == other.minimize(**run)
    np.testing.assert_array_equal(opt.params[0].get_value(), other.params[0].get_value())


def test_the_path_shows_what_an_algorithm_evaluates_where_that_is_not_the_parameter():
    opt = optimizer("schedulefree", learning_rate=0.1, beta1=0.9)
    ax = plots.path(opt, updates=np.int64(2))
    [w] = opt.params
    expected, evaluated = [], pytensor.function([], opt.fit.evaluated()[w])
    step = pytensor.function([], [], updates=opt.get_updates())
    for _ in range(3):
        expected.append(evaluated())
        step()
    np.testing.assert_allclose(ax.get_lines()[0].get_xydata(), expected)


def test_the_contours_of_an_optimizer_of_two_scalars_are_those_of_its_loss():
    a, b = (pytensor.shared(np.float32(v), name=n) for n, v in (("a", 2.0), ("b", 1.0)))
    ax = plots.path(downhill2.build("sgd", a**2 + 4 * b**2, learning_rate=0.1), updates=4)
    check_contours(ax)


def test_an_optimizer_of_more_numbers_or_with_data_is_refused():
    with pytest.raises(ValueError, match="two numbers for parameters, got 3"):
        plots.path(optimizer(start=(1.0, 2.0, 3.0)))
    x = pytensor.tensor.vector("x")
    with pytest.raises(ValueError, match=r"whose loss needs no data, got inputs \[x\]"):
        plots.path(optimizer(loss=lambda w: (w * x).sum()))


@pytest.mark.parametrize("loss", [lambda x, y: 1.0, lambda x, y: np.full_like(x, np.nan)])
def test_a_loss_without_heights_is_drawn_without_contours(loss):
    ax = plots.path([[0.0, 1.0], [1.0, 1.0]], loss)
    assert not ax.collections
    drawn(ax)


def test_points_that_are_not_finite_do_not_spoil_the_picture():
    ax = plots.path([[1.0, 1.0], [2.0, 3.0], [math.inf, math.nan]], bowl)
    assert ax.get_ylim()[1] < 4
    drawn(ax)


# ---- range tests


def range_of(losses, suggestion=0.01):
    rates = np.geomspace(1e-4, 1, len(losses))
    return SimpleNamespace(rates=rates, losses=losses, smoothed=losses, suggestion=suggestion, reason="It falls there.")


def test_a_range_test_shows_losses_and_the_suggestion_with_its_reason():
    ax = plots.range_test(range_of([2.0, 1.9, 1.0, 0.5, 40.0, math.inf]))
    raw, smooth, suggestion = ax.get_lines()
    assert smooth.get_ydata().tolist() == raw.get_ydata().tolist() == [2.0, 1.9, 1.0, 0.5, 40.0, math.inf]
    assert suggestion.get_xdata() == [0.01, 0.01]
    assert (ax.get_xscale(), ax.get_ylim()[1] < 3) == ("log", True)
    assert [text.get_text() for text in ax.texts] == ["It falls there."]
    assert legend(ax)[2] == "suggestion, 0.01"
    drawn(ax)


@pytest.mark.parametrize("losses", [[1.0, 1.0], [math.nan, math.nan], [math.nan, 1.0], [0.0]])
def test_a_range_test_without_a_suggestion_is_drawn(losses):
    ax = plots.range_test(range_of(losses, suggestion=None))
    assert legend(ax) == ["loss of one update", "smoothed"]
    drawn(ax)
