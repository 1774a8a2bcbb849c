"""Every initializer of the topical namespaces, with options that are not its defaults.

A row is the call, as it prints, and the shape of a kernel; `test_catalogue.py` and
`test_audit_laws.py` go through all of them.
"""

# jinit.distributions
DISTRIBUTIONS = []

# jinit.recurrent
RECURRENT = []

# jinit.ssm
SSM = []

# jinit.coordinate
COORDINATE = [
    ("coordinate.siren()", (96, 128)),
    ("coordinate.siren(w0=20.0, in_axis=1, out_axis=0)", (128, 96)),
    ("coordinate.siren(first=True)", (3, 256)),
]

# jinit.vision
VISION = [
    ("vision.icnr(he_normal(), 2)", (3, 3, 16, 64)),
    ("vision.icnr(xavier_normal(gain=2.0), 2)", (96, 128)),
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
