"""Cameras around the head."""

import pytest
import torch

from mggtalk_core.head.camera import Camera
from mggtalk_core.render.cameras import HEAD_CENTER, orbit

FRONT = Camera.for_crop(512).posed(torch.diag(torch.tensor([1.0, -1.0, -1.0])), torch.tensor([0.1, 0.2, 14.0]))


def center_of(camera: Camera) -> torch.Tensor:
    return -camera.rotation.T @ camera.translation


def test_no_turn_is_the_same_camera():
    assert torch.allclose(orbit(FRONT, 0.0, 0.0).world_to_camera, FRONT.world_to_camera, atol=1e-6)


@pytest.mark.parametrize(("yaw", "pitch"), [(30.0, 0.0), (-75.0, 20.0), (180.0, -45.0)])
def test_the_head_keeps_its_place_and_distance(yaw, pitch):
    moved = orbit(FRONT, yaw, pitch)
    pivot = torch.tensor([HEAD_CENTER])
    assert torch.allclose(moved.project(pivot), FRONT.project(pivot), atol=1e-2)
    distance = torch.linalg.vector_norm(center_of(moved) - pivot)
    assert distance == pytest.approx(torch.linalg.vector_norm(center_of(FRONT) - pivot).item(), rel=1e-5)
    assert torch.allclose(moved.rotation @ moved.rotation.T, torch.eye(3), atol=1e-6)
    assert torch.linalg.det(moved.rotation) == pytest.approx(1.0, abs=1e-5)


def test_yaw_goes_to_the_subjects_left_and_pitch_up():
    assert center_of(orbit(FRONT, 20.0, 0.0))[0] > center_of(FRONT)[0] + 1
    assert center_of(orbit(FRONT, 0.0, 20.0))[1] > center_of(FRONT)[1] + 1
