"""The drop-in beside `jax.nn.initializers`: its signatures, its bits, and its faults.

A grid of initializers, shapes and axes, dtypes and generators is drawn by both, eagerly
and compiled, and compared bit for bit.
"""

import inspect
import pickle
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import as_double, check_mean, check_std, check_units
from jax.nn import initializers as peer
from jax.sharding import NamedSharding, PartitionSpec

import jinit
from jinit import jaxnn

PACKAGES = {"jax": peer, "linen": nn.initializers, "nnx": nnx.initializers}


def factories():
    """The names that take options, which the uncalled zeros and ones do not."""
    names = [name for name in dir(peer) if not name.startswith("_")]
    return [name for name in names if name not in ("Initializer", "zeros", "ones")]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_of_the_peers_is_there(package):
    public = {
        name
        for name, value in vars(PACKAGES[package]).items()
        if not name.startswith("_")
        and callable(value)
        and name not in ("Any", "DtypeLikeInexact")
    }
    assert public <= set(dir(jaxnn))


@pytest.mark.parametrize("name", factories())
def test_parameters_have_the_names_order_and_defaults_of_the_peer(name):
    ours, theirs = (
        [(p.name, p.kind, p.default) for p in inspect.signature(f).parameters.values()]
        for f in (getattr(jaxnn, name), getattr(peer, name))
    )
    assert ours == theirs


@pytest.mark.parametrize("name", ["zeros", "ones", "zeros_init", "ones_init"])
def test_zeros_and_ones_are_called_as_the_peers_are(name, key):
    ours, theirs = (
        getattr(package, name)() if name.endswith("init") else getattr(package, name)
        for package in (jaxnn, nn.initializers)
    )
    for arguments in [(key, (2, 3)), (key, (2,), jnp.int32), (key, (), jnp.bfloat16)]:
        assert ours(*arguments).dtype == theirs(*arguments).dtype
        np.testing.assert_array_equal(ours(*arguments), theirs(*arguments))
    np.testing.assert_array_equal(
        ours(key=key, shape=(2,), dtype=jnp.int8), theirs(key, (2,), jnp.int8)
    )


def test_constants_are_those_of_the_peer(key):
    for value in (2, 0.5, [[1.0, 2.0]], 1j):
        value = np.array(value)
        dtype = jnp.complex64 if np.iscomplexobj(value) else jnp.float32
        ours, theirs = (p.constant(value, dtype)(key, (3, 2)) for p in (jaxnn, peer))
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_a_dtype_given_to_the_factory_holds_where_the_call_names_none(key):
    for name in factories():
        options = {"constant": (1.0,), "variance_scaling": (1.0, "fan_in", "normal")}
        init = getattr(jaxnn, name)(*options.get(name, ()), dtype=jnp.bfloat16)
        assert init(key, (3, 4, 4)).dtype == jnp.bfloat16, name
        assert init(key, (3, 4, 4), jnp.float32).dtype == jnp.float32, name
        assert pickle.loads(pickle.dumps(init)) == init, name


def test_a_flax_layer_is_equal_when_rebuilt():
    layers = [nn.Dense(4, kernel_init=jaxnn.he_normal()) for _ in range(2)]
    assert layers[0] == layers[1]


# The grid. Each entry is called on both packages.
NAMED = [
    *("lecun_uniform()", "lecun_normal()", "glorot_uniform()", "glorot_normal()"),
    *("he_uniform()", "he_normal()", "xavier_uniform()", "kaiming_normal()"),
]
SCALINGS = [
    f"variance_scaling({scale}, '{mode}', '{distribution}')"
    for distribution in ("truncated_normal", "normal", "uniform")
    for mode, scale in [
        ("fan_in", 1.0),
        ("fan_out", 0.37),
        ("fan_avg", 2),
        ("fan_geo_avg", 1.7),
    ]
]
PLAIN = [
    *("uniform()", "uniform(0.3)", "normal()", "normal(0.37)"),
    *("truncated_normal()", "truncated_normal(0.3, None, -1.0, 1.0)"),
    "truncated_normal(1.0, lower=-1.3, upper=0.7)",
]
CALLS = [*NAMED, *SCALINGS, *PLAIN]
LAYOUTS = {
    "matrix": ((7, 5), {}),
    "convolution": ((3, 2, 4, 6), {}),
    "torch's layout": ((6, 4, 3), {"in_axis": 1, "out_axis": 0}),
    "stacked": ((2, 5, 8), {"in_axis": 1, "out_axis": 2, "batch_axis": 0}),
    "heads": ((6, 2, 3), {"in_axis": 0, "out_axis": (1, 2)}),
}
KEYS = {
    "typed": lambda: jax.random.key(3),
    "raw": lambda: jax.random.PRNGKey(3),
    "rbg": lambda: jax.random.key(3, impl="rbg"),
}
# Complex draws that JAX does not make, or makes with another variance.
REAL_ONLY = [*(c for c in CALLS if "truncated" in c), "uniform()", "uniform(0.3)"]
REAL_ONLY += [c for c in NAMED if "normal" in c]
GRIDS = [
    *((layout, "float32", "typed", CALLS) for layout in LAYOUTS),
    *(("convolution", "float32", keys, CALLS) for keys in ("raw", "rbg")),
    ("stacked", "float64", "typed", CALLS),
    *(
        ("stacked", dtype, "typed", [c for c in CALLS if c not in REAL_ONLY])
        for dtype in ("complex64", "complex128")
    ),
]


def make(package, call, axes):
    name, options = call[:-1].split("(")
    fan_based = call in NAMED or call in SCALINGS
    axes = [f"{axis}={value}" for axis, value in axes.items()] if fan_based else []
    arguments = ", ".join([*filter(None, [options]), *axes])
    return eval(f"package.{name}({arguments})", {"package": package})


def drawn(package, layout, dtype, keys, calls, compiled):
    """What a package draws for every call, in one program or one by one."""
    shape, axes = LAYOUTS[layout]
    inits = {call: make(package, call, axes) for call in calls}

    def draw(key):
        return {call: init(key, shape, dtype) for call, init in inits.items()}

    with (
        jax.enable_x64(dtype in ("float64", "complex128")),
        jax.numpy_dtype_promotion("standard"),  # JAX's complex draws need it
    ):
        arrays = (jax.jit(draw) if compiled else draw)(KEYS[keys]())
    return {call: np.asarray(w) for call, w in arrays.items()}


def rounds_by_shape():
    """Whether XLA's last bits depend on the loop: jax 0.12 does so with AVX-512."""
    u = jax.random.uniform(jax.random.key(3), (144,), minval=-1)
    shaped = [jax.lax.erf_inv(u.reshape(s)).ravel() for s in [(3, 2, 4, 6), (6, 8, 3)]]
    return any((jax.lax.erf_inv(u) != other).any() for other in shaped)


UNITS = 4 if rounds_by_shape() else 0


def check_bits(ours, theirs, call):
    if UNITS and "normal" in call:  # uniform draws need no erf_inv
        check_units(ours, theirs, UNITS)
    else:
        np.testing.assert_array_equal(bits(ours), bits(theirs), call)


def bits(w):
    return np.ascontiguousarray(w).view(np.uint8)


def test_the_grid_has_hundreds_of_cases():
    """Each call of a grid is drawn twice, eagerly and compiled."""
    assert sum(2 * len(calls) for *_, calls in GRIDS) >= 400


def depends_on_jit(call):
    """Whether the peer's own bits may: `normal` before jax 0.12, bounds but ±2."""
    if "truncated" in call:
        return call.startswith("truncated_normal(") and call != "truncated_normal()"
    newer = tuple(map(int, jax.__version__.split(".")[:2])) >= (0, 12)
    return not newer and (call.startswith("normal") or "'normal'" in call)


@pytest.mark.bits
def test_the_bits_are_those_that_the_peer_has_for_a_vector(key):
    """Whatever the shape, and whatever the processor does to the peer's."""
    flat = peer.normal(1.0)(key, (144,))
    for shape in [(3, 2, 4, 6), (6, 8, 3), (12, 12)]:
        ours = jaxnn.normal(1.0)(key, shape)
        np.testing.assert_array_equal(ours, jnp.asarray(flat).reshape(shape))


@pytest.mark.bits
@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "dtype", "keys", "calls"), GRIDS, ids=["-".join(g[:3]) for g in GRIDS]
)
def test_bits_are_those_of_the_peer(layout, dtype, keys, calls):
    case = layout, dtype, keys
    ours, compiled = (
        drawn(jaxnn, *case, calls, compiled) for compiled in (False, True)
    )
    # Where the peer's bits depend on jit ours do not, and are one or the other.
    truncated = [call for call in calls if "truncated" in call]
    others = [call for call in calls if call not in truncated]
    theirs = drawn(peer, *case, truncated, compiled=False)
    theirs |= drawn(peer, *case, others, compiled=True)

    for call in calls:
        assert ours[call].dtype == dtype, call
        check_bits(ours[call], theirs[call], call)
        check_bits(compiled[call], theirs[call], call)


@pytest.mark.bits
@pytest.mark.slow
def test_the_bits_of_the_peer_depend_on_jit_for_some_calls_alone():
    eager, compiled = (
        drawn(peer, "matrix", "float32", "typed", CALLS, compiled)
        for compiled in (False, True)
    )
    for call in CALLS:
        if not depends_on_jit(call):
            check_bits(eager[call], compiled[call], call)


@pytest.mark.bits
def test_the_default_embedding_of_flax_has_its_bits(key):
    """Its in_axis and out_axis are both axis 0 of the table."""
    ours, theirs = (
        package.variance_scaling(1.0, "fan_in", "normal", out_axis=0)
        for package in (jaxnn, peer)
    )
    compiled = jax.jit(lambda key: theirs(key, (50, 8)))(key)
    np.testing.assert_array_equal(ours(key, (50, 8)), compiled)


@pytest.mark.parametrize("column_axis", [-1, 0, 1, 2])
def test_orthogonal_has_the_column_axis_of_the_peer(column_axis, key):
    for package in (jaxnn, peer):
        w = package.orthogonal(2.0, column_axis)(key, (3, 4, 5))
        m = np.moveaxis(as_double(w), column_axis, -1).reshape(-1, w.shape[column_axis])
        gram = m.T @ m if m.shape[0] >= m.shape[1] else m @ m.T
        np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-5)


@pytest.mark.parametrize("column_axis", [-1, -2, 0, 1])
@pytest.mark.parametrize("shape", [(3, 2, 4), (4, 3, 2, 2), (2, 3, 4, 1, 2)])
def test_delta_orthogonal_has_the_tap_of_the_peer(column_axis, shape, key):
    ours, theirs = (
        as_double(package.delta_orthogonal(1.0, column_axis)(key, shape))
        for package in (jaxnn, peer)
    )
    np.testing.assert_array_equal(ours.any(axis=(-2, -1)), theirs.any(axis=(-2, -1)))
    for w in (ours, theirs):
        tap = w.sum(axis=tuple(range(len(shape) - 2)))
        np.testing.assert_allclose(tap @ tap.T, np.eye(shape[-2]), atol=1e-5)


# The table of differences: the fault of the peer, and ours right.


def distinct(w):
    return np.unique(as_double(w)).size


def check_half_precision(key):
    for dtype, values in [(jnp.bfloat16, 128), (jnp.float16, 1024)]:
        theirs, ours = (p.normal(1.0)(key, (10**6,), dtype) for p in (peer, jaxnn))
        assert distinct(theirs) == values
        assert distinct(ours) > 3 * values
    theirs, ours = (p.normal(1.0)(key, (10**6,), jnp.bfloat16) for p in (peer, jaxnn))
    with pytest.raises(AssertionError, match="mean"):
        check_mean(theirs, 0, 1)
    check_mean(ours, 0, 1)


def check_float8(key):
    shape = (400, 500)
    assert jnp.isnan(peer.lecun_normal()(key, shape, jnp.float8_e4m3fn)).all()
    assert distinct(peer.normal(1.0)(key, shape, jnp.float8_e5m2)) <= 4
    for dtype in (jnp.float8_e4m3fn, jnp.float8_e5m2):
        assert distinct(jaxnn.normal(1.0)(key, shape, dtype)) > 50
        # Of a truncated normal the kurtosis is 2.37.
        check_std(jaxnn.lecun_normal()(key, shape, dtype), 400**-0.5, 2.37)


def check_underflow(key):
    theirs, ours = (
        p.variance_scaling(1e-4, "fan_in", "normal")(key, (4096, 50), jnp.float16)
        for p in (peer, jaxnn)
    )
    assert not theirs.any()
    check_std(ours, (1e-4 / 4096) ** 0.5)


def check_complex_constant(key):
    with jax.numpy_dtype_promotion("standard"):
        theirs = peer.lecun_normal()(key, (1000, 1000), jnp.complex64)
    ours = jaxnn.lecun_normal()(key, (1000, 1000), jnp.complex64)
    # The kurtosis of |w|, where |w|² is exponential up to 4: E|w|⁴ / (E|w|²)².
    exponential = np.linspace(0, 4, 10**5)
    weights = np.exp(-exponential) / np.exp(-exponential).sum()
    moments = [(weights * exponential**power).sum() for power in (1, 2)]
    kurtosis = moments[1] / moments[0] ** 2
    check_std(ours, 1000**-0.5, kurtosis)
    with pytest.raises(AssertionError, match="std"):
        check_std(theirs, 1000**-0.5, kurtosis)
    excess = np.sqrt(np.mean(abs(as_double(theirs)) ** 2) * 1000)
    np.testing.assert_allclose(excess, 1.0093, atol=0.002)


def check_complex_draws(key):
    for name, std in [("uniform", 12**-0.5), ("truncated_normal", 0.8796)]:
        with pytest.raises((TypeError, ValueError)):
            getattr(peer, name)(1.0)(key, (3,), jnp.complex64)
        w = as_double(getattr(jaxnn, name)(1.0)(key, (10**5,), jnp.complex64))
        np.testing.assert_allclose(np.std(w), std, rtol=0.02)


def check_wide_bounds(key):
    theirs, ours = (
        p.truncated_normal(1.0, lower=-100.0, upper=100.0) for p in (peer, jaxnn)
    )
    assert as_double(theirs(key, (10**5,), jnp.bfloat16)).std() > 5
    check_std(ours(key, (10**5,), jnp.bfloat16), 1)


def check_tail(key):
    theirs, ours = (
        p.truncated_normal(1.0, lower=8.0, upper=9.0)(key, (10**4,))
        for p in (peer, jaxnn)
    )
    assert distinct(theirs) == 1
    assert distinct(ours) > 9000


def check_shared_axis(key):
    """Of a table (400, 100) with out_axis=0 the fans are 100 and 400."""
    theirs, ours = (
        as_double(p.glorot_uniform(out_axis=0)(key, (400, 100))) for p in (peer, jaxnn)
    )
    np.testing.assert_allclose(theirs.var(), 2 / (100 + 100), rtol=0.02)
    np.testing.assert_allclose(ours.var(), 2 / (100 + 400), rtol=0.02)
    # Of (100, 400) with in_axis=-1 the fan_in is 400.
    theirs = as_double(peer.lecun_uniform(in_axis=-1)(key, (100, 400)))
    np.testing.assert_allclose(theirs.var(), 1 / 100, rtol=0.02)
    with pytest.raises(ValueError, match="in_axis and out_axis must not both"):
        jaxnn.lecun_uniform(in_axis=-1)


def check_empty(key):
    if tuple(map(int, jax.__version__.split(".")[:2])) < (0, 12):
        with pytest.raises(ZeroDivisionError):
            peer.he_normal()(key, (0, 4))
    assert jaxnn.he_normal()(key, (0, 4)).shape == (0, 4)


def check_orthogonal_half(key):
    for name in ("orthogonal", "delta_orthogonal"):
        with pytest.raises((NotImplementedError, TypeError)):
            getattr(peer, name)()(key, (3, 4, 8), jnp.bfloat16)
        assert getattr(jaxnn, name)()(key, (3, 4, 8), jnp.bfloat16).any()


def check_orthogonal_sharded(key):
    mesh = jax.make_mesh((8,), ("x",))
    sharding = NamedSharding(mesh, PartitionSpec(None, None, "x"))
    for name in ("orthogonal", "delta_orthogonal"):
        with pytest.raises(NotImplementedError):
            getattr(peer, name)()(key, (3, 4, 8), None, sharding)
        w = getattr(jaxnn, name)()(key, (3, 4, 8), None, sharding)
        assert w.sharding.is_equivalent_to(sharding, 3)


DIFFERENCES = {
    "float16, bfloat16": check_half_precision,
    "float8": check_float8,
    "variance under float16's range": check_underflow,
    "complex truncated normal": check_complex_constant,
    "complex `uniform`, `truncated_normal`": check_complex_draws,
    "`truncated_normal` with wide bounds": check_wide_bounds,
    "`truncated_normal` far in a tail": check_tail,
    "an axis both in and out": check_shared_axis,
    "kernels without elements": check_empty,
    "orthogonal in half precision": check_orthogonal_half,
    "orthogonal with `out_sharding`": check_orthogonal_sharded,
}


def test_every_documented_difference_is_tested():
    rows = re.findall(r"^\| ([^|]+) \|", jaxnn.__doc__, re.MULTILINE)
    assert rows == list(DIFFERENCES)


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_the_peer_is_at_fault_and_ours_is_right(difference, key):
    DIFFERENCES[difference](key)


@pytest.mark.parametrize("call", ["normal(0.0)", "truncated_normal(0.0)"])
def test_a_deviation_of_zero_gives_zeros(call, key):
    np.testing.assert_array_equal(make(jaxnn, call, {})(key, (3,)), np.zeros(3))


def test_one_bound_may_be_infinite_as_in_the_peer(key):
    ours, theirs = (
        p.truncated_normal(1.0, lower=-np.inf, upper=1.0)(key, (1000,))
        for p in (jaxnn, peer)
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_a_dtype_of_64_bits_is_decided_on_at_the_call(key):
    init = jaxnn.normal(1.0, jnp.float64)
    with jax.enable_x64(True):
        assert init(key, (2,)).dtype == "float64"
    assert jaxnn.normal(1.0, float)(key, (2,)).dtype == "float32"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("normal(-1.0)", "stddev must be at least 0"),
        ("uniform(-1.0)", "scale must be at least 0"),
        ("variance_scaling(-1.0, 'fan_in', 'normal')", "scale must be at least 0"),
        ("variance_scaling(1.0, 'fan', 'normal')", "mode must be one of"),
        ("variance_scaling(1.0, 'fan_in', 'cauchy')", "distribution must be one of"),
        ("truncated_normal(1.0, lower=2, upper=1)", "lower must not be greater"),
        ("orthogonal(-1.0)", "scale must be at least 0"),
        ("orthogonal(column_axis=None)", "column_axis must be an integer"),
        ("delta_orthogonal(column_axis=True)", "column_axis must be an integer"),
        ("delta_orthogonal(column_axis=2)", "column_axis must name"),
        ("constant(np.inf)", "value must be finite"),
        ("normal(0.0, 'float3')", "dtype must be a floating-point or complex"),
        ("normal(1.0, int)", "dtype must be a floating-point or complex dtype"),
    ],
)
def test_options_that_make_no_sense_are_refused(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        eval(f"jaxnn.{call}")


def test_jinit_has_what_the_drop_in_returns(key):
    assert jaxnn.lecun_normal() == jinit.lecun_normal()
    assert repr(jaxnn.xavier_normal(dtype="float16")) == (
        "with_dtype(glorot_normal(), 'float16')"
    )
