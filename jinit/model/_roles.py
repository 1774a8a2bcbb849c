"""Roles: what each parameter of a model is, read from the program, not from names."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jinit._basic import normal, ones, zeros
from jinit._checks import Shape
from jinit._fan_scaled import lecun_normal
from jinit._fans import fans
from jinit._orthogonal import orthogonal
from jinit._text import aligned
from jinit._types import ArrayTree
from jinit.model._graph import KEPT, Graph, Use, read
from jinit.model._moments import Moments
from jinit.model._program import traced
from jinit.model._streams import Streams, streams

_EXACT = 0.02  # how near to one a moment is taken for one


@dataclass(frozen=True)
class Role:
    """What a parameter is.

    Attributes:
      path: Its path in the tree.
      shape: Its shape.
      kind: "contraction", "table", "scale", "shift", "other" or "unused".
      axes: For each axis "in", "out", "batch", "space", "index", "free", "stack" of a
        loop, or "" where it is not known.
      fan_in: How many products are summed for an output.
      fan_out: How many outputs an input goes to.
      moment: The second moment of what it is contracted with.
      branches: How many branches the stream has that it writes to; 0 where to none.
      uses: How often it is used when the program runs; None where a loop does not say.
      functions: The names of those that it passes through before, if it does.
      recurrent: Whether its result comes back to it.
      factor: What it is multiplied with before.
      activation: The name of what is computed of a normal number before, if it has one.

    Example:
      >>> import jax, jinit
      >>> params = {"w": jax.ShapeDtypeStruct((8, 4), "float32")}
      >>> x = jax.ShapeDtypeStruct((1, 8), "float32")
      >>> (role,) = jinit.roles(lambda params, x: x @ params["w"], params, x)
      >>> role.kind, role.axes, role.fan_in
      ('contraction', ('in', 'out'), 8.0)
    """

    path: str
    shape: Shape
    kind: str
    axes: tuple[str, ...] = ()
    fan_in: float = 1.0
    fan_out: float = 1.0
    moment: float = 1.0
    branches: int = 0
    uses: int | None = 1
    functions: tuple[str, ...] = ()
    recurrent: bool = False
    factor: float = 1.0
    activation: str | None = None


@dataclass(frozen=True, repr=False)
class Roles:
    """The roles of all parameters of a model: what `jinit.roles` returns.

    It prints as a table. `len(roles)` counts them, and a loop runs through them.

    Attributes:
      entries: One `Role` for each leaf, in the order of the tree.

    Example:
      >>> import jax, jinit
      >>> params = {"w": jax.ShapeDtypeStruct((8, 4), "float32")}
      >>> x = jax.ShapeDtypeStruct((1, 8), "float32")
      >>> jinit.roles(lambda params, x: x @ params["w"], params, x)
      path  shape   what it is   axes    fans  meets  writes to
      w     (8, 4)  contraction  in out  8, 4  1
    """

    entries: tuple[Role, ...]

    def __iter__(self) -> Iterator[Role]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        titles = ("path", "shape", "what it is", "axes", "fans", "meets", "writes to")
        return aligned([titles, *map(_row, self.entries)])

    def rules(self) -> list[tuple[Any, Any]]:
        """Rules for `jinit.plan`: signals of variance one, streams that stay bounded.

            std² = 1 / (fan_in · E x² · branches)

        Biases start from zero and scales from one. Of tables those that are looked up
        are drawn from N(0, 1), and those that are added from N(0, 0.02²). What a
        recurrent state is multiplied with is orthogonal. What passes through functions
        before it is used, or is not used, is left as it is.

        Returns:
          Pairs of a path and an initializer, or None; those of a user's go before.

        Example:
          >>> import jax, jinit
          >>> params = {"w": jax.ShapeDtypeStruct((8, 4), "float32")}
          >>> x = jax.ShapeDtypeStruct((1, 8), "float32")
          >>> jinit.roles(lambda params, x: x @ params["w"], params, x).rules()
          [('w', lecun_normal())]
        """
        return [(_pattern(role.path), _initializer(role)) for role in self.entries]


def roles(model: Any, params: ArrayTree, *inputs: Any) -> Roles:
    """Reads from the traced program what each parameter of a model is.

    No name is read: what a parameter is contracted with, over which of its axes, how
    large that is, and whether the result is added to a residual stream follows from the
    operations that JAX traces.

    Args:
      model: A module of linen, nnx or Equinox, what Haiku's `transform` returns, or
        any function of the parameters and the inputs.
      params: Its parameters, or their shapes.
      *inputs: What it is called with, or the shapes.

    Returns:
      The `Roles`, to print, and to make rules of.

    Raises:
      TypeError: A leaf of `params` that is no array.
      ValueError: The model does not run on these parameters and inputs.

    Example:
      >>> import flax.linen as nn, jax, jinit
      >>> model = nn.Sequential([nn.Dense(64), nn.gelu, nn.Dense(10)])
      >>> x = jax.ShapeDtypeStruct((1, 8), "float32")
      >>> params = jax.eval_shape(model.init, jax.random.key(0), x)
      >>> found = jinit.roles(model, params, x)
      >>> kernels = [role for role in found if role.kind == "contraction"]
      >>> [(role.fan_in, round(role.moment, 2)) for role in kernels]
      [(8.0, 1.0), (64.0, 0.43)]
      >>> print(jinit.plan(params, found.rules()).entries[-1].init)
      lecun_normal(gain='gelu')
    """
    program = traced(model, params, *inputs)
    graph = read(program.closed, program.paths)
    found = streams(graph)
    moments = Moments(graph, found.targets())
    used: dict[str, list[Use]] = {path: [] for path in program.paths}
    for use in graph.uses:
        used[use.view.path].append(use)
    return Roles(
        tuple(_role(path, graph, uses, moments, found) for path, uses in used.items())
    )


def _role(
    path: str, graph: Graph, uses: list[Use], moments: Moments, found: Streams
) -> Role:
    """Of a parameter's uses the one that decides: what it is contracted with."""
    shape = graph.shapes[path]
    if not uses:
        return Role(path, shape, "unused", uses=0)
    kinds = ("contraction", "table", "scale", "shift", "other")
    use = min(uses, key=lambda use: kinds.index(use.kind))
    kind = "table" if use.kind == "shift" and _is_table(use, graph) else use.kind
    times = [use.step.times for use in uses]
    branches = [
        0 if branch.normalized else found.lengths[branch.stream]
        for branch in found.branches
        if use in branch.writers
    ]
    moment = moments.second(use.operand) if use.kind == "contraction" else 1.0
    return Role(
        path,
        shape,
        kind,
        tuple(use.axes.get(axis, "") for axis in range(len(shape))),
        use.fan_in,
        use.fan_out,
        moment if moment > 1e-12 else 1.0,
        max(branches, default=0),
        None if None in times else sum(filter(None, times)),
        use.view.functions,
        graph.feeds_back(use),
        use.view.factor,
        moments.activation(use.operand) if use.kind == "contraction" else None,
    )


def _is_table(use: Use, graph: Graph) -> bool:
    """Whether what is added has places as well, which are no outputs of a layer.

    A bias is as large as the outputs of the contraction whose result it is added to.
    """
    if use.step.name == "concatenate":
        return True
    sizes = _sizes(use, "free")
    if len(sizes) < 2:
        return False
    step = use.operand.step
    while step is not None and step.name in KEPT:
        step = next((v.step for v in step.inputs if v.data), None)
    outputs = [
        math.prod(_sizes(u, "out"))
        for u in graph.uses
        if u.step is step and u.kind == "contraction"
    ]
    return math.prod(sizes) not in outputs


def _sizes(use: Use, role: str) -> list[int]:
    """Of the digits that the parameter has where it is used, in a role."""
    digits = (digit for digits in use.view.axes for digit in digits)
    return [d.size for d in digits if d.axis is not None and use.axes[d.axis] == role]


def _pattern(path: str) -> Any:
    return re.compile(re.escape(path)) if re.search(r"[*?\[\]]", path) else path


_NORMALIZING = {"add", "rsqrt", "sqrt", "max"}  # of a variance


def _initializer(role: Role) -> Any:
    if role.kind == "scale" and role.functions == ("add",):
        return zeros()  # the scale is 1 + w
    if role.kind == "scale" and set(role.functions) <= _NORMALIZING:
        return ones() if math.prod(role.shape) > 1 or role.functions else None
    if role.functions or role.kind in ("scale", "other", "unused"):
        return None
    if role.kind == "shift":
        return zeros()
    if role.kind == "table":
        # What is looked up is the signal; what is added to it is small beside it.
        return (
            normal(std=1 / abs(role.factor))
            if "index" in role.axes
            else normal(std=0.02)
        )
    if role.recurrent:
        return orthogonal()
    return None if "" in role.axes else _scaled(role)


def _scaled(role: Role) -> Any:
    """lecun_normal over the axes of a contraction, for what it meets and writes to."""
    named: dict[str, list[int]] = {}
    for axis, name in enumerate(role.axes):
        named.setdefault(name, []).append(axis)
    batch = [*named.get("batch", ()), *named.get("stack", ())]
    axes: dict[str, Any] = {
        "in_axis": tuple(named.get("in", ())),
        "out_axis": tuple(named.get("out", ())),
        "batch_axis": tuple(sorted(batch)),
    }
    counted = fans(role.shape, **axes).fan_in
    share = counted / role.fan_in / max(role.branches, 1)
    gain: Any = math.sqrt(share / role.moment) / abs(role.factor)
    last = {"in_axis": (len(role.shape) - 2,), "out_axis": (len(role.shape) - 1,)}
    if axes == last | {"batch_axis": ()}:
        axes = {}  # as they are by default
    if role.activation and share == abs(role.factor) == 1:
        return lecun_normal(**axes, gain=role.activation)
    if abs(gain - 1) < _EXACT:
        return lecun_normal(**axes)
    return lecun_normal(**axes, gain=float(f"{gain:.4g}"))


def _row(role: Role) -> tuple[str, ...]:
    kind = role.kind if role.uses == 1 else f"{role.kind}, {role.uses or 'n'} times"
    through = f" through {', '.join(role.functions)}" if role.functions else ""
    contraction = role.kind == "contraction"
    return (
        role.path,
        str(role.shape),
        kind + through,
        " ".join(axis or "?" for axis in role.axes),
        f"{role.fan_in:g}, {role.fan_out:g}" if contraction else "",
        (role.activation or f"{role.moment:.3g}") if contraction else "",
        f"a stream of {role.branches}" if role.branches else "",
    )
