"""Layers of torch's stream: the parameters that building a module would draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from jinit import _checks
from jinit._types import ArrayLike, DType
from jinit.torch import _sizes
from jinit.torch._tensors import Tensors

Draw = Callable[..., jax.Array]
"""A method of the stream that ends in an underscore, with options bound."""
Parameters = dict[str, Any]
"""Arrays by Flax's names, or those of each layer by its name, as Flax nests them."""


def manual_seed(seed: int) -> Stream:
    """Returns torch's random stream, from the beginning.

    Args:
      seed: As `torch.manual_seed` takes it: from -2^63 to 2^64 - 1. Of its bits torch's
        CPU generator uses the low 32.

    Returns:
      A `Stream`, which draws what torch 2.13 would on the CPU after the same seed.

    Raises:
      ValueError: `seed` is out of that range.

    Example:
      >>> import jinit
      >>> stream = jinit.torch.manual_seed(42)
      >>> print(stream.uniform_((3,)))  # torch.manual_seed(42); torch.rand(3)
      [0.88226926 0.91500396 0.38286376]
    """
    return Stream(seed)


def to_nnx(cell: Parameters, *, packed: bool = False) -> Parameters:
    """Names and packs the parameters of a recurrent cell as flax.nnx does.

    Args:
      cell: As `Stream.rnn_cell`, `lstm_cell` or `gru_cell` returns them.
      packed: Whether it is for `nnx.OptimizedLSTMCell`, which has the gates "ifgo" side
        by side, in "dense_i" and "dense_h"; of a GRU they are so in any case.

    Returns:
      The parameters of `nnx.SimpleCell`, `nnx.LSTMCell` or `nnx.GRUCell`, as a pure
      dict.

    Raises:
      ValueError: `cell` is none of these, or has a bias of "hn" that is not zero, which
        `nnx.GRUCell` lacks: draw it with `bias=False`.

    Example:
      >>> import jinit
      >>> cell = jinit.torch.manual_seed(0).lstm_cell(3, 4)
      >>> jinit.torch.to_nnx(cell, packed=True)["dense_i"]["kernel"].shape
      (3, 16)
    """
    packed = _checks.flag("packed", packed)
    if not isinstance(cell, Mapping):
        raise TypeError(
            "cell must be the parameters of a recurrent cell, as stream.lstm_cell "
            f"returns them, got {cell!r}."
        )
    gates = {2: ("",), 6: ("r", "z", "n"), 8: tuple("ifgo")}.get(len(cell), ())
    if not gates or set(cell) != {f"{side}{gate}" for side in "ih" for gate in gates}:
        raise ValueError(
            "cell must be the parameters of a recurrent cell, as stream.lstm_cell "
            f"returns them, got the names {sorted(cell)}."
        )
    if len(gates) == 4 and not packed:
        return {"if_" if name == "if" else name: cell[name] for name in cell}
    if len(gates) == 3 and np.any(cell["hn"]["bias"]):
        raise ValueError(
            "cell must have no bias of 'hn', for nnx.GRUCell has none; draw it with "
            "bias=False."
        )
    dense: Parameters = {"dense_i": {}, "dense_h": {}}
    for side, layer in zip("ih", dense.values(), strict=True):
        for name in cell[f"{side}{gates[0]}"]:
            parts = [cell[f"{side}{gate}"][name] for gate in gates]
            layer[name] = np.concatenate(parts, axis=-1)
    return jax.tree.map(_on_device, dense)


class Stream(Tensors):
    """torch's random stream: what torch would draw on the CPU, tensor by tensor.

    The methods whose names end in an underscore return tensors in torch's layout. The
    others are named after the modules of `torch.nn`. They return the parameters that
    building the module draws, in the same order, in the layout of the Flax layer.

    Their arguments are named as in Flax: the sizes of inputs, outputs and state;
    `kernel_size`, one for each spatial axis; `groups`, which is `feature_group_count`;
    `bias`, whether there is one; and the `dtype` of the parameters. Without `bias` that
    of a recurrent cell is zero.

    Example:
      >>> import jax, jinit
      >>> import flax.linen as nn
      >>> stream = jinit.torch.manual_seed(0)
      >>> params = stream.linear(784, 10)  # torch.nn.Linear(784, 10)
      >>> nn.Dense(10).apply({"params": params}, jax.numpy.ones((1, 784))).shape
      (1, 10)
    """

    def linear(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        dtype: DType = None,
        kernel_: Draw | None = None,
        bias_: Draw | None = None,
    ) -> Parameters:
        """Draws `torch.nn.Linear`, for `nn.Dense` or `nnx.Linear`.

        `kernel_` and `bias_` draw instead of torch's default, where a model calls
        `torch.nn.init` itself: `kernel_=partial(Stream.normal_, std=0.02)`.

        Returns:
          "kernel" of shape (in, out) and "bias" of shape (out,).

        Example:
          >>> import jinit
          >>> jinit.torch.manual_seed(0).linear(3, 2)["kernel"].shape
          (3, 2)
        """
        sizes = _sizes.counts(in_features=in_features, out_features=out_features)
        own = kernel_, bias_
        return self._weighted(sizes[::-1], out_features, bias, dtype, *own)

    def conv(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Sequence[int],
        *,
        groups: int = 1,
        bias: bool = True,
        dtype: DType = None,
        kernel_: Draw | None = None,
        bias_: Draw | None = None,
    ) -> Parameters:
        """Draws `torch.nn.Conv1d`, `Conv2d` or `Conv3d`, for `nn.Conv` or `nnx.Conv`.

        `kernel_` and `bias_` draw instead of torch's default, as for `linear`.

        Returns:
          "kernel" of shape (*kernel_size, in / groups, out) and "bias" of shape (out,).

        Example:
          >>> import jinit
          >>> jinit.torch.manual_seed(0).conv(3, 8, (5, 5))["kernel"].shape
          (5, 5, 3, 8)
        """
        inputs = _sizes.divided("in_features", in_features, "groups", groups)
        _sizes.divided("out_features", out_features, "groups", groups)
        shape = out_features, inputs, *_sizes.several("kernel_size", kernel_size)
        return self._weighted(shape, out_features, bias, dtype, kernel_, bias_)

    def conv_transpose(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Sequence[int],
        *,
        groups: int = 1,
        bias: bool = True,
        dtype: DType = None,
    ) -> Parameters:
        """Draws `torch.nn.ConvTranspose1d`, `2d` or `3d`, for `nn.ConvTranspose`.

        Flax applies the kernel the other way round, so it is flipped. torch's padding p
        is Flax's kernel_size - 1 - p on either side. Flax's layer has no groups; with
        them the kernel is for `jax.lax.conv_general_dilated`.

        Returns:
          "kernel" of shape (*kernel_size, in / groups, out) and "bias" of shape (out,).

        Example:
          >>> import jinit
          >>> jinit.torch.manual_seed(0).conv_transpose(3, 8, (2, 2))["kernel"].shape
          (2, 2, 3, 8)
        """
        inputs = _sizes.divided("in_features", in_features, "groups", groups)
        outputs = _sizes.divided("out_features", out_features, "groups", groups)
        spatial = _sizes.several("kernel_size", kernel_size)
        shape = groups * inputs, outputs, *spatial
        params = self._weighted(shape, out_features, bias, dtype)
        # (*spatial, out / groups, in), of which the groups go from the inputs to the
        # outputs: (*spatial, out / groups, groups, in / groups).
        kernel = np.reshape(
            np.asarray(params["kernel"]), (*spatial, outputs, groups, -1)
        )
        kernel = np.moveaxis(kernel, -1, -3).swapaxes(-1, -2)
        kernel = kernel.reshape(*spatial, inputs, -1)
        kernel = np.flip(kernel, tuple(range(len(spatial))))
        return self._arrays(params | {"kernel": kernel})

    def embedding(
        self,
        num_embeddings: int,
        features: int,
        *,
        padding_idx: int | None = None,
        dtype: DType = None,
    ) -> Parameters:
        """Draws `torch.nn.Embedding` or `EmbeddingBag`, for `nn.Embed` or `nnx.Embed`.

        Returns:
          "embedding" of shape (num_embeddings, features); row `padding_idx` is zero.

        Example:
          >>> import jinit
          >>> params = jinit.torch.manual_seed(0).embedding(5, 3, padding_idx=-1)
          >>> print(params["embedding"][-1])
          [0. 0. 0.]
        """
        shape = _sizes.counts(num_embeddings=num_embeddings, features=features)
        if padding_idx is None:
            return {"embedding": self.normal_(shape, dtype=dtype)}
        row = _sizes.row("padding_idx", padding_idx, num_embeddings)
        table = np.array(self.normal_(shape, dtype=dtype))
        table[row] = 0
        return self._arrays({"embedding": table})

    def bilinear(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        *,
        bias: bool = True,
        dtype: DType = None,
    ) -> Parameters:
        """Draws `torch.nn.Bilinear`.

        Returns:
          "kernel" of shape (in1, in2, out), for `einsum("...i,...j,ijo->...o")`, and
          "bias" of shape (out,).

        Example:
          >>> import jinit
          >>> jinit.torch.manual_seed(0).bilinear(3, 4, 2)["kernel"].shape
          (3, 4, 2)
        """
        sizes = {"in1_features": in1_features, "in2_features": in2_features}
        first, second, out = _sizes.counts(**sizes, out_features=out_features)
        bias, bound = _checks.flag("bias", bias), 1 / math.sqrt(first)
        weight = self.uniform_((out, first, second), -bound, bound, dtype)
        params: Parameters = {"kernel": np.moveaxis(np.asarray(weight), 0, -1)}
        if bias:
            params["bias"] = self.uniform_((out,), -bound, bound, dtype)
        return self._arrays(params)

    def rnn_cell(
        self,
        in_features: int,
        hidden_features: int,
        *,
        bias: bool = True,
        dtype: DType = None,
    ) -> Parameters:
        """Draws `torch.nn.RNNCell`, for `SimpleCell` of flax.linen.

        torch adds two biases, and Flax has one, which is their sum. `to_nnx` makes of
        it what the cell of flax.nnx has.

        Returns:
          "i" with the kernel and the bias of the inputs, and "h" with the recurrent
          kernel.

        Example:
          >>> import jax, jinit
          >>> params = jinit.torch.manual_seed(0).rnn_cell(3, 4)
          >>> jax.tree.map(jax.numpy.shape, params)
          {'h': {'kernel': (4, 4)}, 'i': {'bias': (4,), 'kernel': (3, 4)}}
        """
        parts = self._gates(1, in_features, hidden_features, bias, dtype)
        (w_i,), (w_h,), (b_i,), (b_h,) = parts
        cell = {"i": {"kernel": w_i, "bias": b_i + b_h}, "h": {"kernel": w_h}}
        return self._arrays(cell)

    def lstm_cell(
        self,
        in_features: int,
        hidden_features: int,
        *,
        bias: bool = True,
        dtype: DType = None,
    ) -> Parameters:
        """Draws `torch.nn.LSTMCell`, for `nn.LSTMCell` and `nn.OptimizedLSTMCell`.

        torch adds two biases, and Flax has one, which is their sum. `to_nnx` makes of
        it what the cells of flax.nnx have.

        Returns:
          "ii", "if", "ig", "io" with the kernels of the inputs; "hi", "hf", "hg", "ho"
          with the recurrent kernels and the biases.

        Example:
          >>> import jinit
          >>> sorted(jinit.torch.manual_seed(0).lstm_cell(3, 4))
          ['hf', 'hg', 'hi', 'ho', 'if', 'ig', 'ii', 'io']
        """
        return self._projected(in_features, hidden_features, bias=bias, dtype=dtype)

    def gru_cell(
        self,
        in_features: int,
        hidden_features: int,
        *,
        bias: bool = True,
        dtype: DType = None,
    ) -> Parameters:
        """Draws `torch.nn.GRUCell`, for `GRUCell` of flax.linen.

        Where torch adds two biases, in the gates r and z, Flax has their sum. The cell
        of flax.nnx has no bias "hn", and so not all that torch's has.

        Returns:
          "ir", "iz", "in" with the kernels and the biases of the inputs; "hr", "hz" and
          "hn" with the recurrent kernels, the last with a bias.

        Example:
          >>> import jinit
          >>> params = jinit.torch.manual_seed(0).gru_cell(3, 4)
          >>> [name for name in sorted(params) if "bias" in params[name]]
          ['hn', 'in', 'ir', 'iz']
        """
        parts = self._gates(3, in_features, hidden_features, bias, dtype)
        params: Parameters = {}
        for gate, w_i, w_h, b_i, b_h in zip("rzn", *parts, strict=True):
            apart = gate == "n"  # the reset gate comes between its two biases
            params[f"i{gate}"] = {"kernel": w_i, "bias": b_i if apart else b_i + b_h}
            params[f"h{gate}"] = {"kernel": w_h, **({"bias": b_h} if apart else {})}
        return self._arrays(params)

    def rnn(
        self,
        in_features: int,
        hidden_features: int,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        bias: bool = True,
        dtype: DType = None,
    ) -> list[Parameters]:
        """Draws `torch.nn.RNN`: as `lstm` does, of cells of `rnn_cell`."""
        layers = in_features, hidden_features, num_layers, bidirectional
        return self._stacked(self.rnn_cell, layers, bias=bias, dtype=dtype)

    def lstm(
        self,
        in_features: int,
        hidden_features: int,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        proj_size: int = 0,
        bias: bool = True,
        dtype: DType = None,
    ) -> list[Parameters]:
        """Draws `torch.nn.LSTM`.

        If it is `bidirectional` the layers above the first take the states of both
        directions. With a `proj_size` they take a projection of each state, as the
        gates do, whose kernel is "hr"; no cell of Flax has one.

        Returns:
          The cells, as `lstm_cell` returns them: of each layer that forward in time,
          followed by that backward if it is bidirectional. In linen each is the
          parameters of the cell of one `nn.RNN`.

        Example:
          >>> import jinit
          >>> stream = jinit.torch.manual_seed(0)
          >>> len(stream.lstm(3, 4, num_layers=2, bidirectional=True))
          4
        """
        layers = in_features, hidden_features, num_layers, bidirectional
        size = _checks.count("proj_size", proj_size, at_least=0)
        cell = partial(self._projected, proj_size=size)
        return self._stacked(cell, layers, state=size, bias=bias, dtype=dtype)

    def gru(
        self,
        in_features: int,
        hidden_features: int,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        bias: bool = True,
        dtype: DType = None,
    ) -> list[Parameters]:
        """Draws `torch.nn.GRU`: as `lstm` does, of cells of `gru_cell`."""
        layers = in_features, hidden_features, num_layers, bidirectional
        return self._stacked(self.gru_cell, layers, bias=bias, dtype=dtype)

    def multihead_attention(
        self,
        features: int,
        num_heads: int,
        *,
        kdim: int | None = None,
        vdim: int | None = None,
        add_bias_kv: bool = False,
        bias: bool = True,
        dtype: DType = None,
    ) -> Parameters:
        """Draws `torch.nn.MultiheadAttention`.

        For `nn.MultiHeadDotProductAttention` and `nnx.MultiHeadAttention`. torch builds
        the output first, and then draws the query, the key and the value as one matrix
        if their inputs have the same size. That is `features`, torch's `embed_dim`, but
        for what `kdim` and `vdim` say of the key and of the value; `num_heads` divides
        it. All biases start from zero.

        Returns:
          "query", "key" and "value" with kernels of shape (in, heads, head_dim), "out"
          with one of shape (heads, head_dim, features). With `add_bias_kv` "bias_k" and
          "bias_v" of shape (1, 1, features) too, which no layer of Flax has.

        Example:
          >>> import jinit
          >>> params = jinit.torch.manual_seed(0).multihead_attention(8, 2)
          >>> params["query"]["kernel"].shape, params["out"]["kernel"].shape
          ((8, 2, 4), (2, 4, 8))
        """
        head_dim = _sizes.divided("features", features, "num_heads", num_heads)
        heads = num_heads, head_dim
        kdim, vdim = (features if dim is None else dim for dim in (kdim, vdim))
        inputs = _sizes.counts(features=features, kdim=kdim, vdim=vdim)
        bias = _checks.flag("bias", bias)
        out = self.linear(features, features, bias=bias, dtype=dtype)
        if inputs == (features,) * 3:
            packed = self.xavier_uniform_((3 * features, features), dtype=dtype)
            weights = np.split(np.asarray(packed), 3)
        else:
            weights = [self.xavier_uniform_((features, n), dtype=dtype) for n in inputs]
        out["kernel"] = np.reshape(np.asarray(out["kernel"]), (*heads, features))
        params: Parameters = {
            name: {"kernel": np.reshape(np.asarray(weight).T, (-1, *heads))}
            for name, weight in zip(("query", "key", "value"), weights, strict=True)
        }
        if bias:
            for layer in params.values():
                layer["bias"] = self.zeros_(heads, dtype)
            out["bias"] = self.zeros_((features,), dtype)
        params["out"] = out
        if _checks.flag("add_bias_kv", add_bias_kv):
            for name in ("bias_k", "bias_v"):
                params[name] = self.xavier_normal_((1, 1, features), dtype=dtype)
        return self._arrays(params)

    def layer_norm(
        self, features: int | Sequence[int], *, bias: bool = True, dtype: DType = None
    ) -> Parameters:
        """Returns `torch.nn.LayerNorm`, `GroupNorm` or `BatchNorm`: ones and zeros.

        The running statistics of a `BatchNorm` are those of `batch_stats`. Without
        `bias` it is `torch.nn.RMSNorm`.

        Returns:
          "scale" and "bias" of shape (features,), or of `features` if it is several.

        Example:
          >>> import jinit
          >>> print(jinit.torch.manual_seed(0).layer_norm(2)["scale"])
          [1. 1.]
        """
        shape = _sizes.several("features", features)
        params = {"scale": self.ones_(shape, dtype)}
        if _checks.flag("bias", bias):
            params["bias"] = self.zeros_(shape, dtype)
        return params

    def batch_stats(self, features: int, *, dtype: DType = None) -> Parameters:
        """Returns the buffers of `torch.nn.BatchNorm`: zeros and ones.

        In linen they are a collection of their own, "batch_stats"; `nnx.BatchNorm`
        holds them beside "scale" and "bias".

        Returns:
          "mean" and "var" of shape (features,).

        Example:
          >>> import jinit
          >>> print(jinit.torch.manual_seed(0).batch_stats(2)["var"])
          [1. 1.]
        """
        shape = _sizes.counts(features=features)
        return {"mean": self.zeros_(shape, dtype), "var": self.ones_(shape, dtype)}

    def transformer_encoder_layer(
        self,
        features: int,
        num_heads: int,
        mlp_features: int = 2048,
        *,
        bias: bool = True,
        dtype: DType = None,
    ) -> Parameters:
        """Draws `torch.nn.TransformerEncoderLayer`.

        `torch.nn.TransformerEncoder` copies it, so all its layers start alike.

        Returns:
          The parameters of "self_attn", "linear1", "linear2", "norm1" and "norm2".

        Example:
          >>> import jinit
          >>> sorted(jinit.torch.manual_seed(0).transformer_encoder_layer(8, 2, 16))
          ['linear1', 'linear2', 'norm1', 'norm2', 'self_attn']
        """
        names = ("self_attn",)
        sizes = features, num_heads, mlp_features
        return self._transformer(names, *sizes, bias=bias, dtype=dtype)

    def transformer_decoder_layer(
        self,
        features: int,
        num_heads: int,
        mlp_features: int = 2048,
        *,
        bias: bool = True,
        dtype: DType = None,
    ) -> Parameters:
        """Draws `torch.nn.TransformerDecoderLayer`: as that of the encoder.

        Returns:
          As of the encoder's layer, with "multihead_attn" and "norm3".

        Example:
          >>> import jinit
          >>> params = jinit.torch.manual_seed(0).transformer_decoder_layer(8, 2, 16)
          >>> sorted(params)[2:]
          ['multihead_attn', 'norm1', 'norm2', 'norm3', 'self_attn']
        """
        names = ("self_attn", "multihead_attn")
        sizes = features, num_heads, mlp_features
        return self._transformer(names, *sizes, bias=bias, dtype=dtype)

    def transformer(
        self,
        features: int,
        num_heads: int,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        mlp_features: int = 2048,
        *,
        bias: bool = True,
        dtype: DType = None,
    ) -> Parameters:
        """Draws `torch.nn.Transformer`.

        torch copies a layer of the encoder and one of the decoder, and then draws all
        matrices anew, by `xavier_uniform_`: the layers have only the biases in common.

        Returns:
          "encoder" and "decoder", each with "layers_0", "layers_1" and so on, as of
          `transformer_encoder_layer` and `transformer_decoder_layer`, and "norm".

        Example:
          >>> import jinit
          >>> params = jinit.torch.manual_seed(0).transformer(8, 2, 1, 2, 16)
          >>> sorted(params["decoder"])
          ['layers_0', 'layers_1', 'norm']
        """
        sizes = features, num_heads, mlp_features
        counts = _sizes.counts(
            num_encoder_layers=num_encoder_layers, num_decoder_layers=num_decoder_layers
        )
        options: Any = {"bias": bias, "dtype": dtype}
        draws = self.transformer_encoder_layer, self.transformer_decoder_layer
        params: Parameters = {}
        for part, n, draw in zip(("encoder", "decoder"), counts, draws, strict=True):
            names = [f"layers_{i}" for i in range(n)]
            params[part] = dict.fromkeys(names, draw(*sizes, **options))
            params[part]["norm"] = self.layer_norm(features, **options)
        for layers in params.values():
            for name, layer in layers.items():
                if name != "norm":
                    layers[name] = self._drawn_anew(layer, dtype)
        return params

    def spectral_norm(self, kernel: ArrayLike) -> Parameters:
        """Draws the vector of `torch.nn.utils.parametrizations.spectral_norm`.

        For `nn.SpectralNorm` and `nnx.SpectralNorm` of a layer with this kernel. torch
        draws u and v, and takes 16 steps of the power method: 15, and one as a check.
        The older `torch.nn.utils.spectral_norm` draws as many numbers, takes no step,
        and goes on from v, which Flax does not have.

        Args:
          kernel: In Flax's layout, (*spatial, in, out); that of `conv_transpose` with
            its spatial axes flipped back, as torch has them.

        Returns:
          "u" of shape (1, out), and "sigma", uᵀ W v, the norm of the kernel.

        Raises:
          ValueError: A kernel of fewer than two axes.

        Example:
          >>> import jinit
          >>> stream = jinit.torch.manual_seed(0)
          >>> kernel = stream.linear(30, 20)["kernel"]
          >>> stream.spectral_norm(kernel)["u"].shape
          (1, 20)

        References:
          Miyato et al. (2018), "Spectral Normalization for Generative Adversarial
          Networks", algorithm 1: https://arxiv.org/abs/1802.05957
        """
        w = np.asarray(kernel)
        if w.ndim < 2:
            raise ValueError(
                "kernel must have two axes or more, (*spatial, in, out), got the shape "
                f"{w.shape}."
            )
        weight = np.moveaxis(w, (-1, -2), (0, 1)).reshape(w.shape[-1], -1)
        u, v = (self.normal_((size,), dtype=w.dtype) for size in weight.shape)
        weight, u, v = (np.asarray(x, np.float64) for x in (weight, u, v))
        for _ in range(16):
            u = weight @ v
            u = u / max(np.linalg.norm(u), 1e-12)
            v = u @ weight
            v = v / max(np.linalg.norm(v), 1e-12)
        params = {"u": u[None], "sigma": u @ weight @ v}
        return self._arrays({name: x.astype(w.dtype) for name, x in params.items()})

    def _weighted(
        self,
        shape: Sequence[int],
        out: int,
        bias: bool,
        dtype: Any,
        kernel_: Draw | None = None,
        bias_: Draw | None = None,
    ) -> Parameters:
        """A weight in U[±1 / sqrt(fan_in)], torch's with `a=sqrt(5)`, and its bias."""
        bias, bound = _checks.flag("bias", bias), 1 / math.sqrt(math.prod(shape[1:]))
        kernel_ = kernel_ or partial(self.kaiming_uniform_, a=math.sqrt(5))
        bias_ = bias_ or partial(self.uniform_, a=-bound, b=bound)
        weight = self._drawn("kernel_", kernel_, tuple(shape), dtype)
        params: Parameters = {
            "kernel": np.moveaxis(np.asarray(weight), (0, 1), (-1, -2))
        }
        if bias:
            params["bias"] = self._drawn("bias_", bias_, (out,), dtype)
        return self._arrays(params)

    def _drawn(
        self, name: str, draw: Draw, shape: tuple[int, ...], dtype: Any
    ) -> jax.Array:
        if not callable(draw):
            raise TypeError(
                f"{name} must be a method of a stream, such as Stream.zeros_, got "
                f"{draw!r}."
            )
        own = partial(draw, self) if method_of(draw) else draw
        w = own(shape, dtype=dtype)
        if getattr(w, "shape", None) != shape:
            raise ValueError(
                f"{name} must draw an array of the shape that it is given, {shape}, "
                f"got {w!r}."
            )
        return w

    def _arrays(self, params: Parameters) -> Parameters:
        """What was laid out in NumPy, which compiles nothing for a shape."""
        if self._unused:
            return params
        return jax.tree.map(_on_device, params)

    def _projected(
        self,
        in_features: int,
        hidden_features: int,
        *,
        proj_size: int = 0,
        bias: bool,
        dtype: DType,
    ) -> Parameters:
        """An LSTM cell, whose gates take a projection of the state if there is one."""
        sizes = in_features, hidden_features
        parts = self._gates(4, *sizes, bias, dtype, state=proj_size)
        params: Parameters = {}
        for gate, w_i, w_h, b_i, b_h in zip("ifgo", *parts, strict=True):
            params[f"i{gate}"] = {"kernel": w_i}
            params[f"h{gate}"] = {"kernel": w_h, "bias": b_i + b_h}
        if proj_size:
            bound = 1 / math.sqrt(hidden_features)
            shape = proj_size, hidden_features
            weight = self.uniform_(shape, -bound, bound, dtype)
            params["hr"] = {"kernel": np.asarray(weight).T}
        return self._arrays(params)

    def _gates(
        self,
        gates: int,
        in_features: Any,
        hidden_features: Any,
        bias: bool,
        dtype: Any,
        state: int = 0,
    ) -> list[list[np.ndarray]]:
        """Kernels of inputs and of the state, and both biases, one for each gate."""
        inputs, hidden = _sizes.counts(
            in_features=in_features, hidden_features=hidden_features
        )
        bias, bound = _checks.flag("bias", bias), 1 / math.sqrt(hidden)
        rows = gates * hidden
        draw = partial(self.uniform_, a=-bound, b=bound, dtype=dtype)
        weights = [draw((rows, inputs)), draw((rows, state or hidden))]
        biases = [draw((rows,)) if bias else self.zeros_((rows,), dtype) for _ in "ih"]
        return [
            *([w.T for w in np.split(np.asarray(w), gates)] for w in weights),
            *(np.split(np.asarray(b), gates) for b in biases),
        ]

    def _stacked(
        self,
        cell: Callable[..., Parameters],
        layers: Any,
        state: int = 0,
        **options: Any,
    ) -> list[Parameters]:
        """The cells of `layers`: inputs, state, their number, and whether both ways."""
        inputs, hidden, num_layers, bidirectional = layers
        inputs, hidden = _sizes.counts(in_features=inputs, hidden_features=hidden)
        directions = 2 if _checks.flag("bidirectional", bidirectional) else 1
        above = _checks.count("num_layers", num_layers) - 1
        sizes = [inputs] + [directions * (state or hidden)] * above
        return [cell(n, hidden, **options) for n in sizes for _ in range(directions)]

    def _drawn_anew(self, layer: Parameters, dtype: Any) -> Parameters:
        """A transformer's layer, with other matrices."""
        draw, drawn = partial(self.xavier_uniform_, dtype=dtype), dict[str, Any]()

        def anew(part: Parameters, weight: Any) -> Parameters:
            shape = part["kernel"].shape
            return part | {"kernel": np.reshape(np.asarray(weight).T, shape)}

        for name, part in layer.items():
            drawn[name] = part
            if "out" in part:  # of attention
                size = part["out"]["kernel"].shape[-1]
                packed = np.split(np.asarray(draw((3 * size, size))), 3)
                weights = *packed, draw((size, size))
                names = "query", "key", "value", "out"
                each = zip(names, weights, strict=True)
                drawn[name] = {key: anew(part[key], w) for key, w in each}
            elif "kernel" in part:
                drawn[name] = anew(part, draw(part["kernel"].shape[::-1]))
        return self._arrays(drawn)

    def _transformer(
        self,
        attentions: Sequence[str],
        features: int,
        heads: int,
        mlp: int,
        **options: Any,
    ) -> Parameters:
        params = {
            name: self.multihead_attention(features, heads, **options)
            for name in attentions
        }
        params["linear1"] = self.linear(features, mlp, **options)
        params["linear2"] = self.linear(mlp, features, **options)
        for n in range(len(attentions) + 1):
            params[f"norm{n + 1}"] = self.layer_norm(features, **options)
        return params


def _on_device(w: Any) -> jax.Array:
    # JAX turns a matrix quicker than NumPy does, and NumPy one of more axes.
    is_matrix = w.size == math.prod(w.shape[-2:])
    return jax.device_put(w if is_matrix else np.ascontiguousarray(w))


def method_of(draw: Any) -> str | None:
    """The name of `Stream.zeros_`, or of a partial of it, where it is one."""
    while isinstance(draw, partial):
        draw = draw.func
    name = getattr(draw, "__name__", "")
    return name if draw is getattr(Stream, name, None) else None
