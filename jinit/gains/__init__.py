"""Gains: what makes up for an activation, and what it does in depth."""
