"""Depth-aware symmetric geometry reconstruction (paper 3.1)."""
