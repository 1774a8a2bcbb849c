"""Distributions: of any law, through links, and initializers as terms."""

from __future__ import annotations
