"""jinit: the initializers of torch.nn.init, for JAX and Flax, right in every dtype."""

from jinit._basic import constant as constant
from jinit._basic import normal as normal
from jinit._basic import ones as ones
from jinit._basic import trunc_normal as trunc_normal
from jinit._basic import uniform as uniform
from jinit._basic import zeros as zeros
from jinit._fans import Fans as Fans
from jinit._fans import fans as fans
from jinit._gains import calculate_gain as calculate_gain
from jinit._identity import dirac as dirac
from jinit._identity import eye as eye
from jinit._initializer import Initializer as Initializer
from jinit._orthogonal import orthogonal as orthogonal
from jinit._scaling import kaiming_normal as kaiming_normal
from jinit._scaling import kaiming_uniform as kaiming_uniform
from jinit._scaling import xavier_normal as xavier_normal
from jinit._scaling import xavier_uniform as xavier_uniform
from jinit._sparse import sparse as sparse

__version__ = "0.1.0"
