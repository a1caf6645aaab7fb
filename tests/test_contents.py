import json

import numpy as np
import pytest

from downhill2.keeping.generators import compare_names, generator_from, generator_state

KINDS = [np.random.MT19937, np.random.PCG64, np.random.PCG64DXSM, np.random.Philox, np.random.SFC64]


def through_json(generator):
    return generator_from(json.loads(json.dumps(generator_state(generator), allow_nan=False)))


def draws(generator):
    """Return numbers that use all of a generator: halves of words that are kept, whole words, rejection."""
    return [
        generator.integers(2**31, size=3, dtype=np.uint32).tolist(),
        generator.random(5, dtype=np.float32).tolist(),
        generator.normal(size=700).tolist(),
        generator.permutation(11).tolist(),
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("used", [0, 1, 5, 700])
def test_a_generator_goes_on_where_it_was(kind, used):
    generator = np.random.Generator(kind(3))
    generator.integers(2**31, size=used, dtype=np.uint32)
    restored = through_json(generator)
    assert type(restored.bit_generator) is kind
    assert generator_state(restored) == generator_state(generator)
    assert draws(restored) == draws(generator)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 2**200 + 1, [3, 2**70], np.array([1, 2]), np.uint64(5), None])
def test_what_a_generator_spawns_goes_on_too(kind, seed):
    generator = np.random.Generator(kind(seed)).spawn(2)[1]
    generator.spawn(3)
    restored = through_json(generator)
    for mine, its in zip(restored.spawn(2), generator.spawn(2), strict=True):
        assert draws(mine) == draws(its)


def test_the_generator_itself_is_not_touched():
    generator, twin = np.random.default_rng(0), np.random.default_rng(0)
    generator_state(generator)
    assert draws(generator) == draws(twin)


def test_a_generator_without_a_seed_sequence_is_kept():
    generator = np.random.Generator(np.random.RandomState(0)._bit_generator)
    assert generator_state(generator)["seed"] is None
    restored = through_json(generator)
    assert draws(restored) == draws(generator)


def test_a_bit_generator_that_is_not_numpys_is_refused():
    class Mine(np.random.PCG64):
        pass

    with pytest.raises(TypeError, match=r"generator must be over one of MT19937, .*, got Mine"):
        generator_state(np.random.Generator(Mine(0)))


def changed(**changes):
    state = {**generator_state(np.random.default_rng(0)), **changes}
    return {key: value for key, value in state.items() if value != "gone"}


@pytest.mark.parametrize(
    "state",
    [
        {},
        changed(bit_generator="PCG65"),
        changed(bit_generator="SFC64"),
        changed(bit_generator="MT19937"),
        changed(bit_generator=[]),
        changed(seed="gone"),
        changed(seed={"entropy": "a"}),
        changed(seed=3),
        changed(state="gone"),
        changed(state={"state": "a", "inc": 1}),
        changed(state={"state": -1, "inc": 1}),
        changed(has_uint32=2**40),
    ],
)
def test_a_state_that_describes_no_generator_is_refused(state):
    with pytest.raises(ValueError, match="state must be what generator_state returns, got "):
        generator_from(state)


EXPECTED = {"W": ((2, 3), np.float32), "b": ((), "float64"), "n": ([4], np.dtype("int64"))}
FOUND = {"n": np.zeros(4, "int64"), "b": np.float64(3), "W": np.zeros((2, 3), "f4")}


def test_names_shapes_and_dtypes_as_expected_are_no_differences():
    differences = compare_names(EXPECTED, FOUND)
    assert not differences
    assert str(differences) == ""


@pytest.mark.parametrize(
    ("changes", "gone", "expected"),
    [
        ({}, ["W"], "missing: 'W'"),
        ({}, ["n", "W"], "missing: 'W', 'n'"),
        ({"V": np.zeros(2)}, [], "unexpected: 'V'"),
        ({"W": np.zeros((3, 2), "f4")}, [], "'W' must have shape (2, 3), got (3, 2)"),
        ({"b": np.zeros(1)}, [], "'b' must have shape (), got (1,)"),
        ({"W": np.zeros((2, 3))}, [], "'W' must have dtype float32, got float64"),
        (
            {"V": np.zeros(2), "n": np.zeros(3)},
            ["W"],
            "missing: 'W'; unexpected: 'V'; 'n' must have shape (4,), got (3,); 'n' must have dtype int64, got float64",
        ),
    ],
)
def test_every_difference_is_named(changes, gone, expected):
    found = {name: array for name, array in {**FOUND, **changes}.items() if name not in gone}
    differences = compare_names(EXPECTED, found)
    assert differences
    assert str(differences) == expected


def test_differences_are_there_to_compute_with():
    differences = compare_names(EXPECTED, {"V": np.zeros(2), "W": np.zeros(3, "i2"), "b": np.zeros(())})
    assert differences.missing == ("n",)
    assert differences.unexpected == ("V",)
    assert differences.shapes == {"W": ((2, 3), (3,))}
    assert differences.dtypes == {"W": (np.dtype("f4"), np.dtype("i2"))}
