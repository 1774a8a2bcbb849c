"""Adapters: pairs that start where they should, in the layout of any kernel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from helpers import as_double, check_std

import jinit
from jinit.adapter import kernel_axes, lora, merge, milora, olora, pissa

# A kernel's shape and axes, the shapes of a pair of rank 3, and the kernel as matrices.
LAYOUTS = {
    "dense": ((12, 8), {}, (12, 3), (3, 8), "io->io"),
    "torch": ((8, 12), {"in_axis": 1, "out_axis": 0}, (3, 12), (8, 3), "oi->io"),
    "query": ((12, 2, 4), {"in_axis": 0, "out_axis": (1, 2)}, (12, 3), (3, 2, 4), ""),
    "out": ((2, 4, 12), {"in_axis": (0, 1), "out_axis": 2}, (2, 4, 3), (3, 12), ""),
    "conv": ((3, 3, 4, 8), {}, (3, 3, 4, 3), (1, 1, 3, 8), ""),
    "experts": ((2, 6, 5), {"batch_axis": 0}, (2, 6, 3), (2, 3, 5), ""),
}
layouts = pytest.mark.parametrize("layout", LAYOUTS)
splits = pytest.mark.parametrize("split", [pissa, milora, olora])


def kernel(key, layout, dtype="float32"):
    shape, axes, *_ = LAYOUTS[layout]
    return jinit.normal()(key, shape, dtype), axes


def as_matrix(w, layout):
    """Rows are inputs, columns outputs; of experts the first."""
    w = as_double(w)
    if layout == "torch":
        return w.T
    if layout == "experts":
        return w[0]
    return w.reshape({"query": (12, 8), "out": (8, 12)}.get(layout, (-1, w.shape[-1])))


@layouts
def test_a_pair_is_a_layer_to_the_rank_and_one_from_it_in_the_layout_of_the_kernel(
    layout,
):
    shape, axes, a, b, _ = LAYOUTS[layout]
    pair = lora(shape, 3, **axes)
    assert (pair.a_shape, pair.b_shape) == (a, b)


def test_the_product_is_what_both_layers_do_one_after_the_other(key):
    keys = jax.random.split(key, 3)
    x = jax.random.normal(keys[0], (1, 5, 5, 4))
    a = jax.random.normal(keys[1], (3, 3, 4, 2))
    b = jax.random.normal(keys[2], (1, 1, 2, 6))

    def conv(x, w):
        return linen.Conv(w.shape[-1], w.shape[:2], use_bias=False).apply(
            {"params": {"kernel": w}}, x
        )

    both = conv(x, merge(jnp.zeros((3, 3, 4, 6)), a, b, scale=0.5))
    np.testing.assert_allclose(both, 0.5 * conv(conv(x, a), b), 1e-4, 1e-5)


def test_features_of_a_pair_have_a_third_of_the_variance_of_the_input(key):
    x = jax.random.normal(jax.random.key(1), (300,))
    pair = lora((300, 500), 300)
    a = pair.a_init(key, (300, 3000), "float32")
    check_std(x @ a, float(jnp.linalg.norm(x)) / (3 * 300) ** 0.5)


@pytest.mark.parametrize(
    ("init", "moment"),
    [
        (lora((4096, 64), 8).a_init, 1 / 3),
        (jinit.kaiming_uniform(a=5**0.5), 1 / 3),  # peft
        (jinit.normal(std=1 / 8), 64.0),  # peft's "gaussian"
        (jinit.normal(std=0.01), 0.4096),  # lorax
        (jinit.normal(std=0.02), 1.6384),
        (jinit.lecun_normal(), 1.0),
        (jinit.uniform(a=-1 / 4096, b=1 / 4096), 8.14e-5),
    ],
    ids=repr,
)
def test_of_4096_inputs_and_rank_8_the_second_moment_is_as_documented(
    init, moment, key
):
    law = init.law((4096, 8))
    assert 4096 * law.std**2 == pytest.approx(moment, rel=1e-3)
    check_std(init(key, (4096, 8)), (moment / 4096) ** 0.5, law.kurtosis)


def test_that_of_nnx_is_six_times_as_large_until_it_is_given_the_pair():
    pair = lora((4096, 4), 4)
    options = {"a_initializer": pair.a_init, "b_initializer": pair.b_init}
    for given, moment in (({}, 2.0), (options, 1 / 3)):
        layer = nnx.LoRA(4096, 4, 4, rngs=nnx.Rngs(0), **given)
        check_std(layer.lora_a[...], (moment / 4096) ** 0.5, 1.8)
        assert not layer.lora_b[...].any()


def test_of_a_table_the_rows_start_from_zero(key):
    pair = lora((1000, 64), 8, table=True)
    a = pair.a_init(key, pair.a_shape)
    b = pair.b_init(key, pair.b_shape)
    assert not a.any()
    check_std(b, 1.0)
    table = jinit.normal()(key, (1000, 64))
    np.testing.assert_array_equal(merge(table, a, b), table)


@splits
@layouts
def test_the_pair_and_the_residual_are_the_kernel(split, layout, key):
    w, axes = kernel(key, layout)
    a, b, residual = split(w, 3, scale=2.0, **axes)
    assert (a.shape, b.shape) == LAYOUTS[layout][2:4]
    np.testing.assert_allclose(merge(residual, a, b, scale=2.0, **axes), w, 1e-5, 2e-6)


@pytest.mark.parametrize("layout", ["dense", "torch", "query", "out", "conv"])
def test_pissa_takes_the_largest_singular_values_and_milora_the_smallest(layout, key):
    w, axes = kernel(key, layout)
    u, s, vh = np.linalg.svd(as_matrix(w, layout), full_matrices=False)
    parts = (pissa, slice(3)), (milora, slice(len(s) - 3, None))
    for split, part in parts:
        found = split(w, 3, scale=4.0, **axes)
        product = merge(jnp.zeros_like(w), found.a, found.b, scale=4.0, **axes)
        expected = (u[:, part] * s[part]) @ vh[part]
        np.testing.assert_allclose(as_matrix(product, layout), expected, 1e-4, 1e-5)
        # The scale is shared by both halves, and so are the singular values.
        halves = np.linalg.norm(as_double(found.a)), np.linalg.norm(as_double(found.b))
        np.testing.assert_allclose(halves, np.sqrt(s[part].sum() / 4), 1e-5)


def test_olora_is_the_first_part_of_a_qr_decomposition(key):
    w, _ = kernel(key, "dense")
    a, b, residual = olora(w, 3)
    q, r = np.linalg.qr(as_double(w).T)
    np.testing.assert_allclose(as_double(a @ b).T, q[:, :3] @ r[:3], 1e-5, 1e-5)
    np.testing.assert_allclose(b @ b.T, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(residual[:3], np.zeros((3, 8)), atol=2e-6)


@splits
def test_the_squares_of_the_pair_and_of_the_residual_sum_to_the_kernels(split, key):
    w, _ = kernel(key, "dense")
    a, b, residual = map(as_double, split(w, 3, scale=1.0))
    total = (as_double(w) ** 2).sum()
    assert ((a @ b) ** 2).sum() + (residual**2).sum() == pytest.approx(total, rel=1e-5)
    ranks = [np.linalg.matrix_rank(m, tol=1e-4) for m in (a @ b, residual)]
    assert ranks == [3, 5]


def test_experts_are_split_each_by_itself(key):
    w, axes = kernel(key, "experts")
    together = pissa(w, 2, **axes)
    for n in range(2):
        alone = pissa(w[n], 2)
        np.testing.assert_allclose(together.residual[n], alone.residual, atol=1e-5)


def test_in_half_precision_the_residual_makes_up_for_the_rounding_of_the_pair(key):
    w, _ = kernel(key, "dense", "bfloat16")
    a, b, residual = pissa(w, 4)
    assert {x.dtype for x in (a, b, residual)} == {jnp.dtype("bfloat16")}
    error = abs(as_double(merge(residual, a, b)) - as_double(w)).max()
    # Of two roundings: of the residual, and of the sum.
    largest = max(abs(as_double(x)).max() for x in (residual, w))
    assert error <= 2 * largest * 2**-9


def test_complex_kernels_are_split_too(key):
    w, _ = kernel(key, "dense", "complex64")
    for split in (pissa, milora, olora):
        a, b, residual = split(w, 3)
        np.testing.assert_allclose(merge(residual, a, b), w, 1e-5, 1e-5)


def test_it_is_the_same_under_jit(key):
    w, axes = kernel(key, "query")
    jitted = jax.jit(lambda w: pissa(w, 3, **axes))(w)
    np.testing.assert_allclose(jitted.residual, pissa(w, 3, **axes).residual, atol=1e-5)


def test_a_model_of_nnx_starts_as_it_was_and_its_pair_is_trained(key):
    base = nnx.Linear(12, 8, rngs=nnx.Rngs(0))
    x = jax.random.normal(key, (5, 12))
    before = base(x)
    a, b, residual = pissa(base.kernel[...], 3)
    base.kernel.set_value(residual)
    model = nnx.LoRA(12, 3, 8, base_module=base, rngs=nnx.Rngs(1))
    model.lora_a.set_value(a)
    model.lora_b.set_value(b)
    np.testing.assert_allclose(model(x), before, 1e-4, 1e-5)
    grads = nnx.grad(lambda model: (model(x) ** 2).sum())(model)
    assert all(abs(g).max() > 0 for g in jax.tree.leaves((grads.lora_a, grads.lora_b)))


class LowRank(linen.Module):
    """A layer of several output axes with a pair, as one may write it in linen."""

    features: tuple

    @linen.compact
    def __call__(self, x):
        layer = linen.DenseGeneral(self.features, name="base")
        axes = {"in_axis": 0, "out_axis": (1, 2)}
        pair = lora((x.shape[-1], *self.features), 2, **axes)
        a = self.param("a", pair.a_init, pair.a_shape)
        b = self.param("b", pair.b_init, pair.b_shape)
        return layer(x) + jnp.einsum("bd,dr,rhk->bhk", x, a, b)


def test_a_layer_of_linen_starts_as_it_was_and_merges(key):
    x = jax.random.normal(key, (5, 12))
    model = LowRank((2, 4))
    params = model.init(key, x)["params"]
    base = linen.DenseGeneral((2, 4))
    expected = base.apply({"params": params["base"]}, x)
    np.testing.assert_array_equal(model.apply({"params": params}, x), expected)
    params["b"] = jax.random.normal(key, params["b"].shape)
    w = merge(
        params["base"]["kernel"], params["a"], params["b"], in_axis=0, out_axis=(1, 2)
    )
    merged = base.apply({"params": params["base"] | {"kernel": w}}, x)
    np.testing.assert_allclose(model.apply({"params": params}, x), merged, 1e-4, 1e-5)


def test_axes_are_read_from_the_program():
    model = linen.Sequential(
        [linen.Embed(50, 12), linen.MultiHeadDotProductAttention(3), linen.LayerNorm()]
    )
    x = jax.ShapeDtypeStruct((2, 5), "int32")
    params = jax.eval_shape(model.init, jax.random.key(0), x)
    roles = {r.path.split("layers_")[1]: r for r in jinit.roles(model, params, x)}
    shapes = {
        path: lora(role.shape, 2, **kernel_axes(role))[:2]
        for path, role in roles.items()
        if role.kind in ("contraction", "table")
    }
    assert shapes == {
        "0/embedding": ((50, 2), (2, 12)),
        **{f"1/{n}/kernel": ((12, 2), (2, 3, 4)) for n in ("query", "key", "value")},
        "1/out/kernel": ((3, 4, 2), (2, 12)),
    }
    with pytest.raises(ValueError, match="role must be that of a kernel"):
        kernel_axes(roles["2/scale"])
    with pytest.raises(TypeError, match=r"one of jinit\.roles"):
        kernel_axes("0/embedding")


def test_factors_of_a_drawn_kernel_are_those_of_spectral_initialization(key):
    w = jinit.lecun_normal()(key, (32, 16))
    a, b, _ = pissa(w, 16)  # of full rank nothing is left out
    np.testing.assert_allclose(a @ b, w, atol=1e-5)
    s = np.linalg.svd(as_double(w), compute_uv=False)
    np.testing.assert_allclose(as_double(a.T @ a), np.diag(s), atol=1e-5)
    np.testing.assert_allclose(as_double(b @ b.T), np.diag(s), atol=1e-5)


def test_mimetic_pairs_are_splits_of_a_noisy_identity(key):
    d, k = 16, 4
    noise = jinit.normal(std=d**-0.5)(key, (d, d))
    target = 0.7 * noise + 0.7 * jnp.eye(d)
    query, key_transposed, _ = pissa(target, k)
    u, s, vh = np.linalg.svd(as_double(target))
    best = (u[:, :k] * s[:k]) @ vh[:k]
    np.testing.assert_allclose(query @ key_transposed, best, atol=1e-5)
    value, out, left = pissa(0.4 * noise - 0.4 * jnp.eye(d), d)
    np.testing.assert_allclose(value @ out, 0.4 * noise - 0.4 * jnp.eye(d), atol=1e-5)
    assert abs(left).max() < 1e-5


W = jnp.ones((12, 8))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: lora((12, 8), 9), ValueError, "rank must be at most 8"),
        (lambda: lora((12, 8), 0), ValueError, "rank must be at least 1"),
        (lambda: lora((12, 8), 2.0), TypeError, "rank must be an integer"),
        (lambda: lora((8,), 2), ValueError, "a vector has no pair"),
        (lambda: lora((8, 8), 2, in_axis=()), ValueError, "must each name an axis"),
        (lambda: lora((8, 8), 2, out_axis=(0, 1)), ValueError, "twice"),
        (lambda: lora(W, 2), TypeError, r"an array w of shape \(12, 8\); give w.shape"),
        (lambda: lora("ab", 2), TypeError, "shape must be a sequence of integers"),
        (lambda: pissa(W, 9), ValueError, "kernel of shape \\(12, 8\\) with 12 inputs"),
        (lambda: milora(W, 2, scale=0.0), ValueError, "scale must be greater than 0"),
        (lambda: olora(W.astype(int), 2), TypeError, "w must be a floating-point"),
        (lambda: merge(W, W[:, :2], W[:2, :7]), ValueError, "a and b must be a pair"),
        (lambda: merge(W, W[0], W[:2]), ValueError, "got \\(8,\\) and \\(2, 8\\)"),
        (lambda: merge(W, W[:, :2], W[:2], scale="2"), TypeError, "scale must be"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
