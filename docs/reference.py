"""The reference: a page for each family, of the names that the packages have.

A name that is added to a module is on its page; a module that is on none is an error.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import jinit

# By the name of the page: its title, and the modules of jinit whose names are on it.
OF_JINIT = {
    "plain": ("Constants and plain distributions", "_basic _sparse _identity"),
    "scaled": ("Xavier, Kaiming, LeCun, Glorot and He", "_fan_scaled"),
    "orthogonal": ("Orthogonal kernels and convolutions", "_orthogonal _convolution"),
    "combine": ("Initializers made of others", "_combine _mirror"),
    "values": ("Initializers as values", "_initializer _config"),
    "fans": ("Fans", "_fans"),
    "gains": ("Gains, and what they do in depth", "gains"),
    "models": ("Whole models", "model signal"),
}
# The title, and the namespace that is on the page as a whole.
OTHERS = {
    "laws": ("What is drawn", "jinit.laws"),
    "distributions": ("Distributions through links", "jinit.distributions"),
    "recurrent": ("Recurrent cells", "jinit.recurrent"),
    "ssm": ("State-space models", "jinit.ssm"),
    "coordinate": ("Coordinate networks", "jinit.coordinate"),
    "vision": ("Vision", "jinit.vision"),
    "adapter": ("Adapters", "jinit.adapter"),
    "transplant": ("Weights from weights", "jinit.transplant"),
    "recipes": ("Recipes", "jinit.recipes"),
    "jaxnn": ("The drop-in for JAX's", "jinit.jaxnn"),
    "torch": ("Ports of PyTorch models", "jinit.torch"),
    "torch-functional": ("torch's stream as functions", "jinit.torch.functional"),
    "diagnostics": ("Audits, signals and widths", "jinit.diagnostics"),
    "plots": ("Pictures", "jinit.diagnostics.plots"),
}

# Modules rather than packages: what they import is not theirs to show.
_MODULES = {
    *("jinit.laws", "jinit.torch.functional", "jinit.diagnostics.plots"),
    *("jinit.recurrent", "jinit.coordinate"),
}
_SAME = {"jinit.jaxnn.zeros": "jinit.zeros", "jinit.jaxnn.ones": "jinit.ones"}


def pages() -> dict[str, str]:
    """The text of every page of the reference, by the name of its file."""
    names = {
        **{
            page: _names("jinit", files.split())
            for page, (_, files) in OF_JINIT.items()
        },
        **{page: _names(namespace) for page, (_, namespace) in OTHERS.items()},
    }
    if forgotten := set(public_names()).difference(*names.values()):
        raise ValueError(
            f"every public name must be on a page, got none for {sorted(forgotten)}; "
            "add the module that defines it to OF_JINIT in docs/reference.py."
        )
    return {
        "index": _index(names),
        **{page: _page(page, names[page]) for page in names},
    }


def public_names() -> list[str]:
    """Every public name of the packages, as users write it."""
    namespaces = ["jinit", *(namespace for _, namespace in OTHERS.values())]
    return [full for namespace in namespaces for full in _names(namespace)]


def signature(app, what, name, obj, options, text, returned) -> Any:
    """Shows the options of an initializer, and nothing of what is only returned."""
    if what != "class":
        return None
    if obj.__name__[0].isupper():
        return "", None
    shown = inspect.signature(obj).parameters.values()
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in shown]
    return str(inspect.Signature(bare)), None


def is_a_field(app, what, name, obj, skip, options) -> bool | None:
    """Skips what the docstring of its class tells of: fields, and bare properties.

    A property without a docstring would show that of the type of what it overrides.
    """
    bare = isinstance(obj, property) and not obj.__doc__
    return True if bare or type(obj).__name__ == "_tuplegetter" else None


def _index(names: dict[str, list[str]]) -> str:
    parts = [_heading("Reference"), "Every public name, from its docstring."]
    parts += [_directive("toctree", "hidden", list(names))]
    for page, members in names.items():
        title, _ = (OF_JINIT | OTHERS)[page]
        parts += [_heading(f":doc:`{title} <{page}>`", "-")]
        parts += [_directive("autosummary", "nosignatures", members)]
    return "\n\n".join(parts) + "\n"


def _page(page: str, names: list[str]) -> str:
    title, namespace = (OF_JINIT | OTHERS)[page]
    head = [_heading(title)]
    if page in OTHERS:
        head += [f".. automodule:: {namespace}\n   :no-members:"]
    return "\n\n".join([*head, *map(_entry, names)]) + "\n"


def _entry(full: str) -> str:
    value = _value(full)
    if full in _SAME:
        module, name = full.rsplit(".", 1)
        same = f"   The same as :py:class:`{_SAME[full]}`."
        return f".. py:data:: {name}\n   :module: {module}\n\n{same}"
    if not inspect.isclass(value):
        return f".. autofunction:: {full}"
    if value is jinit.Initializer:
        return f".. autoclass:: {full}\n   :members:\n   :special-members: __call__"
    if issubclass(value, jinit.Initializer):
        return f".. autoclass:: {full}"
    inherited = "   :inherited-members:\n" if full == "jinit.torch.Stream" else ""
    return f".. autoclass:: {full}\n   :members:\n{inherited}"


def _directive(name: str, option: str, items: list[str]) -> str:
    lines = [f".. {name}::", f"   :{option}:", "", *(f"   {item}" for item in items)]
    return "\n".join(lines)


def _heading(title: str, line: str = "=") -> str:
    return f"{title}\n{line * len(title)}"


def _names(namespace: str, files: Sequence[str] = ()) -> list[str]:
    """The public names of a namespace that these modules define; of none, all."""
    module = importlib.import_module(namespace)
    return [
        f"{namespace}.{name}"
        for name, value in ((name, getattr(module, name)) for name in dir(module))
        if _is_public(module, name, value)
        and (not files or value.__module__.split(".")[1] in files)
    ]


def _is_public(module: ModuleType, name: str, value: Any) -> bool:
    if name.startswith("_") or not (
        inspect.isclass(value) or inspect.isfunction(value)
    ):
        return False
    home = module.__name__ if module.__name__ in _MODULES else "jinit"
    return value.__module__.startswith(home)


def _value(full: str) -> Any:
    namespace, name = full.rsplit(".", 1)
    return getattr(importlib.import_module(namespace), name)
