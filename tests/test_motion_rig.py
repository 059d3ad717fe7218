import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mggtalk_core.errors import InputError
from mggtalk_core.motion.rig import EASINGS, NECK, Key, eased, motion_from_rig, sample_curve
from mggtalk_core.motion.rotations import FACING, head_degrees
from mggtalk_core.portrait.blendshapes import BLENDSHAPE_INDEX, BLENDSHAPES


def test_no_slider_is_a_face_at_rest():
    motion = motion_from_rig()
    assert len(motion) == 1
    assert torch.equal(motion.beta, torch.zeros(1, 52))
    assert torch.equal(motion.rotation[0], FACING.float())
    assert torch.equal(motion.translation[0], motion.rest.translation)


@pytest.mark.parametrize("name", BLENDSHAPES)
def test_each_slider_moves_its_own_coefficient(name):
    motion = motion_from_rig({name.upper(): 0.7}, frames=3)
    expected = torch.zeros(3, 52)
    expected[:, BLENDSHAPE_INDEX[name]] = 0.7
    assert torch.equal(motion.beta, expected)


def test_pose_and_gaze_come_back_in_degrees():
    motion = motion_from_rig(yaw=20.0, pitch=-10.0, roll=5.0, gaze_left=(12.0, 5.0), gaze_right=(8.0, 5.0))
    degrees = head_degrees(FACING.T @ motion.rotation[0].double())
    torch.testing.assert_close(degrees, torch.tensor([20.0, -10.0, 5.0], dtype=torch.float64), atol=1e-4, rtol=0.0)
    torch.testing.assert_close(motion.gaze[0].rad2deg(), torch.tensor([12.0, 5.0, 8.0, 5.0]))


def test_the_head_turns_about_its_neck_and_moves_where_it_is_told():
    neck, moved = torch.tensor(NECK), torch.tensor([0.1, 0.2, -0.3])
    motion = motion_from_rig(yaw=[0.0, 30.0], pitch=[0.0, 15.0], roll=[0.0, -8.0], translation=tuple(moved.tolist()))
    places = motion.rotation @ neck + motion.translation
    torch.testing.assert_close(places[1], places[0], atol=1e-5, rtol=0.0)
    torch.testing.assert_close(motion.translation[0] - motion.rest.translation, moved)


def test_lids_follow_the_eyeballs_down_and_up():
    motion = motion_from_rig(gaze_left=(0.0, [-25.0, 12.5]), gaze_right=(0.0, 0.0))
    down, up = (motion.beta[:, BLENDSHAPE_INDEX[f"eyeLook{way}Left"]] for way in ("Down", "Up"))
    torch.testing.assert_close(down, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(up, torch.tensor([0.0, 0.5]))
    assert float(motion.beta[:, BLENDSHAPE_INDEX["eyeLookDownRight"]].abs().max()) == 0.0


def test_curves_are_taken_frame_by_frame():
    curve = [0.0, 0.25, 0.5]
    for given_as in (curve, torch.tensor(curve), np.asarray(curve)):
        motion = motion_from_rig({"jawOpen": given_as})
        assert motion.beta[:, BLENDSHAPE_INDEX["jawOpen"]].tolist() == curve


@pytest.mark.parametrize("easing", EASINGS)
def test_easings_start_at_0_and_end_at_1(easing):
    values = sample_curve([Key(2, 1.0, easing), Key(10, 3.0)], 14)
    assert values[:3].tolist() == [1.0, 1.0, 1.0]
    assert values[10:].tolist() == [3.0] * 4
    assert bool((values.diff() >= 0.0).all())


def test_easings_at_a_quarter():
    quarter = {name: eased(0.25, name) for name in EASINGS}
    assert quarter["linear"] == 0.25
    assert quarter["smooth"] == pytest.approx(0.15625)
    assert quarter["in"] == pytest.approx(1.0 - math.cos(math.pi / 8))
    assert quarter["out"] == pytest.approx(math.sin(math.pi / 8))
    assert quarter["step"] == 0.0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.floats(-1.0, 1.0)), min_size=1, max_size=6, unique_by=lambda k: k[0]))
def test_keys_are_met_in_any_order(keys):
    values = sample_curve([Key(frame, value) for frame, value in keys], 31)
    for frame, value in keys:
        assert float(values[frame]) == value


@pytest.mark.parametrize(
    "wrong",
    [
        {"sliders": {"jawWide": 1.0}},
        {"sliders": {"jawOpen": float("nan")}},
        {"sliders": {"jawOpen": [0.0, 1.0], "jawLeft": [0.0, 1.0, 0.0]}},
        {"sliders": {"jawOpen": [Key(0, 0.0, "bounce"), Key(5, 1.0)]}},
        {"sliders": {"jawOpen": [0.0, 1.0]}, "frames": 5},
        {"frames": 0},
        {"fps": -1.0},
        {"yaw": float("inf")},
    ],
)
def test_wrong_sliders_are_refused(wrong):
    with pytest.raises(InputError):
        motion_from_rig(**wrong)
