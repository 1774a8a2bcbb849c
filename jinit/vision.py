"""Vision: kernels of upsampling and transforms, position tables, biases of priors."""

from __future__ import annotations
