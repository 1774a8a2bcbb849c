"""Adapters: low-rank pairs that are added to kernels."""

from __future__ import annotations
