"""What integration may change of a depth that was given with normals: its slopes, not its jumps."""

import pytest
import torch

from mggtalk_core.geometry.mesh_provider import Estimate
from mggtalk_core.geometry.normals import rays, unit
from mggtalk_core.geometry.reconstruct import JUMP, fuse, jumps
from mggtalk_core.head.camera import Camera

SIZE = 512
CAMERA = Camera.for_crop(SIZE)
DISTANCE = 9.0


def ball(radius=4.0):
    """Depth and true normals of a ball's cap that fills the picture."""
    sight = rays(CAMERA)
    # |t ray - middle| = radius, the nearer t.
    a, b = sight.square().sum(0), DISTANCE + radius
    root = b * b - a * (b * b - radius * radius)
    depth = (b - root.sqrt()) / a
    return depth, unit(sight * depth - torch.tensor([0.0, 0.0, b])[:, None, None]), torch.ones(SIZE, SIZE).bool()


def estimate(depth, normals, mask):
    """Both maps given everywhere."""
    no = torch.full((SIZE, SIZE), -1)
    return Estimate(depth, normals, mask, ~mask & mask, no, torch.zeros(3, SIZE, SIZE), told=mask, measured=mask)


def with_cap(depth, step):
    """The same surface with a layer that lies over its upper part, as hair over a forehead."""
    return depth - step * (torch.arange(SIZE) < SIZE // 3)[:, None]


def test_a_jump_is_where_neighbours_lie_off_each_others_planes():
    depth, normals, mask = ball()
    assert not jumps(depth, normals, CAMERA).any()
    found = jumps(with_cap(depth, 2.0 * JUMP), normals, CAMERA)
    rows = torch.nonzero(found.any(dim=1)).squeeze(-1).tolist()
    assert rows == [SIZE // 3 - 1, SIZE // 3] and found[rows].all()
    assert not jumps(with_cap(depth, 0.5 * JUMP), normals, CAMERA).any()


def test_a_jump_of_millimetres_stays_open():
    """Normals bend slowly and the depth has grain: the step is kept, the grain is not."""
    random = torch.Generator().manual_seed(0)
    depth, normals, mask = ball()
    true = with_cap(depth, 0.03)
    wave = 0.08 * torch.sin(torch.arange(SIZE) / 60.0).expand(SIZE, SIZE)
    bent = unit(normals + torch.stack((wave, wave.T, torch.zeros(SIZE, SIZE))))
    grainy = true + 0.004 * torch.randn(SIZE, SIZE, generator=random)
    fused = fuse(estimate(grainy, bent, mask), CAMERA)
    upper = SIZE // 3 - 1
    step, wanted = (float((each[upper + 1] - each[upper]).mean()) for each in (fused, true))
    # Without the weight at jumps 7 of its 29 thousandths are lost.
    assert step == pytest.approx(wanted, abs=0.002)
    before, after = (torch.diff(each - true, dim=1).std() for each in (grainy, fused))
    assert after < 0.03 * before


def test_a_depth_that_agrees_with_its_normals_is_kept():
    depth, normals, mask = ball()
    assert torch.equal(fuse(estimate(depth, normals, mask), CAMERA)[mask], depth[mask])
    turned = unit(normals + torch.tensor([0.3, 0.0, 0.0])[:, None, None])
    changed = fuse(estimate(depth, turned, mask), CAMERA)
    assert (changed - depth)[mask].abs().mean() > 1e-3
