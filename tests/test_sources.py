"""Arrays in files: HDF5, zarr, Parquet and memory maps, read block by block."""

from __future__ import annotations

import contextlib
import itertools
import json
import sys

import numpy as np
import pytensor.tensor as pt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from downhill2.data import readahead
from downhill2.data.dataset import Dataset
from downhill2.data.on_disk import ParquetRows

h5py = pytest.importorskip("h5py")
zarr = pytest.importorskip("zarr")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

ROWS = 60
X = np.arange(ROWS * 3.0).reshape(ROWS, 3)
Y = np.arange(ROWS)


def table(x=X, y=Y):
    return pa.table({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": y})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files with X and Y in every format."""
    folder = tmp_path_factory.mktemp("data")
    with h5py.File(folder / "data.h5", "w") as file:
        file.create_dataset("x", data=X, chunks=(7, 2), compression="gzip")
        file.create_dataset("y", data=Y)
    group = zarr.open_group(folder / "data.zarr", mode="w")
    group.create_array("x", data=X, chunks=(7, 2))
    group.create_array("y", data=Y, chunks=(9,))
    np.save(folder / "x.npy", X)
    np.save(folder / "y.npy", Y)
    pq.write_table(table(X[:25], Y[:25]), folder / "one.parquet", row_group_size=8)
    pq.write_table(table(X[25:25], Y[25:25]), folder / "none.parquet")
    pq.write_table(table(X[25:], Y[25:]), folder / "two.parquet", row_group_size=10)
    return folder


@pytest.fixture(scope="module")
def make(folder):
    """From the name of a format and settings to a Dataset of [X, Y]."""
    with h5py.File(folder / "data.h5") as file:
        group = zarr.open_group(folder / "data.zarr", mode="r")
        mapped = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in "xy"]
        arrays = {
            "hdf5": [file["x"], file["y"]],
            "zarr": [group["x"], group["y"]],
            "hdf5 and zarr": [file["x"], group["y"]],
            "hdf5 and memory": [file["x"], Y],
            "memory map": mapped,
            "memory": [X, Y],
        }
        files = [folder / f"{name}.parquet" for name in ("one", "none", "two")]

        def made(form, **settings):
            if form == "parquet":
                settings.pop("block_size", None)
                return Dataset.from_parquet(files, [["a", "b", "c"], "y"], "train", **settings)
            return Dataset(arrays[form], "train", **settings)

        yield made


FORMS = ["hdf5", "zarr", "hdf5 and zarr", "hdf5 and memory", "memory map", "parquet", "memory"]
INPUTS = [pt.dmatrix("x"), pt.lvector("y")]


def drained(batches):
    """Batches as lists, with their weights."""
    return [(x.tolist(), y.tolist(), weight) for (x, y), weight in batches]


def endless(feed):
    while True:
        yield from feed.train()


def is_whole(batches):
    """Whether the batches hold every row of X and Y once, rows of both together."""
    x, y = (np.concatenate([np.array(batch[k]) for batch in batches]) for k in (0, 1))
    order = np.argsort(y)
    return np.array_equal(y[order], Y) and np.array_equal(x[order], X)


SETTINGS = {
    "form": st.sampled_from(FORMS),
    "batch_size": st.integers(-1, 70),
    "shuffle": st.sampled_from(["rows", "batches", False]),
    "block_size": st.none() | st.integers(1, 70),
    "shuffle_buffer": st.integers(1, 9),
    "prefetch": st.sampled_from([0, 0, 1, 3]),
    "seed": st.integers(0, 2**32 - 1),
}


@given(**SETTINGS)
def test_a_pass_has_each_row_once_whatever_the_source(make, seed, **settings):
    feed = make(rng=seed, **settings).bind(INPUTS)
    for _ in range(2):
        assert is_whole(drained(feed.train()))
    stored = drained(feed.stored())
    assert is_whole(stored)
    assert list(itertools.chain.from_iterable(y for _, y, _ in stored)) == Y.tolist()


@given(used=st.integers(0, 30), iteration_size=st.none() | st.integers(1, 9), drop_last=st.booleans(), **SETTINGS)
def test_a_pass_may_be_left_and_restored_anywhere(make, used, seed, **settings):
    feed, other = (make(rng=s, **settings).bind(INPUTS) for s in (seed, seed + 1))
    with contextlib.closing(endless(feed)) as batches:
        for _ in range(used):
            next(batches)
        state = json.loads(json.dumps(feed.state()))
        following = drained(itertools.islice(batches, 20))
    other.restore(state)
    with contextlib.closing(endless(other)) as batches:
        assert drained(itertools.islice(batches, 20)) == following


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtypes", [("float64", "int64"), ("float32", "float64")])
def test_batches_of_files_have_the_layout_of_the_inputs(make, form, dtypes):
    inputs = [pt.matrix("x", dtype=dtypes[0]), pt.vector("y", dtype=dtypes[1])]
    for arrays, weight in make(form, batch_size=8, rng=1).bind(inputs).train():
        assert weight == len(arrays[0])
        for array, dtype in zip(arrays, dtypes, strict=True):
            assert type(array) is np.ndarray
            assert array.dtype == dtype
            assert array.flags.carray


@pytest.mark.parametrize("form", FORMS)
def test_iterating_a_dataset_of_files_gives_arrays_as_stored(make, form):
    data = make(form, batch_size=50, shuffle=False)
    (x, y), (x2, y2) = data
    assert np.array_equal(np.concatenate([x, x2]), X)
    assert np.array_equal(np.concatenate([y, y2]), Y)
    assert (x.dtype, y.dtype) == (X.dtype, Y.dtype)


@pytest.mark.parametrize("form", ["hdf5", "zarr", "parquet"])
@pytest.mark.parametrize("shuffle", ["rows", "batches"])
def test_a_fault_in_a_file_is_told_by_its_row(tmp_path, form, shuffle):
    x = np.arange(30.0)
    x[17] = np.inf
    if form == "parquet":
        pq.write_table(pa.table({"x": x}), tmp_path / "x.parquet", row_group_size=7)
        data = Dataset.from_parquet(tmp_path / "x.parquet", "x", batch_size=5, rng=1, shuffle=shuffle)
    else:
        with h5py.File(tmp_path / "x.h5", "w", driver="core", backing_store=False) as file:
            array = file.create_dataset("x", data=x) if form == "hdf5" else zarr.array(x, chunks=4)
            told = faults(Dataset(array, batch_size=5, rng=1, shuffle=shuffle, block_size=6))
            assert told == {"input 'x', row 17"}
            return
    assert faults(data) == {"input 'x', row 17"}


def faults(data):
    feed = data.bind([pt.dvector("x")])
    return {fault for fault in (feed.fault() for _ in feed.train()) if fault}


class Recorded:
    """An array that notes which slices are read, in a package of this name."""

    def __init__(self, values, chunks, package="zarr.core"):
        self.values, self.chunks, self.shape, self.dtype = values, chunks, values.shape, values.dtype
        self.read = []
        type(self).__module__ = package

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("the whole array was read")

    def __getitem__(self, index):
        self.read.append(index[-1])
        return self.values[index]


@pytest.mark.parametrize("way", ["train", "stored"])
@pytest.mark.parametrize("prefetch", [0, 2])
def test_only_whole_blocks_are_read_and_each_once_a_pass(way, prefetch):
    array = Recorded(np.arange(100.0), (10,))
    data = Dataset(array, batch_size=3, rng=1, block_size=20, shuffle_buffer=2, prefetch=prefetch)
    batches = getattr(data.bind([pt.dvector("x")]), way)()
    assert array.read == []
    assert sorted(x for (batch,), _ in batches for x in batch.tolist()) == list(range(100))
    assert sorted((s.start, s.stop) for s in array.read) == [(k, k + 20) for k in range(0, 100, 20)]


def blocks_of(**settings):
    """The blocks, of 10 rows, that each batch of 100 rows is of."""
    feed = Dataset(np.arange(100), rng=1, block_size=10, **settings).bind([pt.lvector("x")])
    return [{k // 10 for k in x.tolist()} for (x,), _ in feed.train()]


def test_the_rows_of_blocks_that_follow_each_other_are_mixed():
    assert [len(blocks) for blocks in blocks_of(batch_size=10, shuffle_buffer=1)] == [1] * 10
    mixed = blocks_of(batch_size=10, shuffle_buffer=3)
    assert all(2 <= len(blocks) <= 5 for blocks in mixed)
    ever = set()
    for before, after in itertools.pairwise(mixed):
        ever |= before
        assert not (ever - before) & after  # what went out does not come again
    assert all(len(blocks) > 5 for blocks in blocks_of(batch_size=20, shuffle_buffer=10))
    assert all(len(blocks) > 5 for blocks in blocks_of(batch_size=20, shuffle_buffer=50))


def test_batches_are_shuffled_within_blocks_too():
    feed = Dataset(np.arange(100), batch_size=5, rng=1, shuffle="batches", block_size=20, shuffle_buffer=1)
    starts = [x[0] for (x,), _ in feed.bind([pt.lvector("x")]).train()]
    for k in range(0, 20, 4):
        assert len({start // 20 for start in starts[k : k + 4]}) == 1
    assert sorted(starts) == list(range(0, 100, 5))


@pytest.mark.parametrize(
    ("shape", "dtype", "chunks", "size"),
    [
        ((2000, 2**10), "f4", (64, 2**10), 256),
        ((10**4, 2**16), "f4", (10, 10), 10),
        ((10**6,), "f8", (1000,), 131000),
        ((10, 2**24), "f8", (5, 2**24), 5),
        ((10**4, 2**10), "f4", None, 256),
    ],
)
def test_blocks_are_whole_chunks_of_about_a_mebibyte(shape, dtype, chunks, size, tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        array = file.create_dataset("x", shape, dtype, chunks=chunks)
        edges = Dataset(array)._source.rows[0].edges
    assert edges[1] == size
    assert edges[-1] == shape[0]


def test_a_file_that_is_not_resumed_with_its_blocks_is_refused(make):
    state = make("hdf5", rng=1, block_size=10).bind(INPUTS).state()
    for settings in ({"block_size": 20}, {"block_size": 10, "shuffle_buffer": 2}):
        with pytest.raises(ValueError, match=r"60 in .* blocks, .* mixed"):
            make("hdf5", rng=1, **settings).bind(INPUTS).restore(state)


@pytest.mark.parametrize("kind", ["hdf5", "zarr"])
def test_rows_of_a_file_may_lie_along_another_axis(kind, tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        array = file.create_dataset("x", data=X.T) if kind == "hdf5" else zarr.array(X.T, chunks=(2, 7))
        feed = Dataset(array, axis=1, batch_size=7, rng=1).bind([pt.dmatrix("x")])
        found = np.concatenate([x.T for (x,), _ in feed.train()])
    assert np.array_equal(found[np.argsort(found[:, 0])], X)


@pytest.mark.parametrize("dtype", ["S3", "c16", "f8"])
def test_a_dtype_in_a_file_that_would_lose_information_is_refused_unread(dtype, tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = Dataset(file.create_dataset("x", (4,), dtype))
        with pytest.raises(TypeError, match="must hold values that int64 can hold"):
            data.bind([pt.lvector("x")])


def test_groups_are_no_data(folder):
    with h5py.File(folder / "data.h5") as file, pytest.raises(TypeError, match="inputs must be arrays"):
        Dataset(file)
    with pytest.raises(TypeError, match="inputs must be arrays"):
        Dataset(zarr.open_group(folder / "data.zarr", mode="r"))


@pytest.mark.parametrize("value", [0, -1, 2.0, "8"])
@pytest.mark.parametrize("name", ["block_size", "shuffle_buffer"])
def test_sizes_of_blocks_out_of_range_are_refused(name, value):
    with pytest.raises((TypeError, ValueError), match=f"{name} must be"):
        Dataset(X, **{name: value})


def test_a_slice_of_a_memory_map_is_read_where_the_batch_is_made(folder, tmp_path):
    for mode in ("r+", "c", "r"):
        mapped = np.load(folder / "x.npy", mmap_mode=mode)
        for (x,), _ in Dataset(mapped, shuffle=False).bind([pt.dmatrix("x")]).train():
            assert not np.shares_memory(x, mapped)


# Files that fail


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_file_that_fails_is_read_again(monkeypatch, make, prefetch):
    monkeypatch.setattr(readahead, "FIRST_DELAY", 0.001)
    block, failures = ParquetRows.block, [1, 2]

    def flaky(self, number):
        if failures and failures.pop():
            raise OSError("busy")
        return block(self, number)

    monkeypatch.setattr(ParquetRows, "block", flaky)
    feed = make("parquet", batch_size=7, rng=1, retries=2, prefetch=prefetch).bind(INPUTS)
    assert is_whole(drained(feed.train()))
    assert failures == []
    failures += [1] * 3
    with pytest.raises(OSError, match="train: batch 0 could not be read: busy"):
        list(make("parquet", batch_size=7, retries=2, prefetch=prefetch).bind(INPUTS).stored())


def test_a_file_that_was_closed_is_an_error_at_its_batch(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        array = file.create_dataset("x", data=Y)
        feed = Dataset(array, "train", batch_size=6, block_size=6, shuffle=False, prefetch=1).bind([pt.lvector("x")])
        with contextlib.closing(feed.train()) as batches:
            next(batches)
            next(batches)
    with pytest.raises(RuntimeError, match="train: batch 2 could not be read: "):
        list(feed.train())


# Parquet


def test_columns_of_parquet_files_are_matrices_and_vectors(folder):
    path = str(folder / "one.parquet")
    data = Dataset.from_parquet(path, [["c", "a"], ["b"], "b", "y"], batch_size=0)
    ((matrix, column, vector, y),) = data
    assert np.array_equal(matrix, X[:25, [2, 0]])
    assert np.array_equal(column, X[:25, 1:2])
    assert np.array_equal(vector, X[:25, 1])
    assert (y.dtype, matrix.dtype) == (np.int64, np.float64)
    ((everything,),) = Dataset.from_parquet([path], batch_size=0)
    assert np.array_equal(everything, np.column_stack([X, Y])[:25])
    ((alone,),) = Dataset.from_parquet([path], "y", batch_size=0)
    assert np.array_equal(alone, Y[:25])


def test_columns_of_different_types_meet_in_the_wider(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"i": np.arange(3, dtype="i2"), "f": np.ones(3, "f4"), "b": [True, False, True]}), path)
    ((x,),) = Dataset.from_parquet(path, batch_size=0, shuffle=False)
    assert x.dtype == np.float32
    assert x.tolist() == [[0, 1, 1], [1, 1, 0], [2, 1, 1]]


def test_nulls_are_refused_by_name_before_anything_is_read(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": [1.0, 2.0], "b": [1, None]}), path)
    with pytest.raises(ValueError, match=r"column 'b' of .*x.parquet must have no nulls, got 1 in a row group"):
        Dataset.from_parquet(path, [["a", "b"]])
    assert len(Dataset.from_parquet(path, "a")) == 1


def test_nulls_that_a_file_does_not_tell_of_are_refused_when_read(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": [1.0, 2.0], "b": [1, None]}), path, write_statistics=False)
    with pytest.raises(ValueError, match=r"column 'b' of .*x.parquet must have no nulls, got 1"):
        list(Dataset.from_parquet(path, [["a", "b"]]))


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        (["x"], ValueError, r"columns must be columns of .*one.parquet, got 'x'; it has \['a', 'b', 'c', 'y'\]"),
        ([["a", "x"]], ValueError, "got 'x'"),
        ([], ValueError, "columns must name at least one column per input"),
        ([[]], ValueError, "columns must name at least one column per input"),
    ],
)
def test_columns_that_are_not_there_are_refused(folder, columns, error, message):
    with pytest.raises(error, match=message):
        Dataset.from_parquet(folder / "one.parquet", columns)


@pytest.mark.parametrize("column", [["a", "b"], [[1.0], [2.0]], [{"k": 1}, {"k": 2}], [1j, 2j]])
def test_columns_without_numbers_are_refused(tmp_path, column):
    path = tmp_path / "x.parquet"
    if isinstance(column[0], complex):
        column = pa.array([1, 2], pa.timestamp("s"))
    pq.write_table(pa.table({"a": column}), path)
    with pytest.raises(TypeError, match="column 'a' must hold numbers, got"):
        Dataset.from_parquet(path)


def test_a_type_that_numpy_has_not_is_refused(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64()))}), path)
    with pytest.raises(TypeError, match="column 'a' must hold numbers, got"):
        Dataset.from_parquet(path)


def test_files_with_other_columns_or_types_are_refused(tmp_path):
    one, two, three = (tmp_path / f"{k}.parquet" for k in range(3))
    pq.write_table(pa.table({"a": [1.0]}), one)
    pq.write_table(pa.table({"a": [1]}), two)
    pq.write_table(pa.table({"b": [1]}), three)
    with pytest.raises(
        TypeError, match=r"column 'a' must be of the same type in every file, got double and, in .*int64"
    ):
        Dataset.from_parquet([one, two])
    with pytest.raises(ValueError, match="got 'a'"):
        Dataset.from_parquet([one, three])
    with pytest.raises(ValueError, match="paths must name at least one file"):
        Dataset.from_parquet([])
    with pytest.raises(FileNotFoundError):
        Dataset.from_parquet(tmp_path / "none.parquet")


def test_files_without_rows_are_refused(folder):
    with pytest.raises(ValueError, match="at least one row"):
        Dataset.from_parquet(folder / "none.parquet")


@pytest.mark.parametrize("name", ["axis", "block_size"])
def test_settings_that_parquet_decides_are_refused(folder, name):
    with pytest.raises(TypeError, match=f"from_parquet takes no {name}"):
        Dataset.from_parquet(folder / "one.parquet", **{name: 1})


def test_without_pyarrow_one_line_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r"^from_parquet needs pyarrow; pip install 'downhill2\[data\]'$"):
        Dataset.from_parquet(folder / "one.parquet")
