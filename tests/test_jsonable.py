"""Values walked into the form that JSON holds."""

import json

import numpy as np
import pytest

from downhill2.jsonable import arrays_as_lists, nested, scalar_or_text


def test_mappings_and_sequences_are_walked_and_each_other_value_comes_with_its_place():
    seen = nested({"a": [1, (2,)], 3: {}}, lambda value, where: (value, where), "top")
    assert seen == {"a": [(1, "top['a'][0]"), [(2, "top['a'][1][0]")]], 3: {}}


def test_keys_are_what_the_caller_makes_of_them_or_refused():
    assert nested({1: {2: 3}}, lambda value, _: value, names=lambda mapping, _: map(str, mapping)) == {"1": {"2": 3}}

    def refuse(mapping, where):
        raise TypeError(where)

    with pytest.raises(TypeError, match=r"^x\[0\]$"):
        nested([{}], lambda value, _: value, "x", refuse)


def test_the_state_of_a_generator_is_json_with_lists_in_place_of_arrays():
    state = np.random.MT19937(0).state
    assert json.loads(json.dumps(arrays_as_lists(state)))["state"]["key"] == state["state"]["key"].tolist()


VALUES = [(True, True), (2, 2), (0.5, 0.5), ("a", "a"), (None, "None"), ([1], "[1]")]


@pytest.mark.parametrize(("value", "found"), VALUES)
def test_what_is_no_scalar_becomes_text(value, found):
    assert scalar_or_text(value) == found
