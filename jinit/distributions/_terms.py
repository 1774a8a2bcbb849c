"""Terms: initializers scaled, shifted and clipped."""

from __future__ import annotations

import jax
import numpy as np

from jinit import _checks, _draws
from jinit._bits import wide_dtype
from jinit._checks import Number, Shape, number
from jinit._initializer import Breaks, option
from jinit.distributions._pointwise import Pointwise, part_by_part
from jinit.laws import Clipped, Law, Point


class affine(Pointwise):
    """Scales what another initializer draws, and shifts it: `2.0 * init + 1.0`.

        W = scale · init(key, shape) + shift

    Every initializer is a term: `2.0 * init`, `init / 2.0`, `-init`, `init + 1.0` and
    `1.0 - init` are of this class, and of one of them however many are combined. Drawn
    in float32 and rounded once, where scaling an array of bfloat16 rounds it twice.

    Args:
      init: The initializer; its fans and axes are those of the whole kernel.
      scale: The factor, of either sign.
      shift: What is added.

    Example:
      >>> import jax, jinit
      >>> init = 0.5 * jinit.he_normal() + 1.0
      >>> init
      affine(he_normal(), scale=0.5, shift=1.0)
      >>> w = init(jax.random.key(0), (800, 800), "bfloat16")
      >>> print(f"{w.mean():.2f} {init.law(w.shape).std:.3f}")  # 0.5 · sqrt(2 / 800)
      1.00 0.025

    References:
      The gain of those that have one scales as well: `jinit.orthogonal(gain=0.5)`. TFP
      chains the bijectors `Scale` and `Shift`.
    """

    scale: Number = option(number, default=1.0)
    shift: Number = option(number, default=0.0)

    def _check_options(self) -> None:
        if isinstance(self.init, affine):  # of one in another, one
            within = self.init
            shift = number("shift", self.scale * within.shift + self.shift)
            scale = number("scale", self.scale * within.scale)
            self._set(init=within.init, scale=scale, shift=shift)
        super()._check_options()

    def _breaks(self, array: np.ndarray) -> Breaks:
        if self._random and self.scale:
            real = array.astype(wide_dtype(array.dtype))
            within = ((real - self.shift) / self.scale).astype(array.dtype)
            yield from self._known_init._breaks(within)
        yield from super()._breaks(array)

    def _of_values(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(self.scale * values + self.shift)

    def _of_draw(self, w: jax.Array, dtype: np.dtype) -> jax.Array:
        return _draws.affine(w, dtype, self.scale, self.shift)

    def _of_law(self, law: Law) -> Law:
        return law.affine(self.scale, self.shift).simplified()


class clip(Pointwise):
    """Moves what another initializer draws beyond two bounds to them.

        W = min(max(init(key, shape), a), b)

    Unlike a truncated distribution, which redraws such weights, it leaves a share of
    them at each bound: a floor of a step size, as Mamba has it.

    Args:
      init: The initializer.
      a, b: Lower and upper bound; -inf and inf are none.

    Example:
      >>> import jax, jinit
      >>> init = jinit.distributions.clip(jinit.normal(), -1.0, 1.0)
      >>> w = init(jax.random.key(0), (1000, 1000))
      >>> print(f"{(w == 1).mean():.2f} {w.std():.3f}")  # P(z > 1), and less than 1
      0.16 0.718

    References:
      `jinit.trunc_normal` truncates. TensorFlow's `truncated_normal` does too;
      `jnp.clip` of what was drawn in bfloat16 is this.
    """

    a: Number = option(_checks.lower_end, kw_only=False)
    b: Number = option(_checks.upper_end, kw_only=False)

    def _check_options(self) -> None:
        _checks.ordered("a", self.a, "b", self.b)
        super()._check_options()

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        _checks.check_real(self, dtype)
        super()._check(shape, dtype)

    def _of_values(self, values: np.ndarray) -> np.ndarray:
        return np.clip(values, self.a, self.b)

    def _of_draw(self, w: jax.Array, dtype: np.dtype) -> jax.Array:
        return _draws.clipped(w, dtype, self.a, self.b)

    def _of_law(self, law: Law) -> Law | None:
        return part_by_part(law, self._of_part)

    def _of_part(self, law: Law) -> Law:
        low, high = law.bounds
        if self.a <= low and high <= self.b:
            return law
        if isinstance(law, Point) or high <= self.a or low >= self.b:
            return Point(float(np.clip(low, self.a, self.b)))
        if isinstance(law, Clipped):
            return law.clipped(self.a, self.b)
        return Clipped(law, self.a, self.b)
