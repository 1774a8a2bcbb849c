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
RECURRENT = []

# jinit.ssm
SSM = []

# jinit.coordinate
COORDINATE = []

# jinit.vision
VISION = []

# jinit.adapter
ADAPTER = []

ROWS = [*DISTRIBUTIONS, *RECURRENT, *SSM, *COORDINATE, *VISION, *ADAPTER]
