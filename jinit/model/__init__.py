"""Whole models: initialized quickly, by rules, and from data."""

from jinit.model._jit_init import jit_init as jit_init
from jinit.model._lsuv import LsuvLayer as LsuvLayer
from jinit.model._lsuv import LsuvReport as LsuvReport
from jinit.model._lsuv import lsuv as lsuv
from jinit.model._plan import Plan as Plan
from jinit.model._plan import plan as plan
from jinit.model._plan import reinit as reinit
from jinit.model._weight_norm import weight_norm_init as weight_norm_init
