"""Links: distributions of what a layer makes of its parameter."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _checks, _draws, _links
from jinit._checks import Shape
from jinit._combine import Init, as_given, check_init
from jinit._initializer import Initializer, option
from jinit._links import Link
from jinit.distributions._pointwise import Pointwise, part_by_part
from jinit.laws import Law, Point, Transformed

_WITHIN = {
    "softplus": "jinit.distributions.log_uniform(0.001, 0.1)",
    "exp": "jinit.distributions.log_uniform(0.001, 0.1)",
    "sigmoid": "jinit.uniform(a=0.01, b=0.99)",
    "tanh": "jinit.uniform(a=-0.9, b=0.9)",
}


def _check_link(name: str, value: Any) -> Link:
    """A link by its name where it has one, and else a function that is monotone."""
    if isinstance(value, str):
        return _checks.choice(name, value, [*_links.LINKS])
    if not callable(value):
        raise TypeError(
            f"{name} must be one of {', '.join(_links.LINKS)}, or a strictly monotone "
            f"function of an array, got {value!r}."
        )
    for function, known in _links.OF_JAX:
        if value is function:
            return known
    reason = _links.reason_against(value)
    if reason:
        raise ValueError(
            f"{name} must be a strictly monotone function of an array, but {value!r} "
            f"{reason}; give one that rises, or falls, everywhere."
        )
    return value


class through(Pointwise):
    """Draws what the layer's link function makes the distribution wanted of.

        W = link⁻¹(y),    y ~ init,    so that link(W) has the distribution of init

    For a parameter that the layer puts through a function before it is used: a step
    size as softplus(W), a gate or a probability as sigmoid(W), a scale as exp(W). The
    inverse is free of cancellation, computed in float32 and rounded once; written by
    hand as `log(exp(y) - 1)` in bfloat16, that of a step size of 0.001 is -inf.

    Args:
      link: "softplus", "sigmoid", "exp", "tanh" or "log", or any strictly monotone
        function of an array, which is inverted by bisection, to the last bit.
      init: The initializer of link(W), which may be a constant.

    Raises:
      ValueError: `init` draws what the link never gives, such as a probability of 1;
        here or, if its law depends on the shape, at the call. `link` rises and falls,
        or is constant on an interval.

    Example:
      >>> import jax, jinit
      >>> from jinit.distributions import log_uniform, through
      >>> init = through("softplus", log_uniform(0.001, 0.1))
      >>> w = init(jax.random.key(0), (1000, 1000))
      >>> steps = jax.nn.softplus(w)
      >>> print(f"{steps.min():.4f} {steps.mean():.4f} {steps.max():.4f}")
      0.0010 0.0215 0.1000
      >>> bias = through("sigmoid", jinit.constant(0.01))  # -log(99)
      >>> print(f"{bias(jax.random.key(0), ()):.4f}")
      -4.5951

    References:
      Gu and Dao (2023), "Mamba", arXiv:2312.00752, section 3.6: the bias of the step
      sizes. Lin et al. (2017), arXiv:1708.02002, section 3.3: the bias of a rare class.
      TFP's `TransformedDistribution` with `Invert(bijector)` is the same idea.
    """

    link: Link = option(_check_link, kw_only=False)
    init: Init = option(as_given, kw_only=False)

    def _check_options(self) -> None:
        usage = f"{self._full_name()}({self.link!r}, {{}})"
        self._set(init=check_init("init", self.init, usage))
        super()._check_options()
        if isinstance(self.init, Initializer) and self._constant is None:
            try:
                law = self.init.law(())
            except (ValueError, TypeError):  # which depends on the shape
                return
            if law is not None:
                self._of_law(law)

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        _checks.check_real(self, dtype)
        super()._check(shape, dtype)
        if self._constant is None and 0 not in shape and not self._is_traced():
            self._law(shape, np.dtype(np.float64))  # refuses what the link never gives

    def _of_values(self, values: np.ndarray) -> np.ndarray:
        if np.iscomplexobj(values):
            raise TypeError(f"init must draw real numbers, got {self.init!r}.")
        self._check_bounds(values.min(initial=math.inf), values.max(initial=-math.inf))
        return _links.curve(self.link).inverse(values.astype(np.float64), np)

    def _of_draw(self, w: jax.Array, dtype: np.dtype) -> jax.Array:
        w = _links.curve(self.link).inverse(w, jnp)
        return _draws.round_to(_draws.finite(w), dtype)

    def _of_law(self, law: Law) -> Law | None:
        return part_by_part(law, self._of_part)

    def _of_part(self, law: Law) -> Law:
        self._check_bounds(*law.bounds, *law.open)
        if isinstance(law, Point):
            return Point(float(self._of_values(np.array(law.mean))))
        return Transformed(law, self.link)

    def _check_bounds(
        self, low: Any, high: Any, low_open: bool = False, high_open: bool = False
    ) -> None:
        """Refuses a law that draws what the link never gives."""
        curve = _links.curve(self.link)
        below = low < curve.low or (low == curve.low > -math.inf and not low_open)
        above = high > curve.high or (high == curve.high < math.inf and not high_open)
        if below or above:
            named = self.link if isinstance(self.link, str) else repr(self.link)
            near = _WITHIN.get(named, "jinit.distributions.clip(init, a, b)")
            raise ValueError(
                f"init must draw what {named} gives, numbers strictly between "
                f"{curve.low:.6g} and {curve.high:.6g}, but {self.init!r} draws from "
                f"{low:.6g} to {high:.6g}; give one that stays between, such as {near}."
            )
