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
COORDINATE = []

# jinit.vision
VISION = []

# jinit.adapter
ADAPTER = []

ROWS = [*DISTRIBUTIONS, *RECURRENT, *SSM, *COORDINATE, *VISION, *ADAPTER]
