"""Gaussians moved as a rigid body."""

import math

import pytest
import torch

from mggtalk_core.gaussians.files import to_image_axes
from mggtalk_core.gaussians.gaussians import Gaussians
from mggtalk_core.gaussians.turn import moved
from mggtalk_core.motion.rotations import axis_rotation


def gaussians(count=20):
    seeded = torch.Generator().manual_seed(0)
    values = [torch.randn(count, size, generator=seeded) for size in (3, 4, 3)]
    return Gaussians(
        means=values[0],
        quats=torch.nn.functional.normalize(values[1], dim=-1),
        scales=values[2].abs(),
        opacities=torch.rand(count, generator=seeded),
        sh=torch.randn(count, 4, 3, generator=seeded),
        labels=torch.zeros(count, dtype=torch.uint8),
    )


def matrices(quats):
    w, x, y, z = quats.unbind(-1)
    rows = (
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    )  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def colours(sh, direction):
    """Degree 1 of the real spherical harmonics, as splat rasterisers read it."""
    x, y, z = direction.unbind(-1)
    basis = 0.4886025119029199 * torch.stack((-y, z, -x), dim=-1)
    return (basis[..., None] * sh[:, 1:]).sum(dim=1)


@pytest.mark.parametrize("angles", [(0.0, 0.0, 0.0), (0.4, -1.2, 2.0), (math.pi, 0.0, 0.0)])
def test_turned_gaussians_look_the_same_from_the_turned_side(angles):
    rotation = torch.eye(3, dtype=torch.float64)
    for axis, angle in enumerate(angles):
        rotation = rotation @ axis_rotation(axis, torch.tensor(angle, dtype=torch.float64))
    rotation, shift, before = rotation.float(), torch.tensor([0.1, 0.2, 0.3]), gaussians()
    after = moved(before, rotation, shift)
    assert torch.allclose(after.means, before.means @ rotation.T + shift, atol=1e-5)
    assert torch.allclose(matrices(after.quats), rotation @ matrices(before.quats), atol=1e-5)
    view = torch.nn.functional.normalize(torch.randn(20, 3, generator=torch.Generator().manual_seed(1)), dim=-1)
    assert torch.allclose(colours(after.sh, view @ rotation.T), colours(before.sh, view), atol=1e-5)


def test_a_half_turn_gives_the_axes_of_splat_files():
    turned, wanted = (
        moved(gaussians(), torch.diag(torch.tensor([1.0, -1.0, -1.0])), torch.zeros(3)),
        to_image_axes(gaussians()),
    )
    assert torch.allclose(turned.means, wanted.means) and torch.allclose(turned.sh, wanted.sh, atol=1e-6)
    assert torch.allclose(matrices(turned.quats), matrices(wanted.quats), atol=1e-6)
