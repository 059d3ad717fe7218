"""Symmetric Gaussian prediction (paper 3.2)."""
