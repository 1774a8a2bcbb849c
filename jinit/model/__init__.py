"""Whole models: initialized quickly, and by rules."""

from jinit.model._jit_init import jit_init as jit_init
