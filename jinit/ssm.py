"""State-space models: HiPPO, S4D, S5, LRU, RG-LRU and Mamba."""

from __future__ import annotations
