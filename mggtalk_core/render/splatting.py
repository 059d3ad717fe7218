"""Constants of the splatting equations, shared by every backend (3D Gaussian splatting; gsplat 1.5)."""

from __future__ import annotations

from ..gaussians.gaussians import SH_C0 as SH_C0

LOW_PASS = 0.3
"""Added to the 2D covariance, in square pixels: no splat is thinner than a pixel."""
NEAR_PLANE = 0.01
"""Gaussians whose centre is nearer than this camera depth are left out."""
MAX_ALPHA = 0.999
MIN_ALPHA = 1.0 / 255.0
"""A splat is skipped where it is fainter than this."""
MIN_TRANSMITTANCE = 1e-4
"""A pixel is finished before the splat that would leave this much light or less."""
MAX_EXTENT = 3.33
"""A splat reaches at most this many standard deviations."""
FRUSTUM_MARGIN = 0.3
"""The Jacobian is taken no further outside the picture than this, in half picture widths."""
SH_C1 = 0.4886025119029199
"""Value of the linear spherical harmonics; that of the constant one, `SH_C0`, belongs to `Gaussians`."""
MIN_WEIGHT = 1e-10
"""Guards the division by alpha in the expected depth."""
