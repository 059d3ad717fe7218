"""Gaussians moved as a rigid body."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from .frames import quaternion_of
from .gaussians import Gaussians


def moved(gaussians: Gaussians, rotation: Float[Tensor, "3 3"], translation: Float[Tensor, "3"]) -> Gaussians:
    """Return the Gaussians turned by ``rotation`` and then shifted: means, axes and the directions of their colours."""
    turn = rotation.to(gaussians.means)
    return replace(
        gaussians,
        means=gaussians.means @ turn.T + translation.to(gaussians.means),
        quats=_product(quaternion_of(*turn.T[:, None])[0], gaussians.quats),
        sh=harmonics_of(turn) @ gaussians.sh,
    )


def harmonics_of(linear: Float[Tensor, "3 3"]) -> Float[Tensor, "4 4"]:
    """Return what an orthogonal map of directions does to harmonics [4, 3]: a matrix that they are multiplied by."""
    # Degree 1 is stored as (y, z, x) times (-1, 1, -1): a linear function of the direction, which turns as a vector.
    order, sign = [1, 2, 0], linear.new_tensor((-1.0, 1.0, -1.0))
    return torch.block_diag(linear.new_ones(1, 1), linear[order][:, order] * torch.outer(sign, sign))


def _product(left: Float[Tensor, "4"], right: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
    """Return the Hamilton product of one quaternion with many."""
    w, x, y, z = left.unbind()
    a, b, c, d = right.unbind(-1)
    return torch.stack(
        (
            w * a - x * b - y * c - z * d,
            w * b + x * a + y * d - z * c,
            w * c - x * d + y * a + z * b,
            w * d + x * c - y * b + z * a,
        ),
        dim=-1,
    )
