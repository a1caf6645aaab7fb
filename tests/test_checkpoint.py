import contextlib
import errno
import hashlib
import json
import logging
import math
import os
import pickle
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from downhill2.keeping import checkpoint
from downhill2.keeping.checkpoint import CheckpointError, Directory, holds_run, read, write

TENSORS = {
    "W": np.arange(12, dtype=np.float32).reshape(3, 4),
    "W.adam.m": np.array([1.5, np.nan, -np.inf, -0.0]),
    "updates": np.array(7),
    "leer": np.zeros((0, 3), np.float16),
    "größe": np.array([True, False, True]),
}
META = {"loss": math.nan, "clock": {"epoch": 3, "seconds": 0.1}, "names": ["a", None, True], "big": 2**127 + 1}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.fixture
def stored(path):
    """The path of a whole file."""
    write(path, TENSORS, META)
    return path


@pytest.fixture
def locked():
    """A directory that the present user may read but not write."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield folder
    os.seteuid(user)
    folder.rmdir()


def assert_same(tensors, expected):
    assert tensors.keys() == expected.keys()
    for name, array in tensors.items():
        want = np.asarray(expected[name])
        assert (array.dtype, array.shape) == (want.dtype.newbyteorder("="), want.shape)
        assert array.tobytes() == want.astype(array.dtype).tobytes()


def assert_stored(path, only=True):
    """Assert that a file holds TENSORS and META, and that there is no other beside it."""
    tensors, meta = read(path)
    assert_same(tensors, TENSORS)
    assert repr(meta) == repr(META)
    assert not only or list(path.parent.iterdir()) == [path]


def with_header(change, data):
    """Return the bytes of a file with its header replaced by ``change(header)``."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = change(data[8:end])
    return len(header).to_bytes(8, "little") + header + data[end:]


def with_entries(change, data):
    """Return the bytes of a file whose header, as a dict, was changed in place."""

    def changed(header):
        entries = json.loads(header)
        change(entries)
        return json.dumps(entries).encode()

    return with_header(changed, data)


def noted(text):
    """Return a file without tensors that carries a note with the right checksum."""
    metadata = {"downhill2": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    header = json.dumps({"__metadata__": metadata}).encode()
    return len(header).to_bytes(8, "little") + header


ARRAYS = {
    "a transpose": np.arange(6.0).reshape(2, 3).T,
    "Fortran order": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "every other column": np.arange(8, dtype=np.int16).reshape(2, 4)[:, ::2],
    "backwards": np.arange(5.0)[::-1],
    "a broadcast": np.broadcast_to(np.float32(3), (2, 2)),
    "0-d": np.array(1.5),
    "a NumPy scalar": np.float32(2.5),
    "empty": np.zeros((3, 0, 2), np.int8),
    "big-endian": np.arange(3, dtype=">f4"),
    "big-endian 0-d": np.array(258, ">i8"),
    "read-only": np.frombuffer(b"abcdefgh", np.uint16),
    "NaN with a payload": np.array([0x7FF0DEAD00000001], np.uint64).view(np.float64),
    **{name: np.array([0, 1]).astype(name) for name in checkpoint._CODES},
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_an_array_of_any_layout_comes_back_bit_for_bit(array, path):
    write(path, {"a": array}, {})
    tensors, _ = read(path)
    assert_same(tensors, {"a": array})
    assert tensors["a"].flags.writeable
    assert tensors["a"].flags.c_contiguous
    assert tensors["a"].flags.aligned


def test_a_file_may_hold_no_tensors(path):
    write(path, {}, META)
    tensors, meta = read(path)
    assert tensors == {}
    assert repr(meta) == repr(META)


def test_other_programs_read_the_tensors(stored):
    assert_same(load_file(stored), TENSORS)


def test_every_tensor_is_aligned_in_the_file(stored):
    data = stored.read_bytes()
    length = int.from_bytes(data[:8], "little")
    entries = json.loads(data[8 : 8 + length])
    del entries["__metadata__"]
    assert length % 8 == 0
    assert all(entry["data_offsets"][0] % TENSORS[name].itemsize == 0 for name, entry in entries.items())


def test_the_same_contents_give_the_same_bytes_whatever_their_order(tmp_path):
    write(tmp_path / "a", TENSORS, META)
    write(tmp_path / "b", dict(reversed(TENSORS.items())), META)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    "value", [np.zeros(2, complex), np.array(["a"]), np.array([None]), np.zeros(2, "M8[s]"), np.zeros(2, "i4,f4"), "a"]
)
def test_a_dtype_that_safetensors_lacks_is_refused_with_the_tensors_name(value, stored):
    with pytest.raises(TypeError, match=r"the dtype of tensor 'W\.v' must be one of bool, .* got "):
        write(stored, {"W.v": value}, {})
    assert_stored(stored)


@pytest.mark.parametrize(
    ("name", "error"), [(3, TypeError), ("__metadata__", ValueError), ("a\udc80", ValueError), ("\ud800", ValueError)]
)
def test_a_name_that_the_file_cannot_hold_is_refused(name, error, path):
    with pytest.raises(error, match="the name of a tensor must be"):
        write(path, {name: np.zeros(2)}, {})
    assert not path.exists()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(meta=st.dictionaries(st.text(max_size=5), json_values, max_size=4))
def test_what_json_holds_comes_back_as_it_was(meta):
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "a", {}, meta)
        assert repr(read(Path(folder) / "a")[1]) == repr(meta)  # repr: NaN, -0.0, True and 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.1), float(np.float32(0.1))),
        (np.float64("-inf"), -math.inf),
        (np.float16("nan"), math.nan),
        (np.int8(-3), -3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        ((1, (2.0, math.inf)), [1, [2.0, math.inf]]),
        ({"a": {"b": np.int64(1)}}, {"a": {"b": 1}}),
    ],
)
def test_numpy_scalars_and_tuples_become_what_json_has(value, expected, path):
    write(path, {}, {"value": value})
    assert repr(read(path)[1]) == repr({"value": expected})


@pytest.mark.parametrize(
    ("meta", "error", "message"),
    [
        ({"a": {"b": [0, np.zeros(2)]}}, TypeError, r"meta\['a'\]\['b'\]\[1\] must be a str, number, .* got array"),
        ({"a": 1j}, TypeError, r"meta\['a'\] must be .* got 1j"),
        ({"a": np.longdouble(1)}, TypeError, r"meta\['a'\] must be .* got "),
        ({"a": b"bytes"}, TypeError, r"meta\['a'\] must be .* got b'bytes'"),
        ({"a": {1: 2}}, TypeError, r"the keys of meta\['a'\] must be str, got 1"),
        ({1: 2}, TypeError, "the keys of meta must be str, got 1"),
        ({"a": {"$float": 2}}, ValueError, r"the keys of meta\['a'\] must not be '\$float'"),
        ([], TypeError, "meta must be a mapping, got "),
        ({"a": "x" * 100}, ValueError, "meta must be shorter than 99 bytes as JSON, got "),
    ],
)
def test_meta_that_json_does_not_hold_is_refused_and_says_where(meta, error, message, stored, monkeypatch):
    monkeypatch.setattr(checkpoint, "_LONGEST_HEADER", 99)
    with pytest.raises(error, match=message):
        write(stored, {}, meta)
    assert_stored(stored)


@contextlib.contextmanager
def failing_put(call, error, monkeypatch):
    """Let the `call`-th write, from 0, reach the disk by half and fail."""
    calls = iter(range(99))

    def put(file, data):
        if next(calls) == call:
            file.write(data[: len(data) // 2])
            file.flush()
            raise error
        file.write(data)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_put", put)
        yield


def test_a_file_is_replaced_and_nothing_is_left_beside_it(stored):
    write(stored, {"b": np.ones(2)}, {"n": 2})
    tensors, meta = read(stored)
    assert_same(tensors, {"b": np.ones(2)})
    assert meta == {"n": 2}
    assert list(stored.parent.iterdir()) == [stored]


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_is_a_str_or_a_path(kind, path):
    write(kind(path), TENSORS, META)
    assert_same(read(kind(path))[0], TENSORS)


@pytest.mark.skipif(os.name == "nt", reason="AccumulatedSteps has no umask")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_the_umask_says_who_may_read_the_file(umask, path):
    former = os.umask(umask)
    try:
        write(path, TENSORS, META)
    finally:
        os.umask(former)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("call", range(len(TENSORS) + 1))
@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EIO, "Input/output error"), OSError("odd")],
)
def test_a_write_that_fails_leaves_the_former_file_and_nothing_else(call, error, stored, monkeypatch):
    with (
        failing_put(call, error, monkeypatch),
        pytest.raises(CheckpointError, match=f"cannot write {stored}: {error.strerror or 'odd'}") as caught,
    ):
        write(stored, {name: array + array for name, array in TENSORS.items()}, {})
    assert caught.value.__cause__ is error
    assert_stored(stored)


def test_an_interrupted_write_leaves_the_former_file_and_nothing_else(stored, monkeypatch):
    with failing_put(1, KeyboardInterrupt(), monkeypatch), pytest.raises(KeyboardInterrupt):
        write(stored, TENSORS, {})
    assert_stored(stored)


def test_a_file_larger_than_the_system_allows_leaves_the_former_file(stored):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(CheckpointError, match=os.strerror(errno.EFBIG)):
            write(stored, {"W": np.zeros(100_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_stored(stored)


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_file_that_cannot_be_made_durable_does_not_replace_the_former(function, stored, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(CheckpointError, match="Input/output error"):
        write(stored, {}, {})
    monkeypatch.undo()
    assert_stored(stored)


@pytest.mark.skipif(os.name == "nt", reason="AccumulatedSteps opens no directories")
@pytest.mark.parametrize(("number", "refused"), [(errno.EINVAL, False), (errno.EBADF, False), (errno.EIO, True)])
def test_only_a_file_system_that_cannot_sync_directories_is_excused(number, refused, path, monkeypatch):
    fsync = os.fsync

    def fail(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CheckpointError) if refused else contextlib.nullcontext():
        write(path, TENSORS, META)
    assert_stored(path)


def test_the_file_then_its_name_are_made_durable(path, monkeypatch):
    acts = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (acts.append(os.fstat(fd).st_ino), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda *paths: (acts.append("replace"), replace(*paths)))
    write(path, TENSORS, META)
    file, folder = path.stat().st_ino, path.parent.stat().st_ino
    assert acts == [file, file, "replace", folder]


@pytest.mark.parametrize("name", ["missing/a", "", "file/a", "x" * 300])
def test_a_path_that_no_file_can_have_is_refused(name, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=f"cannot write {tmp_path / name}: "):
        write(tmp_path / name, TENSORS, META)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.name == "nt", reason="rights are others on AccumulatedSteps")
def test_a_directory_without_rights_is_refused(locked):
    with pytest.raises(CheckpointError, match=f"cannot write {locked}/a: Permission denied"):
        write(locked / "a", TENSORS, META)
    with pytest.raises(CheckpointError, match=f"cannot keep checkpoints in {locked}: Permission denied"):
        Directory(locked)
    with pytest.raises(CheckpointError, match=f"cannot keep checkpoints in {locked}/new: Permission denied"):
        Directory(locked / "new")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is damaged, or no checkpoint"),
        (b"\0" * 8, "is damaged, or no checkpoint"),
        (b"\xff" * 100, "is damaged, or no checkpoint"),
        (pickle.dumps({"W": np.zeros(3)}), "is damaged, or no checkpoint"),
        (noted("{}"), "no checkpoint of downhill2: 'format'"),
        (noted("[]"), "no checkpoint of downhill2"),
        (noted("[" * 100_000), "no checkpoint of downhill2"),
        (noted('{"format": 1}'), "no checkpoint of downhill2: 'sha256'"),
        (noted('{"format": 1, "sha256": []}'), "no checkpoint of downhill2"),
        (noted('{"format": 1, "sha256": {}, "versions": 3}'), "no checkpoint of downhill2"),
        (noted('{"format": 1, "sha256": {}, "versions": {}, "meta": {"$float": "x"}}'), "no checkpoint of downhill2"),
        (noted('{"format": 2}'), "has format 2, this version of downhill2 reads format 1"),
        (noted('{"format": 1}').replace(b"format", b"farmot"), "the checksum of its metadata is wrong"),
        (noted('{"format": 1, "sha256": {"W": ""}}'), "its tensors are not those it was written with: 'W'"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused_by_name(content, message, path):
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{path}.*{message}"):
        read(path)


def test_a_file_of_another_program_is_refused(path):
    save_file(TENSORS, path, metadata={"format": "np"})
    with pytest.raises(CheckpointError, match=f"{path} is damaged, or no checkpoint of downhill2: 'downhill2'"):
        read(path)


@pytest.mark.parametrize(
    "make",
    [lambda path: None, Path.mkdir, getattr(os, "mkfifo", Path.mkdir)],
    ids=["missing", "directory", "pipe"],
)
def test_what_is_no_file_is_refused(make, path):
    make(path)
    with pytest.raises(CheckpointError, match=f"cannot read {path}: there is no such file"):
        read(path)


def test_a_disk_that_does_not_read_is_reported(stored, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(checkpoint, "safe_open", fail)
    with pytest.raises(CheckpointError, match=f"cannot read {stored}: Input/output error"):
        read(stored)


def rename(entries):
    entries["V"] = entries.pop("W")


def exchange(entries):
    entries["W"], entries["W.adam.m"] = entries["W.adam.m"], entries["W"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename, "its tensors are not those it was written with: 'V', 'W'"),
        (exchange, "the checksum is wrong of '.*', '.*'"),
        (lambda e: e["W"].update(shape=[4, 3]), "the checksum is wrong of 'W'"),
        (lambda e: e["W"].update(dtype="I32"), "the checksum is wrong of 'W'"),
        (lambda e: e["größe"].update(dtype="F8_E4M3"), "damaged"),
        (lambda e: e.pop("__metadata__"), "no checkpoint of downhill2: 'downhill2'"),
    ],
)
def test_a_header_that_was_edited_is_refused(change, message, stored):
    stored.write_bytes(with_entries(change, stored.read_bytes()))
    with pytest.raises(CheckpointError, match=message):
        read(stored)


def test_a_flipped_bit_is_found_in_the_tensor_where_it_is(stored):
    data = bytearray(stored.read_bytes())
    data[-1] ^= 1
    stored.write_bytes(data)
    with pytest.raises(CheckpointError, match=f"{stored} is damaged: the checksum is wrong of 'größe'"):
        read(stored)


def test_versions_other_than_those_that_run_are_logged(stored, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "downhill2")
    read(stored)
    assert not caplog.records
    monkeypatch.setattr(checkpoint, "_versions", lambda: {"numpy": np.__version__, "downhill2": "99"})
    read(stored)
    assert "was written by downhill2 0" in caplog.text
    assert "numpy" not in caplog.text


def exchange_contents(path, data):
    # a new file is not flushed to the disk, as ext4 does with one that is cut to nothing: ten times faster
    path.unlink()
    path.write_bytes(data)


def flipped(data, rng):
    mutated = bytearray(data)
    for i in rng.integers(len(data), size=rng.choice([1, 1, 2, 9])):
        mutated[i] ^= 1 << rng.integers(8)
    return mutated


def truncated(data, rng):
    cut = rng.integers(len(data))
    return data[:cut] if rng.random() < 0.7 else data[cut:]


def inserted(data, rng):
    at = rng.integers(len(data) + 1)
    extra = rng.choice([rng.bytes(rng.integers(1, 40)), b" ", b"\0" * 8, data[at : at + 30], b'"W":{},'])
    return data[:at] + bytes(extra) + data[at:]


def swapped(data, rng):
    size = rng.choice([1, 4, 8, 64])
    a, b = sorted(rng.integers(len(data) - size, size=2))
    return data[:a] + data[b : b + size] + data[a + size : b] + data[a : a + size] + data[b + size :]


def overwritten(data, rng):
    at, size = rng.integers(len(data)), rng.integers(1, 100)
    return data[:at] + rng.choice([b"\0", b"\xff", b"9", b" ", b'"']) * int(size) + data[at + size :]


def edited(data, rng):
    """Edit the header as JSON, so that it often stays well-formed."""
    values = [
        0,
        -1,
        1,
        2**63,
        2**64,
        10**30,
        1.5,
        "",
        "F32",
        "I8",
        "BF16",
        "F4",
        "F8_E5M2",
        "x",
        None,
        [],
        [0, 0],
        [2**40, 2**40],
        {},
        True,
    ]

    def change(entries):
        entry = entries[rng.choice(list(entries))]
        key, value = rng.choice(list(entry)), values[rng.integers(len(values))]
        act = rng.integers(6)
        if act == 0:
            del entry[key]
        elif act == 1 and isinstance(entry[key], list) and entry[key]:
            entry[key][rng.integers(len(entry[key]))] = value
        elif act == 2:
            names = list(entries)
            rng.shuffle(names)
            for name in names:  # another order: the same contents
                entries[name] = entries.pop(name)
        elif act == 3:
            entries[rng.choice(["V", "__metadata__", "W"])] = entry
        else:
            entry[key] = value

    return with_entries(change, data)


@pytest.mark.parametrize("mutation", [flipped, truncated, inserted, swapped, overwritten, edited])
def test_a_mutated_file_reads_right_or_is_refused(mutation, stored):
    data = stored.read_bytes()
    rng = np.random.default_rng(0)
    refused, rounds = 0, 1700
    for _ in range(rounds):
        exchange_contents(stored, mutation(data, rng))
        try:
            assert_stored(stored, only=False)
        except CheckpointError:
            refused += 1
    assert refused > rounds / 2


def test_a_file_cut_anywhere_is_refused(stored):
    data = stored.read_bytes()
    for cut in range(len(data)):
        exchange_contents(stored, data[:cut])
        with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
            read(stored)


def save(directory, *updates, best=()):
    for n in updates:
        directory.save(n, {"W": np.full(3, n)}, {"n": n}, n in best)


def numbers(directory):
    return [int(file.stem.removeprefix("update-")) for file in sorted(directory.path.iterdir())]


def damage(directory, updates):
    file = directory.path / f"update-{updates:09d}.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def test_a_directory_is_made_and_holds_no_run_at_first(tmp_path):
    assert not holds_run(tmp_path / "a" / "b")
    directory = Directory(tmp_path / "a" / "b")
    assert directory.path.is_dir()
    assert not holds_run(directory.path)
    assert directory.latest() is None


@pytest.mark.parametrize(
    ("updates", "name"), [(0, "update-000000000"), (123, "update-000000123"), (10**9, "update-1000000000")]
)
def test_a_file_is_named_by_its_updates(updates, name, tmp_path):
    directory = Directory(tmp_path)
    path = directory.save(updates, TENSORS, META, best=False)
    assert path == tmp_path / f"{name}.safetensors"
    assert_stored(path)
    assert holds_run(tmp_path)
    assert directory.latest()[0] == path


@pytest.mark.parametrize(
    ("keep", "best", "kept"),
    [
        (1, (), [6]),
        (2, (), [5, 6]),
        (9, (), [1, 2, 3, 4, 5, 6]),
        (2, (1,), [1, 5, 6]),
        (2, (1, 3), [3, 5, 6]),
        (2, (5,), [5, 6]),
        (1, (6,), [6]),
    ],
)
@pytest.mark.parametrize("again", [False, True], ids=["one process", "a process each"])
def test_the_newest_stay_and_the_best(keep, best, kept, again, tmp_path):
    directory = Directory(tmp_path, keep)
    for n in range(1, 7):
        save(Directory(tmp_path, keep) if again else directory, n, best=best)
    assert numbers(directory) == kept


def test_the_best_saved_again_stays_the_best(tmp_path):
    directory = Directory(tmp_path, keep=1)
    save(directory, 1, best=[1])
    save(directory, 1)
    save(Directory(tmp_path, keep=1), 2, 3)
    assert numbers(directory) == [1, 3]


def test_numbers_are_compared_as_numbers(tmp_path):
    directory = Directory(tmp_path, keep=1)
    save(directory, 999_999_999, 1_000_000_000)
    assert numbers(directory) == [1_000_000_000]


@pytest.mark.parametrize("best", [(), (6,)])
def test_a_run_that_went_back_replaces_what_was_after(best, tmp_path):
    directory = Directory(tmp_path, keep=2)
    save(directory, 2, 4, 6, best=best)
    damage(directory, 6)
    save(directory, 5)
    assert numbers(directory) == [4, 5]
    assert directory.latest()[2] == {"n": 5}
    save(directory, 6, 7)
    assert numbers(directory) == [6, 7]


def test_a_damaged_file_is_named_and_the_one_before_is_used(tmp_path, caplog):
    directory = Directory(tmp_path, keep=3)
    save(directory, 1, 2, 3)
    damage(directory, 3)
    damage(directory, 2)
    path, tensors, meta = directory.latest()
    assert (path.name, meta) == ("update-000000001.safetensors", {"n": 1})
    assert_same(tensors, {"W": np.full(3, 1)})
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    for record, n in zip(caplog.records, [3, 2], strict=True):
        assert f"update-00000000{n}.safetensors is damaged" in record.getMessage()


def test_a_directory_of_damaged_files_only_is_an_error(tmp_path):
    save(Directory(tmp_path), 1, 2, best=[1])
    for n in (1, 2):
        (tmp_path / f"update-00000000{n}.safetensors").write_bytes(b"")
    directory = Directory(tmp_path)
    assert holds_run(tmp_path)
    with pytest.raises(CheckpointError, match=f"none of the 2 checkpoints in {tmp_path} can be read"):
        directory.latest()


def test_a_best_file_that_cannot_be_opened_is_no_best(tmp_path, monkeypatch):
    save(Directory(tmp_path, keep=1), 1, best=[1])

    def fail(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(checkpoint, "safe_open", fail)
    directory = Directory(tmp_path, keep=1)
    monkeypatch.undo()
    save(directory, 2)
    assert numbers(directory) == [2]


@pytest.mark.parametrize("name", ["update-1.safetensors", "update-000000001.safetensors.bak", "history.jsonl"])
def test_files_of_others_are_left_alone(name, tmp_path):
    (tmp_path / name).touch()
    (tmp_path / "update-000000009.safetensors").mkdir()
    directory = Directory(tmp_path, keep=1)
    assert not holds_run(tmp_path)
    save(directory, 1, 2)
    assert (tmp_path / name).exists()


OTHERS = [
    ".model.safetensors.abcdef12.tmp",
    ".update-000000001.safetensors.tmp",
    ".update-1.safetensors.abcdef12.tmp",
    ".result.safetensors.abcdefgh.tmp",
    "update-000000001.safetensors.abcdef12.tmp",
    ".notes.tmp",
]


def test_what_a_killed_writer_left_is_ignored_then_removed_and_nothing_else(tmp_path):
    (tmp_path / "below").mkdir()
    ours = [".update-000000001.safetensors.abcdef12.tmp", ".result.safetensors.00000000.tmp"]
    for name in (*ours, *OTHERS, f"below/{ours[0]}"):
        (tmp_path / name).write_bytes(b"half")
    directory = Directory(tmp_path)
    assert not holds_run(tmp_path)
    assert directory.latest() is None
    directory.tidy()
    assert {file.name for file in tmp_path.iterdir()} == {*OTHERS, "below"}
    assert [file.name for file in (tmp_path / "below").iterdir()] == ours[:1]


def test_a_directory_that_cannot_be_listed_is_refused(tmp_path, monkeypatch):
    def fail(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", fail)
    with pytest.raises(CheckpointError, match=f"cannot look for checkpoints in {tmp_path}: Permission denied"):
        holds_run(tmp_path)


def test_a_file_is_no_directory_with_a_run(tmp_path):
    (tmp_path / "file").touch()
    assert not holds_run(tmp_path / "file")


def test_a_save_that_fails_removes_no_checkpoint(tmp_path, monkeypatch):
    directory = Directory(tmp_path, keep=1)
    save(directory, 1)
    with failing_put(0, OSError(errno.ENOSPC, "No space left on device"), monkeypatch), pytest.raises(CheckpointError):
        save(directory, 2)
    assert numbers(directory) == [1]
    assert directory.latest()[2] == {"n": 1}


def test_a_file_that_cannot_be_removed_is_logged_and_the_run_goes_on(tmp_path, monkeypatch, caplog):
    directory = Directory(tmp_path, keep=1)
    save(directory, 1)

    def fail(*_, **__):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "unlink", fail)
    save(directory, 2)
    assert numbers(directory) == [1, 2]
    assert "cannot remove" in caplog.text
    assert "update-000000001.safetensors: Operation not permitted" in caplog.text


@pytest.mark.parametrize(
    ("keep", "error"), [(0, ValueError), (-1, ValueError), (1.0, TypeError), (True, TypeError), ("2", TypeError)]
)
def test_keep_must_be_a_positive_int(keep, error, tmp_path):
    with pytest.raises(error, match="keep must be "):
        Directory(tmp_path / "new", keep)
    assert not (tmp_path / "new").exists()


def test_a_negative_number_of_updates_is_refused(tmp_path):
    with pytest.raises(ValueError, match="updates must be at least 0, got -1"):
        save(Directory(tmp_path), -1)


def test_a_directory_that_is_a_file_is_refused(path):
    path.touch()
    with pytest.raises(CheckpointError, match=f"cannot keep checkpoints in {path}: File exists"):
        Directory(path)


KILLED = """
import os, pathlib, signal, sys
import numpy as np
from downhill2.keeping import checkpoint, whole_file

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def put(file, data):
    global calls
    if calls == 0:
        file.write(data[:len(data) // 2])
        file.flush()
        kill()
    calls -= 1
    file.write(data)

def save(n):
    directory = checkpoint.Directory(sys.argv[1], keep=1)
    directory.tidy()
    directory.save(n, {"a": np.full(1000, n), "b": np.full(3, n)}, {"n": n}, False)

def killed_at(n):
    # in writing a tensor, the other, the header; before the new name, after it, before the old file goes
    global calls
    calls = n
    checkpoint._put = put
    if n == 3:
        os.replace = lambda *paths: kill()
    if n == 4:
        whole_file.sync_directory = lambda path: kill()
    if n == 5:
        checkpoint.Directory._remove = lambda self, files: [kill() for file in files if file.stem.startswith("u")]
    save(n + 1)

save(0)
expected = 0
for n in range(6):
    child = os.fork()
    if not child:
        killed_at(n)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    halves = len(list(pathlib.Path(sys.argv[1]).glob(".*.tmp")))
    if n >= 4:
        expected = n + 1
    assert halves == (n < 4)
    _, tensors, meta = checkpoint.Directory(sys.argv[1]).latest()
    assert meta == {"n": expected} and (tensors["a"] == expected).all() and len(tensors["b"]) == 3
save(7)
assert [file.name for file in pathlib.Path(sys.argv[1]).iterdir()] == ["update-000000007.safetensors"]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes that it forks")
def test_a_writer_killed_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
