"""jinit: the initializers of torch, JAX and Keras for JAX and Flax, in every dtype."""

import importlib as _importlib
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

# What is drawn, and what is known of it.
from jinit import laws as laws
from jinit._initializer import Initializer as Initializer

# The torch family.
from jinit._basic import (
    constant as constant,
    normal as normal,
    ones as ones,
    trunc_normal as trunc_normal,
    uniform as uniform,
    zeros as zeros,
)
from jinit._identity import dirac as dirac, eye as eye
from jinit._fan_scaled import (
    kaiming_normal as kaiming_normal,
    kaiming_uniform as kaiming_uniform,
    xavier_normal as xavier_normal,
    xavier_uniform as xavier_uniform,
)
from jinit._orthogonal import orthogonal as orthogonal
from jinit._sparse import sparse as sparse
from jinit.gains._gain import calculate_gain as calculate_gain

# The JAX and Keras family; `jinit.jaxnn` is the drop-in.
from jinit._basic import truncated_normal as truncated_normal
from jinit._convolution import delta_orthogonal as delta_orthogonal
from jinit._fan_scaled import (
    glorot_normal as glorot_normal,
    glorot_uniform as glorot_uniform,
    he_normal as he_normal,
    he_uniform as he_uniform,
    lecun_normal as lecun_normal,
    lecun_uniform as lecun_uniform,
    variance_scaling as variance_scaling,
)

# Of the literature.
from jinit._convolution import convolution_orthogonal as convolution_orthogonal
from jinit._mirror import looks_linear as looks_linear
from jinit._orthogonal import (
    scaled_orthogonal as scaled_orthogonal,
    spectral_orthogonal as spectral_orthogonal,
)

# Several kernels in one array; fans and gains; to JSON and back.
from jinit._combine import (
    blocks as blocks,
    haiku as haiku,
    stack as stack,
    with_dtype as with_dtype,
)
from jinit._fans import Fans as Fans, einsum_axes as einsum_axes, fans as fans
from jinit.gains._gain import gain as gain
from jinit._config import deserialize as deserialize, serialize as serialize

__version__ = "0.1.0"

# Whole models, theory, ports and pictures, imported where a name is first used: the
# module of each. `tests/test_package.py` holds the two lists to each other.
_AT_FIRST_USE = {
    **dict.fromkeys(("Plan", "plan", "reinit"), "jinit.model._plan"),
    "Entry": "jinit.model._entries",
    "pretrained": "jinit.model._pretrained",
    **dict.fromkeys(("Place", "Role"), "jinit.model._role"),
    **dict.fromkeys(("Parametrization", "Scaling"), "jinit.model._mup"),
    **dict.fromkeys(("Roles", "roles"), "jinit.model._roles"),
    **dict.fromkeys(("ModelInit", "jit_init"), "jinit.model._jit_init"),
    **dict.fromkeys(("LsuvLayer", "LsuvReport", "lsuv"), "jinit.signal._lsuv"),
    "weight_norm_init": "jinit.signal._weight_norm",
    **dict.fromkeys(
        ("CriticalPoint", "critical_point", "variance_map"), "jinit.gains._mean_field"
    ),
    **dict.fromkeys(("diagnostics", "jaxnn", "recipes", "torch"), ""),
    **dict.fromkeys(("distributions", "recurrent", "ssm", "coordinate"), ""),
    **dict.fromkeys(("vision", "adapter", "transplant"), ""),
}

if _TYPE_CHECKING:
    from jinit import (
        adapter as adapter,
        coordinate as coordinate,
        diagnostics as diagnostics,
        distributions as distributions,
        jaxnn as jaxnn,
        recipes as recipes,
        recurrent as recurrent,
        ssm as ssm,
        torch as torch,
        transplant as transplant,
        vision as vision,
    )
    from jinit.gains._mean_field import (
        CriticalPoint as CriticalPoint,
        critical_point as critical_point,
        variance_map as variance_map,
    )
    from jinit.model._entries import Entry as Entry
    from jinit.model._jit_init import ModelInit as ModelInit, jit_init as jit_init
    from jinit.model._plan import Plan as Plan, plan as plan, reinit as reinit
    from jinit.model._pretrained import pretrained as pretrained
    from jinit.model._mup import Parametrization as Parametrization, Scaling as Scaling
    from jinit.model._role import Place as Place, Role as Role
    from jinit.model._roles import Roles as Roles, roles as roles
    from jinit.signal._lsuv import (
        LsuvLayer as LsuvLayer,
        LsuvReport as LsuvReport,
        lsuv as lsuv,
    )
    from jinit.signal._weight_norm import weight_norm_init as weight_norm_init


def __getattr__(name: str) -> _Any:
    if name not in _AT_FIRST_USE:
        raise AttributeError(f"module 'jinit' has no attribute {name!r}")
    home = _AT_FIRST_USE[name]
    if not home:
        return _importlib.import_module(f"jinit.{name}")
    value = globals()[name] = getattr(_importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_AT_FIRST_USE})
