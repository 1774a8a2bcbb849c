"""The topical namespaces: each of their initializers is a value, and right anywhere."""

import copy
import json
import pathlib
import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import ROWS
from helpers import as_double, check_distribution
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jinit
from jinit._config import every_initializer
from jinit.cli._show import parse

INITS = [(parse(call), shape) for call, shape in ROWS]
IDS = [call[:60] for call, _ in ROWS]
every = pytest.mark.parametrize(("init", "shape"), INITS, ids=IDS)


def test_every_initializer_of_the_namespaces_is_here():
    spaces = {"distributions", "recurrent", "ssm", "coordinate", "vision", "adapter"}
    made = {
        name
        for name, init in every_initializer().items()
        if init.__module__.split(".")[1] in spaces
    }
    assert {type(init).__name__ for init, _ in INITS} >= made


@pytest.mark.parametrize(
    ("call", "init"),
    [(c, i) for (c, _), (i, _) in zip(ROWS, INITS, strict=True)],
    ids=IDS,
)
def test_it_is_a_value(call, init):
    assert repr(init) == re.sub(r"\b(\w+\.)+(?=\w+\()", "", call)  # of namespaces
    assert parse(repr(init)) == init
    assert hash(parse(repr(init))) == hash(init)
    assert pickle.loads(pickle.dumps(init)) == copy.deepcopy(init) == init
    assert jinit.deserialize(json.loads(json.dumps(jinit.serialize(init)))) == init


@every
@pytest.mark.parametrize(
    "dtype", ["bfloat16", pytest.param("float16", marks=pytest.mark.bits)]
)
def test_a_narrow_dtype_holds_the_weights_rounded(init, shape, dtype, key):
    w = init(key, shape, "float32")
    assert w.shape == shape
    assert w.dtype == np.float32
    rounded = as_double(w.astype(dtype))
    np.testing.assert_array_equal(as_double(init(key, shape, dtype)), rounded)


@every
def test_weights_have_the_law_that_they_say(init, shape, key):
    law = init.law(shape)
    if law is None or not init._random or isinstance(law, jinit.laws.Moments):
        return
    if law.dense and init._copies(shape) == 1:
        check_distribution(init(key, shape), law.cdf)


@every
def test_it_is_the_same_under_jit_and_for_each_of_several_keys(init, shape, key):
    w = init(key, shape)
    np.testing.assert_allclose(
        jax.jit(init, static_argnums=1)(key, shape), w, 1e-5, 1e-7
    )
    keys = jnp.stack([key, jax.random.key(1)])
    both = jax.vmap(lambda key: init(key, shape))(keys)
    np.testing.assert_allclose(both[0], w, 1e-5, 1e-7)


@every
def test_it_lowers_for_every_platform(init, shape, key):
    exported = jax.export.export(
        jax.jit(lambda key: init(key, shape)), platforms=["cpu", "cuda", "tpu"]
    )(key)
    assert exported.platforms == ("cpu", "cuda", "tpu")


@every
def test_it_is_drawn_on_a_mesh(init, shape, key):
    mesh = jax.make_mesh((1, 2), ("x", "y"), axis_types=(AxisType.Auto,) * 2)
    spec = PartitionSpec("x")
    w = init(key, shape, None, NamedSharding(mesh, spec))
    np.testing.assert_allclose(w, init(key, shape), 1e-5, 1e-7)


def calls_of_the_page():
    """The calls in the tables of the page that lists what there is."""
    page = (pathlib.Path(__file__).parent.parent / "docs/what-is-here.md").read_text()
    rows = [row for row in page.splitlines() if row.startswith("| ")]
    spaces = (
        r"`((?:\d|jinit|distributions|recipes|recurrent|ssm|vision|coordinate)[^`]+)`"
    )
    return [call for row in rows for call in re.findall(spaces, row)]


@pytest.mark.slow
def test_each_call_of_the_page_of_all_runs():
    spaces = ["coordinate", "distributions", "recipes", "recurrent", "ssm", "vision"]
    names = {name: getattr(jinit, name) for name in spaces}
    calls = calls_of_the_page()
    assert len(calls) > 60
    for call in calls:
        eval(call, {"jax": jax, "jnp": jnp, "jinit": jinit, **names})
