"""Metrics and the tables of the paper (paper 4.1)."""
