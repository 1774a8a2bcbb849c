"""State spaces: HiPPO by what it promises, and leaves by what models make of them."""

import math
from math import comb, factorial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import as_double, check_distribution, check_mean, check_std
from jax import lax
from scipy import stats
from scipy.linalg import block_diag
from scipy.special import eval_legendre

import jinit
from jinit.ssm import (
    a_log,
    dplr,
    dt_bias,
    eigenvalues,
    hippo,
    log_step,
    lru_gamma,
    lru_nu,
    lru_theta,
    rg_lru,
    s5_input,
    s5_output,
)

KEY = jax.random.key(0)
FLOATS = ("float32", "bfloat16", "float16")


def uniform_cdf(low, high):
    return lambda x: np.clip((x - low) / (high - low), 0, 1)


# HiPPO.


def test_legs_is_as_published():
    A, B = hippo(16)
    for n in range(16):
        for k in range(16):
            below = -math.sqrt((2 * n + 1) * (2 * k + 1)) if n > k else 0.0
            expected = -(n + 1) if n == k else below
            assert A[n, k] == pytest.approx(expected, abs=1e-12)
        assert B[n] == pytest.approx(math.sqrt(2 * n + 1), rel=1e-15)


@pytest.mark.parametrize("power", range(6))
def test_legs_keeps_the_legendre_coefficients_of_all_of_the_past(power):
    # Of u(s) = s^m they are t^m c, and x' = (A x + B u) / t makes m c = A c + B.
    A, B = hippo(6)
    nodes, weights = np.polynomial.legendre.leggauss(50)
    u = ((nodes + 1) / 2) ** power
    c = [
        np.sqrt(2 * n + 1) * (weights * u * eval_legendre(n, nodes)).sum() / 2
        for n in range(6)
    ]
    np.testing.assert_allclose(A @ c + B, power * np.array(c), atol=1e-12)


@pytest.mark.parametrize("n", [2, 3, 6])
def test_legt_delays_by_one_as_well_as_a_rational_function_can(n):
    A, B = hippo(n, "legt")
    C = np.sqrt(2 * np.arange(n) + 1) * (-1.0) ** np.arange(n)  # at the other end

    def series(degree, z):  # of Padé's approximant of exp(z), of degrees n - 1 and n
        terms = range(degree + 1)
        return sum(factorial(2 * n - 1 - k) * comb(degree, k) * z**k for k in terms)

    for s in (0.1, 1j, 2 + 3j):
        transfer = C @ np.linalg.solve(s * np.eye(n) - A, B)
        delay = series(n - 1, -s) / series(n, s)
        assert transfer == pytest.approx(delay, rel=1e-8)


def test_fout_keeps_the_fourier_coefficients_of_the_last_unit_of_time():
    A, B = hippo(8, "fout")
    s = (np.arange(4000) + 0.5) / 4000
    waves = [
        np.sqrt(2) * f(2 * np.pi * k * s) for k in range(4) for f in (np.cos, np.sin)
    ]
    basis = np.array(waves) / np.where(np.arange(8) == 0, np.sqrt(2), 1)[:, None]

    def u(t):
        return 0.3 + np.cos(2 * np.pi * t + 0.4) - 2 * np.sin(4 * np.pi * t)

    def x(t):
        return (basis * u(t - s)).mean(1)

    step = 1e-5
    slope = (x(0.2 + step) - x(0.2 - step)) / (2 * step)
    np.testing.assert_allclose(A @ x(0.2) + B * u(0.2), slope, atol=1e-6)


@pytest.mark.parametrize("measure", ["legs", "legt", "fout"])
@pytest.mark.parametrize("n", [2, 64])
def test_the_diagonal_form_is_the_matrix(measure, n):
    A, B = hippo(n, measure)
    values, p, b, v = dplr(n, measure)
    again = v @ (np.diag(values) - p @ p.conj().T) @ v.conj().T
    np.testing.assert_allclose(again, A, atol=1e-11)
    np.testing.assert_allclose(v @ b, B, atol=1e-12)
    np.testing.assert_allclose(v @ v.conj().T, np.eye(n), atol=1e-13)
    assert p.shape == (n, 2 if measure == "legt" else 1)
    # Half of it tells all of a real signal.
    half, x = slice(n // 2, n), np.random.default_rng(0).normal(size=n)
    state = v[:, half].conj().T @ x
    np.testing.assert_allclose(2 * (v[:, half] @ state).real, x, atol=1e-12)
    np.testing.assert_allclose(values, values[::-1].conj(), atol=1e-11)


def test_eigenvalues_of_legs_are_whole_and_those_of_its_normal_part_on_a_line():
    A, _ = hippo(32)
    np.testing.assert_array_equal(np.diag(A), -np.arange(1.0, 33))
    normal = A + np.outer(*2 * [np.sqrt(np.arange(32) + 0.5)])
    np.testing.assert_allclose(normal + normal.T, -np.eye(32), atol=1e-12)
    values = dplr(32).eigenvalues
    np.testing.assert_array_equal(values.real, -0.5)
    assert values.imag.max() == pytest.approx(325.4, abs=0.05)
    assert values.imag.max() == pytest.approx(32**2 / np.pi, rel=0.002)


def test_eigenvalues_are_exact_where_those_in_float32_are_not():
    values = dplr(256).eigenvalues.imag[128:]
    k = np.arange(256)
    normal = hippo(256)[0] + np.outer(*2 * [np.sqrt(k + 0.5)])
    skew = (normal - normal.T) / 2
    # Singular values of a skew matrix are those of its pairs.
    exact = np.linalg.svd(skew, compute_uv=False)[::-2]
    np.testing.assert_allclose(values, exact, rtol=1e-9)
    # lindermanlab/S5, make_DPLR_HiPPO.
    r, p = (np.sqrt(x).astype(np.float32) for x in (1 + 2 * k, k + 0.5))
    single = -(np.tril(r[:, None] * r) - np.diag(k).astype(np.float32))
    single = jnp.linalg.eigvalsh(jnp.asarray((single + p[:, None] * p) * -1j))[128:]
    assert abs(single[0] / values[0] - 1) > 1e-4
    assert abs(single[-1] - values[-1]) > 5e-4


def test_a_state_space_of_s4_is_in_the_half_that_is_kept():
    # Both parametrizations have one impulse response, C exp(t A) B.
    A, B = hippo(16)
    values, p, b, v = dplr(16)
    C = np.random.default_rng(1).normal(size=16)
    s = 0.3 + 2j
    whole = C @ np.linalg.solve(s * np.eye(16) - A, B)
    inner = s * np.eye(16) - np.diag(values) + p @ p.conj().T
    assert C @ v @ np.linalg.solve(inner, b) == pytest.approx(whole, rel=1e-10)


# Eigenvalues of diagonal models, by the formulas of state-spaces/s4, models/s4/s4.py.


def published(method, n):
    N, imag = 2 * n, np.arange(n)
    if method == "lin":
        return -0.5 + 1j * np.pi * imag
    if method == "inv":
        return -0.5 + 1j / np.pi * N * (N / (1 + 2 * imag) - 1)
    if method == "real":
        return -(1.0 + imag)
    w = np.linalg.eigvals(hippo(N)[0] + np.outer(*2 * [np.sqrt(np.arange(N) + 0.5)]))
    return np.sort_complex(np.array([z for z in -0.5 + 1j * w.imag if z.imag > 0]))


@pytest.mark.parametrize("method", ["lin", "inv", "real", "legs"])
def test_eigenvalues_are_as_published(method):
    dtype = "float32" if method == "real" else "complex64"
    w = eigenvalues(method)(None, (3, 32), dtype)
    np.testing.assert_allclose(w, np.tile(published(method, 32), (3, 1)), rtol=2e-6)


@pytest.mark.parametrize("method", ["lin", "inv", "real", "legs"])
def test_parts_of_eigenvalues_are_those_of_the_numbers(method):
    real, imag, log = (
        as_double(eigenvalues(method, part=part)(None, (8,)))
        for part in ("real", "imag", "log")
    )
    whole = published(method, 8)
    np.testing.assert_allclose(real, whole.real, rtol=1e-6)
    np.testing.assert_allclose(imag, whole.imag, rtol=2e-6)
    np.testing.assert_allclose(-np.exp(log), whole.real, rtol=1e-6)


def test_eigenvalues_of_blocks_are_those_of_one_side_by_side():
    w = eigenvalues("legs", blocks=4)(None, (32,), "complex64")
    np.testing.assert_array_equal(w.reshape(4, 8), [w[:8]] * 4)
    np.testing.assert_allclose(w[:8], published("legs", 8), rtol=2e-6)


def test_eigenvalues_are_complex_by_default_and_real_where_they_are_real():
    assert eigenvalues()(None, (3,)).dtype == jnp.complex64
    assert eigenvalues("real")(None, (3,)).dtype == jnp.float32
    assert eigenvalues(part="imag")(None, (3,)).dtype == jnp.float32
    law = eigenvalues("lin").law((4,))
    assert law.mean == pytest.approx(-0.5 + 1.5j * np.pi)


def test_a_log_of_mamba_is_the_logarithm_of_one_to_n():
    w = eigenvalues("real", part="log")(None, (64, 16))
    np.testing.assert_allclose(w, np.tile(np.log(np.arange(1, 17)), (64, 1)), rtol=1e-6)


def test_nothing_is_computed_on_a_device_while_a_caller_is_traced():
    def draw():
        return eigenvalues("legs")(None, (64,), "complex64")

    primitives = {e.primitive.name for e in jax.make_jaxpr(draw)().eqns}
    assert not primitives & {"eigh", "custom_jvp_call"}


# S5, by lindermanlab/S5, s5/ssm_init.py, in NumPy.


@pytest.mark.parametrize("blocks", [1, 4])
def test_the_input_of_s5_is_a_matrix_in_the_eigenbasis(blocks):
    P, H = 16, 5
    init = s5_input(jinit.lecun_normal(), blocks=blocks)
    B = as_double(jinit.lecun_normal()(KEY, (2 * P, H)))
    half = 2 * P // blocks
    basis = block_diag(*[dplr(half).v[:, half // 2 :].conj().T] * blocks)
    expected = basis @ B
    w = as_double(init(KEY, (P, H, 2)))
    np.testing.assert_allclose(w[..., 0] + 1j * w[..., 1], expected, atol=1e-6)
    np.testing.assert_allclose(init(KEY, (P, H), "complex64"), expected, atol=1e-6)


def test_the_output_of_s5_is_a_matrix_in_the_eigenbasis():
    P, H = 16, 5
    by_states = jinit.normal(std=0.3)
    init = s5_output(by_states, blocks=2)
    real, imag = (
        as_double(by_states(key, (H, 2 * P))) for key in jax.random.split(KEY)
    )
    basis = block_diag(*[dplr(P).v[:, P // 2 :]] * 2)
    expected = (real + 1j * imag) @ basis
    w = as_double(init(KEY, (H, P, 2)))
    np.testing.assert_allclose(w[..., 0] + 1j * w[..., 1], expected, atol=1e-6)


def test_a_model_of_s5_has_the_response_of_the_one_before_it_was_turned():
    states, inputs = 16, 3
    B = as_double(jinit.normal()(KEY, (states, inputs)))
    turned = as_double(
        s5_input(jinit.normal())(KEY, (states // 2, inputs), "complex64")
    )
    values = as_double(eigenvalues("legs")(None, (states // 2,), "complex64"))
    normal = hippo(states)[0] + np.outer(*2 * [np.sqrt(np.arange(states) + 0.5)])
    C = np.random.default_rng(0).normal(size=states)
    C_turned = C @ dplr(states).v[:, states // 2 :]
    # At a real frequency the conjugate half adds the conjugate.
    whole = C @ np.linalg.solve(0.7 * np.eye(states) - normal, B)
    half = C_turned @ (turned / (0.7 - values)[:, None])
    np.testing.assert_allclose(2 * half.real, whole, rtol=1e-4)


@pytest.mark.parametrize("shape", [(32, 400, 2), (32, 400)], ids=str)
def test_a_turned_normal_matrix_is_normal_with_half_of_the_variance(shape):
    dtype = "float32" if len(shape) == 3 else "complex64"
    init = s5_input(jinit.normal(std=0.5))
    w = as_double(init(KEY, shape, dtype))
    parts = w if dtype == "float32" else np.stack([w.real, w.imag], -1)
    std = 0.5 / np.sqrt(2)
    check_distribution(parts.astype(np.float32), stats.norm(0, std).cdf)
    assert abs(np.mean(parts[..., 0] * parts[..., 1])) < 5 * std**2 / 12800**0.5
    law = init.law(shape, dtype)
    part = law if dtype == "float32" else law.real
    assert part.std == pytest.approx(std)


def test_matrices_that_are_not_normal_keep_their_moments_when_turned():
    wide = jinit.lecun_normal(out_axis=0)
    for init, shape, std in [
        (s5_input(jinit.lecun_normal()), (32, 400, 2), (64 * 2) ** -0.5),
        (s5_output(wide), (400, 32, 2), 64**-0.5),
    ]:
        assert init.law(shape).std == pytest.approx(std)
        check_std(init(KEY, shape), std)
    assert s5_input(jinit.normal(mean=1.0)).law((4, 3, 2)) is None


# Time steps.


@pytest.mark.parametrize("dtype", FLOATS)
def test_steps_of_mamba_are_log_uniform_and_keep_their_range(dtype):
    b = as_double(dt_bias()(KEY, (100_000,), dtype))
    step = np.log1p(np.exp(b))
    assert np.isfinite(b).all()
    assert np.median(step) == pytest.approx(0.01, rel=0.02)
    # A bias of -6.9 is rounded to a 256th part of it in bfloat16.
    slack = 7 * float(jnp.finfo(dtype).eps)
    assert step.min() >= 1e-3 * (1 - slack)
    assert step.max() <= 0.1 * (1 + slack)
    if dtype == "float32":
        check_distribution(
            np.log(step).astype(dtype), uniform_cdf(*np.log([1e-3, 0.1]))
        )
        mean = 0.099 / np.log(100)  # (b - a) / log(b / a)
        assert mean == pytest.approx(0.0214976, rel=1e-5)
        std = math.sqrt((0.1**2 - 1e-6) / 2 / np.log(100) - mean**2)
        check_mean(step, mean, std)


def test_the_inverse_of_the_softplus_typed_in_bfloat16_loses_the_small_steps():
    step = jnp.array([1e-4, 1e-3, 1e-2, 0.1], "bfloat16")
    typed = jnp.log(jnp.exp(step) - jnp.ones_like(step))
    assert np.isneginf(as_double(typed)[:2]).all()
    exact = [
        float(dt_bias(low=s, high=s)(KEY, (1,), "bfloat16")[0])
        for s in (1e-4, 1e-3, 1e-2, 0.1)
    ]
    np.testing.assert_allclose(exact, [-9.2103, -6.9073, -4.6002, -2.2522], rtol=3e-3)


def test_a_bias_of_ones_makes_steps_thirteen_to_thirteen_hundred_times_as_long():
    step = float(jax.nn.softplus(1.0))
    assert step / 0.1 == pytest.approx(13.1, abs=0.1)
    assert step / 1e-3 == pytest.approx(1313, abs=1)


@pytest.mark.parametrize("dtype", FLOATS)
def test_log_steps_are_uniform(dtype):
    w = log_step(low=0.01, high=1.0)(KEY, (100_000,), dtype)
    check_distribution(w, uniform_cdf(np.log(0.01), 0))


def test_rates_of_mamba_2_are_uniform():
    rate = np.exp(as_double(a_log()(KEY, (100_000,))))
    check_distribution(rate.astype(np.float32), uniform_cdf(1, 16))


def test_the_projection_of_steps_is_the_default_of_torch():
    w = as_double(jinit.kaiming_uniform(a=5**0.5)(KEY, (16, 4096)))
    check_distribution(w.astype(np.float32), uniform_cdf(-(16**-0.5), 16**-0.5))
    check_std(w, 16**-0.5 / 3**0.5, kurtosis=1.8)


# Rings.


def test_eigenvalues_of_an_lru_are_uniform_on_a_ring():
    keys = jax.random.split(KEY)
    nu = as_double(lru_nu(r_min=0.9, r_max=0.99)(keys[0], (200_000,)))
    theta = as_double(lru_theta(max_phase=1.5)(keys[1], (200_000,)))
    square, phase = np.exp(-2 * np.exp(nu)), np.exp(theta)
    check_distribution(square.astype(np.float32), uniform_cdf(0.81, 0.9801))
    check_distribution(phase.astype(np.float32), uniform_cdf(0, 1.5))
    assert square.mean() == pytest.approx(0.89505, abs=1e-3)


def test_the_ring_is_that_of_the_published_code():
    # NicolasZucchet/minimal-LRU: nu = log(-log(u (r_max² - r_min²) + r_min²) / 2).
    u = np.random.default_rng(0).uniform(size=100_000)
    published = np.log(-0.5 * np.log(u * (0.99**2 - 0.4**2) + 0.4**2))
    law = lru_nu(r_min=0.4, r_max=0.99).law((1,))
    check_distribution(published.astype(np.float32), law.cdf)


def test_decays_are_finite_over_the_whole_disc():
    nu = as_double(lru_nu()(KEY, (1 << 20,)))
    theta = as_double(lru_theta()(KEY, (1 << 20,)))
    assert np.isfinite(nu).all()
    assert np.isfinite(theta).all()
    assert np.exp(theta).min() > 2 * np.pi * 2.0**-25


@pytest.mark.parametrize("dtype", FLOATS)
def test_radii_of_griffin_are_those_of_the_published_code(dtype):
    w = rg_lru()(KEY, (100_000,), dtype)
    assert np.isfinite(as_double(w)).all()
    if dtype != "float32":
        return
    check_distribution(
        np.exp(-2 * np.log1p(np.exp(as_double(w)))).astype(dtype),
        uniform_cdf(0.9**2, 0.999**2),
    )
    # recurrentgemma, rnn_param_init, with its eps.
    u = np.random.default_rng(0).uniform(size=100_000)
    log_r = 0.5 * np.log(u * (0.999**2 - 0.9**2) + 0.9**2 + 1e-8)
    published = np.log(np.exp(-log_r) - 1.0)
    check_distribution(published.astype(np.float32), rg_lru().law((1,)).cdf)


@pytest.mark.parametrize(("r_max", "worse"), [(0.99, 1e-6), (0.99999, 1e-4)])
def test_gamma_is_exact_where_the_formula_as_written_is_not(r_max, worse):
    nu = lru_nu(r_min=0.9, r_max=r_max)(KEY, (100_000,))
    exact = np.log(-np.expm1(-2 * np.exp(as_double(nu)))) / 2
    written = jnp.log(jnp.sqrt(1 - jnp.abs(jnp.exp(-jnp.exp(nu))) ** 2))
    np.testing.assert_allclose(lru_gamma(nu), exact, rtol=2e-6)
    assert abs(as_double(written) / exact - 1).max() > worse


def test_gamma_is_of_the_dtype_of_nu_and_rounded_once():
    nu = lru_nu(r_min=0.9)(KEY, (1000,), "bfloat16")
    gamma = lru_gamma(nu)
    assert gamma.dtype == nu.dtype
    exact = np.log(-np.expm1(-2 * np.exp(as_double(nu)))) / 2
    np.testing.assert_allclose(as_double(gamma), exact, rtol=2**-8)
    np.testing.assert_array_equal(jax.jit(lru_gamma)(nu), gamma)


def test_options_may_be_traced():
    draws = jax.vmap(lambda r: lru_nu(r_min=r, r_max=0.99)(KEY, (100,)))
    steps = jax.vmap(lambda s: dt_bias(low=s)(KEY, (100,)))
    nu, bias = draws(jnp.array([0.5, 0.9])), steps(jnp.array([1e-3, 1e-2]))
    np.testing.assert_allclose(nu[1], lru_nu(r_min=0.9, r_max=0.99)(KEY, (100,)), 1e-4)
    np.testing.assert_allclose(bias[0], dt_bias()(KEY, (100,)), 1e-5)


# Laws, whose moments are by quadrature: those of SciPy's integrals.

LAWS = [
    *(jinit.recurrent.chrono(100.0), jinit.recurrent.uniform_gate()),
    *(dt_bias(), a_log(), lru_nu(), lru_nu(r_min=0.9, r_max=0.99), lru_theta()),
    *(rg_lru(), rg_lru(r_min=0.0, r_max=1.0)),
]


@pytest.mark.parametrize("init", LAWS, ids=repr)
def test_a_law_has_the_moments_of_its_density_and_the_quantiles_of_its_draw(init):
    from scipy.integrate import quad

    law = init.law((64,))
    low, high = np.clip(law.bounds, -45, 10)

    def mean(f):
        return quad(lambda w: f(w) * law.pdf(w), low, high, limit=200, points=[-2, 2])[
            0
        ]

    assert mean(lambda w: 1.0) == pytest.approx(1, abs=1e-7)
    assert law.mean == pytest.approx(mean(lambda w: w), abs=1e-6)
    square = mean(lambda w: (w - law.mean) ** 2)
    assert law.std**2 == pytest.approx(square, rel=1e-6)
    third, fourth = (mean(lambda w, n=n: (w - law.mean) ** n) for n in (3, 4))
    assert law.skewness == pytest.approx(third / law.std**3, abs=1e-5)
    assert law.kurtosis == pytest.approx(fourth / law.std**4, rel=1e-5)
    below = [quad(law.pdf, low, law.mean + d, limit=200)[0] for d in (-0.1, 0.2)]
    assert law.cdf(law.mean + np.array([-0.1, 0.2])) == pytest.approx(below, abs=1e-7)


# Models: what the roles say of their leaves.


@pytest.fixture
def usual():
    """JAX as users have it, for models that are written as theirs."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


class Mamba(nn.Module):
    """A block of Mamba, in the layout of its published code."""

    inner: int = 32
    states: int = 8
    rank: int = 2

    @nn.compact
    def __call__(self, u):
        d, n, r = self.inner, self.states, self.rank
        x, z = jnp.split(nn.Dense(2 * d, use_bias=False, name="in_proj")(u), 2, -1)
        conv = nn.Conv(d, (4,), padding=[(3, 0)], feature_group_count=d, name="conv")
        x = nn.silu(conv(x))
        parts = nn.Dense(r + 2 * n, use_bias=False, name="x_proj")(x)
        dt, B, C = jnp.split(parts, [r, r + n], -1)
        kernel = self.param("dt_proj", jinit.kaiming_uniform(a=5**0.5), (r, d))
        step = nn.softplus(dt @ kernel + self.param("dt_bias", dt_bias(), (d,)))
        real = eigenvalues("real", part="log")
        decay = jnp.exp(-step[..., None] * jnp.exp(self.param("A_log", real, (d, n))))
        written = (step * x)[..., None] * B[..., None, :]

        def move(h, now):
            decay, written, c = now
            h = decay * h + written
            return h, jnp.einsum("bdn,bn->bd", h, c)

        start = jnp.zeros((u.shape[0], d, n))
        times = [jnp.moveaxis(each, 1, 0) for each in (decay, written, C)]
        _, y = lax.scan(move, start, times)
        y = jnp.moveaxis(y, 0, 1) + self.param("D", jinit.ones, (d,)) * x
        return u + nn.Dense(u.shape[-1], use_bias=False, name="out_proj")(
            y * nn.silu(z)
        )


class LRU(nn.Module):
    """A linear recurrent unit, in the layout of minimal-LRU."""

    states: int = 24

    @nn.compact
    def __call__(self, u):
        n, d = self.states, u.shape[-1]
        nu = self.param("nu_log", lru_nu(r_min=0.9), (n,))
        theta = self.param("theta_log", lru_theta(), (n,))
        gamma = self.param("gamma_log", lambda _: lru_gamma(nu))
        into = jinit.variance_scaling(0.5, "fan_in", "normal", out_axis=0)
        out = jinit.variance_scaling(1.0, "fan_in", "normal", out_axis=0)
        B = [self.param(f"B_{part}", into, (n, d)) for part in ("re", "im")]
        C = [self.param(f"C_{part}", out, (d, n)) for part in ("re", "im")]
        values = jnp.exp(lax.complex(-jnp.exp(nu), jnp.exp(theta)))
        b = lax.complex(*B) * jnp.exp(gamma)[:, None]
        bu = jnp.einsum("bld,nd->bln", u.astype(b.dtype), b)

        def move(h, now):
            h = values * h + now
            return h, h

        _, h = lax.scan(move, jnp.zeros_like(bu[:, 0]), jnp.moveaxis(bu, 1, 0))
        y = jnp.einsum("lbn,dn->bld", h, lax.complex(*C)).real
        return y + self.param("D", jinit.normal(), (d,)) * u


SIGNAL = jax.ShapeDtypeStruct((2, 10, 16), "float32")
KEPT = {
    Mamba: ("A_log",),
    LRU: ("nu_log", "theta_log", "gamma_log", "B_re", "B_im", "C_re", "C_im"),
}


@pytest.mark.parametrize("model", KEPT, ids=lambda model: model.__name__)
def test_roles_name_what_a_time_constant_passes_through_and_leave_it_alone(
    model, usual
):
    params = jax.eval_shape(model().init, KEY, SIGNAL)
    roles = jinit.roles(model(), params, SIGNAL)
    named = {role.path.removeprefix("params/"): role for role in roles}
    rules = {path.removeprefix("params/"): init for path, init in roles.rules()}
    for name in KEPT[model]:
        assert set(named[name].functions) & {"exp", "complex"}
        assert rules[name] is None
    assert rules["D"] == jinit.ones()
    if model is Mamba:  # whose step is no bias of a signal, nor writes to a stream
        assert (named["dt_bias"].kind, rules["dt_bias"]) == ("rate", None)
        assert named["dt_proj"].branches == 0
    mask = roles.decay_mask()["params"]
    assert not any(mask[name] for name in (*KEPT[model], "D"))


@pytest.mark.slow
def test_an_audit_knows_leaves_by_their_laws(usual):
    params = Mamba().init(KEY, jnp.ones(SIGNAL.shape))
    rules = {
        "**/dt_bias": dt_bias(),
        "**/A_log": eigenvalues("real", part="log"),
        "**": None,
    }
    report = jinit.diagnostics.audit(params, jinit.plan(params, rules))
    assert report.findings == ()
    params["params"]["dt_bias"] = jnp.ones(32)
    params["params"]["A_log"] = -params["params"]["A_log"]
    found = jinit.diagnostics.audit(params, jinit.plan(params, rules)).findings
    assert {f.path for f in found} == {"params/dt_bias", "params/A_log"}


def test_states_of_an_lru_have_the_variance_of_their_inputs(usual):
    x = jax.random.normal(KEY, (4, 400, 64))
    params = LRU(512).init(KEY, x)["params"]
    r = np.exp(-np.exp(as_double(params["nu_log"])))
    gamma = np.exp(as_double(params["gamma_log"]))
    B = as_double(params["B_re"]) + 1j * as_double(params["B_im"])
    # Var h = gamma² |B|² / (1 - r²) of white noise, 1 over the draws of B.
    variance = gamma**2 * (abs(B) ** 2).sum(1) / (1 - r**2)
    check_mean(variance, 1.0, 64**-0.5)


# What is refused.

COMPLEX = r"needs \(.*states.*\) in a complex dtype, or with a last axis of two"
REFUSED = [
    (lambda: hippo(0), ValueError, "n must be at least 1"),
    (lambda: hippo(2.0), TypeError, "n must be an integer"),
    (lambda: hippo(4, "lagt"), ValueError, "measure must be one of legs, legt, fout"),
    (lambda: dplr(5, "fout"), ValueError, "n must be even for measure='fout'"),
    (lambda: eigenvalues("linear"), ValueError, "method must be one of lin, inv"),
    (
        lambda: eigenvalues(part="abs"),
        ValueError,
        "part must be one of real, imag, log",
    ),
    (lambda: eigenvalues(blocks=0), ValueError, "blocks must be at least 1"),
    (lambda: eigenvalues()(KEY, (3,), "float32"), TypeError, "use complex64, or part="),
    (
        lambda: eigenvalues(part="imag")(KEY, (3,), "complex64"),
        *(TypeError, "makes real numbers"),
    ),
    (lambda: eigenvalues("real")(KEY, (3,), "int32"), TypeError, "complex numbers"),
    (lambda: eigenvalues()(KEY, ()), ValueError, "blocks must divide the last axis"),
    (lambda: eigenvalues(blocks=2)(KEY, (3,)), ValueError, "blocks must divide the la"),
    (lambda: s5_input(jinit.normal)(KEY, (4, 3, 2)), TypeError, "call a factory"),
    (lambda: s5_input(jinit.normal())(KEY, (4, 3)), ValueError, COMPLEX),
    (lambda: s5_input(jinit.normal())(KEY, (4, 3, 1)), ValueError, COMPLEX),
    (
        lambda: s5_output(jinit.normal())(KEY, (4, 3, 2), "complex64"),
        *(ValueError, COMPLEX),
    ),
    (
        lambda: s5_output(jinit.normal(), blocks=2)(KEY, (4, 3, 2)),
        *(ValueError, "blocks=2 divides"),
    ),
    (lambda: log_step(low=0), ValueError, "low must be greater than 0"),
    (lambda: dt_bias(low=0.2), ValueError, "low must not be greater than high"),
    (lambda: a_log()(KEY, (3,), "complex64"), TypeError, "makes real numbers"),
    (lambda: lru_nu(r_max=1.1), ValueError, "leave radii between 0 and 1"),
    (lambda: lru_nu(r_min=1.0), ValueError, "leave radii between 0 and 1"),
    (lambda: lru_nu(r_max=0.0), ValueError, "leave radii between 0 and 1"),
    (lambda: lru_nu(r_max=1e-4), ValueError, "r_max must be at least 0.05"),
    (lambda: rg_lru(r_min=0.0, r_max=0.01), ValueError, "r_max must be at least 0.05"),
    (lambda: rg_lru(r_min=0.9999), ValueError, "r_min must not be greater than r_max"),
    (lambda: lru_nu(r_min=-0.5), ValueError, "r_min must be at least 0"),
    (lambda: lru_nu()(KEY, (3,), "complex64"), TypeError, "makes real numbers"),
    (lambda: lru_theta(max_phase=0.0), ValueError, "max_phase must be greater than 0"),
    (lambda: lru_theta()(KEY, (3,), "complex64"), TypeError, "makes real numbers"),
    (lambda: lru_gamma([0.1]), TypeError, "nu_log must be an array"),
    (lambda: lru_gamma(jnp.ones(3, int)), TypeError, "nu_log must be an array"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("low", "high"), [(1e-30, 1e-20), (1e-3, 0.1), (0.5, 2.0), (1.0, 100.0), (5e2, 1e3)]
)
def test_steps_of_any_size_are_what_was_asked_for(low, high):
    init = dt_bias(low=low, high=high)
    w, law = as_double(init(jax.random.key(0), (100_000,))), init.law((100_000,))
    steps = np.log(np.logaddexp(0.0, w))
    assert math.log(low) - 1e-5 <= steps.min() <= steps.max() <= math.log(high) + 1e-5
    check_mean(w, law.mean, law.std)
    check_std(w, law.std, law.kurtosis, law.mean)
