"""Coordinate networks: kernels that keep the signal through sines.

Those of Fourier features, wavelets and hash grids are cases of plain initializers,
which `docs/coordinate.md` lists.
"""

from __future__ import annotations

import numpy as np

from jinit._checks import Number, Shape, flag, positive, sqrt
from jinit._fans import FanInitializer
from jinit._initializer import option
from jinit.laws import Uniform


class siren(FanInitializer):
    """SIREN initialization: keeps the signal through layers of sin(w0 · (x W + b)).

        first layer    W ~ U[±1 / fan_in]
        the others     W ~ U[±sqrt(6 / fan_in) / w0],    Var W = 2 / (fan_in w0²)

    The sine of a number that is spread over many turns has the second moment 1/2, of
    which `w0 · x W` makes 1. From layer to layer its variance v becomes 1 - exp(-2v),
    and stays at 0.80. The first layer and `w0` set the frequencies: coordinates between
    -1 and 1 give waves of up to w0 radians.

    Args:
      w0: The factor within the sines. The weights of the first layer do not depend on
        it, those of the last, linear layer do.
      first: Whether the layer is the one that takes the coordinates.
      in_axis, out_axis, ...: The axes, or the fans as numbers: see `jinit.fans`.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> init, keys = jinit.coordinate.siren, jax.random.split(jax.random.key(0), 3)
      >>> x = jax.random.uniform(keys[0], (1000, 2), minval=-1, maxval=1)
      >>> x = jnp.sin(30 * x @ init(first=True)(keys[1], (2, 256)))
      >>> print(f"{(30 * x @ init()(keys[2], (256, 256))).var():.1f}")
      1.0

    References:
      Sitzmann et al. (2020), arXiv:2006.09661, section 3.2 and supplement 1.5. The
      authors' code has 1 / fan_in in the first layer, and that is right, they say
      (vsitzmann/siren#4), not the larger bound of the paper's first version. FINER,
      arXiv:2312.02434, has the same kernels.
    """

    w0: Number = option(positive, default=30.0, kw_only=False)
    first: bool = option(flag, default=False)

    def _law(self, shape: Shape, dtype: np.dtype) -> Uniform:
        fan_in = self._fan(shape, "fan_in")
        bound = 1 / fan_in if self.first else sqrt(6 / fan_in) / self.w0
        return Uniform(-bound, bound, symmetric=True)
