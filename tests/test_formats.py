"""An optimizer in one file: safetensors, npz and HDF5, as the end of its name says."""

from __future__ import annotations

import sys

import numpy as np
import pytensor
import pytest

import downhill2
from downhill2 import CheckpointError
from downhill2.keeping import formats, whole_file

pytest.importorskip("h5py")

NAMES = ["m", "m.safetensors", "m.npz", "m.NPZ", "m.h5", "m.hdf5"]


def build():
    """An optimizer with parameters of several kinds, a generator, and state."""
    values = {"a/b": np.arange(3.0), "v": np.float32(2), "empty": np.zeros((0, 2)), "ä": np.ones((2, 1), "float32")}
    params = [pytensor.shared(np.asarray(value), name=name) for name, value in values.items()]
    return downhill2.build("adam", sum((p**2).sum() for p in params), params, gradient_noise=0.1)


def contents(opt):
    state = {n: v.bit_generator.state if hasattr(v, "bit_generator") else v.tolist() for n, v in opt.state.items()}
    return [p.get_value().tolist() for p in opt.params], state, dict(opt.hyper), opt.best_monitors


@pytest.fixture(scope="module")
def trained():
    opt = build()
    opt.minimize(max_updates=3, learning_rate=0.01)
    return opt


@pytest.mark.parametrize("name", NAMES)
def test_what_was_saved_is_loaded_to_the_last_bit_whatever_the_format(name, trained, tmp_path):
    trained.save(tmp_path / name)
    again = build()
    again.load(tmp_path / name)
    assert contents(again) == contents(trained)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_an_archive_and_an_hdf5_file_are_read_by_names(trained, tmp_path):
    h5py = pytest.importorskip("h5py")
    for name in ("m.npz", "m.h5"):
        trained.save(tmp_path / name)
    with np.load(tmp_path / "m.npz", allow_pickle=False) as archive, h5py.File(tmp_path / "m.h5") as store:
        for file in (archive, store):
            for n, tensor in trained.state_dict().items():
                if n != "meta":
                    np.testing.assert_array_equal(file[n][()], tensor, strict=True)


@pytest.mark.parametrize("name", ["m.pt", "m.ckpt", "m.npy", "epoch-0.5", "model.v1", "m.safetensors.gz"])
def test_another_suffix_is_refused_with_a_list_of_those_that_there_are_and_a_name_that_works(name, trained, tmp_path):
    path, listed = tmp_path / name, r"path must end in \.safetensors, \.npz, \.h5, \.hdf5 or in no suffix"
    for call in (trained.save, trained.load):
        with pytest.raises(ValueError, match=listed) as caught:
            call(path)
        assert str(caught.value).endswith(f"got '{path}'; write '{path}.safetensors', say")
    assert not list(tmp_path.iterdir())
    trained.save(f"{path}.safetensors")
    trained.load(f"{path}.safetensors")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_cannot_be_written_leaves_the_one_before(name, trained, tmp_path, monkeypatch):
    trained.save(tmp_path / name)
    before = (tmp_path / name).read_bytes()

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(whole_file, "sync", full)
    with pytest.raises(CheckpointError, match=r"cannot write .*: No space left on device"):
        trained.save(tmp_path / name)
    assert (tmp_path / name).read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_file_with_other_contents_is_refused(name, trained, tmp_path):
    path = tmp_path / name
    trained.save(path)
    whole = path.read_bytes()
    values = np.asarray(trained.params[0].get_value()).tobytes()
    place = whole.index(values)
    for damaged in (
        b"", b"text", whole[: len(whole) // 2], whole[:place] + b"\0" * len(values) + whole[place + len(values) :]
    ):  # fmt: skip
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"is damaged, or no|checksum"):
            trained.load(path)
    with pytest.raises(CheckpointError, match="there is no such file"):
        trained.load(tmp_path / f"no{path.suffix}")


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_a_file_of_somebody_else_is_refused(suffix, trained, tmp_path):
    path = tmp_path / f"other{suffix}"
    if suffix == ".npz":
        np.savez(path, a=np.ones(2))
    else:
        with pytest.importorskip("h5py").File(path, "w") as store:
            store["a"] = np.ones(2)
    with pytest.raises(CheckpointError, match="is damaged, or no file of downhill2"):
        trained.load(path)


@pytest.mark.parametrize("name", ["a//b", "a/../b", "a/", "\0"])
def test_a_name_that_a_format_would_change_is_refused_before_a_file_is_touched(name, tmp_path):
    for suffix in (".npz", ".h5"):
        with pytest.raises(ValueError, match=rf"the name of a tensor in {suffix} must be like a path"):
            formats.write(tmp_path / f"m{suffix}", {name: np.ones(2)}, {})
    assert not list(tmp_path.iterdir())


def test_without_h5py_the_error_says_what_to_install(trained, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"this needs h5py.*pip install 'downhill2\[data\]'"):
        trained.save(tmp_path / "m.h5")
    assert not list(tmp_path.iterdir())
