"""Values: frozen objects that are compared, hashed and copied by their fields."""

from __future__ import annotations

from dataclasses import Field, FrozenInstanceError, dataclass, fields
from typing import Any


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
