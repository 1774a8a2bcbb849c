"""A role: what a parameter of a model is."""

from __future__ import annotations

from dataclasses import dataclass

from jinit._checks import Shape


@dataclass(frozen=True)
class Role:
    """What a parameter is.

    Attributes:
      path: Its path in the tree.
      shape: Its shape.
      kind: "contraction", "table", "scale", "shift", "state" that a loop starts from,
        "rate" of a bias that decides how fast a state decays, "other" or "unused".
      axes: For each axis "in", "out", "batch", "space", "index", "free", "stack" of a
        loop, or "" where it is not known.
      other_axes: For each axis what else it is in other uses, or ""; none where each
        is one thing.
      fan_in: How many products are summed for an output.
      fan_out: How many outputs an input goes to; of parts those of one, on average.
      outputs: How many outputs each part has that its result is cut into, as packed
        queries, keys and values; none where it is not cut.
      moment: The second moment of what it is contracted with.
      assumed: The operations, by name, that this rests on, as their results are taken
        to have size one for want of a rule; none where a norm comes after.
      activation: The name of what is computed of a normal number before, if it has one.
      branches: How many branches the stream has that it writes to; 0 where to none.
      place: Where in a stream its branch is, and where in that it is, if in any.
      head: Whether it is contracted last: no other is on the way to what is returned.
      parts: "query", "key" or "value", if its result is one; several of a packed one.
      head_size: How many products a logit of attention sums that it is for; or 0.
      gate: Whether its result is what a branch is multiplied with.
      layer: The path of the kernel whose result a shift is added to, if there is one.
      tied: Whether it is a table that is looked up, too.
      uses: How often it is used when the program runs; None where a loop does not say.
      functions: The names of those that it passes through before, if it does.
      recurrent: Whether its result comes back to it.
      state: From which to which of its inputs a loop carries them, where that is said
        and nothing is chosen by it: where they are packed with others.
      factor: What it is multiplied with before it is used; a table also after.
      normalized: Of a scale or a shift the axes over which what it meets is normalized.
      merged: How its results are merged without a kernel, as "sum", "mean", "norm" or
        "product", and of how many units.

    Example:
      >>> import jax.numpy as jnp, jinit
      >>> params, x = {"w": jnp.ones((8, 4))}, jnp.ones((1, 8))
      >>> (role,) = jinit.roles(lambda p, x: x @ p["w"], params, x)
      >>> role.kind, role.axes, role.fan_in
      ('contraction', ('in', 'out'), 8.0)
    """

    path: str
    shape: Shape
    kind: str
    axes: tuple[str, ...] = ()
    other_axes: tuple[str, ...] = ()
    fan_in: float = 1.0
    fan_out: float = 1.0
    outputs: tuple[int, ...] = ()
    moment: float = 1.0
    assumed: tuple[str, ...] = ()
    activation: str | None = None
    branches: int = 0
    place: Place | None = None
    head: bool = False
    parts: tuple[str, ...] = ()
    head_size: int = 0
    gate: bool = False
    layer: str | None = None
    tied: bool = False
    uses: int | None = 1
    functions: tuple[str, ...] = ()
    recurrent: bool = False
    state: tuple[int, int] | None = None
    factor: float = 1.0
    normalized: tuple[int, ...] = ()
    merged: tuple[tuple[str, int], ...] = ()

    @property
    def is_kernel(self) -> bool:
        """Whether it is contracted as it is, through no function."""
        return self.kind == "contraction" and not self.functions

    @property
    def is_looked_up(self) -> bool:
        """Whether it is a table of which rows are picked, and none that is added."""
        return self.kind == "table" and "index" in self.axes

    def _axes(self, *names: str) -> tuple[int, ...]:
        """The axes of these names, in the order of the names."""
        axes = [*enumerate(self.axes)]
        return tuple(axis for name in names for axis, own in axes if own == name)


@dataclass(frozen=True)
class Place:
    """Where a parameter is in the residual streams of a model.

    Attributes:
      stream: The number of the stream, from 0.
      branches: How many branches it has.
      branch: The number of the branch, from 0; in a loop that of its first turn.
      layers: How many contractions in a row the branch has.
      layer: Which of these it is, from 0; the last writes to the stream. The scale that
        ends the branch, of a norm or LayerScale's, comes after: it has `layers`.

    Example:
      >>> import jax, jinit
      >>> params = {n: jax.ShapeDtypeStruct((8, 8), "float32") for n in ("up", "down")}
      >>> def block(params, x):
      ...     return x + jax.nn.relu(x @ params["up"]) @ params["down"]
      >>> x = jax.ShapeDtypeStruct((1, 8), "float32")
      >>> jinit.roles(block, params, x)["up"].place
      Place(stream=0, branches=1, branch=0, layers=2, layer=0)
    """

    stream: int
    branches: int
    branch: int
    layers: int
    layer: int
