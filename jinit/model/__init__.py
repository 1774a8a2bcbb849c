"""Whole models: initialized quickly, and by rules."""

from jinit.model._jit_init import jit_init as jit_init
from jinit.model._plan import Plan as Plan
from jinit.model._plan import plan as plan
from jinit.model._plan import reinit as reinit
