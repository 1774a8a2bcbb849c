"""Coordinate networks: kernels of sines, Fourier features and hash grids."""

from __future__ import annotations
