"""To whatever looks at a function, an initializer is one: called, or uncalled."""

import copy
import functools
import inspect
import pickle
import typing

import jax
import pytest
from flax import nnx
from jax.experimental import checkify

import jinit
import jinit.jaxnn
import jinit.torch

KEY, SHAPE = jax.random.key(0), (3, 2)
INITS = {
    "called": jinit.normal(),
    "called without options": jinit.zeros(),
    "uncalled": jinit.zeros,
    "the drop-in, uncalled": jinit.jaxnn.ones,
    "combined": jinit.stack(jinit.normal()),
}

# Each draws an array of the shape.
USES = {
    "jit by position": lambda init: jax.jit(init, static_argnums=(1, 2))(
        KEY, SHAPE, "float32"
    ),
    "jit by name": lambda init: jax.jit(init, static_argnames=("shape",))(
        KEY, shape=SHAPE
    ),
    "lowered": lambda init: (
        jax.jit(init, static_argnums=1).lower(KEY, SHAPE).compile()(KEY)
    ),
    "exported": lambda init: jax.export.export(jax.jit(init, static_argnums=1))(
        KEY, SHAPE
    ).call(KEY),
    "vmap": lambda init: jax.vmap(init, (0, None))(jax.random.split(KEY), SHAPE)[0],
    "checkpoint": lambda init: jax.checkpoint(init, static_argnums=1)(KEY, SHAPE),
    "eval_shape": lambda init: jax.eval_shape(
        functools.partial(init, shape=SHAPE), KEY
    ),
    "named_call": lambda init: jax.jit(jax.named_call(init), static_argnums=1)(
        KEY, SHAPE
    ),
    "named_scope": lambda init: jax.named_scope("init")(init)(KEY, SHAPE),
    "checkify": lambda init: checkify.checkify(functools.partial(init, shape=SHAPE))(
        KEY
    )[1],
    "partial": lambda init: functools.partial(init, shape=SHAPE)(KEY),
    "wraps": lambda init: functools.wraps(init)(lambda *call: init(*call))(KEY, SHAPE),
    "cache": lambda init: functools.cache(lambda f: f(KEY, SHAPE))(init),
    "pickle": lambda init: pickle.loads(pickle.dumps(init))(KEY, SHAPE),
    "deepcopy": lambda init: copy.deepcopy(init)(KEY, SHAPE),
    "bind": lambda init: init(*inspect.signature(init).bind(KEY, SHAPE).args),
    "an attribute of a module": lambda init: nnx.Linear(
        3, 2, kernel_init=init, rngs=nnx.Rngs(0)
    ).kernel[...],
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", INITS)
def test_an_initializer_is_used_as_a_function(name, use):
    assert USES[use](INITS[name]).shape == SHAPE


@pytest.mark.parametrize("name", INITS)
def test_it_has_the_signature_and_the_name_of_a_function(name):
    init, function = INITS[name], jax.nn.initializers.zeros
    ours, theirs = (inspect.signature(f).parameters for f in (init, function))
    assert list(ours) == list(theirs)
    assert [p.default for p in ours.values()] == [p.default for p in theirs.values()]
    assert init.__name__.split("(")[0] in ("normal", "zeros", "ones", "stack")
    assert init.__doc__
    assert callable(init)
    assert isinstance(INITS["called"], jax.nn.initializers.Initializer)


MODULES = jinit, jinit.jaxnn, jinit.torch, jinit.torch.functional, jinit.laws
MODULES += (jinit.diagnostics,)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_hints_can_be_read_as_the_program_runs(module):
    for name in dir(module):
        each = getattr(module, name)
        if not callable(each) or not getattr(each, "__module__", "").startswith(
            "jinit"
        ):
            continue
        methods = vars(each).values() if inspect.isclass(each) else ()
        for function in [each, *filter(inspect.isfunction, methods)]:
            typing.get_type_hints(function)
