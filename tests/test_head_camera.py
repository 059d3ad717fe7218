"""The camera: projecting and lifting, where it stands, and how far it has turned."""

import pytest
import torch

from mggtalk_core.head.camera import Camera
from mggtalk_core.motion.rotations import axis_rotation

FRONT = torch.diag(torch.tensor([1.0, -1.0, -1.0]))


def posed(*turns):
    """A camera 14 units before the origin, after turns (axis, degrees) of the head."""
    rotation = FRONT
    for axis, degrees in turns:
        rotation = rotation @ axis_rotation(axis, torch.deg2rad(torch.tensor(degrees)))
    return Camera.for_crop(512).posed(rotation, torch.tensor([0.0, 0.0, 14.0]))


def test_what_is_projected_comes_back():
    camera, points = posed((1, 25.0), (0, -10.0)), torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    seen = camera.project(points)
    assert torch.allclose(camera.unproject(seen[:, :2], seen[:, 2]), points, atol=1e-4)


def test_the_place_of_a_camera_is_its_own_origin():
    camera = posed((1, 40.0), (2, 15.0))
    assert torch.allclose(camera.to_camera(camera.place[None]), torch.zeros(1, 3), atol=1e-5)
    assert torch.allclose(posed().place, torch.tensor([0.0, 0.0, 14.0]))


def test_points_see_the_camera_where_it_stands():
    camera, points = posed((1, 40.0)), torch.randn(20, 3, generator=torch.Generator().manual_seed(2))
    sight = camera.sight(points)
    assert torch.allclose(sight.norm(dim=-1), torch.ones(20))
    away = (camera.place - points).norm(dim=-1, keepdim=True)
    assert torch.allclose(points + away * sight, camera.place.expand(20, 3), atol=1e-5)


@pytest.mark.parametrize("degrees", [0.5, 12.0, 90.0, 170.0])
def test_turns_count_and_roll_does_not(degrees):
    # Half a degree is a difference of 4e-5 between cosines, of which single precision knows some hundred steps.
    turned = torch.rad2deg(posed((1, degrees)).turned_from(posed()))
    assert torch.allclose(turned, torch.tensor(degrees), atol=0.05)
    rolled = Camera.for_crop(512).posed(axis_rotation(2, torch.tensor(0.7)) @ posed().rotation, posed().translation)
    assert float(rolled.turned_from(posed())) < 1e-3
