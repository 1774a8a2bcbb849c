"""Every mistake is a ValueError or TypeError that names it and the way out."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

import jinit

KEY = jax.random.key(0)

FACTORY = [
    ('kaiming_normal(mode="fan_inn")', ValueError, "mode .*fan_geo_avg"),
    ("kaiming_normal(mode=1)", ValueError, "mode must be one of"),
    ('kaiming_normal(nonlinearity="geluu")', ValueError, "nonlinearity.*did you mean"),
    ("kaiming_normal(nonlinearity=jax.nn.softmax)", ValueError, "elementwise"),
    ("kaiming_normal(nonlinearity=jinit.zeros())", TypeError, "of one array"),
    ('xavier_normal(gain="swich")', ValueError, "gain must be .*did you mean swish"),
    ("lecun_normal(gain=-1)", ValueError, "gain must be at least 0"),
    ('he_normal(gain="conv")', ValueError, "gain must be the name of an activation"),
    ("xavier_normal(gain=-1)", ValueError, "gain must be at least 0"),
    ("xavier_normal(gain=None)", TypeError, "gain must be a real"),
    ("xavier_normal(gain=np.ones(2))", TypeError, "gain must be a real"),
    ("orthogonal(gain=-1)", ValueError, "gain must be at least 0"),
    ("kaiming_normal(nonlinearity=-1)", ValueError, "nonlinearity must"),
    ('kaiming_normal(a=0.1, nonlinearity="relu")', ValueError, "leave one"),
    ("kaiming_uniform(a=0.1, nonlinearity=2)", ValueError, "leave one out"),
    ("xavier_normal(in_axis=(0, 0))", ValueError, "repeat an axis"),
    ("xavier_normal(in_axis=1.5)", TypeError, "in_axis must be an integer"),
    ('xavier_normal(out_axis="a")', TypeError, "out_axis must be"),
    ("xavier_normal(batch_axis=None)", TypeError, "batch_axis must be"),
    ("xavier_normal(in_axis=0, out_axis=0)", ValueError, "must not both name axis 0"),
    ("orthogonal(in_axis=-1)", ValueError, "in_axis and out_axis must not both"),
    ("sparse(0.5, in_axis=-1)", ValueError, "in_axis and out_axis must not both"),
    ("dirac(in_axis=-1)", ValueError, "in_axis and out_axis must not both"),
    ("lecun_normal(out_axis=-2, batch_axis=-1)", ValueError, "must not both name"),
    ("eye(batch_axis=True)", TypeError, "batch_axis must be an integer"),
    ("dirac(in_axis=(0, 1))", TypeError, "in_axis must be one axis"),
    ("xavier_normal(groups=0)", ValueError, "groups must be at least 1"),
    ("xavier_normal(groups=2.0)", TypeError, "groups must be an integer"),
    ("dirac(groups=True)", TypeError, "groups must be an integer"),
    ("xavier_normal(fan_in=0)", ValueError, "fan_in must be greater"),
    ("xavier_normal(fan_out=-3)", ValueError, "fan_out must be greater"),
    ("normal(std=-1)", ValueError, "std must be at least 0, got -1"),
    ('normal(std="1")', TypeError, "std must be a real number, got '1'"),
    ("normal(std=True)", TypeError, "std must be a real number"),
    ("normal(std=1j)", TypeError, "std must be a real number"),
    ("normal(std=np.complex64(1))", TypeError, "std must be a real number"),
    ("normal(std=KEY)", TypeError, "std must be a real number"),
    ("normal(mean=np.inf)", ValueError, "mean must be finite"),
    ("normal(mean=10**400)", ValueError, "mean must be finite"),
    ("uniform(a=np.nan)", ValueError, "a must be finite, got nan"),
    ("uniform(a=2, b=1)", ValueError, "a must not be .* b, .*swap"),
    ("trunc_normal(a=2, b=1)", ValueError, "swap them"),
    ("trunc_normal(b=np.inf)", ValueError, "b must be finite"),
    ("trunc_normal(std=0)", ValueError, r"jinit\.constant\(mean\)"),
    ("eye(gain=np.nan)", ValueError, "gain must be finite"),
    ("sparse(1.1)", ValueError, "between 0 and 1, got 1.1"),
    ("sparse(-0.1)", ValueError, "sparsity must be at least 0"),
    ("sparse(0.5, std=-1)", ValueError, "std must be at least 0"),
    ("sparse()", TypeError, "sparsity"),
    ("constant()", TypeError, "value"),
    ('constant("a")', TypeError, "value must be a number"),
    ("constant(None)", TypeError, "value must be a number"),
    ("constant([1, [2]])", TypeError, "value must be a number"),
    ("constant([1.0, np.nan])", ValueError, "value must be finite"),
    ("normal(0, 1)", TypeError, r"keyword \(mean, std\), got 2"),
    ("normal(stddev=1)", TypeError, "no option 'stddev'.*mean, std"),
    ('calculate_gain("gelu")', ValueError, "one of linear, .*'gelu'.*jinit.gain"),
    ("calculate_gain(jax.nn.relu)", ValueError, "nonlinearity must be one of"),
    ('calculate_gain("relu", 0.1)', ValueError, "leave it out"),
    ('calculate_gain("leaky_relu", "a")', TypeError, "param must be"),
    ("fans((3,))", ValueError, r"shape \(3,\) has no axis -2"),
    ("fans(3.0)", TypeError, "shape must be a sequence"),
    ("fans((4, 4), groups=3)", ValueError, "groups must divide"),
    ("fans((4, 4), transposed=1)", TypeError, "transposed must be True or False"),
    ("he_normal(transposed=None)", TypeError, "transposed must be True or False"),
    ("variance_scaling(1.0)", TypeError, "mode"),
    ('variance_scaling(-1.0, "fan_in", "normal")', ValueError, "scale must be at"),
    ('variance_scaling("1", "fan_in", "normal")', TypeError, "scale must be a real"),
    ('variance_scaling(1.0, "fan", "normal")', ValueError, "mode must be one of"),
    ('variance_scaling(1.0, "fan_in", "gauss")', ValueError, "distribution must be"),
    ("lecun_normal(scale=2.0)", TypeError, "no option 'scale'"),
    ("lecun_normal(1.0)", TypeError, "takes its options by keyword"),
    ("truncated_normal(std=-1)", ValueError, "std must be at least 0"),
    ("truncated_normal(upper=None)", TypeError, "upper must be a real number"),
    ("truncated_normal(lower=np.inf)", ValueError, "lower must be finite"),
    ("truncated_normal(lower=2, upper=1)", ValueError, "swap them"),
    ("truncated_normal(corrected=1)", TypeError, "corrected must be True or False"),
    ("scaled_orthogonal(gain=-1)", ValueError, "gain must be at least 0"),
    ("delta_orthogonal(gain=-1)", ValueError, "gain must be at least 0"),
    ("delta_orthogonal(in_axis=(0, 1))", TypeError, "in_axis must be one axis"),
    ("convolution_orthogonal(in_axis=-1)", ValueError, "must not both name axis -1"),
    ("stack()", TypeError, "init"),
    ("stack(0.5)", TypeError, "init must be an initializer, got 0.5"),
    ("stack(jinit.lecun_normal)", TypeError, r"call .*jinit\.lecun_normal\(\)"),
    ("stack(jinit.normal(), 1.5)", TypeError, "axis must be an integer"),
    ("stack(jinit.normal(), (0, 1))", TypeError, "axis must be one axis"),
    ("stack(jinit.normal(), 0, 1)", TypeError, "got 3 positional"),
    ("blocks(jinit.normal())", TypeError, "n"),
    ("blocks(jinit.normal(), 0)", ValueError, "n must be at least 1, got 0"),
    ("blocks(jinit.normal(), 2.0)", TypeError, "n must be an integer"),
    ("blocks(None, 2)", TypeError, "init must be an initializer, got None"),
    ('blocks(jinit.normal(), 2, "a")', TypeError, "axis must be an integer"),
    ('looks_linear(mirror="in")', ValueError, "mirror must be one of inputs"),
    ("looks_linear(jinit.orthogonal)", TypeError, "init must be an initializer"),
    ("looks_linear(in_axis=-1)", ValueError, "must not both name axis -1"),
    ('with_dtype(jinit.normal(), "foo")', TypeError, "dtype must be a floating"),
    ("with_dtype(jinit.normal(), None)", TypeError, "dtype must be a floating"),
    ('with_dtype(jinit.normal(), "int8")', TypeError, "dtype must be a floating"),
    ('with_dtype(jinit.zeros, "f4,,")', TypeError, "dtype must be a numeric"),
    ("stack(int)", TypeError, r"jinit\.stack\(jinit\.lecun_normal"),
    ("fans((3, 4), in_axis=[True])", TypeError, "in_axis must be an integer"),
    ('fans((3, 4), in_axis=b"a")', TypeError, "in_axis must be an integer"),
    ("fans((3, 4), out_axis=[[0], [1, 2]])", TypeError, "out_axis must be an integer"),
    ('fans(b"ab")', TypeError, "shape must be a sequence"),
    ("fans({3, 4})", TypeError, "shape must be a sequence"),
    ("kaiming_normal(mode=np.array([1, 2]))", ValueError, "mode must be one of"),
    ('einsum_axes("bi,io->")', ValueError, "spec must name the inputs, the kernel"),
    ('einsum_axes("...bi,io->bo")', ValueError, "or in neither"),
    ("einsum_axes(None)", TypeError, "spec must be a string"),
    ('einsum_axes("")', ValueError, "spec must name the inputs, the kernel"),
    ('einsum_axes("bi->bo")', ValueError, "spec must name the inputs, the kernel"),
    ('einsum_axes("bi,io")', ValueError, "and the outputs, as"),
    ('einsum_axes("bi,->b")', ValueError, "spec must name the inputs, the kernel"),
    ('einsum_axes("bi,io,oj->bj")', ValueError, "spec must name the inputs, the"),
    ('einsum_axes("bi,io->bo->b")', ValueError, "spec must name"),
    ('einsum_axes("bi,ii->b")', ValueError, "repeat an index .* 'ii' for the kernel"),
    ('einsum_axes("bb,bo->o")', ValueError, "'bb' for the inputs"),
    ('einsum_axes("bi,io->boo")', ValueError, "'boo' for the outputs"),
    ('einsum_axes("bi,io->bk")', ValueError, "'k' in the outputs of .* alone"),
    ('einsum_axes("bi,i1->b1")', ValueError, "name every axis by a letter"),
    ('einsum_axes("bi,...io->bo")', ValueError, "kernel without an ellipsis"),
    ('einsum_axes("b..i,io->bo")', ValueError, "name every axis by a letter"),
]

CALL = [
    (jinit.xavier_normal(), ((3,),), ValueError, "fan_in=, fan_out="),
    (jinit.xavier_normal(), ((),), ValueError, "fan_in=, fan_out="),
    (jinit.xavier_normal(fan_in=3), ((3,),), ValueError, "fan_in=, fan_out="),
    (jinit.xavier_normal(), ((0,),), ValueError, "fan_in=, fan_out="),
    (jinit.kaiming_uniform(in_axis=5), ((3, 4),), ValueError, "no axis 5, which in_"),
    (jinit.xavier_normal(in_axis=0, out_axis=-2), ((3, 4),), ValueError, "twice"),
    (jinit.glorot_normal(in_axis=1), ((3, 4),), ValueError, "twice"),
    (jinit.xavier_normal(batch_axis=0), ((3, 4),), ValueError, "batch_axis"),
    (jinit.xavier_normal(groups=3), ((3, 4),), ValueError, "divide the 4 outputs"),
    (jinit.orthogonal(), ((3,),), ValueError, "for a vector use jinit.normal"),
    (jinit.orthogonal(in_axis=0, out_axis=-2), ((3, 3),), ValueError, "twice"),
    (jinit.sparse(0.5), ((3,),), ValueError, "needs a matrix"),
    (jinit.sparse(0.5), ((3, 3, 3),), ValueError, "needs a matrix"),
    (jinit.sparse(0.5, in_axis=2), ((3, 3),), ValueError, "no axis 2"),
    (jinit.eye(), ((3,),), ValueError, "eye needs a matrix"),
    (jinit.eye(), ((3, 3, 3),), ValueError, r"jinit\.dirac"),
    (jinit.eye(batch_axis=4), ((2, 3, 3),), ValueError, "no axis 4"),
    (jinit.eye(gain=0.5), ((3, 3), int), ValueError, "gain must be exact in .*int32"),
    (jinit.dirac(), ((3, 3),), ValueError, r"jinit\.eye"),
    (jinit.dirac(), ((1,) * 6,), ValueError, "1 to 3 dimensions"),
    (jinit.dirac(groups=2), ((3, 1, 3),), ValueError, "divide the 3 outputs"),
    (jinit.dirac(in_axis=2), ((3, 2, 2),), ValueError, "twice"),
    (jinit.lecun_normal(), ((3,),), ValueError, "fan_in=, fan_out="),
    (jinit.he_uniform(groups=3), ((3, 4),), ValueError, "divide the 4 outputs"),
    (jinit.glorot_normal(), ((3, 4), int), TypeError, "dtype=int32"),
    (
        jinit.variance_scaling(1.0, "fan_in", "normal", fan_in=1e-39),
        ((3,),),
        ValueError,
        "fan must be at most",
    ),
    (jinit.spectral_orthogonal(), ((3,),), ValueError, "spectral_orthogonal needs"),
    (jinit.delta_orthogonal(), ((3, 3),), ValueError, r"jinit\.orthogonal"),
    (jinit.delta_orthogonal(), ((3, 4, 2),), ValueError, "other way round"),
    (
        jinit.convolution_orthogonal(),
        ((3, 3, 64, 32),),
        ValueError,
        r"64 inputs \(in_axis=-2\) and 32 outputs .*jinit\.orthogonal\(\)",
    ),
    (jinit.convolution_orthogonal(), ((1,) * 6,), ValueError, "1 to 3 dimensions"),
    (jinit.stack(jinit.normal(), 2), ((3, 4),), ValueError, "no axis 2, which axis"),
    (jinit.stack(jinit.normal()), ((),), ValueError, "no axis 0, which axis"),
    (jinit.stack(jinit.lecun_normal()), ((3, 4),), ValueError, "fan_in="),
    (jinit.stack(jinit.normal()), ((3, 4), int), TypeError, "dtype=int32"),
    (jinit.stack(jinit.normal(std=1e39)), ((3, 4),), ValueError, "std must be at most"),
    (jinit.stack(jinit.constant(0.5)), ((3,), int), ValueError, "must be exact"),
    (
        jinit.blocks(jinit.normal(), 3),
        ((4, 4),),
        ValueError,
        "n must divide the size 4",
    ),
    (jinit.blocks(jinit.normal(), 3, 2), ((3, 3),), ValueError, "no axis 2"),
    (jinit.blocks(jinit.eye(), 2), ((3,),), ValueError, "n must divide"),
    (jinit.blocks(jinit.eye(), 2), ((4,),), ValueError, "eye needs a matrix"),
    (jinit.looks_linear(), ((3, 4),), ValueError, "mirrors the inputs, whose axis"),
    (jinit.looks_linear(mirror="both"), ((4, 3),), ValueError, "mirrors the outputs"),
    (jinit.looks_linear(), ((4,),), ValueError, "no axis -2"),
    (jinit.normal(), ((3,), [("a", int)]), TypeError, "dtype must be a numeric dtype"),
    (jinit.normal(), ((3,), "f4,,"), TypeError, "dtype must be a numeric dtype"),
    (jinit.normal(), ((10**400,),), ValueError, "at most 64 bits"),
    (
        jinit.truncated_normal(lower=1.0, upper=1.0, corrected=True),
        ((3,),),
        ValueError,
        "leave out corrected=True",
    ),
    (
        jinit.truncated_normal(lower=1e5, upper=2e5, corrected=True),
        ((3,),),
        ValueError,
        "in which dtype float32 tells numbers apart",
    ),
    (jinit.truncated_normal(lower=1e20, upper=1e21), ((3,),), ValueError, "apart"),
    (
        jinit.xavier_uniform(gain=3e38, fan_in=1, fan_out=1),
        ((3,),),
        ValueError,
        "bound",
    ),
    (
        jinit.kaiming_normal(nonlinearity=3e38, fan_in=1e-3),
        ((3,),),
        ValueError,
        "the deviation of the weights must be at most",
    ),
    (jinit.spectral_orthogonal(gain=3e38), ((2, 50),), ValueError, "singular value"),
    (
        jinit.variance_scaling(3e38, "fan_in", "uniform", fan_in=1),
        ((3,),),
        ValueError,
        "fan must be at most",
    ),
    (jinit.looks_linear(jinit.ones), ((4, 2), "uint8"), ValueError, "have a sign"),
    (
        jinit.stack(lambda k, s, d: jax.random.normal(k, s[::-1], d)),
        ((2, 3, 4),),
        ValueError,
        r"init must return an array of shape \(3, 4\)",
    ),
    (
        jinit.stack(lambda k, s, d: jax.random.normal(k, s)),
        ((2, 3), "bfloat16"),
        ValueError,
        "dtype bfloat16",
    ),
    (jinit.blocks(lambda k, s, d: None, 2), ((4,),), ValueError, "returned None"),
    (
        jinit.looks_linear(lambda k, s, d: jnp.ones((5, 5))),
        ((4, 4),),
        ValueError,
        "2, 4",
    ),
    (jinit.normal(std=1e39), ((3,),), ValueError, "std must be at most 3.4e"),
    (jinit.constant([1e39, 0]), ((2,),), ValueError, "value must be at most"),
    (jinit.constant(1e39), ((3,), "bfloat16"), ValueError, "value must be at most"),
    (jinit.uniform(a=-3e38, b=3e38), ((3,),), ValueError, "b - a must be at most"),
    (jinit.constant([1, 2, 3]), ((2,),), ValueError, "does not broadcast"),
    (jinit.lecun_normal(), (jnp.float32,), TypeError, r"w_init=jinit.haiku\(init\)"),
    (jinit.lecun_normal(), (np.dtype("f4"),), TypeError, r"jinit.haiku\(init\)"),
    (jinit.zeros(), (True,), TypeError, "shape must be a sequence of integers"),
    (jinit.constant([[1, 2]]), ((2,),), ValueError, "does not broadcast"),
    (jinit.constant(0.5), ((2,), int), ValueError, "value must be exact"),
    (jinit.constant(300), ((2,), "int8"), ValueError, "exact in dtype int8, got 300"),
    (jinit.constant(2), ((2,), bool), ValueError, "exact in dtype bool"),
    (jinit.constant(1j), ((2,), "float32"), ValueError, "complex dtype"),
    (jinit.normal(), (3.0,), TypeError, "shape must be a sequence .*got 3.0"),
    (jinit.normal(), ((3.0,),), TypeError, "shape must be a sequence of integers"),
    (jinit.normal(), ("ab",), TypeError, "shape must be a sequence of integers"),
    (jinit.normal(), (None,), TypeError, "shape must be a sequence of integers"),
    (jinit.normal(), ((2, -3),), ValueError, "negative sizes"),
    (jinit.normal(), ((3,), int), TypeError, "dtype=int32; draw in float32"),
    (jinit.sparse(0.5), ((3, 3), bool), TypeError, "dtype=bool"),
    (jinit.normal(), ((3,), "foo"), TypeError, "dtype must be a numeric dtype"),
    (jinit.normal(), ((3,), object), TypeError, "dtype must be a numeric dtype"),
    (jinit.normal(), ((3,), KEY.dtype), TypeError, "dtype must be a numeric dtype"),
    (jinit.zeros(), ((3,), "float8_e8m0fnu"), TypeError, "a zero and a sign"),
    (jinit.zeros(), ((3,), ">f4"), TypeError, "dtype must be one that JAX has, .*>f4"),
    (jinit.zeros(), ((3,), "float6_e2m3fn"), TypeError, "dtype must be one that JAX"),
    (jinit.zeros(), ((3,), np.longdouble), TypeError, "dtype must be one that JAX has"),
    (jinit.normal(), ((3,), None, "x"), TypeError, "out_sharding must be"),
    (jinit.normal(), ((3,), None, PartitionSpec("x")), ValueError, r"jax\.set_mesh"),
]

KEYS = [
    (0, "jax.random.key(0)"),
    (None, "jax.random.key(0)"),
    ("key", "jax.random.key(0)"),
    (np.ones(2), "jax.random.key(0)"),
    (jnp.ones(3, jnp.uint32), "jax.random.key(0)"),
    (jax.ShapeDtypeStruct((2,), jnp.uint32), "jax.random.key(0)"),
    (jnp.zeros(4, jnp.uint32), "jax.random.wrap_key_data(key, impl='rbg')"),
    (nnx.Rngs(0), "rngs.params()"),
    (nnx.Rngs(0).params, "rngs.params()"),
    (nnx.Rngs(0).params.key, "rngs.params()"),
    (jax.random.split(KEY), "jax.vmap"),
    (jax.random.split(jax.random.PRNGKey(0)), "jax.vmap"),
]


@pytest.mark.parametrize(("call", "error", "message"), FACTORY)
def test_a_mistake_in_the_options_is_refused_by_the_factory(call, error, message):
    with pytest.raises(error, match=message):
        eval(f"jinit.{call}")


@pytest.mark.parametrize(
    ("init", "arguments", "error", "message"),
    CALL,
    ids=[
        re.sub(" at 0x\\w+", "", f"{init}{arguments}"[:150])
        for init, arguments, *_ in CALL
    ],
)
def test_a_mistake_in_the_call_is_refused_before_anything_is_drawn(
    init, arguments, error, message
):
    with pytest.raises(error, match=message):
        init(KEY, *arguments)


@pytest.mark.parametrize(
    ("value", "dtype"), [(0.5, "int32"), (300, "uint8"), (1j, "float32"), (2, "bool")]
)
def test_a_traced_value_of_a_kind_that_the_dtype_cannot_hold_is_refused(value, dtype):
    with pytest.raises(ValueError, match=f"value must be exact in dtype {dtype}"):
        jax.eval_shape(lambda v: jinit.constant(v)(KEY, (2,), dtype), value)


@pytest.mark.parametrize(
    ("not_a_key", "remedy"),
    KEYS,
    ids=[f"{type(k).__name__}{i}" for i, (k, _) in enumerate(KEYS)],
)
def test_a_key_that_is_not_one_key_is_refused(not_a_key, remedy):
    with pytest.raises((TypeError, ValueError), match=re.escape(remedy)):
        jinit.normal()(not_a_key, (3,))


@pytest.mark.parametrize(
    "name",
    [
        *("constant", "uniform", "normal", "trunc_normal", "eye", "dirac", "sparse"),
        *("xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal"),
        *("orthogonal", "lecun_normal", "he_uniform", "scaled_orthogonal", "stack"),
        *("delta_orthogonal", "truncated_normal", "looks_linear"),
    ],
)
def test_a_factory_passed_uncalled_says_to_call_it(name):
    with pytest.raises(TypeError, match=rf"kernel_init=jinit\.{name}\("):
        getattr(jinit, name)(KEY, (3, 3), jnp.float32)


@pytest.mark.parametrize(
    ("make", "remedy"),
    [
        (
            "recurrent.forget_bias(jinit.recurrent.chrono)",
            "jinit.recurrent.forget_bias(jinit.recurrent.chrono(max_time))",
        ),
        ("blocks(jinit.sparse, 2)", "jinit.blocks(jinit.sparse(sparsity), n)"),
        ("vision.icnr(jinit.normal, 2)", "jinit.vision.icnr(jinit.normal(), scale)"),
        ("stack(jinit.stack)", "jinit.stack(jinit.stack(init))"),
        ("recurrent.chrono()", "jinit.recurrent.chrono(max_time)"),
        ("constant(KEY, (3,), None)", "jinit.constant(value)"),
    ],
)
def test_the_call_that_is_proposed_has_the_options_it_needs(make, remedy):
    with pytest.raises(TypeError, match=re.escape(remedy)):
        eval(f"jinit.{make}", {"jinit": jinit, "KEY": KEY})
    given = {"max_time": 9.0, "sparsity": 0.5, "n": 2, "scale": 2, "value": 1.0}
    values = {"jinit": jinit, "init": jinit.normal(), **given}
    assert callable(eval(remedy, values))


@pytest.mark.parametrize(
    ("shape", "spec", "message"),
    [
        ((8,), PartitionSpec("x", "y"), "more axes than shape"),
        ((7,), PartitionSpec("x"), "7"),
    ],
)
def test_a_sharding_that_does_not_fit_the_shape_is_refused(shape, spec, message):
    mesh = jax.make_mesh((4, 2), ("x", "y"))
    with pytest.raises(ValueError, match=message):
        jinit.normal()(KEY, shape, None, NamedSharding(mesh, spec))
