"""Every initializer goes through JSON, and nothing else does."""

import json
import re
from collections.abc import Sequence
from types import MappingProxyType

import jax
import pytest
from flax.core import FrozenDict
from test_values import CALLS, build

import jinit

GOOD = jinit.serialize(jinit.normal(std=2.0))


@pytest.mark.parametrize("call", CALLS)
def test_an_initializer_comes_back_from_json(call):
    config = json.loads(json.dumps(jinit.serialize(build(call)), allow_nan=False))
    assert jinit.deserialize(config) == build(call)
    assert repr(jinit.deserialize(config)) == call


def test_every_initializer_is_among_the_calls():
    public = {
        name
        for name, value in vars(jinit).items()
        if isinstance(value, type) and issubclass(value, jinit.Initializer)
    }
    called = {re.match(r"\w+", call)[0] for call in CALLS}
    assert public - {"Initializer"} == called


def test_a_configuration_has_a_version_a_name_and_what_is_not_default():
    assert jinit.serialize(jinit.normal(std=2.0)) == {
        "jinit": 1,
        "name": "normal",
        "options": {"std": 2.0},
    }


@pytest.mark.parametrize("value", [1j, [1 + 2j, 3], True, 7, [[1], [2]]])
def test_constants_of_every_kind_come_back(value):
    init = jinit.constant(value)
    again = jinit.deserialize(json.loads(json.dumps(jinit.serialize(init))))
    assert again == init
    assert repr(again) == repr(init)


@pytest.mark.parametrize(
    ("init", "error", "message"),
    [
        (jinit.lecun_normal, TypeError, "init must be an initializer of jinit"),
        (jax.nn.initializers.he_normal(), TypeError, "init must be an initializer of"),
        (jinit.stack(jax.nn.initializers.he_normal()), TypeError, "init must be an"),
        (jinit.Initializer, TypeError, "init must be an initializer of jinit"),
    ],
    ids=range(4),
)
def test_what_has_no_name_is_not_serialized(init, error, message):
    with pytest.raises(error, match=message):
        jinit.serialize(init)


def test_a_traced_option_is_not_serialized():
    with pytest.raises(ValueError, match="std must have a value"):
        jax.jit(lambda std: jinit.serialize(jinit.normal(std=std)))(1.0)


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        (None, TypeError, "config must be a dict"),
        ("normal", TypeError, "config must be a dict"),
        ([GOOD], TypeError, "config must be a dict"),
        ({}, ValueError, "entries 'jinit', 'name' and 'options'"),
        ({"name": "normal", "options": {}}, ValueError, "entries 'jinit'"),
        ({**GOOD, "extra": 1}, ValueError, "'extra'"),
        ({**GOOD, "jinit": 2}, ValueError, "version 1, got 2"),
        ({**GOOD, "jinit": True}, ValueError, "version 1, got True"),
        ({**GOOD, "jinit": None}, ValueError, "version 1, got None"),
        ({**GOOD, "name": "lecun"}, ValueError, "got 'lecun'; did you mean lecun_"),
        ({**GOOD, "name": "Initializer"}, ValueError, "got 'Initializer'"),
        ({**GOOD, "name": "serialize"}, ValueError, "got 'serialize'"),
        ({**GOOD, "name": ["normal"]}, ValueError, "got \\['normal'\\]"),
        ({**GOOD, "options": None}, TypeError, "options of config must be a dict"),
        (
            {**GOOD, "options": {"stddev": 1}},
            TypeError,
            "of normal must be among mean, std; got stddev",
        ),
        ({**GOOD, "options": {1: 1}}, TypeError, "got 1"),
        ({**GOOD, "options": {"std": -1}}, ValueError, "std must be at least 0"),
        ({**GOOD, "options": {"std": "1"}}, TypeError, "std must be a real number"),
        ({**GOOD, "options": {"std": {"a": 1}}}, ValueError, "entries 'jinit'"),
        ({**GOOD, "name": "zeros", "options": {"key": 1}}, TypeError, "none; got key"),
        ({**GOOD, "options": {"cls": 1}}, TypeError, "got cls"),
        ({**GOOD, "name": "stack", "options": {}}, TypeError, "needs its option init"),
        (
            {**GOOD, "name": "constant", "options": {}},
            TypeError,
            "needs its option value",
        ),
        (
            {**GOOD, "name": "stack", "options": {"init": {**GOOD, "name": "x"}}},
            ValueError,
            "got 'x'",
        ),
        (
            {
                **GOOD,
                "name": "constant",
                "options": {"value": {"real": "a", "imag": 1}},
            },
            TypeError,
            "real",
        ),
    ],
    ids=str,
)
def test_a_malformed_configuration_is_refused(config, error, message):
    with pytest.raises(error, match=message):
        jinit.deserialize(config)


def test_a_configuration_nested_without_end_is_refused():
    config = GOOD
    for _ in range(5000):
        config = {"jinit": 1, "name": "stack", "options": {"init": config}}
    with pytest.raises(ValueError, match="nested without end"):
        jinit.deserialize(config)


class ConfigDict:
    """Like those of libraries of configurations: no Mapping, but with its methods."""

    def __init__(self, values):
        self._values = {
            key: ConfigDict(value) if isinstance(value, dict) else value
            for key, value in values.items()
        }

    def __getitem__(self, key):
        return self._values[key]

    def __iter__(self):
        return iter(self._values)

    def __len__(self):
        return len(self._values)

    def keys(self):
        return self._values.keys()

    def items(self):
        return self._values.items()


class ListConfig(Sequence):
    """Likewise, of lists."""

    def __init__(self, *values):
        self._values = values

    def __getitem__(self, index):
        return self._values[index]

    def __len__(self):
        return len(self._values)


@pytest.mark.parametrize("kind", [ConfigDict, MappingProxyType, FrozenDict])
def test_what_a_library_of_configurations_has_for_a_dict_is_one(kind):
    init = jinit.stack(jinit.xavier_normal(gain=("leaky_relu", 0.2)))
    assert jinit.deserialize(kind(jinit.serialize(init))) == init
    tree = {"w": jax.ShapeDtypeStruct((2, 2), "float32")}
    rules = kind({"w": jinit.zeros()})
    assert jinit.plan(tree, rules) == jinit.plan(tree, {"w": jinit.zeros()})


def test_what_it_has_for_a_list_is_one():
    gain, axes = ListConfig("leaky_relu", 0.2), ListConfig(0, 1)
    made = jinit.xavier_normal(gain=gain, in_axis=axes)
    assert made == jinit.xavier_normal(gain=("leaky_relu", 0.2), in_axis=(0, 1))
    assert jinit.constant(ListConfig(1, 2)) == jinit.constant([1, 2])
    assert jinit.gain(gain) == jinit.gain(("leaky_relu", 0.2))
