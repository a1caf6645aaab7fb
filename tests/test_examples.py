"""The examples do what they say: run as users run them, in the default mode, with warnings as errors."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"

# What each prints about its success, and what that number must be.
RESULTS = {
    "digits": (r"test accuracy (\S+)", lambda accuracy: accuracy >= 0.97),
    "linear_regression": (r"mean squared error (\S+), exact", lambda error: 0.47 < error < 0.49),
    "logistic_regression": (r"test accuracy (\S+)", lambda accuracy: accuracy > 0.93),
    "matrix_factorization": (r"never seen: (\S+)%", lambda percent: percent > 60),
    "rosenbrock_2d": (r"momoadam: loss (\S+) ", lambda loss: loss < 1e-6),
    "rosenbrock_100d": (r"adam: +(\S+) with", lambda loss: loss < 10),
    "sources": (r"largest difference (\S+)", lambda difference: difference < 1e-12),
    "sparse_coding": (r"energy explained: (\S+)%", lambda percent: percent > 90),
}


def test_every_example_is_tried():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(RESULTS)


def test_an_example_is_shorter_than_80_lines():
    assert max(len(path.read_text().splitlines()) for path in EXAMPLES.glob("*.py")) < 80


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.thorough) if n == "rosenbrock_2d" else n for n in RESULTS]
)
def test_an_example_runs_and_reaches_what_it_claims(name, tmp_path):
    pattern, good = RESULTS[name]
    command = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    result = re.search(pattern, done.stdout)
    assert result, done.stdout
    assert good(float(result[1])), done.stdout
    for picture in re.findall(r"(\S+\.png)", done.stdout):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
