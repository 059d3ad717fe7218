"""Rotations of the head: vectors of the Lie algebra, geodesics, and degrees for the user's sliders."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

FACING = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
"""Canonical to camera axes of a head that looks straight into the camera."""


def axis_rotation(axis: int, angle: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3 3"]:
    """Return the right-handed rotation by ``angle`` radians about coordinate axis 0, 1 or 2."""
    j, k = (axis + 1) % 3, (axis + 2) % 3
    matrix = torch.zeros((*angle.shape, 3, 3), dtype=angle.dtype, device=angle.device)
    matrix[..., axis, axis] = 1.0
    matrix[..., j, j] = matrix[..., k, k] = angle.cos()
    matrix[..., k, j], matrix[..., j, k] = angle.sin(), -angle.sin()
    return matrix


def head_rotation(
    yaw: Float[Tensor, "*batch"], pitch: Float[Tensor, "*batch"], roll: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch 3 3"]:
    """Return the rotation of a head in canonical axes from degrees.

    +yaw turns the face to the subject's left, +pitch lifts the chin, +roll leans the crown to the subject's left;
    roll acts first, then pitch, then yaw.
    """
    yaw, pitch, roll = (torch.deg2rad(angle.to(torch.float64)) for angle in (yaw, pitch, roll))
    return axis_rotation(1, yaw) @ axis_rotation(0, -pitch) @ axis_rotation(2, -roll)


def head_degrees(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Return yaw, pitch and roll in degrees of canonical-axes rotations: the inverse of `head_rotation`."""
    r = rotation.to(torch.float64)
    yaw = torch.atan2(r[..., 0, 2], r[..., 2, 2])
    pitch = torch.asin(r[..., 1, 2].clamp(-1.0, 1.0))
    roll = torch.atan2(-r[..., 1, 0], r[..., 1, 1])
    return torch.rad2deg(torch.stack((yaw, pitch, roll), dim=-1))


def camera_rotation(
    yaw: Float[Tensor, "*batch"], pitch: Float[Tensor, "*batch"], roll: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch 3 3"]:
    """Return the canonical-to-camera rotation of a head with these angles (degrees) before a level camera."""
    rotation = head_rotation(yaw, pitch, roll)
    return FACING.to(rotation) @ rotation


def _skew(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=-1).unflatten(-1, (3, 3))


def exp_rotation(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Return the rotation by ``|vector|`` radians about ``vector`` (Rodrigues); zero gives exactly the identity."""
    angle = vector.norm(dim=-1)[..., None, None]
    generator = _skew(vector)
    half = torch.sinc(angle / (2.0 * math.pi))
    eye = torch.eye(3, dtype=vector.dtype, device=vector.device)
    return eye + torch.sinc(angle / math.pi) * generator + 0.5 * half * half * (generator @ generator)


def log_rotation(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Return the rotation vector in radians, of length at most pi: the inverse of `exp_rotation`."""
    sine = 0.5 * torch.stack(
        (
            rotation[..., 2, 1] - rotation[..., 1, 2],
            rotation[..., 0, 2] - rotation[..., 2, 0],
            rotation[..., 1, 0] - rotation[..., 0, 1],
        ),
        dim=-1,
    )
    cosine = 0.5 * (rotation.diagonal(dim1=-2, dim2=-1).sum(-1) - 1.0)
    length = sine.norm(dim=-1)
    angle = torch.atan2(length, cosine)
    scale = torch.where(length > 1e-12, angle / length.clamp_min(1e-12), 1.0)
    regular = sine * scale[..., None]
    # Near a half turn the sine vanishes: the axis is then read from the symmetric part, its sign from the sine.
    return torch.where((cosine < -0.99)[..., None], _half_turn_axis(rotation, sine, cosine) * angle[..., None], regular)


def _half_turn_axis(
    rotation: Float[Tensor, "*batch 3 3"], sine: Float[Tensor, "*batch 3"], cosine: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch 3"]:
    eye = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
    # The symmetric part is cos I + (1 - cos) a a^T: without the first term its columns are along the axis a.
    outer = 0.5 * (rotation + rotation.transpose(-1, -2)) - cosine[..., None, None] * eye
    column = outer.diagonal(dim1=-2, dim2=-1).argmax(-1)
    axis = outer.gather(-1, column[..., None, None].expand(*column.shape, 3, 1)).squeeze(-1)
    axis = axis / axis.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return torch.where((axis * sine).sum(-1, keepdim=True) < 0.0, -axis, axis)


def slerp(
    start: Float[Tensor, "*batch 3 3"], end: Float[Tensor, "*batch 3 3"], weight: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch 3 3"]:
    """Return the rotation at ``weight`` (0: ``start``, 1: ``end``) along the shortest arc."""
    arc = log_rotation(start.transpose(-1, -2) @ end)
    return start @ exp_rotation(weight[..., None] * arc)


def orthonormal(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Return the rotations nearest to the given matrices."""
    left, _, right = torch.linalg.svd(rotation)
    sign = torch.ones(left.shape[:-1], dtype=left.dtype, device=left.device)
    sign[..., 2] = torch.linalg.det(left @ right)
    return (left * sign[..., None, :]) @ right


def mean_rotation(rotation: Float[Tensor, "T 3 3"]) -> Float[Tensor, "3 3"]:
    """Return the chordal mean: the rotation nearest to the average matrix."""
    return orthonormal(rotation.to(torch.float64).mean(0))
