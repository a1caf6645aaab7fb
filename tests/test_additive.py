"""Whether a density is a sum over rows: what `rows=` of `downhill2.pymc` looks at before it trains."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from downhill2.integrations.additive import FEW, check_sums

ROWS = 300
X = np.random.default_rng(0).normal(2, 1, size=(ROWS, 2))
Y = np.random.default_rng(1).normal(size=ROWS)

SUMS = {
    "squares": lambda w, x, y: -((x @ w - y) ** 2).sum(),
    "zero at the start": lambda w, x, y: -(w**2).sum() * (y**2).sum(),
    "none of the rows": lambda w, x, y: -(w**2).sum() * y.shape[0],
    "infinite half a step away": lambda w, x, y: pt.switch(abs(w).max() < 0.01, -((x @ w - y) ** 2).sum(), -np.inf),
}
NO_SUMS = {
    "a mean": lambda w, x, y: -((x @ w - y) ** 2).mean(),
    "centred": lambda w, x, y: -(((x - x.mean(0)) @ w - y) ** 2).sum(),
    "lagged": lambda w, x, y: -((y[1:] - w[0] * y[:-1]) ** 2).sum(),
    "sorted": lambda w, x, y: -(w[0] * pt.sort(y) * pt.arange(y.shape[0])).sum(),
    "all pairs": lambda w, x, y: -w[0] * (y[:, None] - y[None, :]).sum() ** 2 - w[1] * y.sum() ** 2,
    "the same at the start": lambda w, x, y: -w[0] * (y**2).mean(),
    "not finite in batches": lambda w, x, y: pt.switch(y.shape[0] < 40, np.nan, -(y**2).sum()),
}


def check(write, dtype="float64", rows=(X, Y)):
    x, y = pt.matrix("x", dtype=dtype), pt.vector("y", dtype=dtype)
    w = pytensor.shared(np.zeros(2, dtype), name="w")
    count = len(rows[0])
    check_sums({"seen": write(w, x, y) * (count / y.shape[0])}, [w], [x, y], [r.astype(dtype) for r in rows])
    assert not w.get_value().any()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("write", SUMS.values(), ids=SUMS)
def test_sums_over_rows_are_taken(write, dtype):
    with pytensor.config.change_flags(floatX=dtype):
        check(write, dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("write", NO_SUMS.values(), ids=NO_SUMS)
def test_what_is_no_sum_over_rows_is_refused_by_name(write, dtype):
    message = "rows must add up to the log density of 'seen', one by one, got 'x', 'y': of some rows it is"
    with pytensor.config.change_flags(floatX=dtype), pytest.raises(ValueError, match=message):
        check(write, dtype)


@pytest.mark.parametrize("count", [1, 2, FEW, FEW + 1])
def test_there_may_be_as_few_rows_as_one(count):
    check(SUMS["squares"], rows=(X[:count], Y[:count]))


def test_a_few_rows_of_an_array_on_a_disk_are_read():
    class Read:
        shape, read = (10**9, 2), 0

        def __len__(self):
            return self.shape[0]

        def __getitem__(self, rows):
            self.read += rows.stop - rows.start
            return np.full((rows.stop - rows.start, 2), float(rows.start % 7))

    x, w, rows = pt.matrix("x"), pytensor.shared(np.zeros(2), name="w"), Read()
    check_sums({"seen": -((x @ w) ** 2).sum() * (1e9 / x.shape[0])}, [w], [x], [rows])
    assert rows.read == FEW


def test_data_that_do_not_go_with_the_rows_are_told_of():
    message = (
        "rows must name all data that has a row for each of theirs, got 'x', 'y', of which the model does not take"
    )
    with pytest.raises(ValueError, match=message):
        check(lambda w, x, y: -((y - Y) ** 2 * w[0]).sum())
    with pytest.raises(ValueError, match="rows: arrays must have the same length along axis 0, got 300 and 299"):
        check(SUMS["squares"], rows=(X, Y[1:]))
