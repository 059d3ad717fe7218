"""Orientation and extent of flat Gaussians from two tangent vectors."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .compiled import loops_may

THICKNESS = 0.2
"""Extent along the normal over the smaller tangent extent: flat, yet not invisible from the side."""


def ellipse_frames(
    along_x: Float[Tensor, "n 3"], along_y: Float[Tensor, "n 3"]
) -> tuple[Float[Tensor, "n 4"], Float[Tensor, "n 3"]]:
    """Return the rotation and scale of Gaussians whose covariance is ``x x^T + y y^T`` plus a thin normal.

    Args:
        along_x: Spacing vectors of the surface along the picture's rows, not zero.
        along_y: Spacing vectors along its columns, not parallel to ``along_x``.

    Returns:
        Unit quaternions w, x, y, z and standard deviations along the two principal tangents and the normal.
    """
    if not loops_may(along_x, along_y):
        return _plain_ellipse_frames(along_x, along_y)
    from .kernels import ellipses

    quats, scales = along_x.new_empty(len(along_x), 4), torch.empty_like(along_x)
    ellipses(along_x.numpy(), along_y.numpy(), np.float32(THICKNESS), quats.numpy(), scales.numpy())
    return quats, scales


def _plain_ellipse_frames(
    along_x: Float[Tensor, "n 3"], along_y: Float[Tensor, "n 3"]
) -> tuple[Float[Tensor, "n 4"], Float[Tensor, "n 3"]]:
    a, b, c = (along_x * along_x).sum(-1), (along_x * along_y).sum(-1), (along_y * along_y).sum(-1)
    angle = 0.5 * torch.atan2(2.0 * b, a - c)
    cos, sin = torch.cos(angle)[:, None], torch.sin(angle)[:, None]
    major = cos * along_x + sin * along_y
    minor = cos * along_y - sin * along_x
    length_major, length_minor = major.norm(dim=-1), minor.norm(dim=-1)
    e1 = major / length_major.clamp(min=1e-9)[:, None]
    e2 = minor / length_minor.clamp(min=1e-9)[:, None]
    normal = torch.linalg.cross(e1, e2)
    scales = torch.stack((length_major, length_minor, THICKNESS * length_minor), dim=-1)
    return quaternion_of(e1, e2, normal), scales


def quaternion_of(
    x_axis: Float[Tensor, "n 3"], y_axis: Float[Tensor, "n 3"], z_axis: Float[Tensor, "n 3"]
) -> Float[Tensor, "n 4"]:
    """Return the unit quaternion (w, x, y, z) whose rotation has these orthonormal columns."""
    xx, yx, zx = x_axis.unbind(-1)
    xy, yy, zy = y_axis.unbind(-1)
    xz, yz, zz = z_axis.unbind(-1)
    # Four candidates, one per component; the one whose own component is largest is the best conditioned.
    squares = torch.stack((1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz), dim=-1)
    best = squares.argmax(dim=-1)
    table = torch.stack(
        (
            squares[:, 0], zy - yz, xz - zx, yx - xy,
            zy - yz, squares[:, 1], yx + xy, xz + zx,
            xz - zx, yx + xy, squares[:, 2], zy + yz,
            yx - xy, xz + zx, zy + yz, squares[:, 3],
        ),
        dim=-1,
    ).view(-1, 4, 4)  # fmt: skip
    quaternion = table[torch.arange(len(best), device=best.device), best]
    return torch.nn.functional.normalize(quaternion, dim=-1)
