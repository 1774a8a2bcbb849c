"""The Mersenne Twister as torch's CPU generator runs it: 32-bit words, in order.

Matsumoto and Nishimura (1998), "Mersenne Twister: a 623-dimensionally equidistributed
uniform pseudo-random number generator". The state is a block of 624 words. When it is
used up the next block is made of it; what is drawn are its words, tempered.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jinit._checks import is_traced

SIZE, _MIDDLE = 624, 397


class State(NamedTuple):
    """A state of torch's generator, as arrays: it can be traced, mapped and saved.

    Attributes:
      words: The current block, of shape (624,), dtype uint32.
      used: How many of its words are used up, from 1 to 624, int32.
      spare: The bits of a normal number in double precision (high word, low word),
        which torch keeps when it has drawn two of them for one: (2,), uint32.
      has_spare: Whether there is one.
    """

    words: Any
    used: Any
    spare: Any
    has_spare: Any


def seeded(seed: int) -> State:
    """The state after `torch.manual_seed`, which looks at the low 32 bits alone."""
    _, words, *_ = np.random.RandomState(seed & 0xFFFFFFFF).get_state()
    no_spare = np.zeros(2, np.uint32), np.zeros((), np.bool_)
    return State(np.asarray(words), np.int32(SIZE), *no_spare)


def check_state(state: Any) -> State:
    if not isinstance(state, State):
        raise TypeError(
            "state must be a State of jinit.torch.functional.seed(number), got "
            f"{state!r}; JAX's random keys are for JAX's generators."
        )
    return state


def is_known(state: State) -> bool:
    """Whether the words can be had now: nothing is traced, nor is its caller."""
    return not any(map(is_traced, (*check_state(state), jax.device_put(np.int32(0)))))


class Twister:
    """NumPy's generator, which is the same, going on from a state that is known."""

    def __init__(self, state: State) -> None:
        place = {"key": np.asarray(state.words), "pos": int(state.used)}
        self._numpy = np.random.MT19937(0)
        self._numpy.state = {"bit_generator": "MT19937", "state": place}
        self._spare = state.spare, state.has_spare

    def words(self, count: int) -> np.ndarray:
        return np.random.Generator(self._numpy).integers(
            2**32, size=count, dtype=np.uint32
        )

    def skip(self, count: int) -> None:
        self._numpy.random_raw(count, output=False)

    def state(self) -> State:
        place = self._numpy.state["state"]
        return State(place["key"], np.int32(place["pos"]), *self._spare)


def next_words(state: State, count: int) -> tuple[Any, State]:
    """The next words, and the state after them."""
    if is_known(state):
        twister = Twister(state)
        return twister.words(count), twister.state()
    blocks = blocks_after(state, count)
    return words_at(blocks, state.used, count), advanced(state, blocks, count)


def skipped(state: State, count: Any, at_most: int | None = None) -> State:
    """The state after words that nobody needs; a traced count has a bound."""
    if not is_known(state):
        blocks = blocks_after(state, count if at_most is None else at_most)
        return advanced(state, blocks, count)
    twister = Twister(state)
    twister.skip(count)
    return twister.state()


# In a program: block after block, in whole vectors.


def blocks_after(state: State, size: int) -> jax.Array:
    """The current block and enough after it for `size` words, of shape (n, 624)."""
    return _blocks(state.words, -(-size // SIZE))


@partial(jax.jit, static_argnums=1)
def _blocks(words: jax.Array, count: int) -> jax.Array:
    _, rest = lax.scan(lambda old, _: (_next_block(old),) * 2, words, None, count)
    return jnp.concatenate([words[None], rest])


def _next_block(old: jax.Array) -> jax.Array:
    """Makes x[k + 624] = x[k + 397] ^ mix(x[k], x[k + 1]), in whole vectors."""
    mixed = _mix(old[:-1], old[1:])
    first = old[_MIDDLE:] ^ mixed[: SIZE - _MIDDLE]
    second = first ^ mixed[SIZE - _MIDDLE : 2 * (SIZE - _MIDDLE)]
    third = second[: 2 * _MIDDLE - SIZE - 1] ^ mixed[2 * (SIZE - _MIDDLE) :]
    last = second[2 * _MIDDLE - SIZE - 1 :][:1] ^ _mix(old[-1:], first[:1])
    return jnp.concatenate([first, second, third, last])


def _mix(x: jax.Array, y: jax.Array) -> jax.Array:
    word = (x & np.uint32(0x80000000)) | (y & np.uint32(0x7FFFFFFF))
    return (word >> np.uint32(1)) ^ ((y & np.uint32(1)) * np.uint32(0x9908B0DF))


def words_at(blocks: jax.Array, start: Any, size: int) -> jax.Array:
    """Words of the blocks, tempered as they are drawn."""
    y = lax.dynamic_slice(blocks.reshape(-1), (start,), (size,))
    y = y ^ (y >> np.uint32(11))
    y = y ^ ((y << np.uint32(7)) & np.uint32(0x9D2C5680))
    y = y ^ ((y << np.uint32(15)) & np.uint32(0xEFC60000))
    return y ^ (y >> np.uint32(18))


def advanced(state: State, blocks: jax.Array, count: Any) -> State:
    """The state after a number of words of the blocks."""
    end = state.used + count
    block = jnp.maximum(end - 1, 0) // SIZE
    return state._replace(words=blocks[block], used=end - block * SIZE)
