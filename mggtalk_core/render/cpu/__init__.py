"""Splat rasteriser for the CPU: numba kernels, tiles of 16 pixels, our own threads."""
