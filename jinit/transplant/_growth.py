"""Growth: a wider or deeper model that computes what the smaller one did.

Both are read by `jinit.roles`. An axis of n units that becomes one of m has unit i % n
in place i, of every parameter alike, so that what belongs together stays together,
whatever is between. Where units are summed over, their copies share what the one unit
gave:

    outputs of a kernel, biases, scales, tables    copies
    inputs of a kernel                             copies times shares that sum to one
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _checks, _draws
from jinit._bits import wide_dtype
from jinit._checks import Shape, weights
from jinit._text import aligned, some
from jinit._types import ArrayTree, PRNGKey
from jinit.model._paths import fold_path, named_leaves

if TYPE_CHECKING:
    from jinit.model._role import Role
    from jinit.model._roles import Roles


_OF_ANY = ("mean", "norm")  # of units that stay if each has as many copies


@dataclass(frozen=True)
class Grown:
    """What became of one parameter, in what `jinit.transplant.widen` returns.

    Attributes:
      path: Its path.
      before: The shape that it had.
      after: The shape that it has.
      how: What was done along which axes; empty where it is as it was.
    """

    path: str
    before: Shape
    after: Shape
    how: str


@dataclass(frozen=True, repr=False)
class Growth:
    """What became of all parameters: what `jinit.transplant.widen` returns beside them.

    It prints as a table. `len(growth)` counts the entries, a loop runs through them.

    Attributes:
      entries: One `Grown` for each leaf, in the order of the tree.
    """

    entries: tuple[Grown, ...]

    def __iter__(self) -> Iterator[Grown]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        rows = [(e.path, str(e.before), str(e.after), e.how) for e in self.entries]
        return aligned([("path", "before", "after", "how"), *rows])


def widen(
    key: PRNGKey, params: ArrayTree, roles: Roles, wider: Roles
) -> tuple[ArrayTree, Growth]:
    """Net2Net: a wider model that computes what the narrow one did.

        x -> unit -> y    becomes    x -> unit, unit -> s y, (1 - s) y

    The shares of copies are drawn, from 1/2 to 3/2 before they are made to sum to one,
    for each kernel. So copies get different gradients and part, where equal ones would
    stay equal for ever.

    Normalizations and means of a width are kept where it becomes a multiple, and
    refused where it does not. Refused are units that are summed, or contracted with one
    another, without a kernel, as the logits of two towers. Not seen are a softmax over
    units, a norm that is no mean of squares, normalizations of a number of groups, and
    what is reshaped such that copies do not lie behind all that they are of, as the
    pixels of a convolution that is flattened or gates in one kernel. Compare the
    outputs of both models once.

    Args:
      key: A JAX key, for the shares.
      params: The parameters of the narrow model. They are not changed.
      roles: Their roles.
      wider: The roles of the wide model, which shapes suffice for.

    Returns:
      The parameters of the wide model, a tree like `params` in the same dtypes, and a
      `Growth`.

    Raises:
      TypeError: `key` is not a key, or roles are not what `jinit.roles` returns.
      ValueError: The two are not one model in two widths; parameters are of other
        shapes; an axis that grows is not known; or what grows cannot be kept: the size
        of a head, a tied table, queries, keys and values that are packed in an axis,
        the inputs of what passes through a function, units that are summed without a
        kernel, or a width that is normalized over and becomes no multiple.

    Example:
      >>> import flax.linen as nn, jax, jax.numpy as jnp, jinit
      >>> def mlp(width):
      ...     model = nn.Sequential([nn.Dense(width), nn.relu, nn.Dense(10)])
      ...     params = model.init(jax.random.key(0), jnp.ones((1, 8)))
      ...     return model, params, jinit.roles(model, params, jnp.ones((1, 8)))
      >>> (narrow, params, roles), (wide, _, wider) = mlp(64), mlp(96)
      >>> key = jax.random.key(1)
      >>> new, growth = jinit.transplant.widen(key, params, roles, wider)
      >>> x = jax.random.normal(key, (5, 8))
      >>> bool(jnp.allclose(narrow.apply(params, x), wide.apply(new, x), atol=1e-5))
      True
      >>> growth
      path                    before    after     how
      params/layers_0/bias    (64,)     (96,)     copies along axis 0
      params/layers_0/kernel  (8, 64)   (8, 96)   copies along axis 1
      params/layers_2/bias    (10,)     (10,)
      params/layers_2/kernel  (64, 10)  (96, 10)  shares along axis 0

    References:
      Chen, Goodfellow and Shlens (2016), arXiv:1511.05641, section 2.2, where units to
      copy are random, shares equal, and noise or dropout is to tell copies apart.
    """
    key = _checks.check_key(key)

    def grow(role: Role, other: Role, w: jax.Array) -> tuple[jax.Array, str]:
        _check_widened(role, other)
        own, how = fold_path(key, role.path), []
        for axis, (n, m) in enumerate(zip(role.shape, other.shape, strict=True)):
            if n == m:
                continue
            w = jnp.take(w, np.arange(m) % n, axis)
            summed = role.axes[axis] == "in"
            if summed:
                weights("params", w)
                w = _shared(jax.random.fold_in(own, axis), w, n, axis)
            how.append(f"{'shares' if summed else 'copies'} along axis {axis}")
        return w, ", ".join(how)

    return _grown("wider", params, roles, wider, grow)


def deepen(
    params: ArrayTree, roles: Roles, deeper: Roles, *, new: str = "copy"
) -> tuple[ArrayTree, Growth]:
    """Depth growth: a deeper model of scanned layers, from those of a shallow one.

        layer i of m is layer i n // m of the n that there were

    So each layer is followed by its copies. With `new="identity"` what a copy writes to
    the residual stream starts from zero, and the deep model computes what the shallow
    one did; but not where the sum itself is normalized (post-norm), or a normalization
    at the end of a branch has a bias.

    Args:
      params: The parameters of the shallow model, whose layers are scanned. They are
        not changed.
      roles: Their roles.
      deeper: The roles of the deep model, which shapes suffice for.
      new: "copy", or "identity" for copies whose writers are zero.

    Returns:
      The parameters of the deep model, a tree like `params` in the same dtypes, and a
      `Growth`.

    Raises:
      TypeError: Roles are not what `jinit.roles` returns.
      ValueError: The two are not one model in two depths, parameters are of other
        shapes, layers write to no stream that `new="identity"` could leave as it is, or
        `new` is neither.

    Example:
      >>> import jax, jax.numpy as jnp, jinit
      >>> def model(params, x):
      ...     step = lambda x, w: (x + jnp.tanh(x @ w[0]) @ w[1], None)
      ...     return jax.lax.scan(step, x, params)[0]
      >>> def roles(layers):
      ...     params = 2 * (jax.ShapeDtypeStruct((layers, 8, 8), "float32"),)
      ...     return jinit.roles(model, params, jax.ShapeDtypeStruct((1, 8), "float32"))
      >>> params = 2 * (jnp.ones((2, 8, 8)),)
      >>> grown = jinit.transplant.deepen(params, roles(2), roles(4), new="identity")
      >>> grown[1]
      path  before     after      how
      0     (2, 8, 8)  (4, 8, 8)  copies along axis 0
      1     (2, 8, 8)  (4, 8, 8)  zeros along axis 0

    References:
      Gong et al. (2019), "Efficient training of BERT by progressively stacking", puts
      a copy of the whole stack on top instead. Zero writers: `residual="zero"` of
      `Roles.rules`.
    """
    new = _checks.choice("new", new, ("copy", "identity"))
    _check_roles("roles", roles)
    writers = {role.path for role in roles if role.branches}
    stacked = {role.path for role in roles if "stack" in role.axes}
    if new == "identity" and not writers & stacked:
        raise ValueError(
            'new="identity" needs layers of a loop that write to a residual stream, '
            'but none was found; print the roles, or give new="copy".'
        )

    def grow(role: Role, other: Role, w: jax.Array) -> tuple[jax.Array, str]:
        how = []
        for axis, (n, m) in enumerate(zip(role.shape, other.shape, strict=True)):
            if n == m:
                continue
            if role.axes[axis] != "stack":
                raise ValueError(
                    f"deeper must be the same model with more layers in a loop, but "
                    f"{role.path!r} has {n} along axis {axis}, which is no stack, and "
                    f"is to have {m}; grow the width by jinit.transplant.widen before."
                )
            source = np.arange(m) * n // m
            w = jnp.take(w, source, axis)
            zero = new == "identity" and not writers.isdisjoint((role.path, role.layer))
            if zero:
                first = np.diff(source, prepend=-1) > 0
                kept = np.expand_dims(first, [a for a in range(w.ndim) if a != axis])
                w = jnp.where(kept, w, jnp.zeros_like(w))
            how.append(f"{'zeros' if zero else 'copies'} along axis {axis}")
        return w, ", ".join(how)

    return _grown("deeper", params, roles, deeper, grow)


def _grown(
    name: str, params: Any, roles: Roles, larger: Roles, grow: Callable[..., Any]
) -> tuple[Any, Growth]:
    """Grows each parameter, in the order of the tree."""
    _check_roles("roles", roles)
    _check_roles(name, larger)
    named, treedef = named_leaves(params)
    of_small, of_large = (
        {role.path: role for role in each} for each in (roles, larger)
    )
    unlike = {path for path, _ in named} ^ of_small.keys() | (
        of_small.keys() ^ of_large.keys()
    )
    if unlike:
        raise ValueError(
            f"params, roles and {name} must have the same paths, but not all have "
            f"{some(sorted(unlike))}; scan the layers, or move those of the two models "
            "that belong together by jinit.pretrained."
        )
    leaves, entries = [], []
    for path, leaf in named:
        small, large = of_small[path], of_large[path]
        _check_larger(name, small, large, np.shape(leaf))
        w, how = grow(small, large, jnp.asarray(leaf))
        leaves.append(w)
        entries.append(Grown(path, small.shape, large.shape, how))
    return treedef.unflatten(leaves), Growth(tuple(entries))


def _check_roles(name: str, roles: Any) -> None:
    from jinit.model._roles import Roles

    if not isinstance(roles, Roles):
        raise TypeError(
            f"{name} must be roles, got a {type(roles).__name__}; give what "
            "jinit.roles(model, params, x) returns."
        )


def _check_larger(name: str, small: Role, large: Role, shape: Shape) -> None:
    if shape != small.shape:
        raise ValueError(
            f"params must have the shapes of roles, but {small.path!r} has {shape} and "
            f"a role of {small.shape}; read the roles of these parameters."
        )
    smaller = any(m < n for n, m in zip(small.shape, large.shape, strict=False))
    if len(small.shape) != len(large.shape) or smaller:
        raise ValueError(
            f"{name} must be no smaller, but {small.path!r} goes from {small.shape} to "
            f"{large.shape}; for a smaller model see jinit.transplant.select."
        )


def _check_widened(role: Role, other: Role) -> None:
    sizes = [*zip(role.shape, other.shape, strict=True)]
    kept = {n for n, m in sizes if n == m}
    named = zip(role.axes, sizes, strict=False)
    grows = {axis for axis, (n, m) in named if n != m} if role.axes else {"unused"}
    uneven = [(n, m) for n, m in (sizes[a] for a in role.normalized) if m % n]
    reason = ""
    if role.shape == other.shape:
        pass
    elif grows & {"", "unused"}:
        reason = "is not known along an axis that grows"
    elif "stack" in grows:
        reason = "is of more layers (jinit.transplant.deepen)"
    elif role.tied:
        reason = "is a tied table, whose copies would be summed over by the head"
    elif len(role.parts) > 1 and len(role.parts) not in kept:
        reason = f"has {', '.join(role.parts)} packed in an axis that grows"
    elif role.functions and "in" in grows:
        reason = f"passes through {', '.join(role.functions)} before it is summed"
    elif uneven:
        n, m = uneven[0]
        reason = (
            f"is for what is normalized over {n} units, which do not count alike among "
            f"{m} copies: give it {n * -(-m // n)}"
        )
    elif grown := _grown_sums(role, other):
        how, n, m = grown
        reason = (
            f"makes what a {how} is taken of, over {n} units, which would be another "
            f"among {m} copies"
        )
        if how in _OF_ANY:
            reason += f": give it {n * -(-m // n)}"
    if role.head_size != other.head_size:
        reason = (
            f"is for heads of size {other.head_size} instead of {role.head_size}, "
            "whose logits would change: give it more heads"
        )
    if reason:
        raise ValueError(
            f"wider must be what can be kept, but {role.path!r} {reason}; leave that "
            "size as it is."
        )


def _grown_sums(role: Role, other: Role) -> tuple[str, int, int] | None:
    """How units that grow are merged, if their copies would change that."""
    for (how, n), (_, m) in zip(role.merged, other.merged, strict=False):
        kept = m % n == 0 if how in _OF_ANY else m == n
        if not kept:
            return how, n, m
    return None


@partial(jax.jit, static_argnums=(2, 3))
def _shared(key: jax.Array, w: jax.Array, n: int, axis: int) -> jax.Array:
    """Copies times shares that sum to one for each of the n that they are of."""
    wide, size = wide_dtype(w.dtype), w.shape[axis]
    real = jnp.finfo(wide).dtype
    drawn = _draws.uniform(key, (size,), real, 0.5, 1.5)
    source = np.arange(size) % n
    total = jnp.zeros(n, real).at[source].add(drawn)
    shares = (drawn / total[source]).astype(wide)
    shares = jnp.expand_dims(shares, [a for a in range(w.ndim) if a != axis])
    return _draws.round_to(w.astype(wide) * shares, w.dtype)
