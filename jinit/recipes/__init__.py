"""Recipes: whole models initialized by what each parameter is, for `Roles.rules`.

    plan = jinit.plan(params, jinit.roles(model, params, x).rules(jinit.recipes.gpt2()))

A recipe is a file here, and a line below.
"""

from jinit.recipes._by_depth import by_depth as by_depth
from jinit.recipes._completep import completep as completep
from jinit.recipes._deepnorm import deepnorm as deepnorm
from jinit.recipes._fixup import fixup as fixup
from jinit.recipes._flax import flax as flax
from jinit.recipes._gpt2 import gpt2 as gpt2
from jinit.recipes._griffin import griffin as griffin
from jinit.recipes._mup import mup as mup
from jinit.recipes._nanochat import nanochat as nanochat
from jinit.recipes._ntk import ntk as ntk
from jinit.recipes._olmo import olmo as olmo
from jinit.recipes._recipe import Recipe as Recipe
from jinit.recipes._recipe import named as named
from jinit.recipes._rl import rl as rl
from jinit.recipes._small_init import small_init as small_init
from jinit.recipes._spectral import spectral as spectral
from jinit.recipes._subln import subln as subln
from jinit.recipes._t5 import t5 as t5
from jinit.recipes._t_fixup import t_fixup as t_fixup
from jinit.recipes._torch import torch as torch
from jinit.recipes._vit import vit as vit
from jinit.recipes._zero_residual import zero_residual as zero_residual
