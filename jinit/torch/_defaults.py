"""torch's defaults: the distributions that building a module draws from.

Each function returns the initializers of one Flax layer, of linen and of nnx alike, as
the keyword arguments that it takes them by. They draw from JAX's keys and give the
distributions of torch 2.13; `jinit.torch.manual_seed` gives torch's own numbers.
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
"""Initializers by the names of arguments: of any type, for checkers that see `**`."""


def linear(in_features: int) -> Inits:
    """Describes `torch.nn.Linear`, for `nn.Dense` or `nnx.Linear`.

        kernel, bias ~ U[-bound, bound],    bound = 1 / sqrt(in_features)

    Args:
      in_features: The size of the inputs.

    Returns:
      "kernel_init" and "bias_init".

    Raises:
      TypeError: The size is not an integer.
      ValueError: It is less than 1.

    Example:
      >>> import jax, jinit
      >>> import flax.linen as nn
      >>> layer = nn.Dense(256, **jinit.torch.linear(in_features=784))
      >>> params = layer.init(jax.random.key(0), jax.numpy.ones((1, 784)))["params"]
      >>> print(f"{abs(params['kernel']).max():.4f}")  # 1 / sqrt(784)
      0.0357

    References:
      `torch.nn.Linear`, whose bound is that of `kaiming_uniform_` with `a=sqrt(5)`. The
      default of Flax's kernel is `lecun_normal`, with sqrt(3) times the deviation, and
      of its bias zero.
    """
    return _uniform(_checks.count("in_features", in_features))


def conv(
    in_features: int, kernel_size: int | Sequence[int], *, groups: int = 1
) -> Inits:
    """Describes `torch.nn.Conv1d`, `Conv2d` and `Conv3d`, for `nn.Conv` or `nnx.Conv`.

        kernel, bias ~ U[-bound, bound],    bound = 1 / sqrt(fan_in)
        fan_in = in_features / groups · prod(kernel_size)

    Args:
      in_features: The channels of the inputs.
      kernel_size: One size for each spatial axis. A number is one axis, as for Flax;
        `Conv2d(3, 8, 5)` of torch is `conv(3, (5, 5))` here.
      groups: `feature_group_count` of Flax.

    Returns:
      "kernel_init" and "bias_init".

    Raises:
      TypeError: A number is not an integer.
      ValueError: A number is less than 1, there is no spatial axis, or the groups do
        not divide the channels.

    Example:
      >>> import jax, jinit
      >>> from flax import nnx
      >>> inits = jinit.torch.conv(in_features=3, kernel_size=(5, 5))
      >>> layer = nnx.Conv(3, 64, (5, 5), **inits, rngs=nnx.Rngs(0))
      >>> print(f"{abs(layer.kernel[...]).max():.3f}")  # 1 / sqrt(3 · 25)
      0.115

    References:
      `torch.nn.Conv2d`.
    """
    inputs = _sizes.divided("in_features", in_features, "groups", groups)
    return _uniform(inputs * math.prod(_sizes.kernel(kernel_size)))


def conv_transpose(out_features: int, kernel_size: int | Sequence[int]) -> Inits:
    """Describes `torch.nn.ConvTranspose1d`, `2d` and `3d`, for `nn.ConvTranspose`.

        kernel, bias ~ U[-bound, bound],    bound = 1 / sqrt(fan)
        fan = out_features · prod(kernel_size)

    torch counts the second axis of its tensor as the inputs. Here that is (in, out,
    *kernel_size), so that the outputs are counted, which is not what the formula means:
    each output sums over the inputs. The variance is in_features / out_features of the
    one meant, too large where the layer narrows and too small where it widens.

    Args:
      out_features: The channels of the outputs; in torch of one group.
      kernel_size: One size for each spatial axis; a number is one axis, as for Flax.

    Returns:
      "kernel_init" and "bias_init", for `transpose_kernel` of either value.

    Raises:
      TypeError: A number is not an integer.
      ValueError: A number is less than 1, or there is no spatial axis.

    Example:
      >>> import jax, jinit
      >>> from flax import nnx
      >>> inits = jinit.torch.conv_transpose(out_features=8, kernel_size=(2, 2))
      >>> layer = nnx.ConvTranspose(64, 8, (2, 2), **inits, rngs=nnx.Rngs(0))
      >>> print(f"{abs(layer.kernel[...]).max():.3f}")  # 1 / sqrt(8 · 4)
      0.177

    References:
      `torch.nn.ConvTranspose2d`.
    """
    outputs = _checks.count("out_features", out_features)
    return _uniform(outputs * math.prod(_sizes.kernel(kernel_size)))


def embedding(*, padding_idx: int | None = None) -> Inits:
    """Describes `torch.nn.Embedding`, for `nn.Embed` or `nnx.Embed`.

        embedding ~ N(0, 1),    embedding[padding_idx] = 0

    torch keeps the gradient of that row zero as well; Flax's layer trains it.

    Args:
      padding_idx: The row that is zero, if one is; from the end where negative.

    Returns:
      "embedding_init".

    Raises:
      TypeError: The row is not an integer.
      ValueError: At the call: the table has no such row.

    Example:
      >>> import jax, jinit
      >>> from flax import nnx
      >>> inits = jinit.torch.embedding(padding_idx=0)
      >>> embed = nnx.Embed(1000, 64, **inits, rngs=nnx.Rngs(0))
      >>> print(f"{embed.embedding[1:].std():.2f} {abs(embed.embedding[0]).max()}")
      1.00 0.0

    References:
      `torch.nn.Embedding`. Flax's default has a variance of 1 / features.
    """
    if padding_idx is None:
        return {"embedding_init": normal()}
    row = _sizes.row("padding_idx", padding_idx)
    return {"embedding_init": zero_row(normal(), row)}


def bilinear(in1_features: int) -> Inits:
    """Describes `torch.nn.Bilinear`, for a module that has such parameters.

        kernel, bias ~ U[-bound, bound],    bound = 1 / sqrt(in1_features)

    The second inputs are not counted: the deviation of the outputs grows with the root
    of their number.

    Args:
      in1_features: The size of the first inputs.

    Returns:
      "kernel_init", for any layout, and "bias_init".

    Raises:
      TypeError: The size is not an integer.
      ValueError: It is less than 1.

    Example:
      >>> import jax, jinit
      >>> inits = jinit.torch.bilinear(in1_features=100)
      >>> w = inits["kernel_init"](jax.random.key(0), (100, 20, 10))
      >>> print(f"{abs(w).max():.3f}")  # 1 / sqrt(100)
      0.100

    References:
      `torch.nn.Bilinear`. Flax has no such layer.
    """
    return _uniform(_checks.count("in1_features", in1_features))


def rnn(hidden_features: int) -> Inits:
    """Describes `torch.nn.RNN` and `RNNCell`, for `SimpleCell` of linen or nnx.

        kernels ~ U[-bound, bound],         bound = 1 / sqrt(hidden_features)
        bias ~ the sum of two of those:     Triangular[-2 bound, 2 bound]

    torch adds two biases, and Flax has one, which is drawn as their sum.

    Args:
      hidden_features: The size of the state; the inputs do not count.

    Returns:
      "kernel_init", "recurrent_kernel_init" and "bias_init".

    Raises:
      TypeError: The size is not an integer.
      ValueError: It is less than 1.

    Example:
      >>> import jinit
      >>> from flax import nnx
      >>> inits = jinit.torch.rnn(hidden_features=100)
      >>> cell = nnx.SimpleCell(30, 100, **inits, rngs=nnx.Rngs(0))
      >>> print(f"{abs(cell.dense_h.kernel[...]).max():.3f}")  # 1 / sqrt(100)
      0.100

    References:
      `torch.nn.RNN`. Flax's default is `lecun_normal` and an orthogonal matrix for the
      state, without a bias.
    """
    return _recurrent(hidden_features)


def lstm(hidden_features: int) -> Inits:
    """Describes `torch.nn.LSTM` and `LSTMCell`, for both cells of linen and of nnx.

        kernels ~ U[-bound, bound],         bound = 1 / sqrt(hidden_features)
        biases ~ the sum of two of those:   Triangular[-2 bound, 2 bound]

    torch adds two biases in every gate, and Flax has one, that of the state's layer,
    which is drawn as their sum. So it is in `OptimizedLSTMCell`, whose layers of the
    inputs have no bias either.

    Args:
      hidden_features: The size of the state; the inputs do not count.

    Returns:
      "kernel_init", "recurrent_kernel_init" and "bias_init".

    Raises:
      TypeError: The size is not an integer.
      ValueError: It is less than 1.

    Example:
      >>> import jinit
      >>> from flax import nnx
      >>> inits = jinit.torch.lstm(hidden_features=100)
      >>> cell = nnx.OptimizedLSTMCell(30, 100, **inits, rngs=nnx.Rngs(0))
      >>> print(f"{cell.dense_h.kernel[...].std():.4f}")  # 1 / sqrt(3 · 100)
      0.0577

    References:
      `torch.nn.LSTM`; `proj_size` changes nothing.
    """
    return _recurrent(hidden_features)


def gru(hidden_features: int) -> Inits:
    """Describes `torch.nn.GRU` and `GRUCell`, for `GRUCell` of linen or nnx.

        kernels ~ U[-bound, bound],         bound = 1 / sqrt(hidden_features)
        biases ~ the sum of two of those:   Triangular[-2 bound, 2 bound]

    Exact for all kernels and for the biases of the gates r and z, where torch adds two
    and Flax has their sum. The biases of the candidate n are not torch's: Flax gives
    all biases one initializer, and torch adds the two of n with the reset gate between
    them, each U[-bound, bound]. In linen these are "in" and "hn", which have sqrt(2)
    times torch's deviation here; `jinit.plan` can draw them otherwise, by their paths,
    with "kernel_init" of this function. `nnx.GRUCell` has no bias "hn", and its one of
    n is the last third of "dense_i", what torch's two come to where r is 1.

    Args:
      hidden_features: The size of the state; the inputs do not count.

    Returns:
      "kernel_init", "recurrent_kernel_init" and "bias_init".

    Raises:
      TypeError: The size is not an integer.
      ValueError: It is less than 1.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> import flax.linen as nn
      >>> inits = jinit.torch.gru(hidden_features=100)
      >>> cell = nn.GRUCell(100, **inits)
      >>> shape = jax.eval_shape(
      ...     cell.init, jax.random.key(0), jnp.ones((1, 100)), jnp.ones((1, 30))
      ... )
      >>> uniform, triangular = inits["kernel_init"], inits["bias_init"]
      >>> rules = {
      ...     "**/in/bias": uniform,
      ...     "**/hn/bias": uniform,
      ...     "**/bias": triangular,
      ...     "**": uniform,
      ... }
      >>> params = jinit.plan(shape, rules).init(jax.random.key(0))["params"]
      >>> print(f"{abs(params['hn']['bias']).max():.2f}")  # 1 / sqrt(100)
      0.10

    References:
      `torch.nn.GRU`. `jinit.torch.Stream.gru_cell` draws every bias as torch does.
    """
    return _recurrent(hidden_features)


def multihead_attention(features: int, *, packed: bool = True) -> Inits:
    """Describes `torch.nn.MultiheadAttention`, for the attention of linen or nnx.

        query, key, value ~ U[-bound, bound],    bound = sqrt(6 / (fan_in + fan_out))
        packed       fan_in = E,                    fan_out = 3 E
        separate     fan_in = the size of theirs,   fan_out = E
        out ~ U[±1 / sqrt(E)],    all biases 0,     E = features

    torch holds the three projections in one matrix if their inputs are of one size, and
    counts the outputs of all three. The deviation is then sqrt(1/2) of what Xavier's
    formula gives each.

    Args:
      features: `embed_dim`, the size of the inputs and of the outputs.
      packed: Whether the inputs of the key and of the value are of that size too, as
        they are unless torch is given `kdim` or `vdim`.

    Returns:
      "kernel_init", "out_kernel_init", "bias_init" and "out_bias_init", for
      `nn.MultiHeadDotProductAttention` and `nnx.MultiHeadAttention`. Kernels are drawn
      as matrices, as these layers do, with the axes of the heads and their features in
      one.

    Raises:
      TypeError: An option is not of its type.
      ValueError: The size is less than 1.

    Example:
      >>> import jax, jinit
      >>> import flax.linen as nn
      >>> inits = jinit.torch.multihead_attention(features=96)
      >>> layer = nn.MultiHeadDotProductAttention(num_heads=4, **inits)
      >>> x = jax.numpy.ones((1, 2, 96))
      >>> params = layer.init(jax.random.key(0), x)["params"]
      >>> print(f"{abs(params['query']['kernel']).max():.3f}")  # sqrt(6 / (4 · 96))
      0.125

    References:
      `torch.nn.MultiheadAttention` and pytorch#166378 on the packed matrix. The biases
      of `add_bias_kv` have no counterpart in Flax.
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
    """Describes `torch.nn.BatchNorm1d`, `2d` and `3d`, for `BatchNorm`.

        scale = 1,    bias = 0

    Returns:
      "scale_init" and "bias_init", the defaults of Flax too.

    Example:
      >>> import jinit
      >>> jinit.torch.batch_norm()
      {'scale_init': ones(), 'bias_init': zeros()}

    References:
      `torch.nn.BatchNorm2d`; Flax's `epsilon` is the same, its `momentum` of 0.99 is
      0.01 in torch's terms, where the default is 0.1.
    """
    return {"scale_init": ones(), "bias_init": zeros()}


def layer_norm() -> Inits:
    """Describes `torch.nn.LayerNorm`, for `LayerNorm`.

        scale = 1,    bias = 0

    Returns:
      "scale_init" and "bias_init", the defaults of Flax too.

    Example:
      >>> import jinit
      >>> jinit.torch.layer_norm()
      {'scale_init': ones(), 'bias_init': zeros()}

    References:
      `torch.nn.LayerNorm`, whose `eps` is 1e-5; Flax's `epsilon` is 1e-6.
    """
    return {"scale_init": ones(), "bias_init": zeros()}


def group_norm() -> Inits:
    """Describes `torch.nn.GroupNorm`, for `GroupNorm`.

        scale = 1,    bias = 0

    Returns:
      "scale_init" and "bias_init", the defaults of Flax too.

    Example:
      >>> import jinit
      >>> jinit.torch.group_norm()
      {'scale_init': ones(), 'bias_init': zeros()}

    References:
      `torch.nn.GroupNorm`, whose `eps` is 1e-5; Flax's `epsilon` is 1e-6.
    """
    return {"scale_init": ones(), "bias_init": zeros()}


def transformer_encoder_layer(
    features: int, mlp_features: int = 2048
) -> dict[str, Inits]:
    """Describes `torch.nn.TransformerEncoderLayer`, for layers of the same names.

        self_attn          as of `multihead_attention(features)`
        linear1, linear2   as of `linear(features)`, `linear(mlp_features)`
        norm1, norm2       as of `layer_norm()`

    Args:
      features: `d_model`.
      mlp_features: `dim_feedforward`.

    Returns:
      The initializers of each layer, by torch's name of it.

    Raises:
      TypeError: A size is not an integer.
      ValueError: It is less than 1.

    Example:
      >>> import jinit
      >>> inits = jinit.torch.transformer_encoder_layer(512)
      >>> sorted(inits)
      ['linear1', 'linear2', 'norm1', 'norm2', 'self_attn']
      >>> inits["linear2"] == jinit.torch.linear(2048)
      True

    References:
      `torch.nn.TransformerEncoderLayer`. `torch.nn.TransformerEncoder` copies one,
      so that all layers start with the same weights, which no initializer does;
      `torch.nn.Transformer` draws every matrix anew, by `xavier_uniform_`.
    """
    return _transformer(("self_attn",), features, mlp_features)


def transformer_decoder_layer(
    features: int, mlp_features: int = 2048
) -> dict[str, Inits]:
    """Describes `torch.nn.TransformerDecoderLayer`, for layers of the same names.

        self_attn, multihead_attn   as of `multihead_attention(features)`
        linear1, linear2            as of `linear(features)`, `linear(mlp_features)`
        norm1, norm2, norm3         as of `layer_norm()`

    Args:
      features: `d_model`.
      mlp_features: `dim_feedforward`.

    Returns:
      The initializers of each layer, by torch's name of it.

    Raises:
      TypeError: A size is not an integer.
      ValueError: It is less than 1.

    Example:
      >>> import jinit
      >>> inits = jinit.torch.transformer_decoder_layer(512)
      >>> sorted(inits)[2:]
      ['multihead_attn', 'norm1', 'norm2', 'norm3', 'self_attn']

    References:
      `torch.nn.TransformerDecoderLayer`; see `transformer_encoder_layer`.
    """
    return _transformer(("self_attn", "multihead_attn"), features, mlp_features)


class triangular(Initializer):
    """Draws from the triangular distribution about zero: a sum of two uniform draws.

        W = U + V,    U, V ~ U[-bound / 2, bound / 2],    Var W = bound² / 6
        p(w) = (1 - |w| / bound) / bound

    It is that of the one bias of a layer that has two in torch, each uniform.

    Args:
      bound: The largest absolute value.

    Raises:
      TypeError: The bound is not a real number.
      ValueError: It is not finite, or negative.

    Example:
      >>> import jax, jinit
      >>> w = jinit.torch.triangular(0.1)(jax.random.key(0), (1000, 1000))
      >>> print(f"{w.std():.4f} {abs(w).max():.2f}")  # 0.1 / sqrt(6)
      0.0408 0.10

    References:
      `torch.nn.RNN`, whose `bias_ih` and `bias_hh` are added.
      `jax.random.triangular` takes both bounds and the mode.
    """

    bound: Number = option(at_least_zero, kw_only=False)

    def _law(self, shape: Shape, dtype: np.dtype) -> Triangular:
        return Triangular(self.bound)


class zero_row(Combinator):
    """An embedding with a row of zeros, that of the padding.

        W = init(key, shape),    W[index] = 0

    Args:
      init: The initializer of the whole table.
      index: The row, along the first axis; from the end where negative.

    Raises:
      TypeError: `init` is not an initializer, or `index` is not an integer.
      ValueError: At the call: the shape has no such row, or `init` refuses it.

    Example:
      >>> import jax, jinit
      >>> init = jinit.torch.zero_row(jinit.ones, 1)
      >>> print(init(jax.random.key(0), (3, 2)))
      [[1. 1.]
       [0. 0.]
       [1. 1.]]

    References:
      `padding_idx` of `torch.nn.Embedding`.
    """

    index: int = option(_sizes.row, kw_only=False)

    def _check(self, shape: Shape, dtype: np.dtype) -> None:
        rows = shape[0] if shape else 0
        if not -rows <= self.index < rows:
            raise ValueError(
                f"index must be one of the {rows} rows of shape {shape}, got "
                f"{self.index}; count from 0, or from the end with -1."
            )
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


def _recurrent(hidden_features: int) -> Inits:
    hidden = _checks.count("hidden_features", hidden_features)
    return {
        "kernel_init": _inverse_root(hidden),
        "recurrent_kernel_init": _inverse_root(hidden),
        "bias_init": triangular(2 / math.sqrt(hidden)),
    }


def _transformer(
    attentions: Sequence[str], features: int, mlp_features: int
) -> dict[str, Inits]:
    features = _checks.count("features", features)
    mlp_features = _checks.count("mlp_features", mlp_features)
    inits = {name: multihead_attention(features) for name in attentions}
    inits |= {"linear1": linear(features), "linear2": linear(mlp_features)}
    norms = range(1, len(attentions) + 2)
    return inits | {f"norm{n}": layer_norm() for n in norms}
