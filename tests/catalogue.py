"""Every initializer of the topical namespaces, with options that are not its defaults.

A row is the call, as it prints, and the shape of a kernel; `test_catalogue.py` and
`test_audit_laws.py` go through all of them.
"""

# jinit.distributions
DISTRIBUTIONS = [
    ("distributions.through('sigmoid', constant(0.01))", (96,)),
    ("distributions.through('tanh', uniform(a=-0.9, b=0.5))", (96, 128)),
    ("distributions.through('exp', affine(gamma(3.0), shift=1.0))", (96, 128)),
    ("distributions.through('sigmoid', affine(beta(2.0, 3.0), scale=0.4))", (96, 128)),
    ("distributions.through('softplus', log_uniform(0.001, 0.1))", (96, 128)),
    ("distributions.log_uniform(0.5, 2.0)", (96, 128)),
    ("distributions.log_normal(mean=-1.0, std=0.5)", (96, 128)),
    ("distributions.gamma(0.5, scale=2.0)", (96, 128)),
    ("distributions.beta(0.5, 2.0)", (96, 128)),
    ("distributions.weibull(2.0, scale=0.1)", (96, 128)),
    ("distributions.exponential(scale=0.5)", (96, 128)),
    ("distributions.student_t(5.0, scale=0.1)", (128, 256)),
    ("distributions.inverse_transform('gumbel_r')", (96, 128)),
    ("distributions.inverse_transform(('genlogistic', 0.5))", (96, 128)),
    ("distributions.affine(ones(), scale=3.0)", (96, 128)),
    ("distributions.affine(sparse(0.5), scale=3.0)", (96, 128)),
    ("distributions.affine(gamma(2.0), scale=-0.1, shift=0.2)", (96, 128)),
    ("distributions.affine(he_normal(gain=2.0), scale=-0.5, shift=1.0)", (96, 128)),
    ("distributions.clip(normal(), -1.0, 0.5)", (96, 128)),
    ("distributions.mixture(((0.5, normal(mean=-2.0)), (0.5, uniform())))", (96, 128)),
    ("distributions.mixture(((0.9, normal()), (0.1, normal(std=9.0))))", (256, 256)),
]

# jinit.recurrent
RECURRENT = [
    ("recurrent.forget_bias()", (96, 128)),
    ("recurrent.forget_bias(init=normal(std=2.0), gates=3)", (96, 384)),
    ("recurrent.forget_bias(init=recurrent.chrono(50.0), input_gate=0)", (96, 128)),
    (
        "recurrent.forget_bias(init=recurrent.uniform_gate(), gate=None, gates=1, "
        "input_gate=0)",
        (96, 128),
    ),
    ("recurrent.chrono(784.0)", (96, 128)),
    ("recurrent.uniform_gate()", (96, 128)),
    ("recurrent.power_law(5.0, -7.0, exponent=0.3)", (96, 128)),
]

# jinit.ssm
SSM = [
    ("ssm.eigenvalues(method='inv', part='imag')", (96, 32)),
    ("ssm.eigenvalues(method='legs', blocks=4, part='imag')", (128,)),
    ("ssm.eigenvalues(method='real', part='log')", (96, 16)),
    ("ssm.s5_input(normal(std=0.5), blocks=4)", (32, 128, 2)),
    ("ssm.s5_output(normal(std=0.2), blocks=2)", (128, 32, 2)),
    ("ssm.log_step(low=0.01)", (96, 128)),
    ("ssm.dt_bias(high=1.0)", (96, 128)),
    ("ssm.a_log(low=2.0)", (96, 128)),
    ("ssm.lru_nu(r_min=0.4, r_max=0.99)", (96, 128)),
    ("ssm.lru_theta(max_phase=0.3)", (96, 128)),
    ("ssm.rg_lru(r_max=0.99)", (96, 128)),
]

# jinit.coordinate
COORDINATE = [
    ("coordinate.siren()", (96, 128)),
    ("coordinate.siren(w0=20.0, in_axis=1, out_axis=0)", (128, 96)),
    ("coordinate.siren(first=True)", (3, 256)),
]

# jinit.vision
VISION = [
    ("vision.icnr(he_normal(), 2)", (3, 3, 16, 64)),
    ("vision.icnr(xavier_normal(gain=2.0), 2)", (192, 256)),
    (
        "vision.icnr(uniform(a=1.0, b=2.0), 2, order='depth_to_space', out_axis=0)",
        (64, 16, 3),
    ),
    ("vision.bilinear()", (4, 4, 6, 6)),
    ("vision.bilinear(groups=6, in_axis=1, out_axis=0)", (6, 1, 3, 5)),
    ("vision.stft('real')", (32, 1, 33)),
    (
        "vision.stft('imag', window=('kaiser', 8.6), scaling=None, periodic=True)",
        (64, 1, 33),
    ),
    ("vision.dct()", (64, 24)),
    ("vision.dct(in_axis=-1, out_axis=-2)", (24, 64)),
    ("vision.sinusoidal()", (48, 32)),
    (
        "vision.sinusoidal(base=100.0, layout='halves', endpoint=True, grid=(4, 6))",
        (1, 24, 32),
    ),
    ("vision.prior_bias(0.01)", (96,)),
    ("vision.prior_bias((0.01, 0.1, 0.4))", (4, 3)),
    ("vision.class_prior_bias((60, 30, 9, 1))", (4,)),
]

# jinit.adapter
ADAPTER = []

ROWS = [*DISTRIBUTIONS, *RECURRENT, *SSM, *COORDINATE, *VISION, *ADAPTER]
