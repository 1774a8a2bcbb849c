"""jinit: the initializers of torch, JAX and Keras for JAX and Flax, in every dtype."""

import importlib
import typing

from jinit._basic import constant as constant
from jinit._basic import normal as normal
from jinit._basic import ones as ones
from jinit._basic import trunc_normal as trunc_normal
from jinit._basic import truncated_normal as truncated_normal
from jinit._basic import uniform as uniform
from jinit._basic import zeros as zeros
from jinit._combine import blocks as blocks
from jinit._combine import looks_linear as looks_linear
from jinit._combine import stack as stack
from jinit._combine import with_dtype as with_dtype
from jinit._config import deserialize as deserialize
from jinit._config import serialize as serialize
from jinit._convolution import convolution_orthogonal as convolution_orthogonal
from jinit._convolution import delta_orthogonal as delta_orthogonal
from jinit._fans import Fans as Fans
from jinit._fans import einsum_axes as einsum_axes
from jinit._fans import fans as fans
from jinit._gains import calculate_gain as calculate_gain
from jinit._gains import gain as gain
from jinit._identity import dirac as dirac
from jinit._identity import eye as eye
from jinit._initializer import Initializer as Initializer
from jinit._mean_field import CriticalPoint as CriticalPoint
from jinit._mean_field import critical_point as critical_point
from jinit._mean_field import variance_map as variance_map
from jinit._orthogonal import orthogonal as orthogonal
from jinit._orthogonal import scaled_orthogonal as scaled_orthogonal
from jinit._orthogonal import spectral_orthogonal as spectral_orthogonal
from jinit._scaling import kaiming_normal as kaiming_normal
from jinit._scaling import kaiming_uniform as kaiming_uniform
from jinit._scaling import xavier_normal as xavier_normal
from jinit._scaling import xavier_uniform as xavier_uniform
from jinit._sparse import sparse as sparse
from jinit._variance_scaling import glorot_normal as glorot_normal
from jinit._variance_scaling import glorot_uniform as glorot_uniform
from jinit._variance_scaling import he_normal as he_normal
from jinit._variance_scaling import he_uniform as he_uniform
from jinit._variance_scaling import lecun_normal as lecun_normal
from jinit._variance_scaling import lecun_uniform as lecun_uniform
from jinit._variance_scaling import variance_scaling as variance_scaling
from jinit.model import LsuvLayer as LsuvLayer
from jinit.model import LsuvReport as LsuvReport
from jinit.model import Plan as Plan
from jinit.model import jit_init as jit_init
from jinit.model import lsuv as lsuv
from jinit.model import plan as plan
from jinit.model import reinit as reinit
from jinit.model import weight_norm_init as weight_norm_init

if typing.TYPE_CHECKING:
    from jinit import diagnostics as diagnostics
    from jinit import torch as torch

__version__ = "0.1.0"


def __getattr__(name: str) -> typing.Any:
    # Imported at their first use: together they cost as much as all the rest.
    if name in ("diagnostics", "torch"):
        return importlib.import_module(f"jinit.{name}")
    raise AttributeError(f"module 'jinit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), "diagnostics", "torch"]
