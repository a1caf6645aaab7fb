"""The benchmarks run, compare only what computes the same, and say so where there is nothing to compare."""

from __future__ import annotations

import dataclasses
import functools
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks is no installed package

from benchmarks import cases, problems, results, runner, timing  # noqa: E402
from benchmarks.__main__ import main  # noqa: E402
from benchmarks.rows import Row, amount, as_dict, cells, from_dict, number  # noqa: E402
from benchmarks.sizes import SIZES  # noqa: E402
from benchmarks.timing import Contender, Contest, stepping  # noqa: E402

TINY = SIZES["tiny"]
ABOUT = {
    "size": "tiny",
    "seconds": 1.0,
    "environment": {"date": "2026-01-01", "cpu": "abacus", "cores": 2, "load before": None, "jax": None, "numpy": "2"},
}


class Clock:
    """Seconds that pass when a contender takes them."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def counting(start=0.0, pause=0.0, clock=time):
    """Return a contender whose parameter and loss are the number of updates made."""
    value = [np.array([start])]

    def step():
        clock.sleep(pause)
        value[0] = value[0] + 1
        return value[0][0]

    return stepping(step, [()], lambda: value)


def absent():
    raise ModuleNotFoundError("No module named 'nowhere'", name="nowhere")


def test_two_cases_run_and_write_json_and_table(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--tiny", "--out", str(tmp_path), "narrow", "h"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "results.json").read_text())
    assert list(found) == ["h", "narrow"]
    assert {"date", "cpu", "cores", "python", "pytensor", "numpy"} <= set(found["h"]["environment"])
    rows = [row for result in found.values() for row in result["rows"]]
    assert [row["what"] for row in rows] == [f"update of {algo}" for algo in ("sgd", "sgd", "rmsprop", "adam")]
    for row in rows:
        assert 0 < row["low"] <= row["high"], row["note"]
        assert row["value"] == pytest.approx(row["ours"] / row["theirs"])
        assert row["reached"] == (row["value"] <= row["goal"])
    table = (tmp_path / "README.md").read_text()
    for row in rows:
        assert f"{row['what']} | {row['against']} | {number(row['value'])} (" in table
        assert row["what"] in done.stdout


def test_ratios_are_those_of_the_medians_and_minima(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    makers = {n: functools.partial(counting, pause=pause, clock=clock) for n, pause in (("slow", 4e-3), ("fast", 1e-3))}
    contest = Contest(makers, 3).time(TINY)
    row = contest.row("sleep", "slow", "fast", goal=1.5, limit="fast")
    assert row.value == pytest.approx(np.median(contest.times["slow"]) / np.median(contest.times["fast"]))
    assert row.minima == pytest.approx(min(contest.times["slow"]) / min(contest.times["fast"]))
    assert row.value == pytest.approx(4)
    assert row.low <= row.high
    assert row.reached is False
    assert row.limit == row.theirs
    excess = contest.row("sleep", "slow", "fast", beyond="fast")
    assert excess.value == pytest.approx(row.value - 1)
    assert excess.reached is None


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (absent, "other: nowhere is not installed"),
        (lambda: counting(start=1.0), "other: ArithmeticError: its loss is 4, not 3"),
        (lambda: 1 / 0, "other: ZeroDivisionError: division by zero"),
        (
            lambda: Contender(lambda n: None, lambda: [np.ones(1)]),
            "other: ArithmeticError: its parameter 0 differs by 0.67 of the largest value",
        ),
        (
            lambda: Contender(lambda n: None, lambda: [np.full(1, np.nan)]),
            "other: ArithmeticError: its parameter 0 differs by nan of the largest value",
        ),
    ],
)
def test_a_peer_that_fails_or_computes_something_else_is_not_timed(other, reason):
    contest = Contest({"ours": counting, "other": other}, 3).time(TINY)
    row = contest.row("count", "ours", "other", 0.5)
    assert (row.value, row.goal, row.note) == (None, 0.5, reason)
    assert list(contest.times) == ["ours"]


def test_a_limit_that_is_missing_leaves_the_row_without_one():
    contest = Contest({"ours": counting, "other": counting}, 3, limits={"limit": absent}).time(TINY)
    row = contest.row("count", "ours", "other", limit="limit")
    assert row.value is not None
    assert row.limit is None


@pytest.mark.parametrize(
    ("seconds", "job", "note"),
    [
        (120, ["-c", "1/0"], "ZeroDivisionError: division by zero"),
        (120, ["-c", "import os; os.kill(os.getpid(), 9)"], "ended with code -9"),
        (0.1, ["-c", "import time; time.sleep(1000)"], "no result after 0.1 s"),
    ],
)
def test_a_job_that_crashes_or_hangs_gives_a_row_that_says_so(seconds, job, note, monkeypatch):
    made = []

    def jobs(size):
        made.append(size)
        return [runner.Job("something", seconds, list)]

    popen = subprocess.Popen
    monkeypatch.setattr(cases.case("narrow"), "jobs", jobs)
    monkeypatch.setattr(subprocess, "Popen", lambda command, **kwargs: popen([sys.executable, *job], **kwargs))
    assert runner.run_case("narrow", TINY) == [Row("something", note=note)]
    assert made == [TINY]


def test_a_case_that_is_run_again_replaces_its_rows_only(tmp_path):
    results.write(tmp_path, "b", [Row("first", "peer", 1.0, goal=1.0)], ABOUT)
    results.write(tmp_path, "a", [Row("other", note="no peer", goal=0.5)], ABOUT)
    results.write(tmp_path, "b", [Row("second", "peer", 1.0, goal=0.9)], ABOUT | {"size": "full"})
    text = (tmp_path / "README.md").read_text()
    before, rest = (results.HERE / "README.md").read_text().split(results.BEGIN)
    assert text.startswith(before)
    assert text.endswith(rest.split(results.END)[1])
    shown = text[len(before) :].splitlines()
    assert "- a: 2026-01-01, size tiny, 2 cores of abacus, numpy 2" in shown
    assert "- b: 2026-01-01, size full, 2 cores of abacus, numpy 2" in shown
    assert "| a | other |  | not measured: no peer |  | 0.5 |  |  |  |" in shown
    assert "| b | second | peer | 1.00 |  | 0.9 **missed** |  |  |  |" in shown
    assert "| first |" not in text


def test_a_row_survives_json():
    row = Row("what", "peer", 0.5, 0.4, 0.6, 0.45, 1.0, ours=1e-3, theirs=2e-3, limit_name="copy", limit=1e-4)
    assert from_dict(json.loads(json.dumps(as_dict(row)))) == row
    assert cells("c", row) == ["c", "what", "peer", "0.50 (0.40-0.60)", "0.45", "1", "1 ms", "2 ms", "copy 100 us, x10"]


def test_a_plain_amount_has_its_unit():
    row = Row("compile", value=13.2, goal=12.0, unit="s", ours=13.2, note="once")
    assert cells("d", row)[1:7] == ["compile (once)", "", "13 s", "", "12 s **missed**", "13.2 s"]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (2.5, "s", "2.5 s"),
        (1e-3, "s", "1 ms"),
        (3.21e-6, "s", "3.21 us"),
        (5e-10, "s", "0.5 ns"),
        (54.2e6, "B", "54.2 MB"),
    ],
)
def test_an_amount_has_a_handy_unit(value, unit, text):
    assert amount(value, unit) == text


def test_every_case_of_the_table_is_explained():
    readme = (results.HERE / "README.md").read_text()
    for name in cases.NAMES:
        assert f"\n- **{name}** " in readme
        assert cases.case(name).__doc__


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("name", cases.NAMES)
def test_every_case_has_jobs_in_every_size(name, size):
    jobs = cases.case(name).jobs(size)
    assert jobs
    assert len({job.what for job in jobs}) == len(jobs)


def test_batches_are_views_of_the_data():
    problem = problems.linear_regression(3)
    assert [x.shape for x, _ in problem.batches] == [(32, 10)] * 3
    assert np.shares_memory(problem.batches[2][0], problem.data[0][-1])
    assert problems.rosenbrock(2, 5).batches == [()]


def test_first_values_are_copied_as_long_as_contenders_follow():
    problem = problems.linear_regression(3)
    for _ in range(2):
        [first] = problem.first()
        assert first.tolist() == problem.params[0].tolist()
        assert not np.shares_memory(first, problem.params[0])


def test_first_values_of_a_problem_that_does_not_last_are_given_away():
    problem = dataclasses.replace(problems.chain(2), lasting=False)
    params = list(problem.params)
    assert all(first is p for first, p in zip(problem.first(), params, strict=True))
    assert not problem.params


def test_an_unknown_case_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["nothing"])
    assert "case must be one of a, b," in capsys.readouterr().err
