"""Weights from weights: what is kept is kept, what is new is like what was."""

import functools
import math
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from helpers import as_double, check_distribution, check_mean, check_std

import jinit
from jinit.transplant import (
    Grown,
    Growth,
    deepen,
    extend_vocabulary,
    group_heads,
    inflate,
    resize_positions,
    select,
    widen,
)

# Vocabulary.


def test_old_rows_keep_their_bits_and_new_ones_have_their_mean_and_covariance(key):
    mixing = np.array([[1.0, 2.0, 0.0], [0.0, 0.5, 1.0], [0.0, 0.0, 0.1]])
    table = jinit.normal(mean=0.3)(key, (500, 3)) @ mixing.astype("float32")
    wide = extend_vocabulary(jax.random.key(1), table, 20500, eps=0.25)
    np.testing.assert_array_equal(wide[:500], table)
    old = as_double(table)
    factor = np.linalg.cholesky(np.cov(old.T, bias=True))
    white = np.linalg.solve(factor, (as_double(wide[500:]) - old.mean(0)).T)
    check_distribution(white, jinit.laws.Normal(0.0, 0.5).cdf)
    for one, other in ((0, 1), (1, 2), (0, 2)):
        check_mean(white[one] * white[other], 0.0, 0.25)


@pytest.mark.parametrize("shape", [(50, 7), (50,), (7, 50)])
def test_without_noise_new_tokens_are_the_mean(shape, key):
    table, axis = jinit.normal(mean=1.0)(key, shape), shape.index(50)
    wide = extend_vocabulary(key, table, 53, eps=0, axis=axis)
    new = np.take(wide, range(50, 53), axis)
    mean = as_double(table).mean(axis, keepdims=True)
    np.testing.assert_allclose(new, np.broadcast_to(mean, new.shape), 1e-5)


def test_the_axis_makes_no_difference_nor_does_half_precision_but_for_rounding(key):
    table = jinit.normal()(key, (64, 8), "bfloat16")
    wide = extend_vocabulary(key, table, 80, eps=1.0)
    across = extend_vocabulary(key, table.T, 80, eps=1.0, axis=-1)
    full = extend_vocabulary(key, table.astype("float32"), 80, eps=1.0)
    np.testing.assert_array_equal(as_double(across.T), as_double(wide))
    np.testing.assert_array_equal(as_double(full.astype("bfloat16")), as_double(wide))


def test_rows_that_span_no_full_space_stay_within_it(key):
    table = jinit.normal()(key, (5, 40))  # a covariance of rank 4
    new = as_double(extend_vocabulary(key, table, 25, eps=1.0))[5:]
    old = as_double(table)
    centered = old - old.mean(0)
    within = (new - old.mean(0)) @ np.linalg.pinv(centered) @ centered
    np.testing.assert_allclose(within, new - old.mean(0), atol=1e-5)


def test_padding_counts_for_nothing_and_is_drawn_anew(key):
    table = jnp.concatenate([jinit.normal()(key, (50, 4)), jnp.full((14, 4), 99.0)])
    padded = extend_vocabulary(key, table, 64, rows=50)
    np.testing.assert_array_equal(padded, extend_vocabulary(key, table[:50], 64))


def divergence(old, new):
    """KL of old predictions from the new ones of old tokens, for each context."""
    p, q = (x - np.logaddexp.reduce(x, 1)[:, None] for x in (old, new))
    return (np.exp(p) * (p - q[:, : p.shape[1]])).sum(1)


@pytest.mark.slow
def test_the_mean_bounds_what_new_tokens_take_and_normal_rows_do_not(key):
    # As of a trained head: all logits are far below zero.
    size, new, bound = 500, 20, math.log(1 + 20 / 500)
    h = as_double(jax.random.normal(key, (64, 16)))
    head = as_double(jinit.normal(std=0.5)(jax.random.key(1), (16, size)))
    bias = as_double(jinit.normal(mean=-30.0, std=2.0)(jax.random.key(2), (size,)))
    wide = extend_vocabulary(key, head, size + new, axis=1)
    longer = extend_vocabulary(jax.random.key(3), bias, size + new)
    old = h @ head + bias
    kept = divergence(old, h @ as_double(wide) + as_double(longer))
    assert 0 < kept.max() < bound
    normal = np.concatenate([head, np.random.default_rng(0).normal(size=(16, new))], 1)
    zero_bias = np.concatenate([bias, np.zeros(new)])
    assert divergence(old, h @ normal + zero_bias).min() > 1


def test_a_bias_of_the_mean_exponential_would_break_the_bound():
    # Where kernel and bias cancel, all old logits are 0, and so is their mean.
    c = np.linspace(-3, 3, 100)
    old = np.zeros((1, 100))
    mean, log_mean = (-c).mean(), np.log(np.exp(-c).mean())
    new = [np.concatenate([old, [[c.mean() + b]]], 1) for b in (mean, log_mean)]
    bound = math.log(1 + 1 / 100)
    assert divergence(old, new[0])[0] == pytest.approx(bound)
    assert divergence(old, new[1])[0] > 3 * bound


# Heads.


def test_a_head_of_a_group_is_the_mean_of_its_heads(key):
    w = jinit.normal()(key, (5, 6, 4))
    pairs = (as_double(w[:, 2 * j : 2 * j + 2]) for j in range(3))
    expected = np.stack([pair.mean(1) for pair in pairs], 1)
    np.testing.assert_allclose(group_heads(w, 3), expected, 1e-5, 1e-6)
    np.testing.assert_allclose(group_heads(w[0], 3), expected[0], 1e-5, 1e-6)
    np.testing.assert_allclose(
        group_heads(w.swapaxes(0, 1), 3, axis=0), expected.swapaxes(0, 1), 1e-5, 1e-6
    )
    np.testing.assert_array_equal(group_heads(w, 6), w)
    assert group_heads(np.zeros((5, 6, 0)), 3).shape == (5, 3, 0)


@pytest.mark.parametrize(("group", "shrunk"), [(2, 0.707), (4, 0.5), (8, 0.354)])
def test_independent_heads_shrink_by_the_root_of_the_group(group, shrunk, key):
    w = jinit.normal()(key, (100, 16, 50))
    check_std(group_heads(w, 16 // group), group**-0.5)
    assert group**-0.5 == pytest.approx(shrunk, abs=5e-4)


@pytest.mark.slow
def test_equal_heads_of_a_group_compute_what_they_did(key):
    keys = jax.random.split(key, 4)
    x = jax.random.normal(keys[0], (1, 5, 12))
    query = jax.random.normal(keys[1], (12, 4, 3))
    others = [jnp.repeat(jax.random.normal(k, (12, 2, 3)), 2, 1) for k in keys[2:]]

    def attend(*kernels):
        projected = (jnp.einsum("btd,dhk->bthk", x, w) for w in kernels)
        return jax.nn.dot_product_attention(*projected)

    grouped = attend(query, *(group_heads(w, 2) for w in others))
    np.testing.assert_allclose(grouped, attend(query, *others), 1e-4, 1e-5)


# Selection.


def test_elements_are_selected_at_even_distances():
    w = np.arange(12 * 7).reshape(12, 7)
    picked = select(w, (4, 3))
    np.testing.assert_array_equal(picked, w[np.ix_([0, 3, 6, 9], [0, 3, 6])])
    np.testing.assert_array_equal(select(w, (12, 7)), w)
    assert select(w, (0, 7)).shape == (0, 7)
    # The code of the authors would take the element behind the last here.
    assert round(np.linspace(0, 7, 3)[-1]) == len(w[0])


def test_a_whole_model_is_selected_with_units_that_belong_together(key):
    def shapes(width):
        return {"up": (8, width), "down": (width, 8), "bias": (width,)}

    large = {name: jinit.normal()(key, shape) for name, shape in shapes(10).items()}
    small = {n: select(large[n], shape) for n, shape in shapes(4).items()}
    units = jnp.array([0, 3, 6, 9])
    np.testing.assert_array_equal(small["up"], large["up"][:, units])
    np.testing.assert_array_equal(small["down"], large["down"][units])
    np.testing.assert_array_equal(small["bias"], large["bias"][units])


# Images.


def test_positions_of_the_prefix_and_of_one_grid_stay(key):
    table = jinit.normal()(key, (1, 2 + 3 * 5, 4))
    same = resize_positions(table, (3, 5), old_grid=(3, 5), prefix=2)
    np.testing.assert_allclose(same, table, 1e-5, 1e-6)
    wider = resize_positions(table, (6, 7), old_grid=(3, 5), prefix=2)
    assert wider.shape == (1, 2 + 6 * 7, 4)
    np.testing.assert_array_equal(wider[:, :2], table[:, :2])


def test_a_table_that_is_linear_in_the_place_stays_linear_within():
    rows, columns = np.mgrid[:4, :4] + 0.5
    table = np.stack([rows.ravel(), columns.ravel()], -1).astype("float32")
    resized = resize_positions(table, (8, 8), method="linear").reshape(8, 8, 2)
    rows, columns = np.mgrid[:8, :8] / 2 + 0.25
    inner = np.stack([rows, columns], -1)[1:-1, 1:-1]
    np.testing.assert_allclose(resized[1:-1, 1:-1], inner, 1e-5)


@pytest.mark.parametrize("grid", [(14, 14), (5, 5)])
def test_it_is_torchs_antialiased_cubic(grid, key):
    torch = pytest.importorskip("torch")
    table = np.asarray(jinit.normal()(key, (7 * 7, 3)))
    image = torch.tensor(table.reshape(1, 7, 7, 3)).permute(0, 3, 1, 2)
    resize = torch.nn.functional.interpolate
    options = {"size": grid, "mode": "bicubic"}
    theirs, plain = (
        resize(image, **options, antialias=antialias)[0].permute(1, 2, 0).reshape(-1, 3)
        for antialias in (True, False)
    )
    ours = resize_positions(table, grid)
    np.testing.assert_allclose(ours, theirs, 1e-4, 1e-5)
    assert abs(ours - plain.numpy()).max() > 0.01


def test_big_vision_puts_corners_onto_corners(key):
    from scipy import ndimage

    table = np.asarray(jinit.normal()(key, (16, 3)))
    theirs = ndimage.zoom(table.reshape(4, 4, 3), (2, 2, 1), order=1)
    np.testing.assert_allclose(theirs[-1, -1], table[-1], 1e-5)
    ours = np.asarray(resize_positions(table, (8, 8), method="linear"))
    assert abs(ours.reshape(8, 8, 3) - theirs).max() > 0.1


def convolved(x, w):
    axes = "".join("THW"[-(w.ndim - 2) :])
    layout = f"N{axes}C", f"{axes}IO", f"N{axes}C"
    strides = (1,) * (w.ndim - 2)
    return jax.lax.conv_general_dilated(x, w, strides, "VALID", None, None, layout)


@pytest.mark.parametrize(("kind", "size"), [("mean", 3), ("center", 3), ("center", 4)])
def test_a_still_video_is_convolved_as_its_image(kind, size, key):
    w = jinit.normal()(key, (3, 3, 2, 4))
    image = jax.random.normal(jax.random.key(1), (1, 6, 6, 2))
    video = jnp.repeat(image[:, None], 6, 1)
    still = convolved(video, inflate(w, size, kind=kind))
    expected = jnp.broadcast_to(convolved(image, w)[:, None], still.shape)
    np.testing.assert_allclose(still, expected, 1e-4, 1e-5)


def test_the_center_is_one_tap_of_the_new_axis(key):
    w = jinit.normal()(key, (3, 2, 4))
    for size, axis in ((5, 0), (4, -1), (1, 1)):
        inflated = np.moveaxis(inflate(w, size, axis=axis, kind="center"), axis, 0)
        np.testing.assert_array_equal(inflated[size // 2], w)
        assert abs(inflated).sum() == pytest.approx(abs(w).sum())


# Growth.


class Block(linen.Module):
    width: int
    heads: int
    hidden: int

    @linen.compact
    def __call__(self, x, _):
        noisy = {"bias_init": jinit.normal(std=0.1)}
        attend = linen.MultiHeadDotProductAttention(
            self.heads, qkv_features=4 * self.heads, out_features=self.width, **noisy
        )
        x = x + attend(linen.LayerNorm(scale_init=jinit.uniform())(x))
        y = linen.gelu(linen.Dense(self.hidden, **noisy)(linen.LayerNorm()(x)))
        return x + linen.Dense(self.width, **noisy)(y), None


class Model(linen.Module):
    width: int = 8
    heads: int = 2
    hidden: int = 12
    layers: int = 2
    tied: bool = False

    @linen.compact
    def __call__(self, tokens):
        embed = linen.Embed(11, self.width)
        axes = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
        stack = linen.scan(Block, **axes, length=self.layers)
        x, _ = stack(self.width, self.heads, self.hidden)(embed(tokens), None)
        x = linen.LayerNorm()(x)
        return embed.attend(x) if self.tied else linen.Dense(11)(x)


TOKENS = jnp.arange(10).reshape(2, 5)


@functools.cache
def built(**sizes):
    model = Model(**sizes)
    params = jax.eval_shape(model.init, jax.random.key(0), TOKENS)
    return model, params, jinit.roles(model, params, TOKENS)


@functools.partial(jax.jit, static_argnums=0)
def outputs(model, params):
    return model.apply(params, TOKENS)


@pytest.fixture(scope="module")
def small():
    model, _, roles = built()
    params = jinit.jit_init(model.init)(jax.random.key(0), TOKENS)
    return params, roles, outputs(model, params)


@pytest.mark.slow
def test_a_wider_transformer_computes_what_the_narrow_one_did(small, key):
    params, roles, expected = small
    model, shapes, wider = built(width=16, heads=4, hidden=36)
    wide, growth = widen(key, params, roles, wider)
    assert jax.tree.map(np.shape, wide) == jax.tree.map(np.shape, shapes)
    np.testing.assert_allclose(outputs(model, wide), expected, 1e-4, 5e-6)
    assert len(growth) == len(jax.tree.leaves(params))


class Pooled(linen.Module):
    width: int

    @linen.compact
    def __call__(self, x):
        x = linen.relu(linen.Conv(self.width, (3,))(x))
        x = linen.relu(linen.Conv(self.width, (3,), feature_group_count=self.width)(x))
        return linen.Dense(3)(x.mean(1))


class Recurrent(linen.Module):
    width: int

    @linen.compact
    def __call__(self, x):
        return linen.Dense(3)(linen.RNN(linen.LSTMCell(self.width))(x))


class Attention(linen.Module):
    width: int
    packed: bool = False

    @linen.compact
    def __call__(self, x):
        if self.packed:
            parts = jnp.split(linen.Dense(3 * self.width)(x), 3, -1)
        else:
            parts = [linen.Dense(self.width)(x) for _ in range(3)]
        parts = [y.reshape(*x.shape[:-1], -1, 2) for y in parts]
        y = jax.nn.dot_product_attention(*parts)
        return linen.Dense(3)(y.reshape(*x.shape[:-1], -1))


def widened(kind, width, *options, key):
    """The outputs of a model of width 4, and those of a wider one made of it."""
    narrow, wide = kind(4, *options), kind(width, *options)
    x = jax.random.normal(key, (2, 6, 4))
    params = jinit.jit_init(narrow.init)(key, x)
    shapes = jax.eval_shape(wide.init, key, x)
    roles = jinit.roles(narrow, params, x), jinit.roles(wide, shapes, x)
    new, _ = widen(key, params, *roles)
    return [jax.jit(m.apply)(p, x) for m, p in ((narrow, params), (wide, new))]


@pytest.mark.parametrize(
    ("kind", "width"), [(Recurrent, 7), (Pooled, 5), (Attention, 8)]
)
def test_so_do_other_models_of_any_width(kind, width, key):
    np.testing.assert_allclose(*widened(kind, width, key=key), 1e-4, 1e-6)


def test_packed_projections_are_refused(key):
    with pytest.raises(ValueError, match="key, query, value packed in an axis"):
        widened(Attention, 8, True, key=key)


class Normalized(linen.Module):
    width: int
    norm: type[linen.Module] = linen.LayerNorm

    @linen.compact
    def __call__(self, x):
        x = x + linen.Dense(4)(linen.LayerNorm()(x))  # of a width that stays
        x = linen.Dense(self.width)(x)
        batch = {"use_running_average": False} if self.norm is linen.BatchNorm else {}
        x = self.norm(**batch)(x)
        x = x * self.param("scale", jinit.ones(), (1, 1, self.width))
        return linen.Dense(3)(linen.gelu(linen.Dense(self.width)(x)))


def built_norm(width, norm, key):
    model, x = Normalized(width, norm), jnp.ones((2, 6, 4))
    params = jinit.jit_init(model.init)(key, x)["params"]
    return params, jinit.roles(
        lambda p, x: model.apply({"params": p}, x, mutable="batch_stats")[0], params, x
    )


@pytest.mark.slow
@pytest.mark.parametrize("norm", [linen.LayerNorm, linen.RMSNorm])
def test_a_normalized_width_grows_to_a_multiple_alone(norm, key):
    params, roles = built_norm(4, norm, key)
    with pytest.raises(ValueError, match=r"over 4 units.* among 6 copies: give it 8"):
        widen(key, params, roles, built_norm(6, norm, key)[1])
    np.testing.assert_allclose(*widened(Normalized, 8, norm, key=key), 1e-4, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("norm", [linen.BatchNorm, linen.InstanceNorm])
def test_what_is_normalized_over_other_axes_grows_to_any_width(norm, key):
    params, roles = built_norm(4, norm, key)
    wide, _ = widen(key, params, roles, built_norm(6, norm, key)[1])
    x = jax.random.normal(key, (2, 6, 4))
    narrow, large = (
        Normalized(n, norm).apply({"params": p}, x, mutable="batch_stats")[0]
        for n, p in ((4, params), (6, wide))
    )
    np.testing.assert_allclose(large, narrow, 1e-4, 1e-5)


def two_layers(width, dtype="float32"):
    """Weights of one, a function of them, and their roles."""

    def apply(params, x):
        return jnp.tanh(x @ params["up"]) @ params["down"]

    params = {"up": np.ones((3, width)), "down": np.ones((width, 2))}
    params = jax.tree.map(lambda w: w.astype(dtype), params)
    return params, apply, jinit.roles(apply, params, jnp.ones((1, 3), dtype))


def test_copies_get_gradients_of_their_own(key):
    (params, apply, roles), (*_, wider) = two_layers(50), two_layers(100)
    wide, _ = widen(key, params, roles, wider)
    up = jax.grad(lambda params: apply(params, jnp.ones((1, 3))).sum())(wide)["up"]
    apart = abs(up[:, :50] / up[:, 50:] - 1)
    assert apart.min() > 0
    assert jnp.median(apart) > 0.1


def test_shares_of_copies_sum_to_what_was_there(key):
    (params, _, roles), (*_, wider) = two_layers(12), two_layers(30)
    wide, growth = widen(key, params, roles, wider)
    assert growth.entries == (
        Grown("down", (12, 2), (30, 2), "shares along axis 0"),
        Grown("up", (3, 12), (3, 30), "copies along axis 1"),
    )
    summed = np.zeros((12, 2))
    np.add.at(summed, np.arange(30) % 12, as_double(wide["down"]))
    np.testing.assert_allclose(summed, params["down"], 1e-5)


def test_half_precision_keeps_its_dtype(key):
    (params, _, roles), (*_, wider) = (two_layers(n, "bfloat16") for n in (4, 8))
    wide, _ = widen(key, params, roles, wider)
    assert {w.dtype for w in wide.values()} == {jnp.dtype("bfloat16")}


def test_layers_that_are_new_leave_the_stream_as_it_was(small):
    params, roles, expected = small
    model, _, deeper = built(layers=5)
    deep, _ = deepen(params, roles, deeper, new="identity")
    np.testing.assert_array_equal(outputs(model, deep), expected)


def test_layers_are_followed_by_their_copies(small):
    params, roles, _ = small
    deep, growth = deepen(params, roles, built(layers=4)[2])
    stacks = (tree["params"]["ScanBlock_0"] for tree in (deep, params))
    for new, old in zip(*map(jax.tree.leaves, stacks), strict=True):
        np.testing.assert_array_equal(new, np.repeat(old, 2, 0))
    np.testing.assert_array_equal(
        deep["params"]["Dense_0"]["kernel"], params["params"]["Dense_0"]["kernel"]
    )
    how = {entry.how for entry in growth}
    assert how == {"", "copies along axis 0"}


def test_a_growth_prints_as_a_table_and_is_a_value():
    growth = Growth((Grown("w", (2, 3), (4, 3), "copies along axis 0"),))
    assert repr(growth).splitlines() == [
        "path  before  after   how",
        "w     (2, 3)  (4, 3)  copies along axis 0",
    ]
    assert pickle.loads(pickle.dumps(growth)) == growth


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ({"tied": True}, {"tied": True, "width": 16}, "is a tied table"),
        ({}, {"layers": 4}, "is of more layers"),
        ({}, {"hidden": 6}, "wider must be no smaller"),
        ({}, {"tied": True}, "must have the same paths"),
    ],
)
def test_what_cannot_be_kept_is_not_widened(before, after, message, key):
    _, shapes, roles = built(**before)
    params = jax.tree.map(lambda w: np.zeros(w.shape, w.dtype), shapes)
    with pytest.raises(ValueError, match=message):
        widen(key, params, roles, built(**after)[2])


def cosine(h):
    h = h * jax.lax.rsqrt(jnp.square(h).sum(-1, keepdims=True))
    return h @ jnp.swapaxes(h, 1, 2)


MERGED = {  # of units, what is made of them, and the widths of 16 that keep it
    "sum": (lambda h: h.sum(-1), ()),
    "sum of squares": (lambda h: jnp.square(h).sum((1, 2)), ()),
    "product": (lambda h: h @ jnp.swapaxes(h, 1, 2), ()),
    "mean": (lambda h: h.mean(-1), (32,)),
    "norm": (
        lambda h: h * jax.lax.rsqrt(jnp.square(h).mean(-1, keepdims=True)),
        (32,),
    ),
    "cosine": (cosine, (32,)),
    "mean of places": (lambda h: h.mean(1), (32, 24)),
}


@pytest.mark.parametrize("width", [32, 24])
@pytest.mark.parametrize("name", MERGED)
def test_units_that_are_merged_without_a_kernel_grow_where_that_is_kept(
    name, width, key
):
    merge, widths = MERGED[name]

    def model(params, x):
        made = merge(jnp.tanh(x @ params["up"]))
        return made @ params["down"] if "down" in params else made

    def shapes(n):
        made = jax.eval_shape(merge, jax.ShapeDtypeStruct((2, 6, n), "float32"))
        sizes = {"up": (8, n)} | ({"down": (n, 3)} if made.shape[-1] == n else {})
        return {k: jax.ShapeDtypeStruct(v, "float32") for k, v in sizes.items()}

    x = jax.random.normal(key, (2, 6, 8))
    params = {n: jax.random.normal(key, each.shape) for n, each in shapes(16).items()}
    narrow, wide = (jinit.roles(model, shapes(n), x) for n in (16, width))
    if width not in widths:
        with pytest.raises(
            ValueError, match=r"'up' makes what a \w+ is .* over 16 units"
        ):
            widen(key, params, narrow, wide)
    else:
        new, _ = widen(key, params, narrow, wide)
        expected, found = model(params, x), model(new, x)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_larger_heads_are_refused_for_their_logits_would_change(key):
    def attention(size):
        model = linen.MultiHeadDotProductAttention(2, qkv_features=2 * size)
        x = jnp.ones((1, 5, 8))
        params = jax.eval_shape(model.init, key, x)
        arrays = jax.tree.map(lambda w: np.zeros(w.shape, w.dtype), params)
        return arrays, jinit.roles(model, params, x)

    params, roles = attention(4)
    with pytest.raises(ValueError, match="heads of size 8 instead of 4"):
        widen(key, params, roles, attention(8)[1])


def test_what_is_not_deepened_says_why(small, key):
    params, roles, _ = small
    with pytest.raises(ValueError, match="widen before"):
        deepen(params, roles, built(hidden=24)[2])
    with pytest.raises(ValueError, match="new must be one of copy, identity"):
        deepen(params, roles, built(layers=4)[2], new="zero")
    with pytest.raises(ValueError, match="params must have the shapes of roles"):
        deepen(params, built(layers=3)[2], built(layers=4)[2])
    dense = {"w": jnp.ones((3, 3))}
    plain = jinit.roles(lambda p, x: x @ p["w"], dense, jnp.ones((1, 3)))
    with pytest.raises(ValueError, match="needs layers of a loop that write"):
        deepen(dense, plain, plain, new="identity")


@pytest.mark.parametrize("name", ["roles", "wider"])
def test_roles_are_asked_for_where_parameters_are_given(name, small, key):
    params, roles, _ = small
    given = {"roles": roles, "wider": roles, name: params}
    with pytest.raises(TypeError, match=f"{name} must be roles, got a dict; give"):
        widen(key, params, **given)


KEY, W = jax.random.key(0), jnp.ones((6, 4))
TABLE = jnp.ones((17, 4))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: extend_vocabulary(KEY, W, 5), ValueError, "at least the 6 tokens"),
        (lambda: extend_vocabulary(KEY, W[:0], 3), ValueError, "must have a token"),
        (lambda: extend_vocabulary(KEY, None, 3), TypeError, "array, got None"),
        (lambda: inflate(10**400, 3), TypeError, "kernel must be a float"),
        (
            lambda: resize_positions(TABLE, (8, 8), prefix=None),
            TypeError,
            "prefix must be an integer",
        ),
        (
            lambda: extend_vocabulary(KEY, W, 8, rows=7),
            ValueError,
            "rows must be at mo",
        ),
        (lambda: extend_vocabulary(KEY, W, 8, axis=2), ValueError, "has no axis 2"),
        (lambda: extend_vocabulary(KEY, W, 8, eps=-1), ValueError, "eps must be at le"),
        (lambda: extend_vocabulary(0, W, 8), TypeError, "key must be a JAX random key"),
        (lambda: extend_vocabulary(KEY, W > 0, 8), TypeError, "table must be a float"),
        (lambda: group_heads(np.ones((2, 2), ">f4"), 1), TypeError, "dtype >f4; give"),
        (lambda: group_heads({"w": W}, 1), TypeError, "got {'w'.{1,40}; give the wei"),
        (lambda: group_heads(W, 4, axis=0), ValueError, "heads must divide the 6"),
        (lambda: group_heads(W[0], 2), ValueError, "has no axis -2"),
        (lambda: group_heads(W, 2.0), TypeError, "heads must be an integer"),
        (lambda: select(W, (7, 4)), ValueError, "be no larger, got \\(7, 4\\)"),
        (
            lambda: select({"w": W}, (6,)),
            TypeError,
            "w must be an array, got a dict; map",
        ),
        (lambda: select(W, {"w": W}), TypeError, "got a dict; give the shape of one"),
        (lambda: select(W, (6,)), ValueError, "must have the axes of the array"),
        (lambda: resize_positions(TABLE, (8, 8)), ValueError, "for 17 positions"),
        (
            lambda: resize_positions(TABLE, (8, 8), old_grid=(2, 8), prefix=2),
            ValueError,
            "must hold 2 positions of the prefix",
        ),
        (
            lambda: resize_positions(TABLE, (8, 8), prefix=1, method="bicubic"),
            ValueError,
            "method must be one of nearest",
        ),
        (lambda: resize_positions(W[0], (8, 8)), ValueError, "an axis of positions"),
        (lambda: resize_positions(TABLE, 8, prefix=1), TypeError, "such as \\(24, 24"),
        (lambda: inflate(W, 0), ValueError, "size must be at least 1"),
        (lambda: inflate(W, 3, axis=4), ValueError, "has no axis 4"),
        (lambda: inflate(W, 3, kind="repeat"), ValueError, "kind must be one of mean"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
