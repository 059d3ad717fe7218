"""The voxel filter against a plain-Python twin, and by hand."""

import itertools
import math

import pytest
import torch

from mggtalk_core.errors import InputError
from mggtalk_core.geometry.voxel import voxel_filter


def plain_filter(points, mirrored, voxel, radius, occlusion):
    """Both rules of the paper, one point at a time."""

    def cell(point):
        return tuple(math.floor(value / voxel) for value in point)

    occupied = {cell(p) for p in points}
    keep = []
    for point in mirrored:
        x, y, z = cell(point)
        steps = range(-radius, radius + 1)
        near = any((x + a, y + b, z + c) in occupied for a, b, c in itertools.product(steps, steps, steps))
        column = [c for a, b, c in occupied if (a, b) == (x, y)]
        hidden = bool(column) and (z > max(column) if occlusion == "front" else z < max(column))
        keep.append(not near and not hidden)
    return keep


@pytest.mark.parametrize("radius", [0, 1])
@pytest.mark.parametrize("occlusion", ["front", "behind"])
@pytest.mark.parametrize("seed", [0, 1])
def test_agrees_with_plain_twin(radius, occlusion, seed):
    generator = torch.Generator().manual_seed(seed)
    points = (torch.rand(150, 3, generator=generator, dtype=torch.float64) - 0.5) * torch.tensor([0.6, 0.6, 0.4])
    mirrored = points * torch.tensor([-1.0, 1.0, 1.0]) + 0.01
    keep = voxel_filter(points, mirrored, voxel=0.05, radius=radius, occlusion=occlusion)
    assert keep.tolist() == plain_filter(points.tolist(), mirrored.tolist(), 0.05, radius, occlusion)
    assert 0 < int(keep.sum()) < len(keep)


CANDIDATES = torch.tensor(
    [
        [0.005, 0.005, 0.009],  # same voxel as the visible point
        [0.005, 0.005, 0.035],  # the voxel next to it, in front
        [0.005, 0.005, 0.105],  # far in front
        [0.005, 0.005, -0.095],  # far behind
        [0.035, 0.035, -0.025],  # diagonal neighbour, in an empty column
        [0.305, 0.005, 0.005],  # far to the side
    ]
)
ONE_POINT = torch.tensor([[0.015, 0.015, 0.015]])


@pytest.mark.parametrize(
    ("radius", "occlusion", "expected"),
    [
        (0, "front", [False, False, False, True, True, True]),
        (0, "behind", [False, True, True, False, True, True]),
        (1, "front", [False, False, False, True, False, True]),
        (1, "behind", [False, False, True, False, False, True]),
    ],
)
def test_both_readings_by_hand(radius, occlusion, expected):
    assert voxel_filter(ONE_POINT, CANDIDATES, radius=radius, occlusion=occlusion).tolist() == expected


def test_a_symmetric_cloud_needs_no_mirror():
    generator = torch.Generator().manual_seed(3)
    half = torch.rand(200, 3, generator=generator)
    cloud = torch.cat((half, half * torch.tensor([-1.0, 1.0, 1.0])))
    assert not voxel_filter(cloud, cloud * torch.tensor([-1.0, 1.0, 1.0])).any()


def test_no_visible_points_keep_everything():
    assert voxel_filter(torch.zeros(0, 3), CANDIDATES).all()


@pytest.mark.parametrize("wrong", [{"voxel": 0.0}, {"radius": 2}, {"occlusion": "left"}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InputError, match="voxel filter"):
        voxel_filter(ONE_POINT, CANDIDATES, **wrong)
