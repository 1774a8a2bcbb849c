"""Values: frozen objects that are compared, hashed and copied by their fields."""

from __future__ import annotations

from dataclasses import Field, FrozenInstanceError, dataclass, fields
from typing import Any

import numpy as np


@dataclass(init=False, repr=False, eq=False)
class Value:
    """A frozen dataclass whose methods are written once.

    Python compiles each method that `dataclass(frozen=True)` makes, at a millisecond a
    class: for fifty classes as long as all else in an import of jinit.
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        dataclass(init=False, repr=False, eq=False)(cls)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Value) or type(self) is not type(other):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def __setattr__(self, name: str, value: Any) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    @classmethod
    def _fields(cls) -> tuple[Field[Any], ...]:
        return fields(cls)

    def _values(self) -> tuple[Any, ...]:
        compared = [each.name for each in self._fields() if each.compare]
        return tuple(getattr(self, name) for name in compared)

    def _set(self, **values: Any) -> None:
        """Sets what is set once."""
        for name, value in values.items():
            object.__setattr__(self, name, value)


class FrozenArray:
    """A copy of an array as a value, whatever its size.

    Arrays of equal numbers and signs are equal, so -0.0 is not 0.0. The hash is that of
    a few elements; a small one prints as the nested tuples that make it.
    """

    def __init__(self, array: np.ndarray) -> None:
        self._array = np.array(array)
        self._array.flags.writeable = False

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array(self._array, dtype) if copy else np.asarray(self._array, dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._array.shape

    def tolist(self) -> Any:
        return self._array.tolist()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FrozenArray):
            return NotImplemented
        a, b = self._array, other._array
        return a is b or (np.array_equal(a, b) and np.array_equal(signs(a), signs(b)))

    def __hash__(self) -> int:
        few = self._array.ravel()[:: max(1, self._array.size // 16)]
        return hash((self.shape, tuple(few.tolist())))

    def __repr__(self) -> str:
        if self._array.size <= 100:
            return repr(_tuples(self.tolist()))
        return f"<{self._array.dtype.name} array of shape {self.shape}>"


def signs(array: Any) -> np.ndarray:
    """Whether the real and the imaginary parts are negative, or negative zeros."""
    return np.signbit([np.real(array), np.imag(array)])


def _tuples(nested: Any) -> Any:
    return tuple(map(_tuples, nested)) if isinstance(nested, list) else nested
