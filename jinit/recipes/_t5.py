"""T5's initialization."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

from jinit._basic import normal
from jinit.recipes._recipe import Recipe, Role, Roles


@dataclass(frozen=True)
class t5(Recipe):
    """N(0, 1 / fan_in), and queries divided by the root of the size of a head.

    query    N(0, 1 / (fan_in · head size)), for the logits are not divided
    tables   N(0, 1)
    others   N(0, 1 / fan_in)

    Example:
      >>> import flax.linen as nn, jax, jinit
      >>> layer, x = nn.MultiHeadDotProductAttention(2), jax.numpy.ones((1, 4, 8))
      >>> params = jax.eval_shape(layer.init, jax.random.key(0), x)
      >>> rules = dict(jinit.roles(layer, params, x).rules(jinit.recipes.t5()))
      >>> names = "params/query/kernel", "params/value/kernel"
      >>> print(*(f"{rules[name].law((8, 2, 4)).std:.3g}" for name in names))
      0.177 0.354

    References:
      Raffel et al. (2020), arXiv:1910.10683; Mesh TensorFlow, `transformer_layers.py`.
    """

    needs = ("attention",)

    def __call__(self, role: Role, roles: Roles) -> Any:
        if role.is_looked_up:
            return normal(std=1.0)
        if not role.is_kernel:
            return None
        size = role.head_size if role.parts == ("query",) else 1
        return normal(std=1 / sqrt(role.fan_in * size))
