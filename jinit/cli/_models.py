"""Models that a user names on the command line, as module:function."""

from __future__ import annotations

import importlib
import sys
from typing import Any


def built(name: str) -> tuple[Any, ...]:
    """What a function returns: a model, its parameters, and its inputs."""
    module, _, function = name.partition(":")
    if not module or not function:
        raise ValueError(
            f"the model must be given as module:function, got {name!r}; for small() of "
            "my_models.py type my_models:small."
        )
    sys.path.insert(0, "")  # as python -m does
    try:
        made = getattr(importlib.import_module(module), function)()
    except Exception as error:  # a module of the user's may raise anything
        raise ValueError(
            f"{name} must be a function that can be called, but raised "
            f"{type(error).__name__}: {error}"
        ) from error
    finally:
        sys.path.remove("")
    if not isinstance(made, tuple) or len(made) < 3:
        raise ValueError(
            f"{name} must return a model, its parameters or their shapes, and what it "
            f"is called with, got {made!r:.80}."
        )
    return made
