"""Roles: what each parameter of a model is, read from the program, not from names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import jax

from jinit._checks import nearest
from jinit._text import aligned, to_json
from jinit._types import ArrayTree
from jinit.model._choice import Choice
from jinit.model._graph import read
from jinit.model._mup import Parametrization, parametrized
from jinit.model._paths import LeafPath
from jinit.model._program import traced
from jinit.model._reading import roles_of
from jinit.model._role import Role


@dataclass(frozen=True, repr=False)
class Roles:
    """The roles of all parameters of a model: what `jinit.roles` returns.

    It prints as a table. `len(roles)` counts them, a loop runs through them, and
    `roles["params/Dense_0/kernel"]` is that of a path.

    Attributes:
      entries: One `Role` for each leaf, in the order of the tree.
      structure: That of the tree of parameters.

    Example:
      >>> import jax.numpy as jnp, jinit
      >>> params, x = {"w": jnp.ones((8, 4))}, jnp.ones((1, 8))
      >>> jinit.roles(lambda p, x: x @ p["w"], params, x)
      path  shape   what it is   axes    fans  meets  writes to
      w     (8, 4)  contraction  in out  8, 4  1
    """

    entries: tuple[Role, ...]
    structure: Any = None

    def __iter__(self) -> Iterator[Role]:
        return iter(self.entries)

    def __getitem__(self, path: str) -> Role:
        for role in self.entries:
            if role.path == path:
                return role
        near = nearest(path, [role.path for role in self.entries])
        raise ValueError(f"path must be that of a parameter, got {path!r}{near}")

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        titles = ("path", "shape", "what it is", "axes", "fans", "meets", "writes to")
        return aligned([titles, *map(_row, self.entries)])

    def rules(
        self,
        recipe: Callable[[Role, Roles], Any] | None = None,
        *,
        residual: str | None = "sqrt",
        keep: str = "forward",
        head: Any = None,
        recurrent: str | None = "orthogonal",
    ) -> list[tuple[Any, Any]]:
        """Rules for `jinit.plan`: signals of variance one, streams that stay bounded.

            std² = 1 / (fan_in · E x² · branches)

        Biases and first states start from zero and scales from one. Of tables those
        that are looked up are drawn from N(0, 1), and those that are added from
        N(0, 0.02²). What passes through functions before it is used, or is not used, is
        left as it is.

        Args:
          recipe: A recipe, such as `jinit.recipes.gpt2()`, or any function of a role
            and the roles that returns an initializer, or None where it does not decide.
            The rest is decided as without one.
          residual: What is done to what is written to a stream of L branches. "sqrt"
            divides its std by √L, as GPT-2 does; "zero" starts it from zero; "fixup"
            does too, and divides the std of the layers before it, m - 1 in a branch, by
            L^(1 / (2m - 2)); None leaves it. Where the branch is normalized after
            it, that is done to the scale of the norm.
          keep: "forward" for signals of variance one; "backward" for gradients that
            stay of one size: 1 / (fan_out · E f'²), where f is known by name; "both"
            for the mean of the two denominators, as Glorot's.
          head: An initializer of the heads, the kernels that are contracted last; or a
            number to multiply their std with. By default they are as all others.
          recurrent: "orthogonal" for kernels whose own result comes back to them, of
            packed ones each gate by itself; None for the rule of all others.

        Returns:
          Pairs of a path and an initializer, or None; those of a user's go before.

        Raises:
          TypeError: `head` is neither an initializer nor a number.
          ValueError: An option has none of the values that it can have; the model is
            none that the recipe is for.

        Example:
          >>> import jax.numpy as jnp, jinit
          >>> params, x = {"w": jnp.ones((8, 4))}, jnp.ones((1, 8))
          >>> roles = jinit.roles(lambda p, x: x @ p["w"], params, x)
          >>> roles.rules(), roles.rules(head=jinit.zeros())
          ([('w', lecun_normal())], [('w', zeros())])

        References:
          Radford et al. (2019), section 2.3, for "sqrt"; Zhang, Dauphin and Ma (2019),
          arXiv:1901.09321, for "fixup".
        """
        choose = Choice(residual, keep, head, recurrent)
        check = getattr(recipe, "check", None)
        if check is not None:
            check(self)

        def decided(role: Role) -> Any:
            init = None if recipe is None else recipe(role, self)
            return choose(role) if init is None else init

        return [(LeafPath(role.path), decided(role)) for role in self.entries]

    def mup(self, base: Roles, recipe: Any = None) -> Parametrization:
        """muP: rules and multipliers with which learning rates go from width to width.

        What is tuned for a narrow model holds for a wider one. Which layers are inputs,
        hidden ones and outputs follows from which of their fans grew.

        Args:
          base: The roles of the same model, narrower.
          recipe: What the base is drawn by, as `rules` takes it.

        Returns:
          A `Parametrization`: rules for `jinit.plan`, multipliers for the optimizer,
          and what is left to be typed into the forward pass.

        Raises:
          ValueError: The two do not have the same parameters.

        Example:
          >>> import flax.linen as nn, jax, jinit
          >>> def roles(width):
          ...     layers = [nn.Dense(n) for n in (width, width, 9)]
          ...     model = nn.Sequential(layers)
          ...     x = jax.ShapeDtypeStruct((1, 8), "float32")
          ...     params = jax.eval_shape(model.init, jax.random.key(0), x)
          ...     return jinit.roles(model, params, x)
          >>> table = roles(1024).mup(roles(64))
          >>> [(entry.layer, entry.adam) for entry in table.entries][1::2]
          [('input', 1.0), ('hidden', 0.0625), ('output', 0.0625)]

        References:
          Yang et al. (2022), arXiv:2203.03466, table 3; the `mup` package has table 8,
          which multiplies logits by 1 / m instead. Neither scales Adam's epsilon.
        """
        return self._parametrized(base, recipe, deep=False)

    def completep(self, base: Roles, recipe: Any = None) -> Parametrization:
        """CompleteP: muP, and what learning rates need to go from depth to depth.

        Args:
          base: The roles of the same model, narrower or less deep; of scanned layers,
            as others have other parameters.
          recipe: What the base is drawn by, as `rules` takes it. It is not to scale
            what is written to a stream, which without a recipe is drawn as all else.

        Returns:
          A `Parametrization`; the factor of the branches is a note, for it is to be
          typed into the forward pass.

        Raises:
          ValueError: The two do not have the same parameters.

        Example:
          >>> import jax.numpy as jnp, jinit
          >>> params, x = {"w": jnp.ones((8, 4))}, jnp.ones((1, 8))
          >>> roles = jinit.roles(lambda p, x: x @ p["w"], params, x)
          >>> roles.completep(roles).multipliers("eps")
          {'w': 1.0}

        References:
          Dey et al. (2025), arXiv:2505.01618, table 1.
        """
        return self._parametrized(base, recipe, deep=True)

    def _parametrized(self, base: Roles, recipe: Any, deep: bool) -> Parametrization:
        options: dict[str, Any] = {"residual": None} if deep else {}
        rules = self.rules(recipe, **options), base.rules(recipe, **options)
        return parametrized(self.entries, base.entries, rules, self.structure, deep)

    def muon(self) -> Any:
        """The axes by which Muon orthogonalizes, for `optax.contrib.muon`.

        Kernels have those that are summed over, and those of the outputs; experts and
        layers of a stack are each orthogonalized by themselves. Tables, heads, scales,
        biases and what passes through functions get none, so that Adam updates them.

        Returns:
          A tree like the parameters, of `optax.contrib.MuonDimensionNumbers` or None,
          to be given as `muon_weight_dimension_numbers`.

        Raises:
          ImportError: optax is not installed.

        Example:
          >>> import jax, jinit
          >>> params = {"q": jax.ShapeDtypeStruct((64, 4, 16), "float32")}
          >>> x = jax.ShapeDtypeStruct((1, 64), "float32")
          >>> def model(params, x):
          ...     return jax.numpy.tanh(jax.numpy.einsum("bd,dhk->bhk", x, params["q"]))
          >>> jinit.roles(model, params, x).muon()
          {'q': None}

        References:
          Jordan et al. (2024), "Muon: an optimizer for hidden layers".
        """
        from optax.contrib import MuonDimensionNumbers

        def numbers(role: Role) -> Any:
            sums, outs = role._axes("in", "space"), role._axes("out")
            is_matrix = sums and outs and "" not in role.axes
            if not role.is_kernel or role.head or not is_matrix:
                return None
            return MuonDimensionNumbers(tuple(sorted(sums)), outs)

        return self._tree(numbers)

    def decay_mask(self) -> Any:
        """Which parameters weight decay is for: the kernels.

        Tables, scales, biases, and what passes through functions, as the time constants
        of a state space, are not decayed. A tied table is a kernel.

        Returns:
          A tree like the parameters, of True and False, as optax takes it for `mask`.

        Example:
          >>> import jax, jinit
          >>> params = {n: jax.ShapeDtypeStruct((8,) * n, "float32") for n in (1, 2)}
          >>> x = jax.ShapeDtypeStruct((8,), "float32")
          >>> jinit.roles(lambda p, x: x @ p[2] + p[1], params, x).decay_mask()
          {1: False, 2: True}
        """
        return self._tree(lambda role: role.is_kernel)

    def to_json(self) -> str:
        """Returns the roles as JSON, an object for each parameter."""
        return to_json("roles", roles=[asdict(role) for role in self.entries])

    def _tree(self, of: Callable[[Role], Any]) -> Any:
        return jax.tree.unflatten(self.structure, map(of, self.entries))


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
    entries = roles_of(read(program.closed, program.paths))
    return Roles(entries, jax.tree.structure(params))


def _row(role: Role) -> tuple[str, ...]:
    times = "" if role.uses in (0, 1) else f", {role.uses or 'n'} times"
    kind = f"{role.kind}{_recurrence(role)}{times}"
    through = f" through {', '.join(role.functions)}" if role.functions else ""
    contraction = role.kind == "contraction"
    assumed = f" ({', '.join(role.assumed)} taken as 1)" if role.assumed else ""
    return (
        role.path,
        str(role.shape),
        kind + through,
        " ".join(_axes(role)),
        f"{role.fan_in:g}, {_fan_outs(role)}" if contraction else "",
        (role.activation or f"{role.moment:.3g}") + assumed if contraction else "",
        f"a stream of {role.branches}" if role.branches else "",
    )


def _recurrence(role: Role) -> str:
    if role.state is not None:
        return ", inputs {}:{} recurrent".format(*role.state)
    return ", recurrent" if role.recurrent else ""


def _axes(role: Role) -> Iterator[str]:
    """What each axis is, and what else it is in other uses: "out/index"."""
    others = role.other_axes or ("",) * len(role.axes)
    for axis, other in zip(role.axes, others, strict=True):
        yield "/".join(filter(None, (axis or "?", other)))


def _fan_outs(role: Role) -> str:
    """That of the whole, or those of its parts: "3 x 64", "128 + 64"."""
    if not role.outputs:
        return f"{role.fan_out:g}"
    each = role.fan_out / fmean(role.outputs)
    if len(set(role.outputs)) == 1:
        return f"{len(role.outputs)} x {role.fan_out:g}"
    return " + ".join(f"{each * size:g}" for size in role.outputs)
