"""The audit reads the law: each initializer passes as drawn, and fails when it is not.

One class of jinit that did not say what can be checked would fail here.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import ROWS
from test_package import small_normal

import jinit
from jinit._config import every_initializer
from jinit.cli._show import parse

MATRIX, CONVOLUTION, STACK = (96, 128), (3, 3, 32, 48), (4, 64, 96)
VALUES = np.linspace(-1.0, 2.0, 128)

# Every public initializer, with options that are not its defaults.
CASES = [
    (jinit.constant(VALUES), MATRIX),
    (jinit.constant(0.5), MATRIX),
    (jinit.zeros(), MATRIX),
    (jinit.ones(), MATRIX),
    (jinit.uniform(a=0.9, b=1.1), MATRIX),
    (jinit.normal(mean=1.0, std=0.02), MATRIX),
    (jinit.trunc_normal(mean=1.0, std=0.02, a=0.9, b=1.01), MATRIX),
    (jinit.truncated_normal(mean=-1.0, std=0.1, upper=1.0, corrected=True), MATRIX),
    (jinit.eye(gain=0.5), MATRIX),
    (jinit.dirac(groups=4), CONVOLUTION),
    (jinit.xavier_uniform(gain="relu", batch_axis=0), STACK),
    (jinit.xavier_normal(in_axis=1, out_axis=0, gain=1.5), MATRIX),
    (jinit.kaiming_uniform(a=5**0.5), CONVOLUTION),
    (jinit.kaiming_normal(mode="fan_out", nonlinearity="gelu", groups=2), MATRIX),
    (jinit.orthogonal(gain=2.0, in_axis=1, out_axis=0), MATRIX),
    (jinit.orthogonal(gain="relu", batch_axis=0), STACK),
    (jinit.sparse(0.7, std=0.1, in_axis=1, out_axis=0), (192, 256)),
    (jinit.variance_scaling(2.0, "fan_geo_avg", "uniform"), MATRIX),
    (jinit.variance_scaling(0.5, "fan_out", "normal", gain="tanh"), MATRIX),
    (jinit.lecun_uniform(fan_in=50.0), MATRIX),
    (jinit.lecun_normal(out_axis=0), MATRIX),
    (jinit.glorot_uniform(transposed=True, groups=2), MATRIX),
    (jinit.glorot_normal(gain="mish"), MATRIX),
    (jinit.he_uniform(gain="swiglu"), MATRIX),
    (jinit.he_normal(in_axis=(0, 1), out_axis=2), STACK),
    (jinit.scaled_orthogonal(gain="relu"), MATRIX),
    (jinit.spectral_orthogonal(gain=3.0), MATRIX),
    (jinit.delta_orthogonal(gain=0.5), CONVOLUTION),
    (jinit.convolution_orthogonal(gain=2.0), CONVOLUTION),
    (jinit.stack(jinit.lecun_normal(gain="gelu")), STACK),
    (jinit.stack(jinit.sparse(0.5), axis=0), STACK),
    (jinit.blocks(jinit.orthogonal(gain=2.0), 2), MATRIX),
    (jinit.blocks(jinit.uniform(a=1.0, b=2.0), 3, axis=0), MATRIX),
    (jinit.looks_linear(jinit.orthogonal(), mirror="both"), MATRIX),
    (jinit.looks_linear(jinit.he_normal(), in_axis=1, out_axis=0), MATRIX),
    (jinit.looks_linear(jinit.normal(mean=0.1), mirror="outputs"), MATRIX),
    (jinit.with_dtype(jinit.he_normal(gain=2.0), "float32"), MATRIX),
    (jinit.torch.triangular(0.3), MATRIX),
    (jinit.torch.zero_row(jinit.normal(std=0.02), 3), MATRIX),
    (small_normal(groups=2), MATRIX),
    *((parse(call), shape) for call, shape in ROWS),
]
IDS = [repr(init)[:60] for init, _ in CASES]


def leaves(shape, count):
    return {f"layer_{n}": {"kernel": jnp.zeros(shape)} for n in range(count)}


def test_every_public_initializer_is_here():
    names = {type(init).__name__ for init, _ in CASES}
    assert names >= every_initializer().keys() - {"small_normal"}


@pytest.fixture(scope="module", params=CASES, ids=IDS)
def case(request):
    """An initializer, a shape, a plan of one, and kernels drawn from fifty keys."""
    init, shape = request.param
    plan = jinit.plan(leaves(shape, 50 if init._random else 1), {"**": init})
    return init, shape, plan, plan.init(jax.random.key(1))


def test_what_is_drawn_as_planned_has_no_finding_over_fifty_seeds(case):
    _, _, plan, drawn = case
    assert jinit.diagnostics.audit(drawn, plan).findings == ()


def wider(w, init):
    return w * 1.1


def shifted(w, init):
    return w + 0.1 * (w.std() or 1.0)


def zeros(w, init):
    return np.zeros_like(w)


def normals(w, init):
    return np.random.default_rng(0).normal(w.mean(), w.std(), w.shape).astype(w.dtype)


def is_the_same(init, shape, spoil):
    if isinstance(init, jinit.looks_linear):
        return False
    law = init.law(shape)
    if spoil is normals:
        return isinstance(law, jinit.laws.Normal) or law.std == 0
    return spoil in (zeros, wider) and init == jinit.zeros()


def test_what_is_drawn_otherwise_has_a_finding(case):
    init, shape, _, drawn = case
    plan = jinit.plan(leaves(shape, 1), {"**": init})
    kernel = np.asarray(drawn["layer_0"]["kernel"])
    unnoticed = [
        spoil.__name__
        for spoil in (wider, shifted, zeros, normals)
        if not is_the_same(init, shape, spoil)
        and not jinit.diagnostics.audit(
            {"layer_0": {"kernel": spoil(kernel, init)}}, plan
        ).findings
    ]
    assert unnoticed == []


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "complex64"])
def test_so_it_is_in_other_dtypes(dtype):
    @jax.jit  # one program, of which much is shared
    def draw_all(keys):
        drawn = {}
        for n, (init, shape) in enumerate(CASES):
            try:
                drawn[n] = init(keys[n], shape, dtype)
            except (TypeError, ValueError):  # it has no meaning in complex numbers
                assert dtype == "complex64"
        return drawn

    drawn = draw_all(jax.random.split(jax.random.key(3), len(CASES)))
    assert len(drawn) > len(CASES) / 2
    for n, kernel in drawn.items():
        init, params = CASES[n][0], {"kernel": kernel}
        plan = jinit.plan(params, {"**": init})
        assert jinit.diagnostics.audit(params, plan).findings == (), init
