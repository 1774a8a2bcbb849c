"""Whole models: read, planned, and drawn quickly."""
