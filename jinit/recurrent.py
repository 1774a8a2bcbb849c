"""Recurrent cells: biases of gates, and kernels of the state."""

from __future__ import annotations
