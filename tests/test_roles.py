"""Roles: what each parameter is, as the traced program shows it."""

import string
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.core import freeze
from hypothesis import given, settings
from hypothesis import strategies as st

import jinit
from jinit.diagnostics import audit
from jinit.model._paths import named_leaves

KEY = jax.random.key(0)


def struct(*shape, dtype="float32"):
    return jax.ShapeDtypeStruct(shape, dtype)


X = struct(2, 6, 16)
IMAGES = struct(2, 8, 8, 4)
WORDS = struct(2, 6, dtype="int32")


def linen(model, *inputs):
    """The roles of a module, by path, without the collection."""
    params = jax.eval_shape(model.init, KEY, *inputs)
    found = jinit.roles(model, params, *inputs)
    return {role.path.partition("/")[2]: role for role in found}


def of(function, params, *inputs):
    return {role.path: role for role in jinit.roles(function, params, *inputs)}


# Axes and fans: of each layer those that its equation has.

LAYERS = {
    "Dense": (nn.Dense(8), X, "kernel", "in out", 16, 8),
    "DenseGeneral, several axes out": (
        *(nn.DenseGeneral((2, 3)), X, "kernel"),
        *("in out out", 16, 6),
    ),
    "DenseGeneral, several axes in": (
        *(nn.DenseGeneral(5, axis=(-2, -1)), X, "kernel"),
        *("in in out", 96, 5),
    ),
    "DenseGeneral, batch axes": (
        *(nn.DenseGeneral(5, axis=-1, batch_dims=(0,)), X, "kernel"),
        *("batch in out", 16, 5),
    ),
    "Einsum": (
        nn.Einsum((2, 16, 4), "bsd,hdk->bshk"),
        X,
        "kernel",
        "out in out",
        16,
        8,
    ),
    "Conv": (nn.Conv(8, (3, 3)), IMAGES, "kernel", "space space in out", 36, 72),
    "Conv with strides": (
        *(nn.Conv(8, (3, 3), strides=3), IMAGES, "kernel"),
        *("space space in out", 36, 8),
    ),
    "Conv in groups": (
        *(nn.Conv(8, (3, 3), feature_group_count=2), IMAGES, "kernel"),
        *("space space in out", 18, 36),
    ),
    "Conv by channel": (
        *(nn.Conv(4, (3, 3), feature_group_count=4), IMAGES, "kernel"),
        *("space space in out", 9, 9),
    ),
    "Conv1D": (nn.Conv(8, (3,)), X, "kernel", "space in out", 48, 24),
    "ConvLocal": (nn.ConvLocal(8, (3,)), X, "kernel", "batch in out", 48, 8),
    "ConvTranspose": (
        *(nn.ConvTranspose(8, (4, 4), (2, 2)), IMAGES, "kernel"),
        *("space space in out", 16, 128),
    ),
    "ConvTranspose, transposed": (
        nn.ConvTranspose(8, (4, 4), (2, 2), transpose_kernel=True),
        *(IMAGES, "kernel", "space space out in", 16, 128),
    ),
    "Embed": (nn.Embed(10, 16), WORDS, "embedding", "index out", 1, 16),
    "attention, query": (
        *(nn.MultiHeadDotProductAttention(4), X, "query/kernel"),
        *("in out out", 16, 16),
    ),
    "attention, out": (
        *(nn.MultiHeadDotProductAttention(4), X, "out/kernel"),
        *("in in out", 16, 16),
    ),
    "LSTM": (nn.RNN(nn.LSTMCell(8)), X, "cell/ii/kernel", "in out", 16, 8),
    "LSTM, packed": (
        *(nn.RNN(nn.OptimizedLSTMCell(8)), X, "cell/hf/kernel"),
        *("in out", 8, 8),
    ),
    "GRU": (nn.RNN(nn.GRUCell(8)), X, "cell/hn/kernel", "in out", 8, 8),
}


@pytest.mark.parametrize("name", LAYERS)
def test_axes_and_fans_are_those_of_the_equation(name):
    model, inputs, path, axes, fan_in, fan_out = LAYERS[name]
    role = linen(model, inputs)[path]
    assert " ".join(role.axes) == axes
    assert (role.fan_in, role.fan_out) == (fan_in, fan_out)


RNGS = nnx.Rngs(0)
OF_NNX = {
    "Linear": (nnx.Linear(16, 8, rngs=RNGS), X, "kernel", "in out", 16, 8),
    "LinearGeneral": (
        *(nnx.LinearGeneral((6, 16), (2, 3), axis=(-2, -1), rngs=RNGS), X, "kernel"),
        *("in in out out", 96, 6),
    ),
    "Einsum": (
        *(nnx.Einsum("btd,ndh->btnh", (2, 16, 4), rngs=RNGS), X, "kernel"),
        *("out in out", 16, 8),
    ),
    "Conv": (
        *(nnx.Conv(4, 8, (3, 3), rngs=RNGS), IMAGES, "kernel"),
        *("space space in out", 36, 72),
    ),
    "Conv in groups": (
        *(nnx.Conv(4, 8, (3, 3), feature_group_count=2, rngs=RNGS), IMAGES),
        *("kernel", "space space in out", 18, 36),
    ),
    "ConvTranspose": (
        *(nnx.ConvTranspose(4, 8, (4, 4), (2, 2), rngs=RNGS), IMAGES, "kernel"),
        *("space space in out", 16, 128),
    ),
    "Embed": (nnx.Embed(10, 16, rngs=RNGS), WORDS, "embedding", "index out", 1, 16),
    "attention, value": (
        *(nnx.MultiHeadAttention(4, 16, decode=False, rngs=RNGS), X, "value/kernel"),
        *("in out out", 16, 16),
    ),
    "LSTM": (
        *(nnx.RNN(nnx.LSTMCell(16, 8, rngs=RNGS)), X, "cell/ii/kernel"),
        *("in out", 16, 8),
    ),
    "GRU": (
        *(nnx.RNN(nnx.GRUCell(16, 8, rngs=RNGS)), X, "cell/dense_i/kernel"),
        *("in out", 16, 8),
    ),
}


@pytest.mark.parametrize("name", OF_NNX)
def test_layers_of_nnx_are_read(name):
    model, inputs, path, axes, fan_in, fan_out = OF_NNX[name]
    role = of(model, nnx.state(model, nnx.Param), inputs)[path]
    assert " ".join(role.axes) == axes
    assert (role.fan_in, role.fan_out) == (fan_in, fan_out)


def test_scales_shifts_and_tables_are_told_apart():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            x = nn.Embed(10, 16)(tokens)
            x += self.param("places", nn.initializers.zeros, (6, 16))[None]
            return nn.MultiHeadDotProductAttention(4)(nn.LayerNorm()(x))

    found = linen(Model(), WORDS)
    kinds = {path: role.kind for path, role in found.items()}
    attention = "MultiHeadDotProductAttention_0"
    assert kinds["Embed_0/embedding"] == kinds["places"] == "table"
    assert kinds["LayerNorm_0/scale"] == "scale"
    assert kinds["LayerNorm_0/bias"] == kinds[f"{attention}/query/bias"] == "shift"
    assert kinds[f"{attention}/out/kernel"] == "contraction"


# Views: whatever is done to the axes before the product.


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_a_chain_of_reshapes_and_transposes_keeps_the_roles(data):
    """The parameter is folded and turned; the product contracts what was axis 1."""
    sizes = data.draw(st.lists(st.sampled_from((2, 3, 4)), min_size=2, max_size=4))
    order = data.draw(st.permutations(range(len(sizes))))
    inside = data.draw(st.integers(0, len(sizes) - 1))

    def function(w, x):
        turned = jnp.transpose(w, order)
        place = order.index(inside)
        turned = jnp.moveaxis(turned, place, 0)
        folded = turned.reshape(sizes[inside], -1)
        return x @ folded

    found = of(
        lambda p, x: function(p["w"], x),
        {"w": struct(*sizes)},
        struct(2, sizes[inside]),
    )
    expected = ["in" if axis == inside else "out" for axis in range(len(sizes))]
    assert list(found["w"].axes) == expected
    assert found["w"].fan_in == sizes[inside]


def test_an_axis_that_is_cut_apart_keeps_both_of_its_roles_where_they_agree():
    def function(p, x):  # (d, 3 h k) as (d, 3, h, k), of which each is a product
        q, k, v = jnp.moveaxis(p["w"].reshape(16, 3, 4, 4), 1, 0)
        return [jnp.einsum("bsd,dhk->bshk", x, w) for w in (q, k, v)]

    role = of(function, {"w": struct(16, 48)}, X)["w"]
    assert (role.axes, role.fan_in, role.uses) == (("in", "out"), 16, 3)


def test_parameters_that_are_put_side_by_side_are_each_contracted():
    def function(p, x):
        return x @ jnp.concatenate([p["a"], p["b"]], axis=1)

    found = of(function, {"a": struct(16, 4), "b": struct(16, 8)}, X)
    assert {role.axes for role in found.values()} == {("in", "out")}
    assert {role.fan_in for role in found.values()} == {16}


def test_what_passes_through_functions_is_named_and_left_as_it_is():
    def function(p, x):
        kernel = p["w"] - p["w"].mean(0, keepdims=True)
        return (x @ kernel) * jax.nn.softplus(p["t"])[None, None]

    found = of(function, {"w": struct(16, 8), "t": struct(8)}, X)
    assert "sub" in found["w"].functions
    assert found["t"].functions
    rules = dict(jinit.roles(function, {"w": struct(16, 8), "t": struct(8)}, X).rules())
    assert rules == {"w": None, "t": None}


# Moments: what a kernel meets.

ACTIVATIONS = {
    "relu": nn.relu,
    "gelu": nn.gelu,
    "silu": lambda x: x * jax.nn.sigmoid(x),  # whoever writes it
    "tanh": jnp.tanh,
    "elu": nn.elu,
    "selu": nn.selu,
    "sigmoid": nn.sigmoid,
}
TORCHS_OWN = {"tanh", "selu", "sigmoid"}  # of which torch's table has other gains


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_known_by_what_it_computes(name):
    def function(p, x):
        return ACTIVATIONS[name](x @ p["a"]) @ p["b"]

    params = {"a": struct(16, 32), "b": struct(32, 8)}
    found = of(function, params, X)
    assert found["a"].activation is None
    assert found["b"].activation == name
    gain = jinit.gain(name)
    assert found["b"].moment == pytest.approx(1 / gain**2, rel=2e-3)
    rules = dict(jinit.roles(function, params, X).rules())
    gain = float(f"{gain:.10g}") if name in TORCHS_OWN else name
    assert rules == {"a": jinit.lecun_normal(), "b": jinit.lecun_normal(gain=gain)}


def test_the_halves_of_a_product_are_independent():
    """Gates that are packed: the second moment is E gelu² · E u²."""

    def function(p, x):
        gate, up = jnp.split(x @ p["a"], 2, axis=-1)
        return (nn.gelu(gate) * up) @ p["b"]

    role = of(function, {"a": struct(16, 64), "b": struct(32, 8)}, X)["b"]
    assert role.moment == pytest.approx(1 / jinit.gain("gelu") ** 2, rel=0.1)


def test_a_normalization_gives_unit_size_whatever_came_before():
    def function(p, x):
        x = 100 * x
        x = x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True))
        return x @ p["w"]

    assert of(function, {"w": struct(16, 8)}, X)["w"].moment == pytest.approx(
        1, rel=0.1
    )


def test_an_operation_without_a_rule_starts_again_and_changes_nothing_else():
    def function(p, x):
        y = x @ p["a"]
        odd = jax.lax.cumprod(1e6 * y)
        return odd @ p["b"], nn.relu(y) @ p["c"], nn.standardize(odd) @ p["d"]

    params = {"a": struct(16, 16), **{n: struct(16, 8) for n in "bcd"}}
    found = of(function, params, X)
    assert found["b"].moment == pytest.approx(1, rel=0.05)
    assert found["c"].activation == "relu"
    assert [n for n in found if found[n].assumed] == ["b"]
    assert "(cumprod taken as 1)" in repr(jinit.roles(function, params, X))


# Streams.


class Block(nn.Module):
    kind: str = "pre"

    @nn.compact
    def __call__(self, x, _=None):
        def mlp(x):
            return nn.Dense(16)(nn.relu(nn.Dense(32)(x)))

        attention = nn.MultiHeadDotProductAttention(4)
        if self.kind == "pre":
            x = x + attention(nn.LayerNorm()(x))
            return x + mlp(nn.LayerNorm()(x)), None
        if self.kind == "post":
            x = nn.LayerNorm()(x + attention(x))
            return nn.LayerNorm()(x + mlp(x)), None
        if self.kind == "parallel":
            h = nn.LayerNorm()(x)
            return x + attention(h) + mlp(h), None
        if self.kind == "sandwich":
            x = x + nn.LayerNorm()(attention(nn.LayerNorm()(x)))
            return x + nn.LayerNorm()(mlp(nn.LayerNorm()(x))), None
        if self.kind == "scaled":  # as DeepNorm scales the skip
            x = 2.0 * x + attention(nn.LayerNorm()(x))
            return 2.0 * x + mlp(nn.LayerNorm()(x)), None
        alpha = self.param("alpha", nn.initializers.zeros, ())  # ReZero
        x = x + alpha * attention(x)
        return x + alpha * mlp(x), None


class Deep(nn.Module):
    kind: str = "pre"
    depth: int = 3

    @nn.compact
    def __call__(self, x):
        for _ in range(self.depth):
            x, _ = Block(self.kind)(x)
        return nn.Dense(4)(x)


def scanned(block, depth=3):
    axes = {"params": 0}
    split = {"params": True}
    return nn.scan(block, variable_axes=axes, split_rngs=split, length=depth)()


STREAMS = {  # the branches of the stream that the writers write to
    "pre-LN": (Deep("pre"), (X,), 6),
    "parallel": (Deep("parallel"), (X,), 6),
    "scaled": (Deep("scaled"), (X,), 6),
    "ReZero": (Deep("rezero"), (X,), 6),
    "post-LN, where each sum is normalized": (Deep("post"), (X,), 1),
    "scan": (scanned(Block), (X, None), 6),
    "remat": (scanned(nn.remat(Block)), (X, None), 6),
}


@pytest.mark.parametrize("name", STREAMS)
def test_the_writers_of_a_stream_know_how_many_they_are(name):
    model, inputs, branches = STREAMS[name]
    found = linen(model, *inputs)
    writers = {path for path, role in found.items() if role.branches}
    # The last layer of each block is made first; the head of the model is not in one.
    ends, head = ("out/kernel", "Dense_0/kernel"), isinstance(model, Deep)
    kernels = {path for path in found if path.endswith(ends)}
    assert writers == kernels - ({"Dense_0/kernel"} if head else set())
    assert {found[path].branches for path in writers} == {branches}


def left_out(choose):
    """A block that is one of two, and two more that may be left out."""

    def model(params, x, keep):
        def block(n):
            return lambda x: x + jax.nn.relu(x @ params["up"][n]) @ params["down"][n]

        x = choose(keep[0], block(0), block(1), x)
        for n in (2, 3):
            x = choose(keep[n - 1], block(n), lambda x: x, x)
        return x

    return model


def by_select(keep, one, other, x):
    return jnp.where(keep, one(x), other(x))


def by_switch(keep, one, other, x):
    return jax.lax.switch(keep.astype(int), [other, one], x)


@pytest.mark.parametrize("choose", [jax.lax.cond, by_switch, by_select])
def test_a_branch_that_is_left_out_at_times_is_one(choose):
    params = {"up": struct(4, 16, 32), "down": struct(4, 32, 16)}
    found = of(left_out(choose), params, X, struct(3, dtype="bool"))
    assert found["down"].branches == 3


def dispatched(params, x):
    """Experts of a capacity of three words each."""
    chances = jax.nn.softmax(x @ params["weigh"])
    chosen = jax.nn.one_hot(jnp.argmax(chances, -1), 8)
    place = ((jnp.cumsum(chosen, 0) - 1) * chosen).sum(-1).astype(int)
    sent = chosen[..., None] * jax.nn.one_hot(place, 3)[:, None]
    y = jnp.einsum("ecd,edh->ech", jnp.einsum("tec,td->ecd", sent, x), params["write"])
    return x + jnp.einsum("tec,ech->th", sent * chances[..., None], y)


def all_experts(params, x):
    weights = jax.nn.sigmoid(x @ params["weigh"])
    return x + jnp.einsum(
        "te,teh->th", weights, jnp.einsum("td,edh->teh", x, params["write"])
    )


@pytest.mark.parametrize("model", [dispatched, all_experts])
def test_the_weights_of_a_sum_do_not_write_to_a_stream(model):
    params = {"weigh": struct(16, 8), "write": struct(8, 16, 16)}
    found = of(model, params, struct(4, 16))
    assert {name: role.branches for name, role in found.items()} == {
        "weigh": 0,
        "write": 1,
    }


def test_a_stream_that_is_rectified_after_each_sum_is_one():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            for _ in range(3):
                h = nn.relu(nn.Conv(4, (3, 3))(x))
                x = nn.relu(x + nn.Conv(4, (3, 3))(h))
            return x

    found = linen(Model(), IMAGES)
    branches = {path: role.branches for path, role in found.items() if role.branches}
    assert branches == {f"Conv_{n}/kernel": 3 for n in (1, 3, 5)}


class Highway(nn.Module):
    @nn.compact
    def __call__(self, x):
        gate = nn.sigmoid(nn.Dense(16)(x))
        return gate * nn.relu(nn.Dense(16)(x)) + (1 - gate) * x


@pytest.mark.parametrize(
    "model",
    [nn.RNN(nn.LSTMCell(16)), nn.RNN(nn.GRUCell(16)), Highway()],
    ids=["LSTM", "GRU", "highway"],
)
def test_gates_make_no_stream(model):
    assert not any(role.branches for role in linen(model, X).values())


def test_a_branch_that_is_normalized_last_is_not_scaled():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x + nn.LayerNorm()(nn.Dense(16)(x))

    assert linen(Model(), X)["Dense_0/kernel"].branches == 0


def test_what_a_loop_feeds_back_is_recurrent():
    found = linen(nn.RNN(nn.SimpleCell(16)), X)
    assert found["cell/h/kernel"].recurrent
    assert not found["cell/i/kernel"].recurrent
    found = linen(scanned(Block), X, None)
    assert not any(role.recurrent for role in found.values())


# Names, libraries and what is asked of the result.


def test_no_name_is_read():
    model = Deep("pre")
    params = jax.eval_shape(model.init, KEY, X)
    leaves, treedef = jax.tree.flatten(params)
    names = [a + b for a in string.ascii_lowercase for b in string.ascii_lowercase]
    renamed = dict(zip(names, leaves, strict=False))  # in the same order

    def function(params, x):
        return model.apply(treedef.unflatten([params[n] for n in renamed]), x)

    ours, theirs = (
        [(r.shape, r.kind, r.axes, r.fan_in, r.branches) for r in found]
        for found in (jinit.roles(function, renamed, X), jinit.roles(model, params, X))
    )
    assert ours == theirs


def test_a_module_of_nnx_is_read():
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.one = nnx.Linear(16, 32, rngs=rngs)
            self.two = nnx.Linear(32, 8, rngs=rngs)

        def __call__(self, x):
            return self.two(nnx.relu(self.one(x)))

    model = Model(nnx.Rngs(0))
    for params in (nnx.state(model), nnx.state(model, nnx.Param)):
        found = jinit.roles(model, params, X)
        assert [r.activation for r in found if r.kind == "contraction"] == [
            None,
            "relu",
        ]
        drawn = jinit.plan(params, found.rules()).init(KEY)
        assert jax.tree.structure(drawn) == jax.tree.structure(params)


def second_moments(model, params, x):
    """Of what each Dense layer returns."""
    seen = []

    def watch(next_function, args, kwargs, context):
        out = next_function(*args, **kwargs)
        if isinstance(context.module, nn.Dense) and context.method_name == "__call__":
            seen.append(float(jnp.square(out).mean()))
        return out

    with nn.intercept_methods(watch):
        model.apply(params, x)
    return np.array(seen)


def test_signals_have_the_size_one_where_the_default_loses_them():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            for _ in range(10):
                x = nn.silu(nn.Dense(128)(x))
            return nn.Dense(64)(x)

    x = jax.random.normal(KEY, (128, 64))
    params = jax.eval_shape(Model().init, KEY, x)
    ours = jinit.plan(params, jinit.roles(Model(), params, x).rules()).init(KEY)
    assert second_moments(Model(), Model().init(KEY, x), x)[-1] < 1e-3
    found = second_moments(Model(), ours, x)
    assert ((found > 0.5) & (found < 2)).all()


def test_a_stream_stays_bounded_at_any_depth():
    class Model(nn.Module):
        depth: int

        @nn.compact
        def __call__(self, x):
            for _ in range(self.depth):
                x += nn.Dense(64)(nn.relu(nn.Dense(64)(nn.RMSNorm()(x))))
            return x

    x = jax.random.normal(KEY, (128, 64))
    for depth in (2, 12):
        model = Model(depth)
        params = jax.eval_shape(model.init, KEY, x)
        ours = jinit.plan(params, jinit.roles(model, params, x).rules()).init(KEY)
        out = jnp.square(model.apply(ours, x)).mean()
        assert out == pytest.approx(2.0, rel=0.3)


def test_the_table_says_what_each_parameter_is():
    text = repr(
        jinit.roles(Deep("pre", 1), jax.eval_shape(Deep("pre", 1).init, KEY, X), X)
    )
    (line,) = [line for line in text.splitlines() if "Block_0/Dense_0/kernel" in line]
    assert "(32, 16)" in line
    assert "contraction" in line
    assert "relu" in line
    assert "a stream of 2" in line


class Drop(nnx.Module):
    """With a state that is changed when it runs, and keys."""

    def __init__(self, rngs):
        self.dense = nnx.Linear(16, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.drop(self.norm(self.dense(x)))


class Shared(nn.Module):
    @nn.compact
    def __call__(self, x):
        dense = nn.Dense(
            16, kernel_init=nn.with_partitioning(jinit.normal(), ("a", "b"))
        )
        return dense(nn.relu(dense(x)))


def shared(kind):
    params = jax.eval_shape(Shared().init, KEY, X)
    return {"all": params, "frozen": freeze(params), "alone": params["params"]}[kind]


STORED = {
    **{
        kind: lambda kind=kind: (Shared(), shared(kind))
        for kind in ("all", "frozen", "alone")
    },
    "nnx, all": lambda: (Drop(nnx.Rngs(0)), nnx.state(Drop(nnx.Rngs(0)))),
    "nnx": lambda: (Drop(nnx.Rngs(0)), nnx.state(Drop(nnx.Rngs(0)), nnx.Param)),
    "nnx, pure": lambda: (
        Drop(nnx.Rngs(0)),
        nnx.to_pure_dict(nnx.state(Drop(nnx.Rngs(0)), nnx.Param)),
    ),
}


@pytest.mark.parametrize("name", STORED)
def test_parameters_are_read_as_they_are_kept(name):
    model, params = STORED[name]()
    found = [r for r in jinit.roles(model, params, X) if r.kind == "contraction"]
    ((axes, fan_in, uses),) = [(r.axes, r.fan_in, r.uses) for r in found]
    assert (axes, fan_in) == (("in", "out"), 16)
    assert uses == (1 if "nnx" in name else 2)


def test_nothing_is_transferred_without_being_asked_for():
    with jax.transfer_guard("disallow"):
        found = of(lambda p, x: nn.gelu(x @ p["a"]), {"a": struct(16, 8)}, X)
        assert linen(nn.Dense(8), X)["kernel"].fan_in == found["a"].fan_in


# Mistakes, and what cannot be known.


def test_a_role_is_had_by_its_path():
    roles = jinit.roles(lambda p, x: x @ p["kernel"], {"kernel": struct(16, 8)}, X)
    assert roles["kernel"] is next(iter(roles))
    with pytest.raises(ValueError, match=r"path must be .* got 'kernal'; did you mean"):
        roles["kernal"]


def test_what_is_no_array_is_refused():
    with pytest.raises(TypeError, match=r"got 1.0 at 'a'; take the arrays alone"):
        jinit.roles(lambda p, x: x, {"a": 1.0}, X)


def test_a_model_that_fails_on_its_inputs_is_said_to():
    params = {"w": struct(16, 8)}
    with pytest.raises(ValueError, match=r"model must run .* raised TypeError"):
        jinit.roles(lambda p, x: x @ p["w"], params, struct(2, 5))


@pytest.mark.parametrize("name", ["more", "b"])
def test_parameters_of_another_model_are_refused(name):
    few = {"kernel": np.ones((16, 8), "f4"), name: np.ones(8, "f4")}
    with pytest.raises(ValueError, match=r"must run .* ScopeParamNotFoundError"):
        jinit.roles(nn.Dense(8), {"params": few}, X)
    with pytest.raises(
        ValueError, match=r"must be those of the model, 'bias', 'kernel', got"
    ):
        jinit.roles(nnx.Linear(16, 8, rngs=nnx.Rngs(0)), few, X)


def test_what_is_not_used_or_reaches_only_a_loop_of_unknown_length_is_told():
    def function(p, x):
        def turn(carry):
            n, y = carry
            return n + 1, jnp.tanh(y @ p["loop"])

        done = jax.lax.while_loop(lambda carry: carry[0] < x.sum(), turn, (0.0, x))
        return done[1]

    params = {"loop": struct(16, 16), "spare": struct(3)}
    found = of(function, params, X)
    assert found["spare"].kind == "unused"
    assert found["loop"].uses is None
    assert found["loop"].axes == ("in", "out")


def test_running_averages_are_no_parameters_of_the_result():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(8)(nn.BatchNorm(use_running_average=False)(x))

    found = linen(Model(), X)
    assert found["BatchNorm_0/var"].kind == "unused"
    assert found["BatchNorm_0/scale"].kind == "scale"


# What places share


def test_an_average_over_an_image_is_as_large_as_what_its_places_share():
    """ReLU has the mean 1 / sqrt(2 pi): of its square, 1 / pi is common to places."""

    class Pooled(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Conv(8, (3, 3))(x))
            x = nn.relu(nn.Conv(8, (3, 3), name="second")(x))
            return nn.Dense(3, name="head")(x.mean((1, 2)))

    found = linen(Pooled(), struct(2, 64, 64, 4))
    # Second layer: c = 1 / pi of its input; then E relu(u) relu(v) by the arc cosine.
    c = 1 / np.pi
    kernel = (np.sqrt(1 - c**2) + c * (np.pi - np.arccos(c))) / (2 * np.pi)
    assert found["head/kernel"].moment == pytest.approx(kernel, rel=0.15)
    assert found["second/kernel"].activation == "relu"


def test_attention_that_looks_everywhere_averages_what_is_not_shared():
    def model(params, x):
        q, k, v = (x @ params[name] for name in "qkv")
        y = jax.nn.softmax(q @ jnp.swapaxes(k, 1, 2) / 8.0) @ v
        return y @ params["o"]

    params = {name: struct(64, 64) for name in "qkvo"}
    role = of(model, params, struct(2, 128, 64))["o"]
    # The weights are log-normal: the sum of their squares is e / n.
    assert role.moment == pytest.approx(np.e / 128, rel=0.3)


@pytest.mark.parametrize(
    ("taps", "size", "share"),
    [(3, 2, (2 / 3) ** 2), (7, 4, (4 / 7) ** 2), (3, 16, 1.0)],
)
def test_zeros_beyond_the_borders_of_a_small_image_are_counted(taps, size, share):
    found = linen(nn.Conv(8, (taps, taps)), struct(2, size, size, 4))
    assert found["kernel"].fan_in == 4 * taps**2
    assert found["kernel"].moment == pytest.approx(share)


def test_dropout_is_as_likely_as_it_says():
    class Dropped(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dropout(0.75, deterministic=False)(nn.Dense(8)(x))
            return nn.Dense(3, name="head")(x)

    rngs = {"params": KEY, "dropout": KEY}
    params = jax.eval_shape(Dropped().init, rngs, X)
    found = {role.path: role for role in jinit.roles(Dropped(), params, X)}
    assert found["params/head/kernel"].moment == pytest.approx(4.0, rel=0.1)


# Gates, queries, slices


def test_a_gate_of_a_branch_does_not_write_to_the_stream():
    class Gated(nn.Module):
        @nn.compact
        def __call__(self, x):
            gate = nn.sigmoid(nn.Dense(16, name="gate")(x.mean(1, keepdims=True)))
            return x + gate * nn.Dense(16, name="down")(nn.relu(nn.Dense(8)(x)))

    found = linen(Gated(), X)
    assert found["down/kernel"].branches == 1
    assert found["gate/kernel"].branches == 0


def test_queries_that_are_learned_are_signals():
    class Queries(nn.Module):
        @nn.compact
        def __call__(self, x):
            q = self.param("queries", nn.initializers.normal(0.02), (5, 16))
            q = nn.LayerNorm()(jnp.broadcast_to(q, (x.shape[0], 5, 16)))
            return nn.MultiHeadDotProductAttention(4)(q, x)

    found = linen(Queries(), X)
    assert found["queries"].kind == "table"
    role = found["MultiHeadDotProductAttention_0/query/kernel"]
    assert role.axes == ("in", "out", "out")
    assert not role.functions


def test_layers_of_a_stack_that_are_taken_one_by_one_are_known():
    def model(params, x):
        for n in range(3):
            x = jnp.tanh(x @ params["w"][n] + params["b"][n][None, None])
        return x

    found = of(model, {"w": struct(3, 16, 16), "b": struct(3, 16)}, X)
    assert found["w"].axes == ("stack", "in", "out")
    assert found["w"].uses == 3
    assert found["b"].kind == "shift"


def test_a_bias_after_the_sum_does_not_end_a_stream():
    def model(params, x):
        for n in range(3):
            y = jax.nn.relu(x @ params["up"][n]) @ params["down"][n]
            x = x + y + params["b"][n][None, None]
        return x

    shapes = {"up": struct(3, 16, 32), "down": struct(3, 32, 16), "b": struct(3, 16)}
    assert of(model, shapes, X)["down"].branches == 3


def test_a_place_says_where_in_a_stream_a_kernel_is():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            for n in range(2):
                y = nn.relu(nn.Dense(8, name=f"a{n}")(nn.LayerNorm()(x)))
                x = x + nn.Dense(16, name=f"c{n}")(
                    nn.relu(nn.Dense(8, name=f"b{n}")(y))
                )
            return nn.Dense(4, name="head")(x)

    found = linen(Net(), X)
    for n in range(2):
        for number, name in enumerate("abc"):
            place = found[f"{name}{n}/kernel"].place
            assert (place.branches, place.branch) == (2, n)
            assert (place.layers, place.layer) == (3, number)
    assert found["head/kernel"].place is None
    assert [path for path, role in found.items() if role.head] == ["head/kernel"]


# Options of the rules


class Blocks(nn.Module):
    """Two branches of two layers, the second of which is normalized last."""

    @nn.compact
    def __call__(self, x):
        x = x + nn.Dense(16, name="down")(nn.relu(nn.Dense(64, name="up")(x)))
        y = nn.Dense(16, name="o")(nn.relu(nn.Dense(64, name="v")(x)))
        return nn.Dense(3, name="head")(x + nn.LayerNorm(name="norm")(y))


def rules_of(**options):
    params = jax.eval_shape(Blocks().init, KEY, X)
    rules = jinit.roles(Blocks(), params, X).rules(**options)
    return {path.partition("/")[2]: init for path, init in rules}


@pytest.mark.parametrize(
    ("residual", "down", "norm", "up"),
    [
        ("sqrt", "lecun_normal(gain=1.0)", "constant(0.7071)", 1.0),
        ("zero", "zeros()", "zeros()", 1.0),
        ("fixup", "zeros()", "zeros()", 0.5),
        (None, "lecun_normal(gain='relu')", "ones()", 1.0),
    ],
)
def test_what_is_written_to_a_stream_is_scaled(residual, down, norm, up):
    rules = rules_of(residual=residual)
    std = rules["up/kernel"].law((16, 64)).std
    assert std == pytest.approx(np.sqrt(up / 16), rel=1e-3)
    assert repr(rules["norm/scale"]) == norm
    if residual != "sqrt":
        assert repr(rules["down/kernel"]) == down
    else:
        std = rules["down/kernel"].law((64, 16)).std
        assert std == pytest.approx(np.sqrt(2 / 64 / 2), rel=1e-3)


def test_gradients_are_kept_by_the_fan_out():
    rules = rules_of(keep="backward", residual=None)
    std = rules["down/kernel"].law((64, 16)).std  # of ReLU E f'^2 = 1 / 2
    assert std == pytest.approx(np.sqrt(2 / 16), rel=1e-3)
    both = rules_of(keep="both", residual=None)["down/kernel"].law((64, 16)).std
    assert both == pytest.approx(np.sqrt(2 / (64 / 2 + 16 / 2)), rel=1e-3)


@pytest.mark.parametrize(("head", "share"), [(None, 1.0), (0.1, 0.01)])
def test_the_head_is_scaled(head, share):
    std = rules_of(head=head)["head/kernel"].law((16, 3)).std
    plain = rules_of()["head/kernel"].law((16, 3)).std
    assert std == pytest.approx(plain * np.sqrt(share), rel=1e-3)
    assert repr(rules_of(head=jinit.zeros())["head/kernel"]) == "zeros()"


def test_recurrent_kernels_are_orthogonal_if_they_are_to_be():
    model = nn.RNN(nn.SimpleCell(8))
    params = jax.eval_shape(model.init, KEY, X)
    found = jinit.roles(model, params, X)
    path = "params/cell/h/kernel"
    assert repr(dict(found.rules())[path]) == "orthogonal()"
    assert "lecun_normal" in repr(dict(found.rules(recurrent=None))[path])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"residual": "gpt2"}, ValueError, "residual must be one of 'sqrt', 'zero'"),
        ({"keep": "fan_in"}, ValueError, "keep must be one of 'forward'"),
        ({"recurrent": "eye"}, ValueError, "recurrent must be one of 'orthogonal'"),
        ({"head": "zeros"}, TypeError, "head must be"),
    ],
)
def test_an_option_that_does_not_exist_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        rules_of(**options)


# For optimizers


@pytest.mark.slow
def test_muon_gets_the_axes_of_heads_experts_and_stacks():
    optax = pytest.importorskip("optax")

    class Net(nn.Module):
        @nn.compact
        def __call__(self, words):
            x = nn.Embed(32, 16, name="embed")(words)
            y = nn.LayerNorm()(x)
            x = x + nn.MultiHeadDotProductAttention(4, name="attend")(y)
            experts = self.param("experts", nn.initializers.normal(), (3, 16, 16))
            x = x + jnp.einsum("btd,edf->btf", nn.relu(x), experts)
            return nn.Dense(32, name="head")(x)

    params = Net().init(KEY, jnp.zeros((2, 6), "int32"))
    found = jinit.roles(Net(), params, WORDS)
    numbers = found.muon()["params"]
    make = optax.contrib.MuonDimensionNumbers
    assert numbers["attend"]["query"]["kernel"] == make((0,), (1, 2))
    assert numbers["attend"]["out"]["kernel"] == make((0, 1), (2,))
    assert numbers["embed"]["embedding"] is None
    assert numbers["head"] == {"kernel": None, "bias": None}

    grads = jax.tree.map(jnp.ones_like, params)
    muon = optax.contrib.muon(0.02, muon_weight_dimension_numbers=found.muon())
    with jax.numpy_dtype_promotion("standard"):  # which optax needs
        updates, _ = muon.update(grads, muon.init(params), params)
    assert jax.tree.structure(updates) == jax.tree.structure(params)


def test_weights_are_decayed_and_nothing_else():
    mask = jinit.roles(Blocks(), jax.eval_shape(Blocks().init, KEY, X), X).decay_mask()
    decayed = {path for path, is_decayed in named_leaves(mask)[0] if is_decayed}
    names = ("up", "down", "v", "o", "head")
    assert decayed == {f"params/{name}/kernel" for name in names}


def test_what_a_function_makes_of_a_parameter_is_not_decayed():
    def model(params, x):
        return jnp.exp(-jnp.exp(params["log"]))[None, None] * x @ params["w"]

    found = jinit.roles(model, {"log": struct(16), "w": struct(16, 4)}, X)
    assert found.decay_mask() == {"log": False, "w": True}


def associative(params, x):
    """A recurrence h = h / 2 + x v over places, of even and odd ones in turn."""
    pairs = jnp.full((*x.shape[:2], 64), 0.5), x @ params["v"]
    combined = jax.lax.associative_scan(
        lambda left, right: (left[0] * right[0], right[0] * left[1] + right[1]),
        pairs,
        axis=1,
    )
    return combined[1] @ params["o"]


def of_neighbours(params, x):
    """Messages from the nodes before, weighted and summed where they meet."""
    ends = np.random.default_rng(0).integers(0, x.shape[0], (2, 6 * x.shape[0]))
    h = x @ params["v"]
    weights = jnp.exp(jnp.tanh(h[ends[0], :1] + h[ends[1], :1]))
    total = jax.ops.segment_sum(weights, jnp.asarray(ends[1]), x.shape[0])
    summed = jax.ops.segment_sum(h[ends[0]] * weights, jnp.asarray(ends[1]), x.shape[0])
    return summed / (total + 1e-9) @ params["o"]


def counted(params, x):
    """Sums over neighbours, not weighted."""
    ends = np.random.default_rng(0).integers(0, x.shape[0], (2, 6 * x.shape[0]))
    h = jax.nn.relu(x @ params["v"])
    summed = jax.ops.segment_sum(h[ends[0]], jnp.asarray(ends[1]), x.shape[0])
    return summed @ params["o"]


def positive(params, x):
    """Queries and keys that are positive, and values."""
    keys = jnp.flip(params["v"], 0), jnp.flip(params["v"], 1)
    return (*(jax.nn.elu(x @ key) + 1 for key in keys), x @ params["v"])


def matched(params, x):
    """The products of positive queries and keys, which add up."""
    q, k, _ = positive(params, x)
    return jnp.einsum("btd,bsd->bts", q, k) @ params["o"]


def linear(params, x):
    """Linear attention: what queries see of the sums of keys times values."""
    q, k, v = positive(params, x)
    weights = jnp.einsum("btd,bd->bt", q, k.sum(1))
    seen = jnp.einsum("btd,bdm->btm", q, jnp.einsum("btd,btm->bdm", k, v) / 64)
    return 64 * seen / weights[..., None] @ params["o"]


def chosen(params, x):
    """The largest two of eight weights, as a mixture of experts has them; sorted."""
    weights, _ = jax.lax.top_k(jax.nn.softmax(x @ params["v"][:, :8]), 2)
    return jnp.sort(weights[..., :1] * x) @ params["o"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "shape"),
    [
        *((associative, (2, 32, 64)), (of_neighbours, (100, 64)), (counted, (100, 64))),
        *((matched, (2, 64, 64)), (linear, (2, 64, 64)), (chosen, (64, 64))),
    ],
)
def test_what_is_summed_where_it_meets_is_as_large_as_it_is(model, shape):
    x = jax.random.normal(jax.random.key(0), shape)
    params = {
        "v": jinit.lecun_normal()(jax.random.key(1), (64, 64)),
        "o": jnp.eye(64),  # so that the result is what the last kernel meets
    }
    true = float((model(params, x) ** 2).mean())
    assert 0.5 < jinit.roles(model, params, x)["o"].moment / true < 2


def mixed(p, x):
    """Two values by m and 1 - m, as RWKV mixes a place and the one before."""
    return x * p["m"] + (x @ p["v"]) * (1 - p["m"])


def decayed(p, x):
    return (x @ p["v"]) * jnp.exp(-jnp.exp(p["zero"]))


def halved(p, x):
    """The mean of two layers, by a softmax of parameters, through a sigmoid."""
    weights = jax.nn.softmax(p["two"])
    h = weights[0] * x + weights[1] * (x @ p["v"])
    return h * jax.nn.sigmoid(p["zero"])


def beside(p, x):
    """Tokens that are drawn small, beside as many inputs."""
    return jnp.concatenate([jnp.broadcast_to(p["token"], x.shape), x @ p["v"]], 0)


def by_turns(p, x):
    def turn(count, place):
        return count + 1, (x @ p["v"]) * count / (place + 1.0)

    return jax.lax.scan(turn, 0, jnp.arange(6.0))[1]


@pytest.mark.parametrize("model", [mixed, decayed, halved, beside, by_turns])
def test_what_is_computed_of_parameters_alone_or_of_a_counter_counts(model):
    x = jax.random.normal(jax.random.key(0), (32, 64))
    params = {
        "v": jinit.lecun_normal()(jax.random.key(1), (64, 64)),
        "m": jnp.linspace(0, 1, 64)[None],
        "zero": jnp.zeros((1, 64)),
        "two": jnp.zeros(2),
        "token": 0.02 * jnp.ones((1, 64)),
    }
    true = float((model(params, x) ** 2).mean())
    params["o"] = jnp.eye(64)
    roles = jinit.roles(lambda p, x: model(p, x) @ p["o"], params, x)
    assert 0.6 < roles["o"].moment / true < 1.6


def transformed(x):
    return jnp.fft.fft2(x).real


def filtered(x):
    waves = jnp.fft.rfft(x, axis=0, norm="ortho") * (jnp.ones((17, 1), "complex64") / 2)
    return jnp.fft.irfft(waves, 32, axis=0, norm="ortho")


def rotated(x):
    z = jax.lax.complex(x[:, :16], x[:, 16:])
    return jnp.square((z * np.exp(0.5j).astype("complex64")).imag)


@pytest.mark.parametrize(
    ("model", "dtype"),
    [(transformed, float), (filtered, float), (rotated, float), (jnp.real, complex)],
)
def test_complex_numbers_and_transforms_keep_what_parseval_says(model, dtype):
    x = jax.random.normal(jax.random.key(0), (32, 32), dtype)
    made = model(x)
    params = {"o": jnp.eye(made.shape[-1])}
    moment = jinit.roles(lambda p, x: model(x) @ p["o"], params, x)["o"].moment
    assert moment == pytest.approx(float((made**2).mean()), rel=0.2)


@pytest.mark.parametrize("factor", [1.0, 8.0])
def test_what_meets_a_table_that_is_a_head_too_is_drawn_for_its_rows(factor):
    """The table is drawn for logits of size one: its rows have variance 1 / 64."""

    def model(params, words):
        met = factor * params["table"][words] @ params["up"]
        return met, jax.nn.relu(met) @ params["down"] @ params["table"].T

    params = {"table": (50, 64), "up": (64, 64), "down": (64, 64)}
    params = {name: struct(*shape) for name, shape in params.items()}
    words = jnp.arange(50)[None]
    rules = jinit.roles(model, params, words).rules()
    drawn = jinit.plan(params, rules).init(KEY)
    for made in model(drawn, words):
        assert float((made**2).mean()) == pytest.approx(1, rel=0.4)
    assert audit(drawn, model=model, inputs=words).findings == ()


@pytest.mark.parametrize("order", [1, -1])
def test_what_mixes_two_values_is_left_as_it_is(order):
    def model(p, x):
        return sum([(1 - p["m"]) * x, p["m"] * (x @ p["v"])][::order])

    params = {"v": struct(64, 64), "m": struct(1, 64)}
    assert dict(jinit.roles(model, params, struct(32, 64)).rules())["m"] is None


def test_muon_leaves_what_is_no_matrix(key):
    pytest.importorskip("optax")

    def pooled(params, x):
        return jnp.tanh(jnp.tanh(x @ params["k"]) @ params["q"])[:, None] @ params["o"]

    shapes = {"k": (64, 32), "q": (32,), "o": (1, 3)}
    params = {name: jnp.ones(shape) for name, shape in shapes.items()}
    found = jinit.roles(pooled, params, jnp.ones((4, 64))).muon()
    assert found["q"] is None
    assert found["k"] is not None


def by_fori(params, x, start=0):
    def turn(n, x):
        return x + jax.nn.relu(x @ params["up"][n]) @ params["down"][n]

    return jax.lax.fori_loop(start, 6, turn, x) @ params["head"]


def by_while(params, x):
    return by_fori(params, x, jnp.asarray(0))


def by_counter(params, x):
    def turn(carry, _):
        n, x = carry
        h = jax.nn.relu(x @ params["up"][n]) @ params["down"][n]
        return (n + 1, x + h), None

    return jax.lax.scan(turn, (0, x), None, 6)[0][1] @ params["head"]


def backward(params, x):
    def turn(carry, _):
        n, x = carry
        up, down = (params[name][n] for name in ("up", "down"))
        return (n - 1, x + jax.nn.relu(x @ up) @ down), None

    return jax.lax.scan(turn, (jnp.int32(5), x), None, 6)[0][1] @ params["head"]


@pytest.mark.parametrize("model", [by_fori, by_while, by_counter, backward])
def test_layers_that_a_counter_picks_are_a_stack(model):
    shapes = {"up": (6, 16, 64), "down": (6, 64, 16), "head": (16, 10)}
    params = {name: jnp.ones(shape) for name, shape in shapes.items()}
    roles = jinit.roles(model, params, jnp.ones((4, 16)))
    assert roles["up"].axes == roles["down"].axes == ("stack", "in", "out")
    assert (roles["up"].fan_in, roles["down"].fan_in) == (16, 64)
    assert roles["head"].axes == ("in", "out")


def test_what_data_picks_is_a_table():
    def embedded(params, words):
        return params["table"][words] @ params["head"]

    params = {"table": jnp.ones((50, 16)), "head": jnp.ones((16, 10))}
    roles = jinit.roles(embedded, params, jnp.zeros((2, 3), int))
    assert roles["table"].kind == "table"


def top_two(params, x):
    chances = jax.nn.softmax(x @ params["router"])
    share, at = jax.lax.top_k(chances, 2)
    h = jax.nn.relu(jnp.einsum("td,tkdh->tkh", x, params["w"][at]) + params["b"][at])
    return x + (jnp.einsum("tkh,hd->tkd", h, params["o"]) * share[..., None]).sum(1)


def token_by_token(params, x):
    def expert(x):
        at = jnp.argmax(x @ params["router"])
        h = x @ params["w"][at] + params["b"][at]
        return x + jax.nn.relu(h) @ params["o"]

    return jax.vmap(expert)(x)


def one_after_the_other(params, x):
    def expert(x):
        pick = partial(jax.lax.dynamic_index_in_dim, keepdims=False)
        at = jnp.argmax(x @ params["router"])
        return (
            x
            + jax.nn.relu(x @ pick(params["w"], at) + pick(params["b"], at))
            @ (params["o"])
        )

    return jax.lax.map(expert, x)


@pytest.mark.parametrize("model", [top_two, token_by_token, one_after_the_other])
def test_experts_that_a_router_picks_are_kernels(model):
    shapes = {"router": (16, 8), "w": (8, 16, 64), "b": (8, 64), "o": (64, 16)}
    found = of(model, {n: struct(*shape) for n, shape in shapes.items()}, struct(4, 16))
    assert found["w"].axes == ("batch", "in", "out")
    assert (found["w"].fan_in, found["w"].fan_out, found["w"].tied) == (16, 64, False)
    assert (found["b"].kind, found["b"].axes) == ("shift", ("batch", "free"))
    assert found["o"].moment == pytest.approx(0.5, rel=0.1)
    assert found["o"].branches == 1


def test_kernels_that_data_multiplies_are_kernels():
    def modulated(p, x, style):  # as in StyleGAN2, one kernel for each image
        w = p["w"][None] * style[:, None, :, None]
        w = w * jax.lax.rsqrt((w * w).sum((1, 2), keepdims=True) + 1e-8)
        return jnp.einsum("bskc,bkco->bso", jnp.stack([x, x], 2), w)

    found = of(modulated, {"w": struct(2, 16, 8)}, X, struct(2, 16))
    assert (found["w"].axes, found["w"].fan_in) == (("in", "in", "out"), 32)


def test_rows_that_are_contracted_are_of_a_table():
    def sampled(p, words, others):
        return jnp.einsum("bd,bkd->bk", p["words"][words], p["others"][others])

    params = {"words": struct(10, 16), "others": struct(10, 16)}
    found = of(sampled, params, struct(4, dtype="int32"), struct(4, 3, dtype="int32"))
    assert {role.kind for role in found.values()} == {"table"}


SUMS = {  # products that are summed, and the axes of w
    "first": (lambda w, x: (x[:, :, None] * w[None]).sum(1), (16, 8), "in out"),
    "last": (lambda w, x: (w[None] * x[:, None]).sum(-1), (8, 16), "out in"),
    "mean": (lambda w, x: jnp.mean(x[:, None] * w[None], -1), (8, 16), "out in"),
    "in half": (
        lambda w, x: (x[:, None] * w[None]).astype(jnp.bfloat16).sum(-1),
        *((8, 16), "out in"),
    ),
    "vmap": (
        jax.vmap(jax.vmap(lambda w, x: (w * x).sum(), (0, None)), (None, 0)),
        *((8, 16), "out in"),
    ),
    "a head of one": (lambda w, x: (x * w[None]).sum(-1), (16,), "in"),
    "by channel": (
        lambda w, x: (jnp.stack([x, x, x], 1) * w[None]).sum(1),
        *((3, 16), "in batch"),
    ),
}


@pytest.mark.parametrize("name", SUMS)
def test_products_that_are_summed_are_a_contraction(name):
    function, shape, axes = SUMS[name]
    role = of(lambda p, x: function(p["w"], x), {"w": struct(*shape)}, struct(4, 16))
    role = role["w"]
    assert " ".join(role.axes) == axes
    size = dict(zip(role.axes, shape, strict=True))
    assert (role.fan_in, role.fan_out) == (size["in"], size.get("out", 1))
    assert role.is_kernel


PICKED_SUMS = {  # products of a kernel that data picks, summed at once
    "all": lambda w, x, at, s: (x[:, None, :, None] * w[at]).sum((1, 2)),
    "each": lambda w, x, at, s: (x[:, None, :, None] * w[at]).sum(2),
    "weighted": lambda w, x, at, s: (
        x[:, None, :, None] * w[at] * s[:, :, None, None]
    ).sum((1, 2)),
    "weighted before": lambda w, x, at, s: (
        x[:, None, :, None] * (s[:, :, None, None] * w[at])
    ).sum((1, 2)),
    "mean of each": lambda w, x, at, s: jax.vmap(
        lambda x, n: (w[n] * x[:, None]).mean(0)
    )(x, at[:, 0]),
}


@pytest.mark.parametrize("name", PICKED_SUMS)
def test_products_of_a_kernel_that_data_picks_are_a_contraction(name):
    def model(p, x, at, shares):
        return jnp.tanh(PICKED_SUMS[name](p["w"], x, at, shares)) @ p["o"]

    params = {"w": struct(5, 16, 8), "o": struct(8, 3)}
    chosen = struct(4, 2, dtype="int32"), struct(4, 2)
    found = of(model, params, struct(4, 16), *chosen)
    assert found["w"].axes == ("batch", "in", "out")
    picks = 1 if "each" in name else 2
    assert (found["w"].fan_in, found["w"].fan_out) == (16 * picks, 8)
    assert found["o"].moment == pytest.approx(
        0.394 if "mean" not in name else 16**-2, rel=0.2
    )


def test_rows_that_are_multiplied_and_summed_are_of_tables():
    def scores(p, words, x):
        return (p["words"][words] * x).sum(-1)

    found = of(
        scores, {"words": struct(10, 16)}, struct(4, dtype="int32"), struct(4, 16)
    )
    assert found["words"].kind == "table"


def test_a_scale_of_one_of_two_that_meet_in_a_sum_is_one():
    def logits(p, q, k):
        q = q * jax.lax.rsqrt((q * q).mean(-1, keepdims=True)) * p["g"][None]
        return (q[:, None] * k[None]).sum(-1)

    found = of(logits, {"g": struct(16)}, struct(4, 16), struct(4, 16))
    assert found["g"].kind == "scale"


def test_a_scale_before_what_sums_along_other_axes_or_is_not_alone_is_one():
    def function(p, x):
        pooled = (x * p["pooled"][None, None]).mean(1)
        y = x * p["normed"][None, None]
        y = y - y.mean(-1, keepdims=True)
        return pooled, y * jax.lax.rsqrt((y * y).mean(-1, keepdims=True))

    found = of(function, {"pooled": struct(16), "normed": struct(16)}, X)
    assert {role.kind for role in found.values()} == {"scale"}


def recurrent(params, x, loop):
    def turn(h, x):
        return jnp.tanh(x @ params["w"] + h @ params["u"])

    return loop(turn, jnp.broadcast_to(params["first"], (x.shape[0], 8)), x)


FIRST_STATES = {
    "scan": lambda turn, h, x: jax.lax.scan(
        lambda h, x: (turn(h, x),) * 2, h, jnp.moveaxis(x, 1, 0)
    )[0],
    "loop": lambda turn, h, x: jax.lax.fori_loop(
        0, 6, lambda n, h: turn(h, x[:, n]), h
    ),
}


@pytest.mark.parametrize("name", FIRST_STATES)
def test_what_a_loop_starts_from_is_a_state(name):
    params = {"first": struct(1, 8), "w": struct(16, 8), "u": struct(8, 8)}
    model = partial(recurrent, loop=FIRST_STATES[name])
    roles = jinit.roles(model, params, X)
    assert (roles["first"].kind, roles["first"].uses) == ("state", 1)
    assert dict(roles.rules())["first"] == jinit.zeros()
    assert roles["u"].recurrent


def gated(p, h, x):
    z, r = (jax.nn.sigmoid(x @ p["w" + n] + h @ p["u" + n]) for n in "zr")
    new = jnp.tanh(x @ p["w"] + r * (h @ p["u"] + p["b"][None]))
    return (1 - z) * new + z * h


CELLS = {  # whose turns are written out
    "plain": lambda p, h, x: jnp.tanh(x @ p["w"] + h @ p["u"]),
    "bias between": lambda p, h, x: jnp.tanh(h @ p["u"] + p["b"][None] + x @ p["w"]),
    "gated": gated,
    "beside": lambda p, h, x: jnp.tanh(jnp.concatenate([x, h], 1) @ p["wu"]),
}


@pytest.mark.parametrize("start", ["spread", "one", "none"])
@pytest.mark.parametrize("name", CELLS)
def test_what_turns_that_are_written_out_start_from_is_a_state(name, start):
    def model(p, x):
        h = jnp.zeros((2, 8)) if start == "none" else p["first"]
        h = jnp.broadcast_to(h, (2, 8)) if name == "beside" or start == "spread" else h
        for n in range(6):
            h = CELLS[name](p, h, x[:, n])
        return h @ p["head"]

    shapes = {"wu": (24, 8), "b": (8,), "head": (8, 3), "first": (1, 8)}
    shapes |= {"w" + n: (16, 8) for n in ("", "z", "r")}
    shapes |= {"u" + n: (8, 8) for n in ("", "z", "r")}
    roles = jinit.roles(model, {n: struct(*shape) for n, shape in shapes.items()}, X)
    used = {role.path: role for role in roles if role.kind != "unused"}
    if start != "none":
        assert used.pop("first").kind == "state"
        assert dict(roles.rules())["first"] == jinit.zeros()
    if "b" in used:
        assert used.pop("b").kind == "shift"
    assert {role.kind for role in used.values()} == {"contraction"}
    assert {role.axes for role in used.values()} == {("in", "out")}
    assert not any(any(role.other_axes) for role in used.values())
    assert (used.get("u") or used["wu"]).moment < 0.7


def test_a_kernel_that_a_loop_carries_is_one_and_what_it_changes_is_left():
    def carried(p, x):
        turn = lambda n, carry: (carry[0], jnp.tanh(carry[1] @ carry[0]))  # noqa: E731
        return jax.lax.fori_loop(0, 3, turn, (p["w"], x))[1]

    def learned(p, x):
        return x @ jax.lax.fori_loop(0, 3, lambda n, w: w - 0.1 * x.T @ (x @ w), p["w"])

    roles = [of(m, {"w": struct(16, 16)}, struct(4, 16)) for m in (carried, learned)]
    assert [role["w"].kind for role in roles] == ["contraction", "state"]
    assert (
        jinit.roles(learned, {"w": struct(16, 8)}, struct(4, 16)).rules()[0][1] is None
    )


def convolved(w, x):
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=numbers)


def test_convolutions_of_an_ensemble_are_read():
    """Their outputs are put side by side, and their kernels turned and folded."""

    def ensemble(params, x):
        def one(p):
            return convolved(
                p["v"], jax.nn.relu(convolved(p["w"], x) + p["b"][None, None, None])
            )

        return jax.vmap(one)(params)

    params = {"w": (3, 3, 3, 4, 6), "b": (3, 6), "v": (3, 3, 3, 6, 2)}
    found = of(ensemble, {name: struct(*n) for name, n in params.items()}, IMAGES)
    assert found["b"].kind == "shift"
    assert {found[name].axes[1:] for name in "wv"} == {("space", "space", "in", "out")}
    assert [found[name].fan_in for name in "wv"] == [36, 54]
    assert found["v"].activation == "relu"


def test_a_convolution_that_data_picks_is_a_kernel():
    def picked(w, x, at):
        return jax.vmap(lambda x, n: convolved(w[n], x[None]))(x, at)

    found = of(picked, struct(8, 3, 3, 4, 6), IMAGES, struct(2, dtype="int32"))
    (role,) = found.values()
    assert role.axes == ("batch", "space", "space", "in", "out")
    assert (role.fan_in, role.fan_out) == (36, 54)
