"""torch's defaults: the distributions that building a module draws from.

Each function is for one Flax layer, of linen and of nnx alike. What it returns draws
from JAX's keys and gives the distributions of torch 2.13; `jinit.torch.manual_seed`
gives torch's own numbers.

Returns:
  The initializers, as the keyword arguments by which the Flax layer takes them.

Raises:
  ValueError: A size is less than 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jinit import _checks
from jinit._basic import normal, ones, zeros
from jinit._checks import Number, Shape, at_least_zero
from jinit._combine import Combinator, draw_one
from jinit._fan_scaled import kaiming_uniform, xavier_uniform
from jinit._initializer import Breaks, Initializer, option
from jinit.laws import Law, Mixture, Point, Triangular
from jinit.torch import _sizes

Inits = dict[str, Any]
"""Initializers by the layer's arguments. Any, or `**` would not fit its other ones."""

Layers = dict[str, Inits]
"""Those of several layers, by torch's names of them."""


def linear(in_features: int) -> Inits:
    """Describes `torch.nn.Linear`, for `nn.Dense` or `nnx.Linear`.

        kernel_init, bias_init ~ U[-bound, bound],    bound = 1 / sqrt(in_features)

    The bound is that of `kaiming_uniform_` with `a=sqrt(5)`. Flax's defaults are
    `lecun_normal`, with sqrt(3) times the deviation, and zeros.

    Args:
      in_features: The size of the inputs, at least 1.

    Example:
      >>> import jax, jinit
      >>> import flax.linen as nn
      >>> layer = nn.Dense(256, **jinit.torch.linear(in_features=784))
      >>> params = layer.init(jax.random.key(0), jax.numpy.ones((1, 784)))["params"]
      >>> print(f"{abs(params['kernel']).max():.4f}")  # 1 / sqrt(784)
      0.0357
    """
    return _uniform(_checks.count("in_features", in_features))


def conv(
    in_features: int, kernel_size: int | Sequence[int], *, groups: int = 1
) -> Inits:
    """Describes `torch.nn.Conv1d`, `Conv2d` and `Conv3d`, for `nn.Conv` or `nnx.Conv`.

        kernel_init, bias_init ~ U[-bound, bound],    bound = 1 / sqrt(fan_in)
        fan_in = in_features / groups · prod(kernel_size)

    Args:
      in_features: The channels of the inputs.
      kernel_size: One size for each spatial axis. A number is one axis, as for Flax;
        `Conv2d(3, 8, 5)` of torch is `conv(3, (5, 5))` here.
      groups: `feature_group_count` of Flax.

    Raises:
      ValueError: `kernel_size` is empty, or `groups` does not divide `in_features`.

    Example:
      >>> import jinit
      >>> from flax import nnx
      >>> inits = jinit.torch.conv(in_features=3, kernel_size=(5, 5))
      >>> layer = nnx.Conv(3, 64, (5, 5), **inits, rngs=nnx.Rngs(0))
      >>> print(f"{abs(layer.kernel[...]).max():.3f}")  # 1 / sqrt(3 · 25)
      0.115
    """
    inputs = _sizes.divided("in_features", in_features, "groups", groups)
    return _uniform(inputs * math.prod(_sizes.several("kernel_size", kernel_size)))


def conv_transpose(out_features: int, kernel_size: int | Sequence[int]) -> Inits:
    """Describes `torch.nn.ConvTranspose1d`, `2d` and `3d`, for `nn.ConvTranspose`.

        kernel_init, bias_init ~ U[-bound, bound],    bound = 1 / sqrt(fan)
        fan = out_features · prod(kernel_size)

    torch takes the second axis of its tensor for the inputs. Here that tensor is (in,
    out, *kernel_size), so torch counts the outputs, though each output sums over the
    inputs: the variance is in_features / out_features times the one meant. This is for
    `transpose_kernel` of either value.

    Args:
      out_features: The channels of the outputs; in torch of one group.
      kernel_size: One size for each spatial axis; a number is one axis, as for Flax.

    Raises:
      ValueError: `kernel_size` is empty.

    Example:
      >>> import jinit
      >>> from flax import nnx
      >>> inits = jinit.torch.conv_transpose(out_features=8, kernel_size=(2, 2))
      >>> layer = nnx.ConvTranspose(64, 8, (2, 2), **inits, rngs=nnx.Rngs(0))
      >>> print(f"{abs(layer.kernel[...]).max():.3f}")  # 1 / sqrt(8 · 4)
      0.177
    """
    outputs = _checks.count("out_features", out_features)
    return _uniform(outputs * math.prod(_sizes.several("kernel_size", kernel_size)))


def embedding(*, padding_idx: int | None = None) -> Inits:
    """Describes `torch.nn.Embedding`, for `nn.Embed` or `nnx.Embed`.

        embedding_init ~ N(0, 1),    embedding[padding_idx] = 0

    torch keeps the gradient of that row zero as well; Flax's layer trains it. The
    variance of Flax's default is 1 / features.

    Args:
      padding_idx: The row that is zero, if any; a negative one counts from the end.

    Raises:
      ValueError: At the call: the table has no such row.

    Example:
      >>> import jinit
      >>> from flax import nnx
      >>> inits = jinit.torch.embedding(padding_idx=0)
      >>> embed = nnx.Embed(1000, 64, **inits, rngs=nnx.Rngs(0))
      >>> print(f"{embed.embedding[1:].std():.2f} {abs(embed.embedding[0]).max()}")
      1.00 0.0
    """
    if padding_idx is None:
        return {"embedding_init": normal()}
    row = _sizes.row("padding_idx", padding_idx)
    return {"embedding_init": zero_row(normal(), row)}


def bilinear(in1_features: int) -> Inits:
    """Describes `torch.nn.Bilinear`, for a module of your own: Flax has no such layer.

        kernel_init, bias_init ~ U[-bound, bound],    bound = 1 / sqrt(in1_features)

    torch does not count the second inputs: the deviation of the outputs grows with the
    root of their number. The kernel may have any layout.

    Args:
      in1_features: The size of the first inputs, at least 1.

    Example:
      >>> import jax, jinit
      >>> inits = jinit.torch.bilinear(in1_features=100)
      >>> w = inits["kernel_init"](jax.random.key(0), (100, 20, 10))
      >>> print(f"{abs(w).max():.3f}")  # 1 / sqrt(100)
      0.100
    """
    return _uniform(_checks.count("in1_features", in1_features))


def rnn(hidden_features: int) -> Inits:
    """Describes `torch.nn.RNN` and `RNNCell`, for `SimpleCell` of linen or nnx.

        kernel_init, recurrent_kernel_init ~ U[-bound, bound]
        bias_init ~ the sum of two of those:   Triangular[-2 bound, 2 bound]
        bound = 1 / sqrt(hidden_features)

    torch adds two biases, and Flax has one, which is drawn as their sum. Flax's default
    is `lecun_normal`, an orthogonal matrix for the state, and no bias.

    Args:
      hidden_features: The size of the state, at least 1; the inputs' does not count.

    Example:
      >>> import jinit
      >>> from flax import nnx
      >>> inits = jinit.torch.rnn(hidden_features=100)
      >>> cell = nnx.SimpleCell(30, 100, **inits, rngs=nnx.Rngs(0))
      >>> print(f"{abs(cell.dense_h.kernel[...]).max():.3f}")  # 1 / sqrt(100)
      0.100
    """
    hidden = _checks.count("hidden_features", hidden_features)
    return {
        "kernel_init": _inverse_root(hidden),
        "recurrent_kernel_init": _inverse_root(hidden),
        "bias_init": triangular(2 / math.sqrt(hidden)),
    }


def lstm(hidden_features: int) -> Inits:
    """Describes `torch.nn.LSTM` and `LSTMCell`, for both cells of linen and of nnx.

    As `rnn` does: every gate has two biases in torch and one in Flax.

    Args:
      hidden_features: The size of the state, at least 1, without torch's `proj_size`.

    Example:
      >>> import jinit
      >>> from flax import nnx
      >>> inits = jinit.torch.lstm(hidden_features=100)
      >>> cell = nnx.OptimizedLSTMCell(30, 100, **inits, rngs=nnx.Rngs(0))
      >>> print(f"{cell.dense_h.kernel[...].std():.4f}")  # 1 / sqrt(3 · 100)
      0.0577
    """
    return rnn(hidden_features)


def gru(hidden_features: int) -> Inits:
    """Describes `torch.nn.GRU` and `GRUCell`, for `GRUCell` of linen or nnx.

    As `rnn` does, which is torch's but for the biases of the candidate n: torch adds
    them with the reset gate between them, each U[-bound, bound]. Flax's cell has one
    initializer for all biases, so "in" and "hn" of linen get sqrt(2) times torch's
    deviation here, and torch's own from `jinit.torch.default_rules` and from
    `jinit.torch.Stream.gru_cell`. The cell of nnx has one bias of n, the last third of
    "dense_i": what torch's two come to where r is 1.

    Args:
      hidden_features: The size of the state, at least 1; the inputs' does not count.

    Example:
      >>> import jinit
      >>> from flax import nnx
      >>> inits = jinit.torch.gru(hidden_features=100)
      >>> cell = nnx.GRUCell(30, 100, **inits, rngs=nnx.Rngs(0))
      >>> print(f"{cell.dense_i.bias[...].std():.2f}")  # sqrt(2) / sqrt(3 · 100)
      0.08
    """
    return rnn(hidden_features)


def multihead_attention(features: int, *, packed: bool = True) -> Inits:
    """Describes `torch.nn.MultiheadAttention`, for the attention of linen or nnx.

        query, key, value ~ U[-bound, bound],    bound = sqrt(6 / (fan_in + fan_out))
        packed       fan_in = E,                    fan_out = 3 E
        separate     fan_in = the size of theirs,   fan_out = E
        out ~ U[±1 / sqrt(E)],    all biases 0,     E = features

    If the inputs of all three have one size, torch holds them in one matrix and counts
    the outputs of all three: sqrt(1/2) of the deviation of Xavier's formula for each
    (pytorch#166378). Flax has no counterpart to the biases of `add_bias_kv`.

    Args:
      features: `embed_dim`, the size of the inputs and of the outputs, at least 1.
      packed: Whether the inputs of the key and of the value are of that size too, as
        they are unless torch is given `kdim` or `vdim`.

    Returns:
      "kernel_init", "out_kernel_init", "bias_init" and "out_bias_init". These layers
      ask for kernels as matrices, with the heads and their features in one axis.

    Example:
      >>> import jax, jinit
      >>> import flax.linen as nn
      >>> inits = jinit.torch.multihead_attention(features=96)
      >>> layer = nn.MultiHeadDotProductAttention(num_heads=4, **inits)
      >>> x = jax.numpy.ones((1, 2, 96))
      >>> params = layer.init(jax.random.key(0), x)["params"]
      >>> print(f"{abs(params['query']['kernel']).max():.3f}")  # sqrt(6 / (4 · 96))
      0.125
    """
    features = _checks.count("features", features)
    if _checks.flag("packed", packed):
        kernel_init = xavier_uniform(fan_in=features, fan_out=3 * features)
    else:
        kernel_init = xavier_uniform(fan_out=features)
    return {
        "kernel_init": kernel_init,
        "out_kernel_init": _inverse_root(features),
        "bias_init": zeros(),
        "out_bias_init": zeros(),
    }


def batch_norm() -> Inits:
    """Describes `torch.nn.BatchNorm1d`, `2d` and `3d`: a scale of 1, a bias of 0.

    These are the defaults of Flax too. Not so the `momentum`: Flax's 0.99 is 0.01 in
    torch's terms, where the default is 0.1.

    Example:
      >>> import jinit
      >>> jinit.torch.batch_norm()
      {'scale_init': ones(), 'bias_init': zeros()}
    """
    return {"scale_init": ones(), "bias_init": zeros()}


def layer_norm() -> Inits:
    """Describes `torch.nn.LayerNorm`, as `batch_norm` does: a scale of 1, a bias of 0.

    torch's `eps` is 1e-5; Flax's `epsilon` is 1e-6.

    Example:
      >>> import jinit
      >>> jinit.torch.layer_norm() == jinit.torch.batch_norm()
      True
    """
    return batch_norm()


def group_norm() -> Inits:
    """Describes `torch.nn.GroupNorm`, as `layer_norm` does, with the same `eps`.

    Example:
      >>> import jinit
      >>> jinit.torch.group_norm() == jinit.torch.layer_norm()
      True
    """
    return batch_norm()


def transformer_encoder_layer(features: int, mlp_features: int = 2048) -> Layers:
    """Describes `torch.nn.TransformerEncoderLayer`, for layers of the same names.

        self_attn          as of `multihead_attention(features)`
        linear1, linear2   as of `linear(features)`, `linear(mlp_features)`
        norm1, norm2       as of `layer_norm()`

    `torch.nn.TransformerEncoder` copies one layer, so all start with the same weights,
    which no initializer does; `torch.nn.Transformer` draws every matrix anew, by
    `xavier_uniform_`.

    Args:
      features: `d_model`, at least 1.
      mlp_features: `dim_feedforward`, at least 1.

    Returns:
      The initializers of each layer, by torch's name of it.

    Example:
      >>> import jinit
      >>> inits = jinit.torch.transformer_encoder_layer(512)
      >>> inits["linear2"] == jinit.torch.linear(2048)
      True
    """
    return _transformer(("self_attn",), features, mlp_features)


def transformer_decoder_layer(features: int, mlp_features: int = 2048) -> Layers:
    """Describes `torch.nn.TransformerDecoderLayer`, for layers of the same names.

    As `transformer_encoder_layer` does, with "multihead_attn" and "norm3".

    Args:
      features: `d_model`, at least 1.
      mlp_features: `dim_feedforward`, at least 1.

    Example:
      >>> import jinit
      >>> sorted(jinit.torch.transformer_decoder_layer(512))[2:]
      ['multihead_attn', 'norm1', 'norm2', 'norm3', 'self_attn']
    """
    return _transformer(("self_attn", "multihead_attn"), features, mlp_features)


class triangular(Initializer):
    """Draws from the triangular distribution about zero: a sum of two uniform draws.

        W = U + V,    U, V ~ U[-bound / 2, bound / 2],    Var W = bound² / 6
        p(w) = (1 - |w| / bound) / bound

    A bias of Flax that is the sum of two in torch, such as `bias_ih` and `bias_hh` of
    `torch.nn.RNN`, has this distribution. `jax.random.triangular` takes a mode too.

    Args:
      bound: The largest absolute value.

    Example:
      >>> import jax, jinit
      >>> w = jinit.torch.triangular(0.1)(jax.random.key(0), (1000, 1000))
      >>> print(f"{w.std():.4f} {abs(w).max():.2f}")  # 0.1 / sqrt(6)
      0.0408 0.10
    """

    bound: Number = option(at_least_zero, kw_only=False)

    def _law(self, shape: Shape, dtype: np.dtype) -> Triangular:
        return Triangular(self.bound)


class zero_row(Combinator):
    """An embedding with a row of zeros, as of `torch.nn.Embedding(padding_idx=index)`.

        W = init(key, shape),    W[index] = 0

    Args:
      init: The initializer of the whole table.
      index: The row, along the first axis; a negative one counts from the end.

    Raises:
      ValueError: At the call: the shape has no such row, or `init` refuses it.

    Example:
      >>> import jax, jinit
      >>> init = jinit.torch.zero_row(jinit.ones, 1)
      >>> print(init(jax.random.key(0), (3, 2)))
      [[1. 1.]
       [0. 0.]
       [1. 1.]]
    """

    index: int = option(_sizes.row, kw_only=False)

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        _sizes.row("index", self.index, shape[0] if shape else 0)
        self._check_within(shape, dtype)

    def _law(self, shape: Shape, dtype: np.dtype) -> Law | None:
        law, row = super()._law(shape, dtype), 1 / shape[0]
        if law is None or row == 1:
            return None if law is None else Point(0.0)
        return Mixture(((row, Point(0.0)), (1 - row, law)))

    def _breaks(self, array: np.ndarray) -> Breaks:
        kept = np.count_nonzero(array[self.index])
        if kept:
            yield "pattern", f"{kept} weights of row {self.index} are not zero", ""
        if not self._random:
            # Of a constant table: what it draws but for the row.
            yield from Initializer._breaks(self, array)

    def _draw(self, key: Any, shape: Shape, dtype: np.dtype) -> jax.Array:
        w = draw_one(self.init, key, shape, dtype)
        rows = lax.broadcasted_iota(np.int32, shape, 0)
        return jnp.where(rows == self.index % shape[0], jnp.zeros_like(w), w)


def _inverse_root(fan_in: int) -> Initializer:
    """U[±1 / sqrt(fan_in)], as torch has it: a² = 5 leaves a gain of sqrt(1/3)."""
    return kaiming_uniform(a=math.sqrt(5), fan_in=fan_in)


def _uniform(fan_in: int) -> Inits:
    """Kernel and bias of torch's linear and convolutional layers."""
    return {"kernel_init": _inverse_root(fan_in), "bias_init": _inverse_root(fan_in)}


def _transformer(attentions: Sequence[str], features: int, mlp_features: int) -> Layers:
    features = _checks.count("features", features)
    mlp_features = _checks.count("mlp_features", mlp_features)
    inits = {name: multihead_attention(features) for name in attentions}
    inits |= {"linear1": linear(features), "linear2": linear(mlp_features)}
    norms = range(1, len(attentions) + 2)
    return inits | {f"norm{n}": layer_norm() for n in norms}
