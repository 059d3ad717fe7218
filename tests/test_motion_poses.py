"""Key frames of a rig, a neutralised portrait and eyes that stay on the camera."""

import json
import math
from dataclasses import replace

import pytest
import torch

from mggtalk_core.errors import InputError
from mggtalk_core.head.model import gaze_rotations
from mggtalk_core.motion.files import read_motion, write_motion
from mggtalk_core.motion.mix import mix_motions
from mggtalk_core.motion.poses import append_pose
from mggtalk_core.motion.retarget import retarget
from mggtalk_core.motion.rig import EASINGS, EXPRESSION, NECK, motion_from_rig
from mggtalk_core.portrait.blendshapes import BLENDSHAPE_INDEX

JAW = BLENDSHAPE_INDEX["jawOpen"]


@pytest.mark.parametrize("easing", EASINGS)
def test_a_pose_is_reached_in_time_and_held(easing):
    motion = append_pose(motion_from_rig({"jawOpen": 0.6}, fps=10.0), move=0.5, hold=0.3, easing=easing)
    jaw = motion.beta[:, JAW]
    assert len(motion) == 8 and jaw[0] == 0.0
    assert jaw[5:].tolist() == pytest.approx([0.6] * 3)
    assert bool((jaw.diff() >= 0.0).all())
    assert easing != "step" or jaw[4] == 0.0


def test_a_pose_without_time_is_one_frame():
    pose = motion_from_rig({"jawOpen": 0.6}, yaw=20.0)
    motion = append_pose(pose, move=0.0, hold=0.0)
    assert len(motion) == 1 and torch.equal(motion.beta, pose.beta) and torch.equal(motion.rotation, pose.rotation)
    assert torch.allclose(motion.translation, pose.translation, atol=1e-6)


def test_the_head_turns_about_its_neck_all_the_way():
    first = append_pose(motion_from_rig(yaw=-40.0, fps=10.0), move=0.0, hold=0.1)
    both = append_pose(motion_from_rig(yaw=40.0, pitch=20.0), move=1.0, hold=0.1, previous=first)
    joint = both.translation + both.rotation @ torch.tensor(NECK)
    assert (joint - joint[0]).abs().max() < 1e-5
    assert torch.allclose(
        both.rotation @ both.rotation.transpose(1, 2), torch.eye(3).expand(len(both), 3, 3), atol=1e-5
    )


@pytest.mark.parametrize(("wrong", "message"), [({"move": -1.0}, "move"), ({"hold": math.nan}, "hold")])
def test_wrong_times_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        append_pose(motion_from_rig(), **{"move": 0.0, "hold": 0.0, **wrong})
    with pytest.raises(InputError, match="easing"):
        append_pose(motion_from_rig(), move=1.0, hold=0.0, easing="wobbly")


def test_only_rigs_go_before_a_rig():
    with pytest.raises(InputError, match="Only rigs"):
        append_pose(motion_from_rig(), move=0.0, hold=0.0, previous=replace(motion_from_rig(), kind="video"))


def test_a_chain_keeps_what_any_of_its_rigs_asked_for():
    first = append_pose(motion_from_rig(neutralise=0.5, look_at_camera=1.0), move=0.0, hold=0.1)
    both = append_pose(motion_from_rig(neutralise=1.0), move=0.0, hold=0.1, previous=first)
    assert torch.equal(both.neutral, EXPRESSION) and both.look == 1.0
    assert append_pose(motion_from_rig(), move=0.0, hold=0.0).neutral is None


def test_neutralising_takes_the_expression_and_leaves_lids_and_gaze(astronaut_head):
    fit, model = astronaut_head.fit, astronaut_head.model
    still, calm = (retarget(motion_from_rig(neutralise=share), fit, model).beta[0] for share in (0.0, 1.0))
    expression = EXPRESSION > 0.0
    assert torch.equal(still, fit.beta_s) and fit.beta_s[expression].max() > 0.3, "she smiles"
    assert calm[expression].abs().max() < 1e-6
    blink = BLENDSHAPE_INDEX["eyeBlinkLeft"]
    assert calm[blink] == pytest.approx(float(fit.beta_s[blink]), abs=0.1)


def test_eyes_stay_on_the_camera(astronaut_head):
    fit, model = astronaut_head.fit, astronaut_head.model
    driven = retarget(motion_from_rig(yaw=[0.0, 15.0, -15.0], pitch=[0.0, 5.0, -5.0], look_at_camera=1.0), fit, model)
    for frame in range(3):
        camera = -driven.rotation[frame].T @ driven.translation[frame]
        for eye, turn in enumerate(gaze_rotations(driven.gaze[frame])):
            to_camera = torch.nn.functional.normalize(camera - model.eye_centers(fit.identity)[eye], dim=0)
            assert float(turn[:, 2] @ to_camera) > math.cos(math.radians(1.0))


def test_gaze_sliders_count_from_the_camera(astronaut_head):
    fit, model = astronaut_head.fit, astronaut_head.model
    straight, aside = (
        retarget(motion_from_rig(gaze_left=(angle, 0.0), look_at_camera=1.0), fit, model).gaze[0]
        for angle in (0.0, 8.0)
    )
    assert torch.rad2deg(aside - straight).tolist() == pytest.approx([8.0, 0.0, 0.0, 0.0], abs=1e-3)


def test_mixing_shares_them_by_region():
    plain, calm = motion_from_rig(), motion_from_rig(neutralise=1.0, look_at_camera=1.0)
    mixed = mix_motions(plain, calm, {"brows": 1.0, "gaze": 0.5})
    assert mixed.look == 0.5
    assert mixed.neutral[BLENDSHAPE_INDEX["browInnerUp"]] == 1.0 and mixed.neutral[JAW] == 0.0
    assert mix_motions(plain, plain, {"brows": 1.0}).neutral is None


def test_either_motion_may_give_the_length():
    short, long = motion_from_rig(frames=3), motion_from_rig({"jawOpen": [0.1, 0.2, 0.3, 0.4, 0.5]})
    assert len(mix_motions(short, long, {"jaw": 1.0})) == 3
    mixed = mix_motions(short, long, {"jaw": 1.0}, length="second")
    assert torch.equal(mixed.beta[:, JAW], long.beta[:, JAW])
    with pytest.raises(InputError, match="length"):
        mix_motions(short, long, {}, length="longest")


def test_motion_files_keep_them(tmp_path):
    motion = motion_from_rig(neutralise=0.3, look_at_camera=0.7)
    write_motion(tmp_path / "motion.json", motion)
    read = read_motion(tmp_path / "motion.json")
    assert torch.equal(read.neutral, motion.neutral) and read.look == 0.7
    content = json.loads((tmp_path / "motion.json").read_text())
    del content["neutral"], content["look"]
    (tmp_path / "older.json").write_text(json.dumps(content))
    older = read_motion(tmp_path / "older.json")
    assert older.neutral is None and older.look == 0.0
