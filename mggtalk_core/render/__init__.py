"""Cameras, splat rasterisers, compositing and inpainting (paper D.5)."""
