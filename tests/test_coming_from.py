"""What the pages of docs/coming-from say is the same is the same.

Each row of code of torch-and-optax.md gives the same numbers; scripts run with what downhill.md changes of them.
"""

from __future__ import annotations

import ast
import logging
import re
from pathlib import Path

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from oracles import optax_oracle
from oracles.driven import Driven
from test_algorithms import GRADIENTS, START, assert_equal_points

import downhill2
from downhill2 import schedules

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "coming-from" / "torch-and-optax.md").read_text()
ROW = re.compile(r"^\| `(.+)` \| `(.+)` \|$", re.MULTILINE)
STEPS = (1, 30)
N = 200

# optax computes these in an order, or with a root, that costs digits; see the cases of their families
LESS_EXACT = {"optax.adafactor(0.01)": 1e-6, "optax.contrib.madgrad(0.01)": 1e-6}


def rows(section):
    """Return the rows of a section of the page that have code on both sides."""
    text = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)[1]
    return [row for row in ROW.findall(text) if row[1].startswith(("build(", "schedules."))]


def built(ours):
    """Return the algorithm and the settings that a call of `build` names."""
    call = ast.parse(ours, mode="eval").body
    settings = {k.arg: eval(ast.unparse(k.value), {"schedules": schedules}) for k in call.keywords}
    assert (call.func.id, ast.unparse(call.args[1])) == ("build", "loss")
    return call.args[0].value, settings


def ours(words, start=START, gradients=GRADIENTS):
    algo, settings = built(words)
    return Driven(algo, settings, start).trajectory(gradients, STEPS)


SECTIONS = {
    "torch.optim": 17,
    "torch: what surrounds the optimizer": 2,
    "Schedules of torch": 12,
    "optax": 49,
    "Schedules of optax": 11,
}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_row_is_found(section):
    assert len(rows(section)) == SECTIONS[section]


@pytest.mark.thorough
@pytest.mark.parametrize(("theirs", "words"), rows("optax"))
def test_an_optimizer_is_that_of_optax(theirs, words):
    import optax

    # its SM3 takes no scalars
    start, gradients = (START[1:], [gs[1:] for gs in GRADIENTS]) if "sm3" in theirs else (START, GRADIENTS)
    live = optax_oracle.trajectory(lambda _: eval(theirs, {"optax": optax}), start, gradients, STEPS)
    assert_equal_points(ours(words, start, gradients), live, start, float64=LESS_EXACT.get(theirs, 1e-9))


@pytest.mark.parametrize(("theirs", "words"), rows("Schedules of optax"))
def test_a_schedule_is_that_of_optax(theirs, words):
    import jax
    import optax

    with jax.enable_x64(True):
        schedule = eval(theirs, {"optax": optax})
        expected = [float(schedule(jax.numpy.asarray(t, "float64"))) for t in range(N)]
    np.testing.assert_allclose(eval(words)(np.arange(N)), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.oracle_torch
@pytest.mark.parametrize(("theirs", "words"), rows("torch.optim"))
def test_an_optimizer_is_that_of_torch(theirs, words):
    torch = pytest.importorskip("torch")
    from oracles import torch_oracle

    def factory(optim, params):
        return eval(theirs, {"torch": torch, "params": params})

    assert_equal_points(ours(words), torch_oracle.trajectory(factory, START, GRADIENTS, STEPS))


@pytest.mark.oracle_torch
@pytest.mark.parametrize(("theirs", "words"), rows("torch: what surrounds the optimizer"))
def test_gradients_are_clipped_as_by_torch(theirs, words):
    torch = pytest.importorskip("torch")
    from oracles import torch_oracle

    def factory(optim, params):
        optimizer = optim.SGD(params, lr=built(words)[1]["learning_rate"])
        optimizer.register_step_pre_hook(lambda *_: eval(theirs, {"torch": torch, "params": params}) and None)
        return optimizer

    live = torch_oracle.trajectory(factory, START, GRADIENTS, STEPS)
    # torch divides by the norm plus 1e-6
    assert_equal_points(ours(words), live, float64=1e-6 if "norm" in theirs else 1e-9)


@pytest.mark.oracle_torch
@pytest.mark.parametrize(("theirs", "words"), rows("Schedules of torch"))
@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, of its own calls, and of steps without an update
def test_a_schedule_is_that_of_torch(theirs, words):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler, expected = eval(theirs, {**vars(torch.optim.lr_scheduler), "optimizer": optimizer}), []
    for t in range(N):
        expected.append(optimizer.param_groups[0]["lr"])
        if t < N - 1:
            optimizer.step()
            scheduler.step()
    # torch multiplies the rate from step to step, so that its rounding adds up
    np.testing.assert_allclose(eval(words)(np.arange(N)), expected, rtol=1e-11, atol=1e-15)


# -- old scripts


OLD = sorted((Path(__file__).parent / "old_scripts").glob("*.py"), key=str)
FROM_DOWNHILL = (ROOT / "docs" / "coming-from" / "downhill.md").read_text()

# What a row of the page's table says, and what of a script it changes.
ROWS = [
    (
        "| `import climate` | `from downhill2 import climate` |",
        r"(?m)^import climate$",
        "from downhill2 import climate",
    ),
    ("| `import downhill` | `import downhill2` |", r"\bdownhill\b", "downhill2"),
    ("| `import theano` | `import pytensor` |", r"\btheano\b", "pytensor"),
    (
        "| `TT.nnet.softmax(z)` | `pt.special.softmax(z, axis=-1)` |",
        r"(?m)TT\.nnet\.softmax\((.*)\)$",
        r"TT.special.softmax(\1, axis=-1)",
    ),
    (
        "`t` with indices | `-pt.log(p[pt.arange(t.shape[0]), t])` |",
        r"TT\.nnet\.categorical_crossentropy\((\w+), (\w+)\)",
        r"-TT.log(\1[TT.arange(\2.shape[0]), \2])",
    ),
    ("| `TT.sgn(x)` | `pt.sign(x)` |", r"TT\.sgn\b", "TT.sign"),
    ("| `hs, updates = theano.scan(...)` |", r"hs, upd = (pytensor\.scan\(.*)\)", r"hs = \1, return_updates=False)"),
    ("`updates=` of `build` is not needed then |", r", updates=upd\b", ""),
]
ENDS = {
    "codes": lambda out: float(out.split()[-1]) < 20,
    "digits": lambda out: float(out.split()[-1]) > 0.5,
    "own_rule": lambda out: float(out.split()[0]) < 1,
    "recurrent": lambda out: out.count("\n") == 4,
}


def renewed(script):
    text = script.read_text()
    for row, old, new in ROWS:
        assert row in FROM_DOWNHILL
        text = re.sub(old, new, text)
    return text


@pytest.mark.parametrize(
    "script", [pytest.param(p, id=p.stem, marks=[pytest.mark.thorough] * (p.stem == "recurrent")) for p in OLD]
)
def test_an_old_script_runs_with_what_the_table_changes(script, own_algorithms, capsys):
    logger = logging.getLogger("downhill2")
    before = logger.level, list(logger.handlers)
    try:
        exec(compile(renewed(script), str(script), "exec"), {"__name__": "__main__"})
    finally:
        logger.setLevel(before[0])
        logger.handlers[:] = before[1]
    assert ENDS[script.stem](capsys.readouterr().out)


RIGHT = {
    "pt.special.softmax(z, axis=-1)": lambda z, p, t: np.exp(z) / np.exp(z).sum(-1, keepdims=True),
    "pt.sigmoid(z)": lambda z, p, t: 1 / (1 + np.exp(-z)),
    "pt.softplus(z)": lambda z, p, t: np.log1p(np.exp(z)),
    "pt.maximum(z, 0)": lambda z, p, t: np.where(z > 0, z, 0),
    "-pt.log(p[pt.arange(t.shape[0]), t])": lambda z, p, t: np.array(
        [-np.log(row[i]) for row, i in zip(p, t, strict=True)]
    ),
    "-(t * pt.log(p) + (1 - t) * pt.log(1 - p))": lambda z, p, t: np.where(t == 1, -np.log(p), -np.log(1 - p)),
}


@pytest.mark.parametrize("code", RIGHT)
def test_what_the_table_gives_for_theanos_functions_is_what_they_were(code):
    assert f"`{code}`" in FROM_DOWNHILL
    z, p = np.array([[-1.0, 0.5], [2.0, 0.0]]), np.array([[0.25, 0.75], [0.5, 0.5]])
    t = np.array([1, 0]) if "arange" in code else np.array([[1, 0], [0, 1]])
    found = eval(code, {"pt": pt, "z": pt.constant(z), "p": pt.constant(p), "t": pt.constant(t)})
    np.testing.assert_allclose(found.eval(mode="FAST_COMPILE"), RIGHT[code](z, p, t), rtol=1e-12)


@pytest.mark.parametrize(
    ("limits", "is_said"),
    [
        ({"max_updates": 5}, True),
        ({"max_updates": 11, "validate_every": 3}, True),
        ({"max_updates": 12, "validate_every": 3}, False),
        ({"max_updates": 5, "max_epochs": 3}, False),
        ({"max_updates": 5, "validate_every": None}, False),
        ({"max_epochs": 2}, False),
        ({"max_updates": 5, "batch_size": 0}, False),
    ],
    ids=str,
)
def test_a_limit_that_seems_to_mean_epochs_is_said_once_in_the_log(limits, is_said, caplog):
    w, x = pytensor.shared(1.0, name="w"), pt.vector("x")
    with caplog.at_level(logging.INFO, "downhill2"):
        downhill2.minimize(((x - w) ** 2).mean(), [np.arange(8.0)], **{"batch_size": 2, "rng": 0} | limits)
    said = [r for r in caplog.records if "counted epochs, as in downhill" in r.getMessage()]
    assert len(said) == is_said
    assert all(r.levelno == logging.INFO for r in said)
    if said:
        count = limits["max_updates"]
        assert said[0].getMessage() == (
            f"max_updates={count} counts updates, of which an epoch has 4; where it counted epochs, as in downhill, "
            f"write max_epochs={count}"
        )


def test_a_loss_without_data_has_an_update_an_epoch_and_nothing_to_be_said(caplog):
    w = pytensor.shared(1.0, name="w")
    with caplog.at_level(logging.INFO, "downhill2"):
        downhill2.minimize(w**2, None, max_updates=3)
    assert not [r for r in caplog.records if "counted epochs" in r.getMessage()]
