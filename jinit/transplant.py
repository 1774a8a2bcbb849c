"""Transplants: weights made of the weights of another model."""

from __future__ import annotations
