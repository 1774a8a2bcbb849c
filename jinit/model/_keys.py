"""Keys: the steps from one key to others, worked out in NumPy.

A model folds a number into its key for each parameter. To compile that takes as long as
to compile a draw or two; NumPy has done it in a millisecond.

    a = fold_in key 3       the words of a: threefry of those of key, and (0, 3)
    b = split a             the words of b[i]: threefry of those of a, and (0, i)

Keys are arrays of words here, with a last axis of two.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit import _bits
from jinit.model._trace import values_of, variables

Words = np.ndarray


def are_known(eqns: Sequence[Any], wanted: Collection[Any]) -> bool:
    """Whether all the steps are, and keys are all that is wanted of them."""
    made = {var for eqn in eqns for var in eqn.outvars}
    return all(map(_is_known, eqns)) and all(_is_key(v.aval) for v in made & {*wanted})


def work_out(eqns: Sequence[Any], wanted: Collection[Any], values: Any) -> None:
    """Adds the keys that are wanted of the steps to the values of variables."""
    with jax.ensure_compile_time_eval(), np.errstate(over="ignore"):
        read = dict.fromkeys(var for eqn in eqns for var in variables(eqn.invars))
        found: dict[Any, Any] = {
            var: _numbers(values[var]) for var in read if var in values
        }
        for level in _levels(eqns):
            _add_folds([eqn for eqn in level if eqn.primitive.name == _FOLD], found)
            for eqn in (eqn for eqn in level if eqn.primitive.name != _FOLD):
                step, given = _STEPS[eqn.primitive.name], values_of(eqn.invars, found)
                made = step(*given, **eqn.params)
                made = made if isinstance(made, list) else [made]
                found |= zip(eqn.outvars, made, strict=True)
        for var in (var for eqn in eqns for var in eqn.outvars if var in wanted):
            values[var] = jax.random.wrap_key_data(found[var], impl="threefry2x32")


def _levels(eqns: Sequence[Any]) -> list[list[Any]]:
    """The steps in groups, each of which needs earlier ones alone."""
    levels, depth = list[list[Any]](), dict[Any, int]()
    for eqn in eqns:
        own = max((depth.get(var, 0) for var in variables(eqn.invars)), default=0)
        depth |= dict.fromkeys(eqn.outvars, own + 1)
        if own == len(levels):
            levels.append([])
        levels[own].append(eqn)
    return levels


def _add_folds(eqns: Sequence[Any], found: dict[Any, Any]) -> None:
    """Adds what single numbers fold into keys: all at once, as that takes no longer."""
    if eqns:
        pairs = [values_of(eqn.invars, found) for eqn in eqns]
        keys, data = (np.stack(each) for each in zip(*pairs, strict=True))
        made = [eqn.outvars[0] for eqn in eqns]
        found |= zip(made, _hash(keys, np.uint32(0), data), strict=True)


def _numbers(value: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(value) if _is_key(value) else value)


def _is_known(eqn: Any) -> bool:
    avals = [atom.aval for atom in (*eqn.invars, *eqn.outvars)]
    name = eqn.primitive.name
    if name not in (_FOLD, *_STEPS) or not all(map(_is_known_kind, avals)):
        return False
    hashed = name in (_FOLD, "random_split")
    single = not any(atom.aval.shape for atom in eqn.invars)
    return not hashed or (single and eqn.ctx.threefry_partitionable)


def _is_known_kind(aval: Any) -> bool:
    return str(aval.dtype) in ("key<fry>", "uint32")


def _is_key(value: Any) -> bool:
    return jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def _split(key: Words, shape: tuple[int, ...]) -> Words:
    index = np.arange(np.prod(shape, dtype=int), dtype=np.uint32).reshape(shape)
    return _hash(key, np.zeros_like(index), index)


def _hash(key: Words, high: Any, low: Any) -> Words:
    pair = key[..., 0], key[..., 1]
    words = _bits.threefry(pair, (high, low), _bits.four_rounds)
    return np.stack(words, axis=-1)


def _slice(x: Words, start_indices: Any, limit_indices: Any, strides: Any) -> Words:
    steps = strides or [None] * len(start_indices)
    return x[tuple(map(slice, start_indices, limit_indices, steps))]


def _squeeze(x: Words, dimensions: tuple[int, ...]) -> Words:
    return x.squeeze(dimensions)


def _unstack(x: Words, axis: int) -> list[Words]:
    return list(np.moveaxis(x, axis, 0))


def _as_it_is(x: Words, **_: Any) -> Words:
    return x


_FOLD = "random_fold_in"
_STEPS = {
    "random_split": _split,
    "random_wrap": _as_it_is,
    "random_unwrap": _as_it_is,
    "slice": _slice,
    "squeeze": _squeeze,
    "unstack": _unstack,
    "add": np.add,
}
