"""Rule sets: from the parameters of a model to their initializers.

A rule set is a function that returns what `jinit.plan` takes as rules. `RULES` says
where each is, by the name that `audit` and `jinit audit --rules` take; it is imported
when it is asked for.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from typing import Any

RULES = {
    "flax": "jinit.rules.flax:default_rules",
    "torch": "jinit.torch:default_rules",
}


def rules_of(name: str) -> dict[str, Callable[..., Any]]:
    """The rules of a name in `RULES`."""
    return pkgutil.resolve_name(RULES[name])()
