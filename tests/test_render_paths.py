"""Camera paths: keys are met, moves are smooth and keep the head where it is; bad keys are refused."""

from dataclasses import replace

import pytest
import torch

from mggtalk_core.errors import InputError
from mggtalk_core.head.camera import Camera
from mggtalk_core.render.camera_path import EASINGS, CameraKey, CameraPath
from mggtalk_core.render.cameras import HEAD_CENTER, orbit

FRONT = Camera.for_crop(512).posed(torch.diag(torch.tensor([1.0, -1.0, -1.0])), torch.tensor([0.1, 0.2, 14.0]))
PIVOT = torch.tensor([HEAD_CENTER])


def assert_close(a: Camera, b: Camera, atol=1e-5) -> None:
    assert torch.allclose(a.world_to_camera, b.world_to_camera, atol=atol)
    assert a.focal == pytest.approx(b.focal) and (a.width, a.height) == (b.width, b.height)


def test_keys_are_met_and_nothing_moves_before_or_after():
    keys = [CameraKey(3.0, orbit(FRONT, -20.0, 5.0)), CameraKey(1.0, FRONT), CameraKey(2.0, orbit(FRONT, 30.0, 0.0))]
    path = CameraPath(keys)
    for key in keys:
        assert_close(path(key.time), key.camera)
    assert_close(path(-5.0), FRONT)
    assert_close(path(99.0), keys[0].camera)
    assert_close(path(2.0 - 1e-9), path(2.0 + 1e-9))


@pytest.mark.parametrize("turn", [40.0, -170.0, 180.0])
def test_a_linear_move_between_two_orbits_is_the_orbit(turn):
    path = CameraPath([CameraKey(0.0, FRONT, "linear"), CameraKey(1.0, orbit(FRONT, turn, 0.0))])
    for share in (0.25, 0.5, 0.8):
        camera = path(share)
        expected = orbit(FRONT, share * turn, 0.0)
        if abs(turn) == 180.0 and not torch.allclose(camera.rotation, expected.rotation, atol=1e-4):
            expected = orbit(FRONT, -share * turn, 0.0)  # both ways are as short
        assert_close(camera, expected, atol=1e-4)


def test_the_head_moves_in_a_straight_line_and_the_focal_length_by_ratios():
    near = replace(FRONT, focal=FRONT.focal * 4).posed(FRONT.rotation, torch.tensor([-0.5, 0.3, 9.0]))
    path = CameraPath([CameraKey(0.0, FRONT, "linear"), CameraKey(2.0, near)])
    assert path(1.0).focal == pytest.approx(2 * FRONT.focal)
    ends = FRONT.to_camera(PIVOT), near.to_camera(PIVOT)
    assert torch.allclose(path(0.5).to_camera(PIVOT), torch.lerp(*ends, 0.25), atol=1e-5)


def test_rotations_stay_rotations():
    path = CameraPath([CameraKey(0.0, FRONT), CameraKey(1.0, orbit(FRONT, 100.0, 40.0))])
    for camera in path.frames(9, 8.0):
        assert torch.allclose(camera.rotation @ camera.rotation.T, torch.eye(3), atol=1e-6)
        assert torch.linalg.det(camera.rotation) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("name", EASINGS)
def test_easings_go_from_start_to_end_without_turning_back(name):
    ease = EASINGS[name]
    values = torch.tensor([ease(k / 100) for k in range(101)])
    assert values[0] == 0 and values[-1] == 1 and (values.diff() > 0).all()
    slow_start, slow_end = "in" in name.split("-"), "out" in name.split("-")
    assert (values[1] < 0.005) == slow_start and (values[-2] > 0.995) == slow_end


def test_easing_belongs_to_the_move_that_begins_at_the_key():
    move = orbit(FRONT, 40.0, 0.0)
    path = CameraPath([CameraKey(0.0, FRONT, "ease-in"), CameraKey(1.0, move, "linear")])
    assert_close(path(0.5), orbit(FRONT, 10.0, 0.0), atol=1e-4)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ([], "at least one key"),
        ([CameraKey(0.0, FRONT), CameraKey(0.0, FRONT)], "same time"),
        ([CameraKey(0.0, FRONT, "bounce")], "Unknown easing"),
        ([CameraKey(float("nan"), FRONT)], "give seconds"),
        ([CameraKey(0.0, FRONT), CameraKey(1.0, FRONT.resized(256, 256))], "same picture size"),
    ],
)
def test_bad_keys_are_refused(keys, words):
    with pytest.raises(InputError, match=words):
        CameraPath(keys)
