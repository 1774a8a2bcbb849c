"""torch's defaults, as rules for the names and shapes of a `state_dict`.

The kernels are in Flax's layout, as `audit` reads them: (*spatial, in, out).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from jinit._basic import constant, normal, ones, uniform, zeros
from jinit._checks import Shape
from jinit.distributions._mixture import mixture
from jinit.model._layers import Shapes, Unknown, check_size
from jinit.rules._nearest import nearest

_FIXED = {
    "running_mean": zeros(),
    "running_var": ones(),
    "in_proj_bias": zeros(),
}
_RECURRENT = re.compile("(weight|bias)_(ih|hh|hr)")
_TABLES = ("emb", "wte", "wpe", "token", "lookup")  # in the names of embeddings


def state_dict_rules(measured: Mapping[str, Any]) -> dict[str, Callable[..., Any]]:
    """The rules by which torch's layers are initialized, by torch's names.

    Of layers that have the same names and shapes, a table and a linear layer without a
    bias, say, the one of the deviation that is nearest to that `measured` is taken.
    """

    def rule(path: str, shape: Shape, shapes: Shapes) -> Any:
        return _default(path, shape, shapes, measured)

    return {"**": rule}


def _default(path: str, shape: Shape, shapes: Shapes, measured: Any) -> Any:
    layer, _, name = path.rpartition(".")

    def beside(other: str) -> Shape | None:
        return shapes.get(f"{layer}.{other}" if layer else other)

    if name in _FIXED:
        return _FIXED[name]
    check_size(shape)
    if name == "in_proj_weight":  # (in, 3 out)
        return _within(math.sqrt(6 / sum(shape)))
    if name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
        return _within(math.sqrt(6 / sum(shape)))
    if match := _RECURRENT.match(name):
        # The projection of an LSTM shrinks the state that the gates see, not hidden.
        which = name.removeprefix(match[0])
        of_hidden = beside(f"weight_hr{which}") or beside(f"weight_hh{which}") or shape
        return _within(1 / math.sqrt(of_hidden[0]))
    weight = beside("weight")
    if name not in ("weight", "bias") or weight is None:
        raise Unknown("torch's default for it is not known")
    check_size(weight)
    bias = beside("bias")
    if len(weight) < 2 and bias is None:
        return _alone(layer, weight)
    if len(weight) < 2 or weight == bias:  # of a normalization
        return ones() if name == "weight" else zeros()
    if name == "bias" and layer.endswith("out_proj") and _in_attention(layer, shapes):
        return zeros()
    found = measured.get(f"{layer}.weight" if layer else "weight")
    may_be = [_within(1 / math.sqrt(math.prod(weight[:-1])))]
    if len(weight) == 2 and bias is None:
        may_be = [*may_be[_is_table(layer) :], normal()]
    if len(weight) == 3 and "conv" not in layer.lower():
        may_be.append(_within(1 / math.sqrt(weight[-2])))  # of a Bilinear
    if len(shape) == 2 and _in_transformer(layer, shapes):
        may_be.append(_within(math.sqrt(6 / sum(weight))))
    drawn = nearest(may_be, weight, found)
    padded = drawn == normal() and found and found.zeros == weight[0] < math.prod(shape)
    word = 1 / shape[-1]  # of one of the words, that of the padding
    return mixture([(word, zeros()), (1 - word, drawn)]) if padded else drawn


def _alone(layer: str, weight: Shape) -> Any:
    """A vector without a bias, the slopes of PReLU or the scales of RMSNorm."""
    last = layer.rpartition(".")[2].lower()
    if weight == (1,) or "prelu" in last:
        return constant(0.25)
    if "norm" in last or last.startswith("ln"):
        return ones()
    raise Unknown("it may be of an RMSNorm, which is 1, or of a PReLU, which is 0.25")


def _within(bound: float) -> Any:
    return uniform(a=-bound, b=bound)


def _in_attention(layer: str, shapes: Shapes) -> bool:
    start = layer.removesuffix("out_proj")
    return f"{start}in_proj_bias" in shapes


def _in_transformer(layer: str, shapes: Shapes) -> bool:
    """Whether it may be of torch.nn.Transformer, which draws its matrices anew."""
    start = re.match(r"((?:.*[./])?)(?:en|de)coder\.layers\.", layer)
    norms = ("encoder.norm.weight", "decoder.norm.weight")
    return start is not None and all(start[1] + norm in shapes for norm in norms)


def _is_table(layer: str) -> bool:
    last = layer.rpartition(".")[2].lower()
    return any(part in last for part in _TABLES)
