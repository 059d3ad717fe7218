"""Heads of known shape: the raw head data, painted, posed and rendered, to learn from and to measure against."""
