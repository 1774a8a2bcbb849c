"""Initializers to plain JSON and back."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax

from jinit._checks import is_mapping, is_sequence, is_traced, nearest, number
from jinit._initializer import Initializer
from jinit._text import VERSION, check_version
from jinit._value import FrozenArray


def serialize(init: Callable[..., jax.Array]) -> dict[str, Any]:
    """Describes an initializer as a dict that JSON can hold.

    Args:
      init: One of jinit's initializers, those made of others included.

    Returns:
      The version of the form, the name, and the options that are not the defaults.

    Raises:
      TypeError: `init`, or one within it, is not an initializer of jinit.
      ValueError: An option is traced, and so has no value yet, or is a function.

    Example:
      >>> import json, jinit
      >>> config = jinit.serialize(jinit.kaiming_normal(mode="fan_out"))
      >>> print(json.dumps(config))
      {"jinit": 1, "name": "kaiming_normal", "options": {"mode": "fan_out"}}
    """
    known = Initializer._known.values()
    if not isinstance(init, Initializer) or type(init) not in known:
        raise TypeError(
            f"init must be an initializer of jinit, got {init!r}; no other has a name "
            "to be found by."
        )
    options = {
        each.name: to_plain(each.name, value)
        for each in init._fields()
        if is_traced(value := getattr(init, each.name)) or value != each.default
    }
    return {"jinit": VERSION, "name": type(init).__name__, "options": options}


def deserialize(config: Mapping[str, Any]) -> Initializer:
    """Makes the initializer that a configuration describes.

    Args:
      config: What `serialize` returned, or JSON made of it.

    Returns:
      An initializer equal to the one that was serialized.

    Raises:
      TypeError: `config` is not a mapping, or an option is unknown or missing.
      ValueError: `config` is of another version, lacks an entry or names none.

    Example:
      >>> import jinit
      >>> init = jinit.stack(jinit.orthogonal(gain=2.0), axis=1)
      >>> jinit.deserialize(jinit.serialize(init))
      stack(orthogonal(gain=2.0), axis=1)
    """
    try:
        return _build(config)
    except RecursionError:
        raise ValueError("config must not be nested without end.") from None


# The modules of initializers that `import jinit` leaves to their first use.
_AT_FIRST_USE = (
    *("torch._defaults", "distributions", "recurrent"),
    *("ssm", "coordinate", "vision"),
)


def every_initializer() -> dict[str, type[Initializer]]:
    """All of jinit's initializers by name, with those that it imports at first use."""
    for name in _AT_FIRST_USE:
        importlib.import_module(f"jinit.{name}")
    return Initializer._known


def _factory(name: Any) -> type[Initializer]:
    known = Initializer._known
    if isinstance(name, str) and name not in known:
        known = every_initializer()
    if not isinstance(name, str) or name not in known:
        raise ValueError(
            f"config must name one of jinit's initializers, got {name!r}"
            f"{nearest(name, known)}"
        )
    return known[name]


def _build(config: Any) -> Initializer:
    if not is_mapping(config):
        raise TypeError(
            f"config must be a dict, as jinit.serialize returns it, got {config!r}."
        )
    if set(config) != {"jinit", "name", "options"}:
        raise ValueError(
            "config must have the entries 'jinit', 'name' and 'options', got "
            f"{sorted(map(str, config))}."
        )
    check_version("config must be", config["jinit"])
    factory, options = _factory(config["name"]), config["options"]
    if not is_mapping(options):
        raise TypeError(f"options of config must be a dict, got {options!r}.")
    known = [f.name for f in factory._fields()]
    if unknown := sorted(str(name) for name in options if name not in known):
        raise TypeError(
            f"options of {factory.__name__} must be among "
            f"{', '.join(known) or 'none'}; got {', '.join(unknown)}."
        )
    return factory(**{name: _from_json(value) for name, value in options.items()})


def to_plain(name: str, value: Any) -> Any:
    """An option as JSON can hold it."""
    if is_traced(value):
        raise ValueError(f"{name} must have a value to be serialized, got {value!r}.")
    if name == "init" or isinstance(value, Initializer):  # one within another
        return serialize(value)
    if callable(value):
        remedy = f"give the number: jinit.gain({name})"
        if name in ("link", "ppf"):  # which stand for no number
            remedy = "pickle the initializer, or give a link by its name"
        raise ValueError(
            f"{name} must be a number or a name to be serialized, got {value!r}; "
            f"{remedy}."
        )
    if isinstance(value, FrozenArray):
        return to_plain(name, value.tolist())
    if isinstance(value, tuple | list):
        return [to_plain(name, item) for item in value]
    if isinstance(value, complex):
        return {"real": value.real, "imag": value.imag}
    if isinstance(value, float) and math.isinf(value):
        return str(value)  # JSON has no word for it
    return value


def _from_json(value: Any) -> Any:
    if is_mapping(value) and set(value.keys()) == {"real", "imag"}:
        return complex(*(number(part, value[part]) for part in ("real", "imag")))
    if value in ("inf", "-inf"):
        return float(value)
    if is_mapping(value):
        return _build(value)
    if is_sequence(value):
        return tuple(_from_json(item) for item in value)
    return value
