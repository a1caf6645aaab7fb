"""Datasets: what they accept, what they refuse, and which batches come in which order."""

from __future__ import annotations

import functools
import itertools
import json
import logging
import subprocess
import sys
from collections import deque

import numpy as np
import pandas as pd
import polars as pl
import pytensor
import pytensor.sparse
import pytensor.tensor as pt
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from downhill2.data.dataset import Dataset
from downhill2.data.sources import as_array
from downhill2.data.streams import Reader

TEN = np.arange(10.0)
GRID = np.arange(40.0).reshape(10, 4)


def vector(name="x", dtype="float64"):
    return pt.vector(name, dtype=dtype)


def matrix(name="x", dtype="float64", shape=(None, None)):
    return pt.tensor(name, dtype=dtype, shape=shape)


def drained(batches):
    """Batches as lists of rows, copied, with their weights."""
    return [(*(np.array(a).tolist() for a in arrays), weight) for arrays, weight in batches]


def rows_of(batches):
    """The first array of each batch, as lists."""
    return [np.array(arrays[0]).tolist() for arrays, _ in batches]


def endless(feed):
    """Batches of one training epoch after the other."""
    return itertools.chain.from_iterable(feed.train() for _ in itertools.count())


def flat(lists):
    return list(itertools.chain.from_iterable(lists))


def assert_layout(array, dtype):
    assert type(array) is np.ndarray
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.flags.aligned


# What an array may be


def formats(values):
    """The same matrix in every form that a Dataset takes."""
    return {
        "array": values,
        "fortran": np.asfortranarray(values),
        "strided": np.repeat(values, 2, axis=0)[::2],
        "reversed": values[::-1].copy()[::-1],
        "swapped": values.astype(values.dtype.newbyteorder()),
        "np.matrix": values.view(np.matrix),
        "pandas": pd.DataFrame(values),
        "polars": pl.DataFrame(values),
        "csr_matrix": sp.csr_matrix(values),
        "csr_array": sp.csr_array(values),
        "csc_matrix": sp.csc_matrix(values),
        "csc_array": sp.csc_array(values),
        "coo": sp.coo_array(values),
    }


def read_only(values):
    copy = values.copy()
    copy.flags.writeable = False
    return copy


def unaligned(values):
    raw = np.zeros(values.nbytes + 1, np.uint8)
    view = raw[1:].view(values.dtype).reshape(values.shape)
    view[...] = values
    assert not view.flags.aligned
    return view


FORMS = formats(GRID) | {"read-only": read_only(GRID), "unaligned": unaligned(GRID)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shuffle", ["rows", "batches", False])
def test_batches_have_the_layout_of_the_input_whatever_the_data_is(form, dtype, shuffle):
    feed = Dataset(FORMS[form], "train", batch_size=4, rng=1, shuffle=shuffle).bind([matrix(dtype=dtype)])
    for batches in (feed.train, feed.stored):
        seen = []
        for (x,), weight in batches():
            assert_layout(x, dtype)
            assert weight == len(x)
            seen += x.tolist()
        assert sorted(seen) == GRID.tolist()
    assert seen == GRID.tolist()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layout", ["csr", "csc"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_sparse_input_gets_sparse_batches_whatever_the_data_is(form, layout, dtype):
    x = pytensor.sparse.matrix(layout, name="x", dtype=dtype)
    feed = Dataset(FORMS[form], batch_size=4, rng=1).bind([x])
    seen = []
    for (batch,), weight in feed.train():
        assert x.type.filter(batch, strict=True) is batch
        assert weight == batch.shape[0]
        seen += batch.toarray().tolist()
    assert sorted(seen) == GRID.tolist()
    assert flat(b.toarray().tolist() for (b,), _ in feed.stored()) == GRID.tolist()


@pytest.mark.parametrize("make", [np.array, pd.Series, pl.Series], ids=["array", "pandas", "polars"])
@pytest.mark.parametrize("dtype", ["float64", "int64"])
def test_a_series_is_a_vector(make, dtype):
    feed = Dataset(make(np.arange(5, dtype=dtype)), batch_size=2, rng=3).bind([vector(dtype=dtype)])
    assert sorted(flat(rows_of(feed.train()))) == [0, 1, 2, 3, 4]
    assert rows_of(feed.stored()) == [[0, 1], [2, 3], [4]]


def test_a_tensor_that_knows_gradients_is_detached_first():
    class Tensor:
        def __array__(self):
            raise RuntimeError("call detach first")

        def detach(self):
            return self

        def cpu(self):
            return self

        def numpy(self):
            return np.arange(3.0)

    assert as_array(Tensor()).tolist() == [0, 1, 2]


@pytest.mark.oracle_torch
def test_a_tensor_of_torch_is_an_array():
    torch = pytest.importorskip("torch")
    feed = Dataset(torch.arange(4.0, requires_grad=True), batch_size=2).bind([vector(dtype="float32")])
    assert rows_of(feed.stored()) == [[0, 1], [2, 3]]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_memory_map_is_read_by_batch(tmp_path, order, mode, dtype):
    np.save(tmp_path / "x.npy", np.asarray(GRID, order=order))
    data = Dataset(np.load(tmp_path / "x.npy", mmap_mode=mode), batch_size=3, rng=5)
    feed = data.bind([matrix(dtype=dtype)])
    for batches in (feed.train, feed.stored):
        seen = []
        for (x,), _ in batches():
            assert_layout(x, dtype)
            seen += x.tolist()
        assert sorted(seen) == GRID.tolist()
    assert seen == GRID.tolist()


def test_a_memory_map_of_another_dtype_is_never_copied_whole(tmp_path):
    mapped = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype="float64", shape=(8, 2))
    feed = Dataset(mapped, batch_size=2, shuffle=False).bind([matrix(dtype="float32")])
    mapped[...] = 7  # after all that could have been copied was
    assert [x.tolist() for (x,), _ in feed.stored()] == [[[7, 7], [7, 7]]] * 4


@pytest.mark.parametrize("axis", [1, -1, -2, 2])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shuffle", ["rows", False])
def test_rows_may_lie_along_any_axis(axis, dtype, shuffle):
    values = np.arange(60.0).reshape(3, 4, 5)
    feed = Dataset(values, batch_size=2, axis=axis, rng=1, shuffle=shuffle).bind([pt.tensor3("x", dtype=dtype)])
    found = []
    for (x,), weight in feed.train():
        assert_layout(x, dtype)
        assert weight == x.shape[axis]
        found.append(x.copy())
    found = np.concatenate(found, axis)
    assert np.array_equal(np.sort(found, axis), values)
    stored = np.concatenate([x.copy() for (x,), _ in feed.stored()], axis)
    assert np.array_equal(stored, values)


def test_a_memory_map_may_have_its_rows_along_another_axis(tmp_path):
    np.save(tmp_path / "x.npy", GRID)
    feed = Dataset(np.load(tmp_path / "x.npy", mmap_mode="r"), axis=1, batch_size=3, rng=2).bind(
        [matrix(dtype="float32")]
    )
    assert np.array_equal(np.concatenate([x.copy() for (x,), _ in feed.stored()], 1), GRID)
    assert [x.shape for (x,), _ in feed.train()] == [(10, 3), (10, 1)]


def test_arrays_with_the_right_layout_are_never_copied():
    feed = Dataset(GRID, batch_size=4, shuffle=False).bind([matrix()])
    assert all(np.shares_memory(x, GRID) for (x,), _ in feed.train())
    assert all(np.shares_memory(x, GRID) for (x,), _ in Dataset(GRID, batch_size=0).bind([matrix()]).train())


def test_shuffled_batches_share_one_buffer():
    feed = Dataset(GRID[:8], batch_size=4, rng=0).bind([matrix()])
    first, second = (x for (x,), _ in feed.train())
    assert first is second
    assert not np.shares_memory(first, GRID)


def test_a_read_only_array_is_not_changed_by_writing_into_a_batch():
    values = read_only(TEN)
    for (x,), _ in Dataset(values, batch_size=4).bind([vector()]).stored():
        x[...] = -1
    assert np.array_equal(values, TEN)


def test_a_full_batch_that_has_to_be_converted_is_converted_once():
    feed = Dataset(pd.DataFrame(GRID), batch_size=0).bind([matrix(dtype="float32")])
    ((first,), weight), ((again,), _) = (*feed.train(), *feed.train())
    assert first is again
    assert weight == 10
    assert first.tolist() == GRID.tolist()


def test_a_sparse_matrix_is_converted_once_for_all_feeds():
    calls = []

    class Counted(sp.csr_matrix):
        @property
        def data(self):
            calls.append(1)
            return self._values

        @data.setter
        def data(self, values):
            self._values = values

    data = Dataset(Counted(GRID))
    data.bind([matrix(dtype="float32")])
    calls.clear()
    data.bind([matrix(dtype="float32")])
    assert not calls


def test_data_in_memory_is_converted_once_for_all_feeds():
    data = Dataset(GRID, batch_size=0)
    first, second = (data.bind([matrix(dtype="float32")]) for _ in range(2))
    ((a,), _), ((b,), _) = next(first.train()), next(second.stored())
    assert np.shares_memory(a, b)


# Casts


def kinds_of_source(values):
    return {
        "array": lambda: Dataset(values, "train"),
        "frame": lambda: Dataset(pd.DataFrame({"a": values}), "train"),
        "sparse": lambda: Dataset(sp.csr_matrix(values.reshape(-1, 1)), "train"),
        "batches": lambda: Dataset.from_batches([[values.reshape(-1, 1).copy()] for _ in range(2)], "train"),
        "callable": lambda: Dataset(lambda: values.reshape(-1, 1), "train"),
        "shared": lambda: Dataset(pytensor.shared(values.reshape(-1, 1)), "train"),
    }


@pytest.mark.parametrize(
    ("source", "target"),
    [("float64", "float32"), ("int64", "float64"), ("bool", "float32"), ("int32", "int64"), ("int64", "int8")],
)
@pytest.mark.parametrize("kind", ["array", "frame", "sparse", "batches", "callable", "shared"])
def test_a_cast_that_keeps_the_values_is_logged_once(kind, source, target, caplog):
    values = np.array([0, 1, 0, 1], dtype=source)
    if kind in ("array",):
        values = values.reshape(-1, 1)
    data = kinds_of_source(values)[kind]()
    with caplog.at_level(logging.INFO, "downhill2"):
        for feed in (data.bind([matrix(dtype=target)]), data.bind([matrix(dtype=target)])):
            deque(feed.stored(), maxlen=0)
    assert caplog.messages == [f"train: input 'x' is cast from {source} to {target}"]


def test_data_of_the_right_dtype_is_not_spoken_of(caplog):
    with caplog.at_level(logging.INFO, "downhill2"):
        deque(Dataset(TEN, rng=0).bind([vector()]).train(), maxlen=0)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("values", "target"),
    [
        (np.array([1j]), "float64"),
        (np.array([0.5]), "int64"),
        (np.array([2]), "bool"),
        (np.array(["a"]), "float64"),
        (np.array([b"a"]), "float64"),
        (np.array([None]), "float64"),
        (np.array(["2020-01-01"], "datetime64[D]"), "int64"),
        (pd.Series(["a", "b"]), "float64"),
        (pl.Series(["a", "b"]), "float64"),
        (pytensor.shared(np.array([0.5])), "int64"),
        ([[np.array([0.5])]], "int64"),
        (lambda: [np.array([0.5])], "int64"),
    ],
)
def test_a_dtype_that_would_lose_information_is_refused(values, target):
    with pytest.raises(TypeError, match=rf"train.*: input 'y' must hold values that {target} can hold, got "):
        Dataset(values, "train").bind([vector("y", target)])


@pytest.mark.parametrize(
    ("values", "target"),
    [
        (np.array([2**40]), "int32"),
        (np.array([-1]), "uint8"),
        (np.array([2**63], "uint64"), "int64"),
        (np.array([1e300]), "float32"),
        (sp.csr_array(np.array([[1e300]])), "float32"),
        (pytensor.shared(np.array([2**40])), "int32"),
        ([[np.array([300])]], "int8"),
    ],
)
def test_values_out_of_range_are_refused(values, target):
    x = pt.tensor("x", dtype=target, shape=(None,) * (2 if sp.issparse(values) else 1))
    with pytest.raises(ValueError, match=rf"input 'x' must hold values within {target}'s range"):
        Dataset(values, "train").bind([x])


def test_sparse_batches_have_indices_of_32_bits():
    wide = FORMS["csr_array"].copy()
    wide.indices, wide.indptr = wide.indices.astype("int64"), wide.indptr.astype("int64")
    x = pytensor.sparse.csr_matrix("x")
    for data in (Dataset(wide, batch_size=4), Dataset([[wide]])):
        ((batch,), _), *_ = data.bind([x]).stored()
        assert (batch.indices.dtype, batch.indptr.dtype) == ("int32", "int32")


def test_infinities_may_be_cast():
    feed = Dataset(np.array([np.inf, np.nan]), batch_size=0).bind([vector(dtype="float32")])
    assert str(next(feed.stored())[0][0]) == "[inf nan]"


def test_masked_arrays_are_refused():
    with pytest.raises(TypeError, match="arrays must not be masked, got a MaskedArray; fill it"):
        Dataset(np.ma.masked_less(TEN, 3))


# Bad input


@pytest.mark.parametrize("inputs", [{"x": TEN}, "abc", b"abc", 3, 2.5, np.float64(1), {1, 2}, pt.vector("v"), True])
def test_what_is_no_data_is_refused(inputs):
    with pytest.raises(TypeError, match="inputs must be arrays, batches, a callable or an iterable of batches, got "):
        Dataset(inputs)


def test_a_dataset_of_a_dataset_is_refused():
    with pytest.raises(TypeError, match="got Dataset"):
        Dataset(Dataset(TEN))


def test_an_object_of_no_use_is_refused():
    with pytest.raises(TypeError, match=r"inputs must be arrays, batches, .*got <object"):
        Dataset(object())


@pytest.mark.parametrize(
    ("inputs", "kinds"), [([1, 2, 3], "list of int"), ([TEN, [1]], "list of list and ndarray"), ((1, 2.0), "tuple of")]
)
def test_a_list_of_anything_but_arrays_or_batches_is_refused(inputs, kinds):
    with pytest.raises(TypeError, match=rf"inputs must hold arrays.* got a {kinds}.*; make it an array"):
        Dataset(inputs)


@pytest.mark.parametrize("make", [Dataset, Dataset.from_batches])
def test_an_empty_list_is_refused(make):
    with pytest.raises(ValueError, match=r"inputs must hold an array or a batch, got \[\]; for a loss without"):
        make([])


@pytest.mark.parametrize(
    "iterator", [iter([]), (x for x in ()), map(int, ()), zip(())], ids=["iter", "generator", "map", "zip"]
)
def test_an_iterator_that_cannot_be_restarted_is_refused(iterator):
    with pytest.raises(ValueError, match=r"cannot be restarted; give a generator function .* Dataset.from_batches"):
        Dataset(iterator)


def test_a_callable_with_arguments_is_refused():
    with pytest.raises(TypeError, match="inputs must be callable without arguments, got <function"):
        Dataset(lambda size: TEN[:size])


@pytest.mark.parametrize(
    ("arrays", "listed"), [((TEN[:5], TEN[:6]), "5 and 6"), ((TEN[:5], TEN, GRID[:3]), "5, 10 and 3")]
)
def test_arrays_of_different_length_are_refused(arrays, listed):
    with pytest.raises(ValueError, match=f"train: arrays must have the same length along axis 0, got {listed}"):
        Dataset(arrays, "train")


@pytest.mark.parametrize("empty", [np.zeros((0, 3)), pd.DataFrame(), pl.DataFrame(), sp.csr_array((0, 3))])
def test_empty_data_is_refused(empty):
    with pytest.raises(ValueError, match=r"train must have at least one row along axis 0, got shape \(0, \d\)"):
        Dataset(empty, "train")


@pytest.mark.parametrize(("inputs", "axis"), [(TEN, 1), ([GRID, TEN], -2), (np.array(3.0), 0)])
def test_an_axis_that_an_array_has_not_is_refused(inputs, axis):
    with pytest.raises(ValueError, match=rf"axis must be an axis of every array, got {axis} for an array with shape"):
        Dataset(inputs, axis=axis)


@pytest.mark.parametrize("form", ["pandas", "polars", "csr_array"])
def test_frames_and_sparse_matrices_have_their_rows_along_axis_0(form):
    with pytest.raises(ValueError, match=r"axis must be 0 for a \w+, got -1; give its \.to\w+\(\) instead"):
        Dataset(FORMS[form], axis=-1)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"batch_size": 2.5}, TypeError, "batch_size must be an integer, got 2.5"),
        ({"batch_size": True}, TypeError, "batch_size must be an integer, got True"),
        ({"batch_size": None}, TypeError, "batch_size must be an integer, got None"),
        ({"iteration_size": 0}, ValueError, "iteration_size must be at least 1, got 0"),
        ({"iteration_size": "3"}, TypeError, "iteration_size must be an integer, got '3'"),
        ({"axis": 0.0}, TypeError, "axis must be an integer, got 0.0"),
        ({"rng": -1}, ValueError, "rng must be at least 0, got -1"),
        ({"rng": "seed"}, TypeError, "rng must be an integer or a random generator of NumPy, got 'seed'"),
        ({"shuffle": True}, ValueError, "shuffle must be 'rows', 'batches' or False, got True"),
        ({"shuffle": 0}, ValueError, "shuffle must be 'rows', 'batches' or False, got 0"),
        ({"shuffle": "cols"}, ValueError, "shuffle must be 'rows', 'batches' or False, got 'cols'"),
        ({"weights": np.ones(9)}, ValueError, "weights must have one number per row, 10, got 9"),
        ({"weights": np.ones((10, 1))}, ValueError, r"weights must be a vector, got shape \(10, 1\)"),
        ({"weights": -TEN}, ValueError, "weights must be finite, not negative and not all zero, got array"),
        ({"weights": 0 * TEN}, ValueError, "weights must be finite, not negative and not all zero"),
        ({"weights": [np.nan, *TEN[1:]]}, ValueError, "weights must be finite"),
    ],
)
def test_settings_out_of_range_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        Dataset(TEN, **settings)


@pytest.mark.parametrize("inputs", [lambda: TEN, [[TEN]], None])
def test_ready_made_batches_take_no_weights(inputs):
    with pytest.raises(ValueError, match="train: weights must be None for ready-made batches"):
        Dataset(inputs, "train", weights=TEN)


@pytest.mark.parametrize(
    ("data", "got"), [(TEN, "1 array"), ([TEN, TEN, TEN], "3 arrays"), (pytensor.shared(TEN), "1 array")]
)
def test_the_number_of_arrays_must_be_that_of_the_inputs(data, got):
    with pytest.raises(
        ValueError, match=rf"train must have one array per input: the loss needs \['x', 'y'\], got {got}"
    ):
        Dataset(data, "train").bind([vector("x"), vector("y")])


@pytest.mark.parametrize("data", [TEN, [[TEN]], lambda: TEN, pytensor.shared(TEN), pd.Series(TEN)])
def test_the_number_of_dimensions_must_be_that_of_the_input(data):
    with pytest.raises(ValueError, match=r"train.*: input 'x' must have 2 dimensions, got shape \(10,\)"):
        Dataset(data, "train", batch_size=10).bind([matrix()])


@pytest.mark.parametrize("data", [GRID, [[GRID[:5]]], lambda: GRID[:5], pytensor.shared(GRID), FORMS["csr_array"]])
def test_a_static_shape_must_be_met(data):
    with pytest.raises(ValueError, match=r"train.*: batches of input 'x' must have shape \(\?, 3\), got \(5, 4\)"):
        Dataset(data, "train", batch_size=5).bind([matrix(shape=(None, 3))])


def test_a_static_number_of_rows_must_be_met_by_the_last_batch_too():
    x = matrix(shape=(4, 4))
    with pytest.raises(ValueError, match=r"batches of input 'x' must have shape \(4, 4\), got \(2, 4\)"):
        Dataset(GRID, batch_size=4).bind([x])
    assert len(list(Dataset(GRID, batch_size=4, drop_last=True).bind([x]).stored())) == 2


def test_an_input_without_name_is_called_by_its_place():
    with pytest.raises(ValueError, match="input '#1' must have 1 dimensions"):
        Dataset([TEN, GRID]).bind([pt.vector(), pt.vector()])


def test_an_input_that_is_no_tensor_is_refused():
    rng = pt.random.type.random_generator_type("r")
    with pytest.raises(TypeError, match="input 'r' must be a tensor or a sparse matrix, got"):
        Dataset(TEN).bind([rng])


# Shared variables


def test_rows_of_shared_variables_are_taken_inside_the_function():
    values, targets = pytensor.shared(GRID, "X"), pytensor.shared(np.arange(10), "y")
    x, y = matrix(shape=(None, 4)), vector("t", "float32")
    data = Dataset([values, targets], "train", batch_size=3, rng=4)
    assert data.shared == (values, targets)
    feed = data.bind([x, y])
    assert [v.type.dtype for v in feed.inputs] == ["int64"]
    function = pytensor.function(feed.inputs, [x, y], givens=feed.givens, mode="FAST_COMPILE")
    for batches in (feed.train, feed.stored):
        taken = [(*map(np.ndarray.tolist, function(*arrays)), weight) for arrays, weight in batches()]
        assert [weight for *_, weight in taken] == [3, 3, 3, 1]
        assert sorted(flat(x for x, _, _ in taken)) == GRID.tolist()
        assert flat([4 * k for k in y] for _, y, _ in taken) == [row[0] for row in flat(x for x, _, _ in taken)]
    assert flat(y for _, y, _ in taken) == list(range(10))


@pytest.mark.default_mode
def test_the_default_backend_takes_rows_of_shared_variables():
    values, x = pytensor.shared(GRID, "X"), matrix()
    feed = Dataset(values, batch_size=4, rng=4).bind([x])
    function = pytensor.function(feed.inputs, x.sum(axis=0), givens=feed.givens, trust_input=True)
    assert sum(function(*arrays) for arrays, _ in feed.train()).tolist() == GRID.sum(axis=0).tolist()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("batch_size", [0, 10, 3])
@pytest.mark.parametrize("axis", [0, 1])
def test_shared_variables_may_be_taken_whole_cast_and_along_any_axis(dtype, batch_size, axis):
    values, x = pytensor.shared(GRID if axis == 0 else GRID.T.copy(), "X"), matrix(dtype=dtype)
    feed = Dataset(values, batch_size=batch_size, axis=axis, rng=1).bind([x])
    function = pytensor.function(feed.inputs, x, givens=feed.givens, mode="FAST_COMPILE")
    found = np.concatenate([function(*arrays) for arrays, _ in feed.stored()], axis)
    assert found.dtype == dtype
    assert np.array_equal(found, values.get_value())
    assert len(feed.inputs) == (batch_size == 3)


@pytest.mark.parametrize("batch_size", [3, 0])
def test_a_shared_variable_in_another_dataset_makes_the_same_graph(batch_size):
    values, x = pytensor.shared(GRID), matrix(dtype="float32")
    first, second = (Dataset(values, batch_size=batch_size).bind([x]) for _ in range(2))
    assert first.inputs == second.inputs
    assert first.givens[x] is second.givens[x]


def test_shared_variables_and_arrays_do_not_mix():
    with pytest.raises(TypeError, match=r"arrays must be all shared variables or none, got .*'ndarray'"):
        Dataset([pytensor.shared(TEN), TEN])


def test_a_shared_variable_must_be_a_dense_tensor():
    rng = pytensor.shared(np.random.default_rng(1))
    sparse = pytensor.sparse.sharedvar.sparse_constructor(sp.csr_matrix(GRID))
    for variable in (rng, sparse):
        with pytest.raises(TypeError, match="shared variables must be dense tensors, got"):
            Dataset(variable)


def test_a_shared_variable_must_keep_its_length():
    values = pytensor.shared(TEN, "X")
    data = Dataset(values)
    values.set_value(TEN[:5])
    with pytest.raises(ValueError, match=r"X must keep its shape \(10,\), got \(5,\); make a new Dataset"):
        data.bind([vector()])


def test_shared_variables_do_not_belong_into_batches():
    with pytest.raises(TypeError, match=r"train: batch 0 must hold arrays, got \w*SharedVariable"):
        Dataset([[pytensor.shared(TEN)]], "train").bind([vector()])


# Ready-made batches


def test_lists_of_lists_are_batches():
    data = Dataset([[TEN[:3], GRID[:3]], (TEN[3:5], GRID[3:5])], shuffle=False)
    assert len(data) == 2
    assert drained(data.bind([vector(), matrix("y")]).train()) == [
        ([0, 1, 2], GRID[:3].tolist(), 3),
        ([3, 4], GRID[3:5].tolist(), 2),
    ]


@pytest.mark.parametrize(
    "batches", [[TEN[:4], TEN[4:]], iter([TEN[:4], [TEN[4:]]]), ((b,) for b in (TEN[:4], TEN[4:]))]
)
def test_from_batches_takes_any_iterable_of_batches(batches):
    data = Dataset.from_batches(batches, "train", rng=1)
    feed = data.bind([vector()])
    assert rows_of(feed.stored()) == rows_of(feed.stored()) == [[0, 1, 2, 3], [4, 5, 6, 7, 8, 9]]
    assert sorted(rows_of(feed.train())) == [[0, 1, 2, 3], [4, 5, 6, 7, 8, 9]]


def test_listed_batches_that_are_bound_again_are_read_again_only_where_they_changed(monkeypatch):
    batches, reads, x = [[TEN[:4].copy()], [TEN[4:6].astype("f4")], [TEN[6:].copy()]], [], vector()
    read = Reader.__call__
    monkeypatch.setattr(Reader, "__call__", lambda self, b, number: reads.append(number) or read(self, b, number))
    data = Dataset(batches, shuffle=False)
    assert rows_of(data.bind([x]).stored()) == [[0, 1, 2, 3], [4, 5], [6, 7, 8, 9]]
    batches[0][0][0] = 7  # in the memory that the feed reads
    batches[1][0][0] = 8  # and in one that had to be converted
    batches[2][0] = TEN[:2].copy()
    assert rows_of(data.bind([x]).stored()) == [[7, 1, 2, 3], [8, 5], [0, 1]]
    assert reads == [0, 1, 2, 1, 2]
    list(data)  # as stored
    batches[0] = ["ten"]
    with pytest.raises(TypeError, match="batch 0 must hold arrays, got str"):
        data.bind([x])
    batches[0], reads[:] = [TEN[:4]], []
    assert rows_of(data.bind([vector("y", "float32")]).stored()) == [[0, 1, 2, 3], [8, 5], [0, 1]]
    assert reads == [0, 1, 2]


def one_batch_each():
    for k in range(2):
        yield [TEN[k : k + 1]]


class Callable:
    def __call__(self):
        return [TEN]


@pytest.mark.parametrize(
    ("batches", "got", "hint"),
    [
        (lambda: iter([[TEN]]), "<function", True),
        (one_batch_each, "<function one_batch_each", True),
        (Callable(), "<.*Callable", True),
        (3, "3", False),
        (None, "None", False),
        (np.array(3.0), r"array\(3.\)", False),
        ("abc", "'abc'", False),
        ({"x": [TEN]}, "{'x'", False),
        (pt.vector("x"), "x", False),
    ],
)
def test_what_is_no_iterable_of_batches_is_refused_and_a_function_with_what_to_do(batches, got, hint):
    with pytest.raises(TypeError, match=f"^batches must be an iterable of batches, got {got}") as caught:
        Dataset.from_batches(batches)
    assert str(caught.value).endswith("; call it, or give it to Dataset, which calls it for each pass") == hint


def test_a_generator_function_gives_ready_batches_when_it_is_called():
    for data in (Dataset.from_batches(one_batch_each(), shuffle=False), Dataset(one_batch_each)):
        assert [x.tolist() for (x,) in data] == [[0.0], [1.0]]


# Readers that fill the same memory again and again


def one_buffer():
    buffer = np.empty(2)
    for k in range(0, 6, 2):
        buffer[:] = TEN[k : k + 2]
        yield [buffer]


def one_list():
    batch = [None]
    for k in range(0, 6, 2):
        batch[0] = TEN[k : k + 2].copy()
        yield batch


def bare_views():
    """The last batch is shorter."""
    buffer = np.empty(4)
    for k in (0, 4, 8):
        part = buffer[: min(4, 10 - k)]
        part[:] = TEN[k : k + 4]
        yield part


def two_buffers_in_turn():
    buffers = np.empty((2, 2))
    for k in range(5):
        buffers[k % 2] = TEN[2 * k : 2 * k + 2]
        yield (buffers[k % 2],)


def from_the_end():
    buffer = np.empty(2)
    for k in range(0, 6, 2):
        buffer[::-1] = TEN[k : k + 2]
        yield [buffer[::-1]]


def in_a_series():
    series = pd.Series([0.0, 0.0])
    for k in range(0, 6, 2):
        series[:] = TEN[k : k + 2]
        yield [series]


READERS = [one_buffer, one_list, bare_views, two_buffers_in_turn, from_the_end, in_a_series]
WAYS_TO_KEEP = {
    "from_batches": lambda reader: rows_of(Dataset.from_batches(reader(), shuffle=False).bind([vector()]).train()),
    "listed": lambda reader: [x.tolist() for (x,) in list(Dataset(reader))],
    "bound": lambda reader: rows_of(Dataset(reader).bind([vector()]).train()),
    "read ahead": lambda reader: rows_of(Dataset(reader, prefetch=2).bind([vector()]).train()),
    "read again": lambda reader: rows_of(Dataset(reader, retries=2).bind([vector()]).train()),
    "from a Dataset": lambda reader: rows_of(
        Dataset.from_batches(Dataset(reader), shuffle=False).bind([vector()]).train()
    ),
}


@pytest.mark.parametrize("way", WAYS_TO_KEEP)
@pytest.mark.parametrize("reader", READERS)
def test_batches_of_a_reader_that_fills_the_same_memory_again_are_right(reader, way):
    assert WAYS_TO_KEEP[way](reader) == [np.ravel(batch).tolist() for batch in reader()]


def test_two_datasets_may_read_into_the_same_memory():
    buffer = np.empty(2)

    def reader(start):
        for k in range(start, start + 4, 2):
            buffer[:] = TEN[k : k + 2]
            yield [buffer]

    train, valid = (Dataset(functools.partial(reader, start)).bind([vector()]) for start in (0, 6))
    assert rows_of(train.stored()) == [[0, 1], [2, 3]]  # the first of which was read before that of the other
    assert rows_of(valid.stored()) == [[6, 7], [8, 9]]
    assert rows_of(train.train()) == [[0, 1], [2, 3]]


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_callable_may_return_the_same_memory(prefetch):
    def read():
        buffer[:] = next(numbers)
        return [buffer]

    buffer, numbers = np.empty(2), itertools.count()
    train = Dataset(read, prefetch=prefetch, iteration_size=3).bind([vector()])
    valid = Dataset(read, iteration_size=2).bind([vector()])
    assert rows_of(train.train()) == [[0, 0], [2, 2], [3, 3]]
    assert rows_of(valid.stored())[0] == [1, 1]


def test_sparse_batches_of_a_reader_that_fills_the_same_memory_again_are_right():
    matrix_ = sp.csr_matrix(np.eye(2))

    def reader():
        for k in range(3):
            matrix_.data[:] = k
            yield [matrix_]

    data = Dataset.from_batches(reader(), shuffle=False)
    assert [x.toarray().tolist() for (x,) in data] == [(k * np.eye(2)).tolist() for k in range(3)]


def test_batches_that_were_listed_from_one_buffer_are_told_of(caplog):
    batch = [TEN, GRID]
    for batches in (list(one_buffer()), tuple(in_a_series()), list(one_list()), [[TEN]] * 3, (batch, batch, batch)):
        caplog.clear()
        Dataset(batches, "train")
        assert caplog.messages == [
            "train: all 3 batches lie in the same memory, and are the same; of a reader that fills one buffer again "
            "and again give the iterator to Dataset.from_batches, which copies; to take one batch so often, give it "
            "once, with iteration_size=3"
        ]
    caplog.clear()
    data = Dataset([[TEN]], "train", iteration_size=3)
    assert [x.tolist() for (x,) in data] == [TEN.tolist()] * 3
    for batches in (
        [[TEN, GRID], [TEN, GRID[::-1]]],
        [[TEN[:5]], [TEN[5:]]],
        [[], []],
        [[TEN]],
        [[3], [3]],
    ):
        Dataset(batches)
    assert caplog.messages == []


@pytest.mark.parametrize("shuffle", ["rows", "batches"])
def test_the_order_of_listed_batches_is_shuffled(shuffle):
    data = Dataset.from_batches([TEN[k : k + 1] for k in range(10)], rng=1, shuffle=shuffle)
    feed = data.bind([vector()])
    first, second = flat(rows_of(feed.train())), flat(rows_of(feed.train()))
    assert sorted(first) == sorted(second) == TEN.tolist()
    assert first != second
    assert flat(rows_of(feed.stored())) == TEN.tolist()


@pytest.mark.parametrize("make", [lambda: Dataset([[]]), lambda: Dataset(None), lambda: Dataset.from_batches([[]])])
def test_a_loss_without_inputs_has_batches_without_arrays(make):
    feed = make().bind([])
    assert list(feed.train()) == list(feed.stored()) == [((), 1.0)]
    assert feed.fault() is None


def test_a_loss_without_inputs_is_evaluated_as_often_as_asked():
    data = Dataset(None, iteration_size=3)
    feed = data.bind([])
    assert len(data) == len(list(feed.stored())) == len(list(feed.train())) == 3


@pytest.mark.parametrize("data", [[[]], list, lambda: ()])
def test_no_arrays_for_a_loss_with_inputs_is_refused(data):
    with pytest.raises(ValueError, match=r"train: batch 0 must be a sequence of 1 array, one per input \['x'\], got 0"):
        Dataset(data, "train").bind([vector()])


@pytest.mark.parametrize("got", [{"x": TEN}, None, "ab", {1, 2}, TEN, 3])
def test_a_callable_that_returns_the_wrong_thing_is_refused_by_its_type(got):
    message = rf"train: batch 0 must be a sequence of 2 arrays, one per input \['x', 'y'\], got {type(got).__name__}"
    with pytest.raises(TypeError, match=message):
        Dataset(lambda: got, "train").bind([vector("x"), vector("y")])


@pytest.mark.parametrize("got", ["ab", None, [1, 2], {1}])
def test_what_is_no_array_in_a_batch_is_refused_by_its_type(got):
    with pytest.raises(TypeError, match=rf"train: batch 0 must hold arrays, got {type(got).__name__}"):
        Dataset(lambda: [TEN, got], "train").bind([vector("x"), vector("y")])


def test_a_wrong_batch_later_is_told_by_its_place():
    def batches():
        yield TEN
        yield TEN
        yield {"x": TEN}

    feed = Dataset(batches, "train").bind([vector()])
    expected = r"train: batch 2 must be a sequence of 1 array, one per input \['x'\], got dict"
    with pytest.raises(TypeError, match=expected):
        list(feed.train())
    with pytest.raises(TypeError, match=expected):
        list(feed.stored())


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match=r"batch 0 must have at least one row along axis 0, got shape \(0,\)"):
        Dataset(lambda: TEN[:0]).bind([vector()])


@pytest.mark.parametrize("value", [2, 2.0, np.float64(2), np.array(2.0)])
def test_a_batch_may_hold_numbers_for_scalar_inputs(value):
    for data in (Dataset([[value]]), Dataset(lambda: value)):
        (x,), weight = next(data.bind([pt.scalar("x", dtype="float64")]).train())
        assert_layout(x, "float64")
        assert (x, x.ndim, weight) == (2, 0, 1)


def test_the_weight_of_a_batch_is_the_length_of_its_first_array_along_the_axis():
    feed = Dataset.from_batches([[GRID, TEN[:3]]], axis=1).bind([matrix(), vector("y")])
    assert next(feed.stored())[1] == 4


@pytest.mark.parametrize("form", FORMS)
def test_batches_may_be_of_any_library(form):
    for x in (matrix(dtype="float32"), pytensor.sparse.csr_matrix("x", dtype="float32")):
        ((batch,), weight), *_ = Dataset(lambda: [FORMS[form]]).bind([x]).train()
        assert x.type.filter(batch, strict=True) is batch
        assert weight == 10
        assert np.array_equal(batch if isinstance(batch, np.ndarray) else batch.toarray(), GRID)


# Callables and iterables


class Counter:
    """Returns 0, 1, 2 ... one at a time."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return np.full(2, self.calls - 1.0)


class SizedCounter(Counter):
    def __len__(self):
        return 3


@pytest.mark.parametrize(
    ("kind", "iteration_size", "length"),
    [(Counter, None, 100), (Counter, 7, 7), (SizedCounter, None, 3), (SizedCounter, 4, 4)],
)
def test_an_epoch_of_a_callable_has_as_many_batches_as_it_says(kind, iteration_size, length):
    source = kind()
    data = Dataset(source, iteration_size=iteration_size)
    assert len(data) == length
    feed = data.bind([vector()])
    assert feed.length == length
    assert rows_of(feed.train()) == [[k, k] for k in range(length)]
    assert rows_of(feed.stored()) == [[k, k] for k in range(length, 2 * length)]
    assert rows_of(feed.train()) == [[k, k] for k in range(2 * length, 3 * length)]
    assert source.calls == 3 * length


def test_a_callable_is_called_once_to_be_checked_however_often_it_is_bound():
    source = Counter()
    data = Dataset(source, iteration_size=2)
    data.bind([vector()])
    feed = data.bind([vector()])
    assert source.calls == 1
    assert rows_of(feed.train()) == [[0, 0], [1, 1]]


def test_an_error_of_a_callable_passes_through():
    def broken():
        raise KeyError("disk")

    with pytest.raises(KeyError, match="disk"):
        Dataset(broken).bind([vector()])


@pytest.mark.parametrize("source", [dict, functools.partial(np.ones, 3)], ids=["unknown signature", "partial"])
def test_callables_of_other_kinds_are_called(source):
    data = Dataset(source)
    assert len(data) == 100
    if source is not dict:
        assert rows_of(itertools.islice(data.bind([vector()]).train(), 1)) == [[1, 1, 1]]


def test_a_callable_of_length_zero_is_refused():
    with pytest.raises(ValueError, match="train must have at least one batch, got data of length 0"):
        Dataset(type("Empty", (Counter,), {"__len__": lambda self: 0})(), "train")


def counting(length=4):
    for k in range(length):
        yield [np.full(k + 1, float(k))]


class Restarting:
    """A generator function as a method."""

    def __call__(self):
        yield from counting()


@pytest.mark.parametrize("source", [counting, functools.partial(counting, 4), Restarting(), deque(counting())])
def test_iterables_start_anew_each_epoch(source):
    feed = Dataset(source).bind([vector()])
    expected = [([k] * (k + 1), k + 1) for k in range(4)]
    assert drained(feed.train()) == drained(feed.stored()) == drained(feed.train()) == expected
    next(feed.train())
    assert drained(feed.train()) == expected


def test_iterables_go_on_in_the_next_epoch_where_its_size_is_given():
    feed = Dataset(counting, iteration_size=3).bind([vector()])
    firsts = [[row[0] for row in rows_of(feed.train())] for _ in range(4)]
    assert firsts == [[0, 1, 2], [3, 0, 1], [2, 3, 0], [1, 2, 3]]
    assert [row[0] for row in rows_of(feed.stored())] == [0, 1, 2]
    assert [row[0] for row in rows_of(feed.train())] == [0, 1, 2]


def test_evaluation_has_no_more_batches_than_the_data():
    for source in (counting, TEN[:4]):
        feed = Dataset(source, iteration_size=6, batch_size=1).bind([vector()])
        assert len(list(feed.stored())) == 4
        assert len(list(feed.train())) == 6


def test_an_iterable_with_a_length_tells_it():
    data = Dataset(deque(counting()))
    assert len(data) == data.bind([vector()]).length == 4
    assert len(Dataset(deque(counting()), iteration_size=7)) == 7
    with pytest.raises(ValueError, match="at least one batch"):
        Dataset(deque())


@pytest.mark.parametrize("source", [counting, type("Odd", (Restarting,), {"__len__": lambda self: None})()])
def test_the_length_of_a_generator_function_is_not_known(source):
    data = Dataset(source, "train")
    assert data.bind([vector()]).length is None
    with pytest.raises(TypeError, match=r"train must have a length for len\(\), .*; give iteration_size"):
        len(data)
    assert len(list(data)) == 4
    assert len(Dataset(source, iteration_size=7)) == 7


def test_an_iterable_that_is_empty_the_second_time_is_refused():
    class Once:
        def __init__(self):
            self.batches = counting()

        def __iter__(self):
            return self.batches

    feed = Dataset(Once(), "train").bind([vector()])
    assert len(list(feed.train())) == 4
    with pytest.raises(ValueError, match="train must yield at least one batch each time it is iterated, got none"):
        list(feed.train())


@pytest.mark.oracle_torch
def test_a_loader_of_torch_is_an_iterable_of_batches():
    torch = pytest.importorskip("torch")
    from torch.utils.data import DataLoader, IterableDataset, TensorDataset

    x, labels = torch.arange(10.0), torch.arange(10)
    loader = DataLoader(
        TensorDataset(x, labels), batch_size=4, generator=torch.Generator().manual_seed(1), shuffle=True
    )
    data = Dataset(loader)
    assert len(data) == 3
    feed = data.bind([vector(dtype="float32"), vector("y", "int64")])
    for batches in (feed.train, feed.stored, feed.train):
        seen = drained(batches())
        assert [weight for *_, weight in seen] == [4, 4, 2]
        assert sorted(flat(x for x, _, _ in seen)) == TEN.tolist()
        assert all(x == y for x, y, _ in seen)

    class Endless(IterableDataset):
        def __iter__(self):
            return iter(x)

    data = Dataset(DataLoader(Endless(), batch_size=5))
    assert rows_of(data.bind([vector(dtype="float32")]).train()) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    with pytest.raises(TypeError, match="must have a length"):
        len(data)


# Order


@pytest.mark.parametrize(
    ("batch_size", "drop_last", "sizes"),
    [
        (4, False, [4, 4, 2]),
        (4, True, [4, 4]),
        (5, True, [5, 5]),
        (10, False, [10]),
        (64, True, [10]),
        (0, False, [10]),
        (-1, True, [10]),
        (1, False, [1] * 10),
    ],
)
def test_a_short_last_batch_is_kept_unless_told_otherwise(batch_size, drop_last, sizes):
    data = Dataset(TEN, batch_size=batch_size, drop_last=drop_last, rng=1)
    feed = data.bind([vector()])
    assert len(data) == feed.length == len(sizes)
    assert [weight for _, weight in feed.train()] == [weight for _, weight in feed.stored()] == sizes


def test_rows_are_shuffled_each_epoch():
    data = Dataset(np.arange(100), batch_size=10, rng=1)
    feed = data.bind([vector(dtype="int64")])
    first, second = flat(rows_of(feed.train())), flat(rows_of(feed.train()))
    assert len({tuple(first), tuple(second), tuple(range(100))}) == 3


def test_batches_of_neighbours_are_shuffled():
    feed = Dataset(np.arange(100), batch_size=10, rng=1, shuffle="batches").bind([vector(dtype="int64")])
    first, second = rows_of(feed.train()), rows_of(feed.train())
    assert first != second
    assert sorted(first) == sorted(second) == np.arange(100).reshape(10, 10).tolist()


def test_nothing_is_shuffled_where_told_so():
    feed = Dataset(TEN, batch_size=3, shuffle=False).bind([vector()])
    assert flat(rows_of(feed.train())) == flat(rows_of(feed.train())) == TEN.tolist()


def test_rows_of_several_arrays_stay_together():
    feed = Dataset([TEN, pd.Series(TEN), sp.csr_array(GRID)], batch_size=3, rng=1).bind(
        [vector(), vector("y"), matrix("z")]
    )
    for (x, y, z), _ in feed.train():
        assert x.tolist() == y.tolist() == (z[:, 0] / 4).tolist()


def test_a_pass_goes_on_in_the_next_epoch():
    data = Dataset(TEN, batch_size=2, iteration_size=3, rng=1)
    assert len(data) == 3
    feed = data.bind([vector()])
    epochs = [rows_of(feed.train()) for _ in range(5)]
    assert [len(epoch) for epoch in epochs] == [3] * 5
    batches = flat(epochs)
    for k in range(3):
        assert sorted(flat(batches[5 * k : 5 * k + 5])) == TEN.tolist()
    assert rows_of(feed.stored()) == [[0, 1], [2, 3], [4, 5]]


def test_an_epoch_that_is_left_is_over_and_its_rows_come_in_the_next():
    feed = Dataset(TEN, batch_size=2, rng=1).bind([vector()])
    left = rows_of(itertools.islice(feed.train(), 2))
    following = rows_of(feed.train())
    assert len(following) == 5
    assert sorted(flat(left + following[:3])) == TEN.tolist()


def test_all_feeds_of_a_dataset_share_its_position():
    data = Dataset(TEN, batch_size=2, rng=1, iteration_size=2)
    alone = Dataset(TEN, batch_size=2, rng=1, iteration_size=2).bind([vector()])
    first, second = data.bind([vector()]), data.bind([vector(dtype="float32")])
    shared = rows_of(first.train()) + rows_of(second.train())
    assert shared == rows_of(alone.train()) + rows_of(alone.train())


@pytest.mark.parametrize("shuffle", ["rows", "batches"])
def test_evaluation_moves_neither_generator_nor_position(shuffle):
    feed, undisturbed = (Dataset(TEN, batch_size=3, rng=1, shuffle=shuffle).bind([vector()]) for _ in range(2))
    batches, expected = feed.train(), rows_of(undisturbed.train()) + rows_of(undisturbed.train())
    found = rows_of(itertools.islice(batches, 2))
    before = feed.state()
    assert flat(rows_of(feed.stored())) == TEN.tolist()
    assert feed.state() == before
    assert found + rows_of(batches) + rows_of(feed.train()) == expected


@pytest.mark.parametrize("make", [lambda: 7, lambda: np.random.default_rng(7), lambda: np.random.RandomState(7)])
def test_a_seed_decides_the_order(make):
    orders = [flat(rows_of(Dataset(np.arange(99.0), rng=make()).bind([vector()]).train())) for _ in range(2)]
    assert orders[0] == orders[1]
    assert isinstance(Dataset(TEN, rng=make()).rng, np.random.Generator)


def test_a_given_generator_is_the_one_that_shuffles():
    rng, twin = np.random.default_rng(7), np.random.default_rng(7)
    data = Dataset(TEN, rng=rng, batch_size=3)
    assert data.rng is rng
    assert flat(rows_of(data.bind([vector()]).train())) == twin.permutation(10).tolist()
    state = np.random.RandomState(7)
    deque(Dataset(TEN, rng=state, batch_size=3), maxlen=0)
    assert state.randint(10**6) != np.random.RandomState(7).randint(10**6)


def test_a_drawn_seed_is_logged_and_gives_the_same_order_again(caplog):
    with caplog.at_level(logging.INFO, "downhill2"):
        feed = Dataset(TEN, "train", batch_size=3).bind([vector()])
        assert not caplog.messages
        found = flat(rows_of(feed.train()))
        deque(feed.train(), maxlen=0)
    (message,) = caplog.messages
    assert message.startswith("train: shuffling with seed ")
    seed = int(message.rpartition(" ")[2])
    assert seed < 2**32
    assert flat(rows_of(Dataset(TEN, batch_size=3, rng=seed).bind([vector()]).train())) == found


@pytest.mark.parametrize(
    "data",
    [
        lambda: Dataset(TEN, batch_size=0),
        lambda: Dataset(TEN, batch_size=2, shuffle=False),
        lambda: Dataset([[TEN]]),
        lambda: Dataset(lambda: TEN),
        lambda: Dataset(counting),
        lambda: Dataset(TEN, batch_size=2, rng=3),
    ],
)
def test_no_seed_is_logged_where_none_is_drawn_or_used(data, caplog):
    with caplog.at_level(logging.INFO, "downhill2"):
        deque(data().bind([vector()]).train(), maxlen=0)
    assert not caplog.messages


@pytest.mark.parametrize("shuffle", ["rows", "batches", False])
@pytest.mark.parametrize("make", [np.array, pytensor.shared])
def test_a_batch_weighs_as_much_as_its_rows(shuffle, make):
    weights = TEN**2
    feed = Dataset(make(TEN), batch_size=3, rng=1, shuffle=shuffle, weights=pd.Series(weights)).bind([vector()])
    for batches in (feed.train, feed.stored):
        for (x,), weight in batches():
            assert weight == (x**2).sum()


# Values as stored


@pytest.mark.parametrize("make", [np.array, pd.Series, pl.Series, pytensor.shared])
def test_iterating_a_dataset_gives_lists_of_arrays_of_one_epoch(make):
    data = Dataset([make(np.arange(10)), make(TEN)], batch_size=4, rng=1)
    for _ in range(2):
        batches = list(data)
        assert [type(batch) for batch in batches] == [list] * 3
        assert [[a.dtype.name for a in batch] for batch in batches] == [["int64", "float64"]] * 3
        assert sorted(flat(x.tolist() for x, _ in batches)) == list(range(10))
        assert all(x.tolist() == y.tolist() for x, y in batches)


def test_iterating_moves_the_position_as_training_does():
    first, second = (Dataset(TEN, batch_size=2, rng=1, iteration_size=2) for _ in range(2))
    feed = second.bind([vector()])
    assert [x.tolist() for (x,) in [*first, *first]] == rows_of(feed.train()) + rows_of(feed.train())
    assert first.bind([vector()]).state() == feed.state()


@pytest.mark.parametrize("source", [counting, deque(counting()), list(counting())])
def test_iterating_ready_made_batches_gives_lists_of_arrays(source):
    batches = list(Dataset(source, shuffle=False))
    assert [[a.tolist() for a in batch] for batch in batches] == [[[k] * (k + 1)] for k in range(4)]


def test_iterating_a_sparse_dataset_gives_sparse_batches():
    assert [x.shape for (x,) in Dataset(FORMS["csr_array"], batch_size=4)] == [(4, 4), (4, 4), (2, 4)]
    assert [x.shape for (x,) in Dataset(lambda: FORMS["csr_array"], iteration_size=2)] == [(10, 4)] * 2


def test_a_bare_array_is_one_array_of_a_batch():
    assert [len(batch) for batch in Dataset(lambda: TEN, iteration_size=2)] == [1, 1]


# Faults


@pytest.mark.parametrize("form", FORMS)
def test_a_fault_is_told_by_input_and_row(form):
    values = GRID.copy()
    values[7, 2] = np.nan
    data = Dataset([TEN, formats(values).get(form, values)], batch_size=3, rng=1)
    feed = data.bind([vector(), matrix("y", "float32")])
    assert feed.fault() is None
    for batches in (feed.train, feed.stored):
        found = []
        for (x, _), _ in batches():
            found.append((7 in x, feed.fault()))
        assert sorted(found, key=str) == [(False, None)] * 3 + [(True, "input 'y', row 7")]


def test_a_fault_in_a_shared_variable_is_told_by_its_row():
    values = TEN.copy()
    values[4] = np.inf
    feed = Dataset(pytensor.shared(values), batch_size=5, shuffle=False).bind([vector()])
    batches = feed.train()
    next(batches)
    assert feed.fault() == "input 'x', row 4"
    next(batches)
    assert feed.fault() is None


def test_a_fault_is_told_by_its_place_along_the_axis():
    values = GRID.copy()
    values[1, 3] = values[9, 2] = np.inf
    feed = Dataset(values, axis=1, batch_size=0).bind([matrix()])
    next(feed.train())
    assert feed.fault() == "input 'x', row 2"


@pytest.mark.parametrize("make", [lambda b: Dataset([b]), lambda b: Dataset(lambda: b)])
@pytest.mark.parametrize("sparse", [False, True])
def test_a_fault_in_a_ready_made_batch_is_told_by_its_row(make, sparse):
    values = GRID.copy()
    values[6, 1] = values[8, 0] = np.nan
    y = pytensor.sparse.csr_matrix("y") if sparse else matrix("y")
    feed = make([TEN, sp.csr_array(values) if sparse else values]).bind([vector(), y])
    for batches in (feed.train, feed.stored):
        next(batches())
        assert feed.fault() == "input 'y', row 6 of the batch"
    feed = make([TEN, sp.csr_array(GRID) if sparse else GRID]).bind([vector(), y])
    assert feed.fault() is None
    next(feed.train())
    assert feed.fault() is None


def test_a_fault_in_a_number_is_told_by_the_input():
    feed = Dataset(lambda: [1.0, np.nan]).bind([pt.dscalar("a"), pt.dscalar("b")])
    next(feed.train())
    assert feed.fault() == "input 'b'"


def test_the_rows_of_a_batch_are_told_in_words():
    shuffled = Dataset(TEN, batch_size=7, rng=1).bind([vector()])
    told = [([int(k) for k in x], shuffled.rows()) for (x,), _ in shuffled.train()]
    assert [words for _, words in told] == [
        "rows {}, {}, {}, {}, {} and 2 more".format(*told[0][0]),
        "rows {}, {}, {}".format(*told[1][0]),
    ]
    neighbours = Dataset(TEN, batch_size=7, shuffle=False).bind([vector()])
    assert [neighbours.rows() for _ in neighbours.train()] == ["rows 0 to 6", "rows 7 to 9"]
    listed = Dataset([[TEN]]).bind([vector()])
    assert [listed.rows() for _ in listed.train()] == [""]


def test_data_that_is_cut_otherwise_has_another_signature():
    made = [Dataset(TEN[:n], batch_size=size).bind([vector()]) for n, size in ((10, 5), (9, 5), (10, 6))]
    made.append(Dataset([[TEN], [TEN]]).bind([vector()]))
    assert len({json.dumps(feed.signature()) for feed in made}) == 4


# Position


def saved(feed):
    return json.loads(json.dumps(feed.state()))


GENERATORS = {
    "PCG64": lambda seed: np.random.default_rng(seed),
    "MT19937": lambda seed: np.random.RandomState(seed),
    "Philox": lambda seed: np.random.Generator(np.random.Philox(seed)),
    "SFC64": lambda seed: np.random.Generator(np.random.SFC64(seed)),
}


@pytest.mark.parametrize("kind", GENERATORS)
@pytest.mark.parametrize("inputs", [TEN, pytensor.shared(TEN), [[TEN[k : k + 3]] for k in range(4)]])
def test_a_restored_feed_yields_the_very_same_batches(kind, inputs):
    feed = Dataset(inputs, batch_size=3, rng=GENERATORS[kind](1)).bind([vector()])
    deque(feed.train(), maxlen=0)
    batches = feed.train()
    deque(itertools.islice(batches, 2), maxlen=0)
    state = saved(feed)
    expected = [drained(batches), drained(feed.train())]
    other = Dataset(inputs, batch_size=3, rng=GENERATORS[kind](99)).bind([vector()])
    other.restore(state)
    assert [drained(other.train()), drained(other.train())] == expected


def test_a_feed_restored_before_its_first_epoch_begins_as_the_other_did():
    feed, other = (Dataset(TEN, batch_size=3, rng=seed).bind([vector()]) for seed in (1, 2))
    other.restore(saved(feed))
    assert drained(other.train()) == drained(feed.train())


def test_a_feed_restored_at_the_end_of_an_epoch_begins_the_next():
    feed, other = (Dataset(TEN, batch_size=5, rng=seed).bind([vector()]) for seed in (1, 2))
    batches = feed.train()
    next(batches)
    next(batches)
    other.restore(saved(feed))
    assert not list(batches)
    assert drained(other.train()) == drained(feed.train())


def test_restoring_says_nothing_of_a_seed(caplog):
    feed = Dataset(TEN, batch_size=5, rng=1).bind([vector()])
    other = Dataset(TEN, batch_size=5).bind([vector()])
    with caplog.at_level(logging.INFO, "downhill2"):
        other.restore(saved(feed))
        deque(other.train(), maxlen=0)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("source", "iteration_size", "epochs", "more", "warned"),
    [
        (counting, None, 0, 0, False),
        (counting, None, 1, 0, False),
        (counting, None, 1, 2, True),
        (counting, 3, 0, 0, False),
        (counting, 3, 0, 2, True),
        (counting, 3, 1, 0, True),
        (lambda: [TEN], 5, 0, 0, False),
        (lambda: [TEN], 5, 0, 2, True),
        (lambda: [TEN], 5, 1, 0, True),
    ],
)
def test_what_has_no_state_begins_anew_and_says_so(source, iteration_size, epochs, more, warned, caplog):
    feed, other, new = (Dataset(source, iteration_size=iteration_size).bind([vector()]) for _ in range(3))
    for _ in range(epochs):
        deque(feed.train(), maxlen=0)
    batches = feed.train()
    deque(itertools.islice(batches, more), maxlen=0)
    state = saved(feed)
    with caplog.at_level(logging.WARNING, "downhill2"):
        other.restore(state)
    told = "dataset has no state_dict() and load_state_dict(): the data begins anew"
    assert caplog.messages == [told] * warned
    assert other.done == 0
    assert [drained(other.train()) for _ in range(2)] == [drained(new.train()) for _ in range(2)]


@pytest.mark.parametrize(
    "other",
    [
        lambda: Dataset(TEN, batch_size=4, rng=1),
        lambda: Dataset(TEN, batch_size=3, shuffle=False),
        lambda: Dataset(TEN, batch_size=3, rng=np.random.RandomState(1)),
        lambda: Dataset(TEN[:9], batch_size=2, rng=GENERATORS["SFC64"](1)),
    ],
)
def test_a_state_of_other_data_or_settings_is_refused(other):
    state = saved(Dataset(TEN, batch_size=3, rng=1).bind([vector()]))
    feed = other().bind([vector()])
    before = feed.state()
    with pytest.raises(ValueError, match="state must be of "):
        feed.restore(state)
    assert json.dumps(feed.state()) == json.dumps(before)


def test_a_state_is_small():
    feed = Dataset(np.arange(10**5), rng=1).bind([vector(dtype="int64")])
    next(feed.train())
    assert len(json.dumps(feed.state())) < 400


SIZES = {
    "n": st.integers(1, 30),
    "batch_size": st.integers(-1, 35),
    "iteration_size": st.none() | st.integers(1, 12),
    "drop_last": st.booleans(),
    "shuffle": st.sampled_from(["rows", "batches", False]),
    "seed": st.integers(0, 2**32 - 1),
}


def made(n, seed, **settings):
    return Dataset(np.arange(n), rng=seed, **settings).bind([vector(dtype="int64")])


@given(**SIZES)
def test_each_pass_has_every_row_once(n, batch_size, iteration_size, drop_last, shuffle, seed):
    feed = made(n, seed, batch_size=batch_size, iteration_size=iteration_size, drop_last=drop_last, shuffle=shuffle)
    size = min(batch_size, n) if batch_size > 0 else n
    per_pass = n // size if drop_last else -(-n // size)
    batches = flat(rows_of(feed.train()) for _ in range(-(-3 * per_pass // feed.length)))
    for k in range(3):
        rows = flat(batches[k * per_pass : (k + 1) * per_pass])
        assert len(rows) == (size * per_pass if drop_last else n)
        assert len(set(rows)) == len(rows)
    assert flat(rows_of(feed.stored())) == list(range(n))[: len(flat(rows_of(feed.stored())))]


@given(used=st.integers(0, 40), **SIZES)
def test_any_position_can_be_restored(used, n, seed, **sizes):
    feed, twin, other = made(n, seed, **sizes), made(n, seed, **sizes), made(n, seed + 1, **sizes)
    batches, undisturbed = endless(feed), endless(twin)
    first = drained(itertools.islice(batches, used))
    other.restore(saved(feed))
    following = drained(itertools.islice(batches, 40))
    assert drained(itertools.islice(endless(other), 40)) == following
    assert drained(itertools.islice(undisturbed, used + 40)) == first + following


# The module


def test_importing_datasets_pulls_in_no_optional_library():
    code = (
        "import sys, downhill2.dataset; "
        "print(sorted({'h5py', 'zarr', 'pyarrow', 'pandas', 'polars', 'torch', 'pytensor.sparse', 'scipy.sparse'} "
        "& {*sys.modules}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
