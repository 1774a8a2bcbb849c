"""Every public name: exported once, documented, typed, and a value where it makes one.

A name that is added to a package is held to this without joining a list, but for a
class that is no initializer, of which `VALUES` needs one.
"""

import collections
import copy
import doctest
import importlib
import inspect
import pickle
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import ROWS
from test_values import CALLS, build

import jinit
from jinit.cli._show import parse
from jinit.diagnostics import CoordinateCheck, Propagation
from jinit.recipes import Recipe

NAMESPACES = (
    *("jinit", "jinit.jaxnn", "jinit.laws", "jinit.torch", "jinit.torch.functional"),
    *("jinit.diagnostics", "jinit.diagnostics.plots", "jinit.distributions"),
    *("jinit.recurrent", "jinit.ssm", "jinit.coordinate", "jinit.vision"),
    *("jinit.adapter", "jinit.transplant", "jinit.recipes"),
)


def public(namespace):
    """What a module defines, or a package takes from anywhere in jinit."""
    module = importlib.import_module(namespace)
    home = "jinit." if hasattr(module, "__path__") else f"{namespace}."
    named = {name: getattr(module, name) for name in dir(module) if name[0] != "_"}
    return {
        f"{namespace}.{name}": value
        for name, value in named.items()
        if (inspect.isclass(value) or inspect.isfunction(value))
        and f"{value.__module__}.".startswith(home)
    }


PUBLIC = {
    name: value for names in map(public, NAMESPACES) for name, value in names.items()
}
# Names of JAX, whose docstrings name the initializer of jinit that they return.
DROP_IN = {name for name in PUBLIC if name.startswith("jinit.jaxnn.")}
INITIALIZERS = {
    name: value
    for name, value in PUBLIC.items()
    if inspect.isclass(value) and issubclass(value, jinit.Initializer)
}
del INITIALIZERS["jinit.Initializer"]


def callables():
    """Public functions, and the public methods of public classes."""
    for name, value in PUBLIC.items():
        if inspect.isfunction(value):
            yield name, value
        else:
            methods = inspect.getmembers(value, inspect.isfunction)
            for method, function in methods:
                if not method.startswith("_") and function.__module__.startswith(
                    "jinit"
                ):
                    yield f"{name}.{method}", function


CALLABLES = dict(callables())


def test_each_name_is_exported_once():
    values = [value for name, value in PUBLIC.items() if name not in DROP_IN]
    assert max(collections.Counter(map(id, values)).values()) == 1


def sections_missing(name, value):
    """What the docstring of a public name lacks."""
    documentation = inspect.getdoc(value) or ""
    if not documentation or name in DROP_IN:
        return [] if documentation else ["a docstring"]
    sections = ["Returns:"] if inspect.isfunction(value) else []
    if ".plots." in name:  # whose module says once that each returns the Axes
        sections = []
    if inspect.isfunction(value) and inspect.signature(value).parameters:
        sections += ["Args:", "Raises:"]
    # What all functions of a module take, return or refuse, it may say once.
    of_module = inspect.getdoc(inspect.getmodule(value)) or ""
    said = documentation + of_module
    missing = [section for section in sections if section not in said]
    # What a function returns is shown where that makes it.
    maker = inspect.isclass(value) and re.search(r"`(\S+)` returns", documentation)
    shown = [value, PUBLIC[maker[1]]] if maker else [value]
    find = doctest.DocTestFinder(recurse=False).find
    examples = [test for each in shown for test in find(each, name) if test.examples]
    return missing if examples else [*missing, "an example"]


def untyped(function):
    """The parameters, and perhaps the result, that have no type."""
    signature, missing = inspect.signature(function), inspect.Parameter.empty
    parameters = [p for p in signature.parameters.values() if p.name != "self"]
    names = [p.name for p in parameters if p.annotation is missing]
    return names + ["return"] * (signature.return_annotation is missing)


def test_each_name_is_documented_with_an_example():
    missing = {name: sections_missing(name, value) for name, value in PUBLIC.items()}
    assert {name: lacks for name, lacks in missing.items() if lacks} == {}


def test_each_parameter_and_result_is_typed():
    missing = {name: untyped(function) for name, function in CALLABLES.items()}
    assert {name: lacks for name, lacks in missing.items() if lacks} == {}


def test_each_method_is_documented():
    assert [name for name, each in CALLABLES.items() if not inspect.getdoc(each)] == []


def test_what_is_neither_documented_nor_typed_is_noticed():
    def bare(a, b: int): ...

    assert sections_missing("bare", bare) == ["a docstring"]
    bare.__doc__ = "Does nothing.\n\nReturns:\n  None."
    assert sections_missing("bare", bare) == ["Args:", "Raises:", "an example"]
    assert untyped(bare) == ["a", "return"]


# An initializer of each name, and an object of every other class.

TOPICAL = {f"jinit.{call.partition('(')[0]}": (call, shape) for call, shape in ROWS}
EVERY = {
    **{name: parse(call) for name, (call, _) in TOPICAL.items()},
    "jinit.torch.triangular": jinit.torch.triangular(0.5),
    "jinit.torch.zero_row": jinit.torch.zero_row(jinit.normal(), 1),
    **{f"jinit.{call.split('(')[0]}": build(call) for call in reversed(CALLS)},
}
MATRICES = (jinit.eye, jinit.sparse)
PLATFORMS = ("cpu", "cuda", "tpu")


def audited():
    return jinit.diagnostics.audit({"kernel": jnp.zeros((8, 8)), "bias": jnp.ones(8)})


def lsuv_report():
    layer = jinit.LsuvLayer("params/kernel", (), 0.5, None, 1.4, 1, "not finite")
    return jinit.LsuvReport((layer,), False)


LAW = jinit.laws.Normal(0.0, 0.5)
LAWS = [
    *(jinit.laws.Point(1.0), LAW, jinit.laws.Uniform(0.0, 1.0)),
    *(jinit.laws.Truncated(0.0, 1.0, -2.0, 2.0), jinit.laws.Triangular(0.5)),
    *(jinit.laws.Moments(0.0, 1.0), jinit.laws.Mixture(((1.0, LAW),))),
    *(jinit.laws.Complex(LAW, LAW), jinit.laws.Disc(1.0, 2.0)),
    *(jinit.laws.Family("gamma", (2.0,)), jinit.laws.Transformed(LAW, "log")),
    *(jinit.laws.Affine(LAW, 2.0, 1.0), jinit.laws.Clipped(LAW, 0.0, 1.0)),
    jinit.laws.Quantile("gumbel_r"),
]
GROWN = jinit.transplant.Grown("w", (2, 3), (4, 3), "copies along axis 0")
VALUES = {
    **{f"jinit.recipes.{name}": recipe for name, recipe in Recipe.known.items()},
    **{f"jinit.laws.{type(law).__name__}": lambda law=law: law for law in LAWS},
    "jinit.adapter.Pair": lambda: jinit.adapter.lora((8, 4), 2),
    "jinit.transplant.Growth": lambda: jinit.transplant.Growth((GROWN,)),
    "jinit.transplant.Grown": lambda: GROWN,
    "jinit.Entry": lambda: next(iter(VALUES["jinit.Plan"]())),
    "jinit.diagnostics.Statistics": lambda: audited().leaves[0].measured,
    "jinit.Fans": lambda: jinit.fans((3, 4)),
    "jinit.CriticalPoint": lambda: jinit.CriticalPoint(2.0, 0.0),
    "jinit.variance_map": lambda: jinit.variance_map("relu", bias_var=0.1),
    "jinit.LsuvLayer": lambda: lsuv_report().layers[0],
    "jinit.LsuvReport": lsuv_report,
    "jinit.Plan": lambda: jinit.plan({"w": jnp.zeros((3, 4))}, {"w": jinit.normal()}),
    "jinit.Roles": lambda: jinit.roles(
        lambda w, x: x @ w, jnp.ones((3, 4)), jnp.ones(3)
    ),
    "jinit.Scaling": lambda: jinit.Scaling("w", "hidden", 2.0, 0.5**0.5, 0.5, 1.0),
    "jinit.Place": lambda: jinit.Place(0, 4, 1, 2, 0),
    "jinit.Role": lambda: next(iter(VALUES["jinit.Roles"]())),
    "jinit.diagnostics.Report": audited,
    "jinit.diagnostics.Leaf": lambda: audited().leaves[0],
    "jinit.diagnostics.Finding": lambda: audited().findings[0],
}
# These hold arrays of measurements, or move on, and are compared by what is in them.
UNCOMPARED = {
    "jinit.adapter.Split": lambda: jinit.adapter.pissa(jnp.eye(4), 2),
    "jinit.torch.Stream": lambda: jinit.torch.manual_seed(0),
    "jinit.Parametrization": lambda: jinit.Parametrization(
        (VALUES["jinit.Scaling"](),), [], (), None
    ),
    "jinit.diagnostics.Propagation": lambda: Propagation(
        ("dense",), *(np.ones((1, 1)) for _ in range(4))
    ),
    "jinit.diagnostics.CoordinateCheck": lambda: CoordinateCheck(
        ("dense",), (16, 64), *(np.ones((2, 1)) for _ in range(3)), ("level",)
    ),
}


BASES = {
    *("jinit.Initializer", "jinit.ModelInit", "jinit.laws.Law"),
    "jinit.recipes.Recipe",
}


def test_there_is_an_example_of_every_class():
    classes = {name for name, value in PUBLIC.items() if inspect.isclass(value)}
    assert classes == BASES | {*EVERY, *VALUES, *UNCOMPARED}


@pytest.mark.parametrize("name", [*EVERY, *VALUES])
def test_each_value_compares_and_its_copies_are_equal(name):
    value = EVERY[name] if name in EVERY else VALUES[name]()
    again = value if name in EVERY else VALUES[name]()
    assert value == again
    assert value != object()
    assert pickle.loads(pickle.dumps(value)) == value
    assert copy.deepcopy(value) == value


@pytest.mark.parametrize("name", [*EVERY, *VALUES, *UNCOMPARED])
def test_each_value_prints_as_what_it_is(name):
    value = EVERY[name] if name in EVERY else (VALUES | UNCOMPARED)[name]()
    assert " object at 0x" not in repr(value)
    assert repr(pickle.loads(pickle.dumps(value))) == repr(value)


@pytest.mark.parametrize("name", EVERY)
def test_each_initializer_draws_what_is_asked_for_and_lowers_everywhere(name, key):
    init = EVERY[name]
    shape = (6, 8) if isinstance(init, MATRICES) else (6, 6, 8)
    _, shape = TOPICAL.get(name, ("", shape))
    w = init(key, shape, jnp.float32)
    chex.assert_shape(w, shape)
    chex.assert_type(w, jnp.float32)
    chex.assert_tree_all_finite(w)
    for dtype in (jnp.float32, jnp.bfloat16):
        program = jax.jit(lambda key, dtype=dtype: init(key, shape, dtype))
        exported = jax.export.export(program, platforms=PLATFORMS)(key)
        assert exported.platforms == PLATFORMS
        (out,) = exported.out_avals
        assert (out.shape, out.dtype) == (shape, dtype)
