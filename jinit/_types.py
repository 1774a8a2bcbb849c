"""The types of chex, which takes longer to import than a first draw takes.

Who reads the hints as the program runs, as `typing.get_type_hints` does, finds types
that say nearly the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax

if TYPE_CHECKING:
    from chex import Array as Array
    from chex import ArrayDType as ArrayDType
    from chex import ArrayTree as ArrayTree
    from chex import PRNGKey as PRNGKey
    from chex import Shape as Shape
    from numpy.typing import ArrayLike as ArrayLike
else:
    Array = PRNGKey = jax.Array
    ArrayDType = ArrayLike = ArrayTree = Any
    Shape = Sequence[int]

DType = ArrayDType | None
