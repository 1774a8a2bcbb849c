"""Recurrent cells: biases of the gates that keep and write the state.

A gate that keeps the share σ(b) of the state forgets within 1 / (1 - σ(b)) = 1 + exp(b)
steps: biases are times. `docs/recurrent.md` lists the gates of each library's cells.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _checks, _draws
from jinit._basic import ones
from jinit._checks import Number, Shape, count, number, or_none, positive
from jinit._combine import Combinator, Init, as_given, draw_one
from jinit._initializer import Breaks, RealInitializer, option
from jinit._time_laws import Log, Logit
from jinit.laws import Law, Mixture, Moments, Point


def _steps(name: str, value: Any) -> Any:
    """A time in steps; a state that is overwritten at once lasts for two."""
    value = number(name, value)
    if not _checks.is_traced(value) and value < 2:
        raise ValueError(
            f"{name} must be at least 2 steps, the time of a gate that keeps half, got "
            f"{value!r}; give the longest dependency of the data in steps, not its "
            "inverse."
        )
    return value


_place = or_none(partial(count, at_least=0))


class forget_bias(Combinator):
    """The bias of all gates of a cell in one array: that of one gate, and zeros.

        b = [0, init, 0, 0],    or [-init, init, 0, 0] with input_gate=0

    A state whose gates start from zero is halved at every step, and so is what is
    learnt of the steps before it; a positive bias of the forget gate keeps it.

    Args:
      init: The initializer of the bias of the gate that keeps the state: ones, as in
        Keras; `chrono`; `uniform_gate`. It draws the bias of one gate.
      gate: The place of that gate, from 0; None if no gate keeps the state.
      gates: How many gates the last axis holds, side by side.
      input_gate: The place of a gate that writes to the state, which is to have minus
        the same bias; None for zero.

    Raises:
      ValueError: A gate is not among the gates, both are one, or both are None. At the
        call: `gates` does not divide the last axis.

    Example:
      >>> import jax, jinit
      >>> from jinit.recurrent import chrono, forget_bias
      >>> print(forget_bias()(jax.random.key(0), (8,)))  # input, forget, cell, output
      [0. 0. 1. 1. 0. 0. 0. 0.]
      >>> b = forget_bias(chrono(100.0), input_gate=0)(jax.random.key(0), (4 * 64,))
      >>> bool((b[:64] == -b[64:128]).all())
      True

    References:
      Jozefowicz et al. (2015), "An empirical exploration of recurrent network
      architectures", section 2.2. `unit_forget_bias` of Keras, which is on; zeros in
      Flax; uniform in torch, whose two biases add up; `hk.LSTM` adds 1 in its code.
    """

    init: Init = option(as_given, default=ones(), kw_only=False)
    gate: int | None = option(_place, default=1)
    gates: int = option(count, default=4)
    input_gate: int | None = option(_place, default=None)

    def _check_options(self) -> None:
        super()._check_options()
        named = [("gate", self.gate), ("input_gate", self.input_gate)]
        for name, place in named:
            if place is not None and place >= self.gates:
                raise ValueError(
                    f"{name} must be less than gates={self.gates}, got {place}; the "
                    "first gate is 0."
                )
        if self.gate == self.input_gate:
            raise ValueError(
                "gate and input_gate must be two gates, or one of them None, got "
                f"{self.gate} for both."
            )

    def _within(self, shape: Shape) -> tuple[int, Shape]:
        """The axis of the gates, and the shape of the bias of one."""
        if not shape or shape[-1] % self.gates:
            raise ValueError(
                f"gates must divide the last axis of the bias, got gates={self.gates} "
                f"and shape {shape}; for a leaf of one gate use its initializer alone."
            )
        return -1, (*shape[:-1], shape[-1] // self.gates)

    def _law(self, shape: Shape, dtype: np.dtype) -> Law | None:
        law = super()._law(shape, dtype)
        if law is None:
            return None
        laws = [] if self.gate is None else [law]
        laws += [] if self.input_gate is None else [law.affine(-1.0, 0.0).simplified()]
        rest = self.gates - len(laws)
        parts = [(1 / self.gates, each) for each in laws]
        if not rest:
            return parts[0][1] if len(parts) == 1 else Mixture(tuple(parts))
        return Mixture((*parts, (rest / self.gates, Point(0.0))))

    def _copies(self, shape: Shape) -> int:
        both = self.gate is not None and self.input_gate is not None
        return super()._copies(shape) * (2 if both else 1)

    def _members(self, array: np.ndarray) -> list[np.ndarray]:
        blocks = np.split(array, self.gates, -1)
        if self.gate is not None:
            return [blocks[self.gate]]
        return [] if self.input_gate is None else [-blocks[self.input_gate]]

    def _breaks(self, array: np.ndarray) -> Breaks:
        (bias,) = self._members(array)
        off = int((array != self._packed(np, bias)).sum())
        if off:
            gates = f"the {self.gates} gates have no bias as {self!r} has them"
            yield "pattern", f"{off} of {array.size} weights of {gates}", ""
        yield from super()._breaks(array)

    def _packed(self, xp: Any, bias: Any) -> Any:
        """The bias of the gate, that of its opposite, and zeros."""
        blocks = [xp.zeros_like(bias)] * self.gates
        if self.gate is not None:
            blocks[self.gate] = bias
        if self.input_gate is not None:
            blocks[self.input_gate] = -bias
        return xp.concatenate(blocks, -1)

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        _, within = self._within(shape)
        return self._packed(jnp, draw_one(self.init, key, within, dtype))


class chrono(RealInitializer):
    """Chrono initialization: the times that a gate remembers are uniform.

        b = log U[1, max_time - 1],    1 / (1 - σ(b)) ~ U[2, max_time]

    For a gate that keeps the share σ(b) of the state: the forget gate of an LSTM, the
    update gate of the GRU of Flax, torch and Keras. Its gate for the input has minus
    the same bias, so that the state stays of one size: `forget_bias(chrono(100.0),
    input_gate=0)`. A gate that writes instead, as that of `hk.GRU` does, has minus
    this bias: `forget_bias(chrono(100.0), gate=None, input_gate=0, gates=3)`.

    Args:
      max_time: The longest dependency of the data, in steps, at least 2.

    Example:
      >>> import jax, jinit
      >>> b = jinit.recurrent.chrono(100.0)(jax.random.key(0), (100_000,))
      >>> time = 1 / (1 - jax.nn.sigmoid(b))
      >>> print(f"{time.min():.1f} {time.mean():.1f} {time.max():.1f}")
      2.0 51.0 100.0

    References:
      Tallec and Ollivier (2018), arXiv:1804.11188, section 3. Packages of the name
      draw from the inverses of times, or for a GRU with the sign of another cell.
    """

    max_time: Number = option(_steps, kw_only=False)

    def _law(self, shape: Shape, dtype: np.dtype) -> Law:
        return Log(1.0, self.max_time - 1)


class uniform_gate(RealInitializer):
    """Uniform gate initialization: what gates keep of the state is uniform.

        b = log u / (1 - u),    u = σ(b) ~ U[1/d, 1 - 1/d],    d units

    Without a time to give, as `chrono` asks for: half of the units forget within two
    steps, and few remember for as many steps as there are units.

    Raises:
      ValueError: At the call: the last axis has a single unit.

    Example:
      >>> import jax, jinit
      >>> init = jinit.recurrent.uniform_gate()
      >>> share = jax.nn.sigmoid(init(jax.random.key(0), (1000, 64)))
      >>> print(f"{share.min():.3f} {share.mean():.2f} {share.max():.3f}")
      0.016 0.50 0.984

    References:
      Gu et al. (2020), arXiv:1910.09890, section 3.2.
    """

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        super()._check(shape, dtype)
        if not shape or shape[-1] == 1:
            raise ValueError(
                f"uniform_gate needs two units or more on the last axis, got shape "
                f"{shape}; for one unit use jinit.constant(bias)."
            )

    def _law(self, shape: Shape, dtype: np.dtype) -> Law:
        return Logit(1 / shape[-1], 1 - 1 / shape[-1])


class power_law(RealInitializer):
    """Values from one to another along the last axis, evenly or by a power.

        b[j] = start + (stop - start) (j / (units - 1)) ** exponent

    Nothing is random: units, or heads, of all times lie side by side. With exponent 1
    it is `linspace`.

    Args:
      start, stop: The first and the last value.
      exponent: Above 1 more of them are near the start, below 1 near the stop.

    Raises:
      ValueError: At the call: the shape is a scalar's.

    Example:
      >>> import jax, jinit
      >>> key = jax.random.key(0)
      >>> print(jinit.recurrent.power_law(3.0, 6.0)(key, (4,)))  # mLSTM, forget gate
      [3. 4. 5. 6.]
      >>> layer, layers = 0, 2
      >>> exponent = 0.3 + 1.3 * layer / (layers - 1)
      >>> print(jinit.recurrent.power_law(5.0, -7.0, exponent=exponent)(key, (3,)))
      [ 5.  -4.7 -7. ]

    References:
      Beck et al. (2024), arXiv:2405.04517; `NX-AI/xlstm`, `blocks/mlstm/cell.py` and
      `blocks/slstm/cell.py`, for the forget gates of the two.
    """

    start: Number = option(number, kw_only=False)
    stop: Number = option(number, kw_only=False)
    exponent: Number = option(positive, default=1.0)
    _random = False

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        super()._check(shape, dtype)
        if not shape:
            raise ValueError(
                "power_law needs an axis of units, got shape (); for one number use "
                "jinit.constant(value)."
            )

    def _law(self, shape: Shape, dtype: np.dtype) -> Law:
        values = self._ramp(shape)
        return Moments(float(values.mean()), float(values.std()))

    def _ramp(self, shape: Shape) -> Any:
        """The values along the last axis, in double precision where they are known."""
        xp = jnp if self._is_traced() else np
        share = xp.arange(shape[-1], dtype=float) / max(shape[-1] - 1, 1)
        return self.start + (self.stop - self.start) * share**self.exponent

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        return jnp.broadcast_to(_draws.cast(self._ramp(shape), dtype), shape)
