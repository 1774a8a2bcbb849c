"""The state of torch's CPU generator as the bytes that torch keeps it in."""

from __future__ import annotations

import struct
from typing import Any

import jax.numpy as jnp
import numpy as np

from jinit.torch._mt19937 import SIZE, State

# The seed, how many words are left (and one), whether it is seeded, the next word, all
# words in 64 bits each; then three numbers in double precision, of which the second is
# a normal one to spare, and whether there is one; last the same in single precision.
_FORMAT = struct.Struct(f"<QiiQ{SIZE}QdddixxxxfBxxx")
_CUDA_SIZE = 16


def to_bytes(seed: int, state: State) -> np.ndarray:
    """Writes a seed and a state as `torch.Generator.get_state` does."""
    words, used, spare, has_spare = (np.asarray(part).tolist() for part in state)
    bits = np.uint64(spare[0] << 32 | spare[1]) if has_spare else np.uint64(0)
    normals = 0.0, float(bits.view(np.float64)), 0.0, has_spare, 0.0, 0
    data = _FORMAT.pack(seed, SIZE + 1 - used, 1, used, *words, *normals)
    return np.frombuffer(data, np.uint8)


def from_bytes(state: Any) -> tuple[int, State]:
    """Reads the seed and the state out of what `torch.Generator.get_state` returns."""
    data = _bytes(state)
    if len(data) == _CUDA_SIZE:
        raise ValueError(
            "state must be that of torch's CPU generator, got 16 bytes, as a CUDA "
            "generator has: what that draws depends on the GPU, and is not offered."
        )
    if len(data) != _FORMAT.size:
        raise ValueError(
            f"state must be the {_FORMAT.size} bytes of torch's CPU generator, got "
            f"{len(data)}; take it from torch.get_rng_state()."
        )
    seed, left, seeded, following, *rest = _FORMAT.unpack(data)
    words, (_, spare, _, has_spare, _, _) = rest[:SIZE], rest[SIZE:]
    # After seeding nothing is left and the next word is the first, of another block.
    places = following == SIZE + 1 - left or (left, following) == (1, 0)
    in_range = 1 <= left <= SIZE and max(words) < 2**32 and has_spare in (0, 1)
    if not (seeded == 1 and places and in_range and np.isfinite(spare)):
        raise ValueError(
            "state must be that of torch's CPU generator, got other bytes of its size; "
            "take it from torch.get_rng_state()."
        )
    bits = int(np.float64(spare).view(np.uint64))
    spare = np.array([bits >> 32, bits & 0xFFFFFFFF], np.uint32)
    used, has = np.int32(SIZE + 1 - left), np.bool_(has_spare)
    parts = np.array(words, np.uint32), used, spare, has
    return seed, State(*map(jnp.asarray, parts))


def _bytes(state: Any) -> bytes:
    if isinstance(state, bytes | bytearray):
        return bytes(state)
    try:
        array = np.asarray(state)
    except (TypeError, ValueError, RuntimeError):  # such as a tensor of another device
        array = np.array(None)
    if array.dtype != np.uint8:
        raise TypeError(
            f"state must be bytes or an array of dtype uint8, got {state!r}; take it "
            "from torch.get_rng_state()."
        )
    return array.tobytes()
