"""Tensors of torch's stream, one after another, in torch's layout."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _basic, _checks, _identity
from jinit._checks import check_shape, is_traced
from jinit._fans import Fans, fans
from jinit._types import ArrayLike, DType, Shape
from jinit.gains._gain import calculate_gain
from jinit.torch import _sizes, functional
from jinit.torch._mt19937 import skipped
from jinit.torch._numbers import normal_words, uniform_words
from jinit.torch._state_bytes import from_bytes, to_bytes


class Tensors:
    """torch's CPU generator, and the functions of `torch.nn.init` that draw from it.

    Each method that ends in an underscore is torch's of this name. It takes the shape
    of the tensor, returns what torch would fill it with next, and moves on as torch
    does. Shapes are torch's: (out, in, *spatial). `randperm`, `randint` and `bernoulli`
    are functions of torch itself, and take their arguments in its order.
    """

    def __init__(self, seed: int) -> None:
        self._state = functional.seed(seed)
        self._seed = int(seed) % 2**64
        self._unused = False  # whether what is drawn next will be thrown away

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of torch's seed {self._seed}>"

    def initial_seed(self) -> int:
        """Returns the seed, as an integer of 64 bits without a sign."""
        return self._seed

    def get_state(self) -> np.ndarray:
        """Returns the state as `torch.get_rng_state` does.

        Returns:
          5056 bytes, of dtype uint8. `torch.set_rng_state(torch.tensor(state))` goes on
          from there. Right after seeding two of them, of a count, are not torch's;
          what is drawn is.

        Example:
          >>> import jinit
          >>> stream = jinit.torch.manual_seed(0)
          >>> state, first = stream.get_state(), stream.uniform_((3,))
          >>> bool((stream.set_state(state).uniform_((3,)) == first).all())
          True
        """
        return to_bytes(self._seed, self._state)

    def set_state(self, state: ArrayLike | bytes) -> Self:
        """Goes on from a state, of `get_state` or of `torch.get_rng_state`.

        Args:
          state: 5056 bytes, or an array or a tensor of dtype uint8.

        Returns:
          The stream itself.

        Raises:
          ValueError: The bytes are not the state of a CPU generator.

        Example:
          >>> import jinit
          >>> saved = jinit.torch.manual_seed(7).get_state()
          >>> jinit.torch.manual_seed(0).set_state(saved).initial_seed()
          7
        """
        self._seed, self._state = from_bytes(state)
        return self

    def pass_over(self, layer: Callable[[Self], Any]) -> tuple[Any, Callable[[], Any]]:
        """Moves on as if a function of the stream had drawn, for `like`.

        Returns:
          What the function returns, where its draws are views of one NaN; and a
          function that draws it after all.
        """
        then = copy.copy(self)
        self._unused = True
        try:
            shapes = layer(self)
        except Exception:  # it may have use for more than the shapes
            self._unused, self._state = False, then._state
            shapes = layer(self)
        finally:
            self._unused = False
        return shapes, lambda: layer(then)

    def _next(self, draw: Callable[..., functional.Drawn], *args: Any) -> jax.Array:
        """What is drawn; the stream moves on."""
        if self._unused and draw in _WORDS and math.prod(check_shape(args[0])) >= 16:
            return self._passed(draw, *args)
        w, state = draw(self._state, *args)
        if is_traced(state.used):
            raise TypeError(
                "a stream moves on when it draws, which a traced function must not do; "
                "draw outside of jit, or with jinit.torch.functional."
            )
        self._state = state
        return w

    def _passed(
        self, draw: Callable[..., functional.Drawn], shape: Shape, *options: Any
    ) -> Any:
        w, _ = draw(self._state, (0,), *options)
        size, dtype = math.prod(shape), w.dtype
        self._state = skipped(self._state, _WORDS[draw](size, dtype))
        return np.broadcast_to(np.asarray(np.nan, dtype), check_shape(shape))

    def uniform_(
        self, shape: Shape, a: float = 0.0, b: float = 1.0, dtype: DType = None
    ) -> jax.Array:
        """Draws from U[a, b): see `functional.uniform`, which this is, bit for bit."""
        return self._next(functional.uniform, shape, a, b, dtype)

    def normal_(
        self, shape: Shape, mean: float = 0.0, std: float = 1.0, dtype: DType = None
    ) -> jax.Array:
        """Draws from N(mean, std²): see `functional.normal`."""
        return self._next(functional.normal, shape, mean, std, dtype)

    def trunc_normal_(
        self,
        shape: Shape,
        mean: float = 0.0,
        std: float = 1.0,
        a: float = -2.0,
        b: float = 2.0,
        dtype: DType = None,
        method: str = "rejection",
    ) -> jax.Array:
        """Draws from N(mean, std²) within [a, b]: see `functional.trunc_normal`."""
        options = mean, std, a, b, dtype, method
        return self._next(functional.trunc_normal, shape, *options)

    def xavier_uniform_(
        self, shape: Shape, gain: float = 1.0, dtype: DType = None
    ) -> jax.Array:
        """Draws from U[±bound], bound = gain · sqrt(6 / (fan_in + fan_out))."""
        bound = math.sqrt(3) * _xavier_std(shape, gain)
        return self.uniform_(shape, -bound, bound, dtype)

    def xavier_normal_(
        self, shape: Shape, gain: float = 1.0, dtype: DType = None
    ) -> jax.Array:
        """Draws from N(0, std²), std = gain · sqrt(2 / (fan_in + fan_out))."""
        return self.normal_(shape, 0.0, _xavier_std(shape, gain), dtype)

    def kaiming_uniform_(
        self,
        shape: Shape,
        a: float = 0.0,
        mode: str = "fan_in",
        nonlinearity: str = "leaky_relu",
        dtype: DType = None,
    ) -> jax.Array:
        """Draws from U[±bound], bound = gain · sqrt(3 / fan)."""
        bound = math.sqrt(3) * _kaiming_std(shape, a, mode, nonlinearity)
        return self.uniform_(shape, -bound, bound, dtype)

    def kaiming_normal_(
        self,
        shape: Shape,
        a: float = 0.0,
        mode: str = "fan_in",
        nonlinearity: str = "leaky_relu",
        dtype: DType = None,
    ) -> jax.Array:
        """Draws from N(0, std²), std = gain / sqrt(fan)."""
        std = _kaiming_std(shape, a, mode, nonlinearity)
        return self.normal_(shape, 0.0, std, dtype)

    def orthogonal_(
        self, shape: Shape, gain: float = 1.0, dtype: DType = None
    ) -> jax.Array:
        """Draws a (semi-)orthogonal matrix: see `functional.orthogonal`."""
        return self._next(functional.orthogonal, shape, gain, dtype)

    def sparse_(
        self, shape: Shape, sparsity: float, std: float = 0.01, dtype: DType = None
    ) -> jax.Array:
        """Draws columns of which a fraction is zero: see `functional.sparse`."""
        return self._next(functional.sparse, shape, sparsity, std, dtype)

    def randperm(self, n: int) -> jax.Array:
        """Draws an order of n things, of int32: see `functional.randperm`."""
        return self._next(functional.randperm, n)

    def randint(self, low: int, high: int, shape: Shape) -> jax.Array:
        """Draws whole numbers below `high`, of int32: see `functional.randint`."""
        return self._next(functional.randint, low, high, shape)

    def bernoulli(self, p: ArrayLike, dtype: DType = None) -> jax.Array:
        """Draws ones with the probabilities p: see `functional.bernoulli`."""
        return self._next(functional.bernoulli, p, dtype)

    def constant_(self, shape: Shape, val: float, dtype: DType = None) -> jax.Array:
        """Fills with a value, and draws nothing."""
        return _filled(_basic.constant(val), shape, dtype)

    def ones_(self, shape: Shape, dtype: DType = None) -> jax.Array:
        """Fills with one, and draws nothing."""
        return _filled(_basic.ones(), shape, dtype)

    def zeros_(self, shape: Shape, dtype: DType = None) -> jax.Array:
        """Fills with zero, and draws nothing."""
        return _filled(_basic.zeros(), shape, dtype)

    def eye_(self, shape: Shape, dtype: DType = None) -> jax.Array:
        """Returns the identity matrix, of two axes, and draws nothing."""
        return _pattern(_identity.eye(), shape, dtype)

    def dirac_(self, shape: Shape, groups: int = 1, dtype: DType = None) -> jax.Array:
        """Returns the kernel that preserves its input, and draws nothing."""
        shape = check_shape(shape)
        if not 3 <= len(shape) <= 5:
            raise ValueError(f"shape must have three to five axes, got {shape}.")
        flax_shape = *shape[2:], shape[1], shape[0]
        kernel = _pattern(_identity.dirac(groups=groups), flax_shape, dtype)
        return jnp.moveaxis(kernel, (-1, -2), (0, 1))


# How many words each passes over; others draw to know.
_WORDS = {
    functional.uniform: uniform_words,
    functional.normal: normal_words,
}


def _filled(init: Any, shape: Any, dtype: Any) -> jax.Array:
    """One number, everywhere."""
    w = init(None, (), np.float32 if dtype is None else dtype)
    fill = jnp.broadcast_to if is_traced(w) else np.broadcast_to
    return jax.device_put(fill(w, check_shape(shape)))


def _pattern(init: Any, shape: Any, dtype: Any) -> jax.Array:
    return init(None, shape, np.float32 if dtype is None else dtype)


def _fans(shape: Any) -> Fans:
    return fans(_sizes.of_matrix(shape), in_axis=1, out_axis=0)


def _xavier_std(shape: Any, gain: Any) -> float:
    both = sum(_fans(shape))
    if not both:
        raise ValueError(f"shape must have fans that are not both zero, got {shape}.")
    return _checks.at_least_zero("gain", gain) * math.sqrt(2.0 / both)


def _kaiming_std(shape: Any, a: Any, mode: Any, nonlinearity: Any) -> float:
    # In torch's order, which decides on the last bit.
    fan = getattr(_fans(shape), _checks.choice("mode", mode, Fans._fields))
    gain = calculate_gain(nonlinearity, a if nonlinearity == "leaky_relu" else None)
    return gain / math.sqrt(fan) if fan else 0.0  # of an empty tensor
