"""Every initializer of the topical namespaces, with options that are not its defaults.

A row is the call, as it prints, and the shape of a kernel; `test_catalogue.py` and
`test_audit_laws.py` go through all of them.
"""

# jinit.distributions
DISTRIBUTIONS = [
    ("through('softplus', log_uniform(0.001, 0.1))", (96, 128)),
    ("through('sigmoid', affine(distributions.beta(2.0, 3.0), scale=0.4))", (96, 128)),
    ("through('tanh', uniform(a=-0.9, b=0.5))", (96, 128)),
    ("through('exp', affine(distributions.gamma(3.0), shift=1.0))", (96, 128)),
    ("through('sigmoid', constant(0.01))", (96,)),
    ("distributions.log_uniform(0.5, 2.0)", (96, 128)),
    ("distributions.log_normal(mean=-1.0, std=0.5)", (96, 128)),
    ("distributions.gamma(0.5, scale=2.0)", (96, 128)),
    ("distributions.beta(0.5, 2.0)", (96, 128)),
    ("distributions.weibull(2.0, scale=0.1)", (96, 128)),
    ("distributions.exponential(scale=0.5)", (96, 128)),
    ("distributions.student_t(5.0, scale=0.1)", (128, 256)),
    ("affine(he_normal(gain=2.0), scale=-0.5, shift=1.0)", (96, 128)),
    ("affine(sparse(0.9), scale=3.0)", (96, 128)),
    ("affine(ones(), scale=3.0)", (96, 128)),
    ("affine(distributions.gamma(2.0), scale=-0.1, shift=0.2)", (96, 128)),
    ("clip(normal(), -1.0, 0.5)", (96, 128)),
    ("mixture(((0.9, normal(std=0.01)), (0.1, normal(std=0.1))))", (256, 256)),
    ("mixture(((0.5, uniform(a=-1.0, b=-0.5)), (0.5, uniform(a=0.5))))", (96, 128)),
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
