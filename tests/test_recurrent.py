"""Gates of recurrent cells: how long the cells of each library then remember."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import as_double, check_distribution, check_mean
from jax import lax

import jinit
from jinit.recurrent import chrono, forget_bias, power_law, uniform_gate

UNITS, LONGEST, STEPS = 256, 50.0, 1000
X = jnp.zeros((1, 3))
ONES, ZEROS = jnp.ones((1, UNITS)), jnp.zeros((1, UNITS))


def uniform_cdf(low, high):
    return lambda x: np.clip((x - low) / (high - low), 0, 1)


# Of the biases themselves.


def test_the_times_of_chrono_are_uniform_from_two_steps_to_the_longest(key):
    b = as_double(chrono(100.0)(key, (200_000,)))
    times = 1 + np.exp(b)
    check_distribution(times, uniform_cdf(2, 100))
    check_mean(times, 51.0, 98 / 12**0.5)
    assert times.min() >= 2 - 1e-6
    assert times.max() <= 100 * (1 + 1e-6)


def test_what_uniform_gates_keep_is_uniform(key):
    b = as_double(uniform_gate()(key, (3000, 64)))
    check_distribution(1 / (1 + np.exp(-b)), uniform_cdf(1 / 64, 63 / 64))


def test_units_of_a_uniform_gate_are_those_of_the_gate_not_of_all(key):
    b = as_double(forget_bias(uniform_gate())(key, (4, 4 * 8)))[:, 8:16]
    assert abs(b).max() <= np.log(7) * (1 + 1e-6)


def test_a_longest_time_of_two_steps_leaves_no_choice(key):
    np.testing.assert_array_equal(chrono(2.0)(key, (3,)), 0)
    np.testing.assert_array_equal(uniform_gate()(key, (3, 2)), 0)


def test_chrono_takes_traced_times(key):
    draw = jax.vmap(lambda time: chrono(time)(key, (100,)))
    several = draw(jnp.array([10.0, 100.0]))
    np.testing.assert_allclose(several[1], chrono(100.0)(key, (100,)), rtol=1e-5)


def test_the_input_gate_has_minus_the_same_draw_and_the_others_zeros(key):
    b = forget_bias(chrono(100.0), gate=2, input_gate=0)(key, (2, 3, 4 * 16))
    i, g, f, o = jnp.split(b, 4, -1)
    np.testing.assert_array_equal(i, -f)
    np.testing.assert_array_equal(f, chrono(100.0)(key, (2, 3, 16)))
    assert not g.any()
    assert not o.any()


def test_the_unit_forget_bias_is_that_of_keras():
    # keras.layers.LSTMCell, unit_forget_bias: zeros, ones, zeros, zeros.
    expected = np.concatenate([np.zeros(5), np.ones(5), np.zeros(10)])
    np.testing.assert_array_equal(forget_bias()(None, (20,)), expected)


def test_a_power_law_of_one_is_linspace():
    w = power_law(3.0, 6.0)(None, (2, 64))
    np.testing.assert_allclose(w, np.tile(np.linspace(3, 6, 64), (2, 1)), rtol=1e-7)
    np.testing.assert_array_equal(power_law(3.0, 6.0)(None, (2, 1)), 3)


@pytest.mark.parametrize("layer", [0, 2, 5])
def test_the_power_law_of_a_layer_of_slstm_is_as_published(layer):
    size, layers = 32, 6
    # NX-AI/xlstm, sLSTMCellBase.reset_parameters.
    ratio = np.arange(size) / (size - 1)
    expected = -(-5.0 + 12.0 * ratio ** (0.3 + 1.3 * layer / (layers - 1)))
    init = power_law(5.0, -7.0, exponent=0.3 + 1.3 * layer / (layers - 1))
    np.testing.assert_allclose(init(None, (size,)), expected, atol=2e-6)


def test_a_power_law_takes_traced_ends(key):
    draw = jax.vmap(lambda stop: power_law(0.0, stop, exponent=2.0)(key, (5,)))
    expected = [np.linspace(0, 1, 5) ** 2 * stop for stop in (1, 3)]
    np.testing.assert_allclose(draw(jnp.array([1.0, 3.0])), expected, atol=1e-6)


# Of the cells: with no inputs and no kernels a state shrinks to σ(b) of it, and the sum
# of what is left over all steps is the time that it lasts.

ZERO = jinit.zeros()
BIAS = {"**/kernel": ZERO, "**/bias": ZERO}


def of_linen(cell, rules, state):
    """The step of a cell of linen whose parameters are drawn by rules."""
    shapes = jax.eval_shape(cell.init, jax.random.key(0), state, X)
    params = jinit.plan(shapes, {**rules, **BIAS}).init(jax.random.key(1))
    return lambda state: cell.apply(params, state, X)[0]


def linen_gru():
    return of_linen(nn.GRUCell(UNITS), {"**/iz/bias": chrono(LONGEST)}, ONES)


def linen_mgu():
    cell = nn.MGUCell(UNITS, forget_bias_init=chrono(LONGEST))
    params = cell.init(jax.random.key(0), ONES, X)
    params = jax.tree.map(lambda w: w if w.ndim == 1 else 0 * w, params)
    return lambda h: cell.apply(params, h, X)[0]


def linen_lstm(cell=nn.LSTMCell):
    rules = {"**/hf/bias": chrono(LONGEST)}
    step = of_linen(cell(UNITS), rules, (ONES, ZEROS))
    return lambda c: step((c, ZEROS))[0]


def linen_packed_lstm():
    return linen_lstm(nn.OptimizedLSTMCell)


def nnx_gru():
    bias = forget_bias(chrono(LONGEST), gates=3)
    zeros = {"kernel_init": ZERO, "recurrent_kernel_init": ZERO}
    cell = nnx.GRUCell(3, UNITS, bias_init=bias, **zeros, rngs=nnx.Rngs(0))
    return lambda h: cell(h, X)[0]


def nnx_lstm():
    bias = forget_bias(chrono(LONGEST), input_gate=0)
    zeros = {"kernel_init": ZERO, "recurrent_kernel_init": ZERO}
    cell = nnx.OptimizedLSTMCell(3, UNITS, bias_init=bias, **zeros, rngs=nnx.Rngs(0))
    return lambda c: cell((c, ZEROS), X)[0][0]


def haiku_gru():
    hk = pytest.importorskip("haiku")
    bias = forget_bias(chrono(LONGEST), gate=None, input_gate=0, gates=3)

    def gru(h):
        kernels = {"w_i_init": jnp.zeros, "w_h_init": jnp.zeros}
        return hk.GRU(UNITS, **kernels, b_init=jinit.haiku(bias))(X, h)[0]

    model = hk.without_apply_rng(hk.transform(gru))
    params = model.init(jax.random.key(0), ONES)
    return lambda h: model.apply(params, h)


def equinox_gru():
    eqx = pytest.importorskip("equinox")
    cell = eqx.nn.GRUCell(3, UNITS, key=jax.random.key(0))
    cell = jax.tree.map(jnp.zeros_like, cell)
    bias = forget_bias(chrono(LONGEST), gates=3)(jax.random.key(0), (3 * UNITS,))
    cell = eqx.tree_at(lambda cell: cell.bias, cell, bias)
    return lambda h: cell(X[0], h[0])[None]


CELLS = [
    *(linen_gru, linen_mgu, linen_lstm, linen_packed_lstm, nnx_gru, nnx_lstm),
    *(haiku_gru, equinox_gru),
]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)
def test_a_cell_remembers_for_times_that_are_uniform(cell):
    step = cell()

    def last(h, _):
        return step(h), h

    _, states = lax.scan(last, ONES, length=STEPS)
    times = as_double(states).sum(0)[0]
    check_distribution(times.astype(np.float32), uniform_cdf(2, LONGEST))
    check_mean(times, (2 + LONGEST) / 2, (LONGEST - 2) / 12**0.5)


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell"])
def test_a_cell_of_torch_does_with_one_of_its_two_biases(kind):
    torch = pytest.importorskip("torch")
    lstm = kind == "LSTMCell"
    cell = getattr(torch.nn, kind)(3, UNITS)
    bias = forget_bias(chrono(LONGEST), gates=4 if lstm else 3)
    drawn = bias(jax.random.key(0), tuple(cell.bias_hh.shape))
    with torch.no_grad():
        for weight in cell.parameters():
            weight.zero_()
        cell.bias_ih.copy_(torch.tensor(np.asarray(drawn)))
        ones, zeros, x = torch.ones(1, UNITS), torch.zeros(1, UNITS), torch.zeros(1, 3)
        left = cell(x, (zeros, ones))[1] if lstm else cell(x, ones)
    times = 1 / (1 - as_double(left.numpy())[0])
    check_distribution(times.astype(np.float32), uniform_cdf(2, LONGEST))


def test_the_tied_input_gate_keeps_the_state_as_large_as_what_is_written():
    gates = forget_bias(chrono(LONGEST), input_gate=0)(KEY, (4 * UNITS,))
    written = jnp.zeros((4, UNITS)).at[2].set(jnp.arctanh(0.5)).ravel()
    zeros = {"kernel_init": ZERO, "recurrent_kernel_init": ZERO}
    cell = nnx.OptimizedLSTMCell(3, UNITS, **zeros, rngs=nnx.Rngs(0))
    cell.dense_h.bias[...] = gates + written

    def step(c, _):
        return cell((c, ZEROS), X)[0][0], None

    state, _ = lax.scan(step, ZEROS, length=STEPS)
    np.testing.assert_allclose(state, 0.5, rtol=1e-4)


KEY = jax.random.key(0)


def test_a_cell_of_flax_forgets_in_two_steps_and_one_with_the_bias_in_four():
    def left(bias):
        zeros = {"kernel_init": ZERO, "recurrent_kernel_init": ZERO}
        cell = nnx.OptimizedLSTMCell(3, 8, bias_init=bias, **zeros, rngs=nnx.Rngs(0))
        one = jnp.ones((1, 8))
        return cell((one, 0 * one), X)[0][0]

    np.testing.assert_allclose(1 / (1 - left(jinit.zeros)), 2, rtol=1e-6)
    np.testing.assert_allclose(1 / (1 - left(forget_bias())), 1 + np.e, rtol=1e-5)


def test_what_is_no_pattern_of_gates_is_noticed(key):
    init = forget_bias(chrono(100.0), input_gate=0)
    b = np.array(init(key, (64,)))
    assert not list(init._breaks(b))
    b[40] = 1.0
    assert [kind for kind, *_ in init._breaks(b)] == ["pattern"]


# What is refused.

REFUSED = [
    (lambda: chrono(1.5), ValueError, r"max_time must be at least 2 .*not its inverse"),
    (lambda: chrono(1 / 784), ValueError, "max_time must be at least 2"),
    (lambda: chrono("784"), TypeError, "max_time must be a real number"),
    (lambda: chrono(784.0)(KEY, (3,), "complex64"), TypeError, "makes real numbers"),
    (lambda: chrono(784.0)(KEY, (3,), "int32"), TypeError, "draws floating-point"),
    (lambda: uniform_gate()(KEY, (3, 1)), ValueError, "needs two units or more"),
    (lambda: uniform_gate()(KEY, ()), ValueError, "needs two units or more"),
    (lambda: power_law(1.0, 2.0)(KEY, ()), ValueError, "needs an axis of units"),
    (lambda: power_law(1.0, 2.0)(KEY, (3,), "int8"), TypeError, "makes real numbers"),
    (lambda: power_law(1.0, 2.0, exponent=0), ValueError, "exponent must be greater"),
    (lambda: forget_bias(1.0), TypeError, r"; give jinit.constant\(1.0\)"),
    (lambda: forget_bias(gates=0), ValueError, "gates must be at least 1"),
    (lambda: forget_bias(gate=4), ValueError, "gate must be less than gates=4"),
    (lambda: forget_bias(gate=-1), ValueError, "gate must be at least 0"),
    (lambda: forget_bias(gate=1.0), TypeError, "gate must be an integer"),
    (lambda: forget_bias(input_gate=1), ValueError, "must be two gates"),
    (lambda: forget_bias(gate=None), ValueError, "must be two gates"),
    (lambda: forget_bias()(KEY, (6,)), ValueError, "gates must divide the last axis"),
    (lambda: forget_bias()(KEY, ()), ValueError, "gates must divide the last axis"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
