"""A neck between a head that turns far and a torso that does not."""

from dataclasses import replace

import pytest
import torch

from mggtalk_core.gaussians.frame import frame_gaussians
from mggtalk_core.gaussians.neck import FAR, NEAR, PIVOT, neck_of
from mggtalk_core.gaussians.predict import predict_gaussians
from mggtalk_core.motion.driven import DrivenPoints
from mggtalk_core.motion.rotations import axis_rotation
from mggtalk_core.motion.still import still_motion
from mggtalk_core.portrait.parsing import Label
from tests.head_samples import model_head


@pytest.fixture(scope="module")
def head():
    return model_head()


@pytest.fixture(scope="module")
def neck(head):
    return neck_of(head.portrait, head.points)


@pytest.fixture(scope="module")
def gaussians(head):
    motion = still_motion(head.points.fit, head.model)
    return predict_gaussians(head.portrait, DrivenPoints(head.points, head.binding, motion)).frame(0)


def turned(head, angle):
    camera = head.points.fit.camera
    return camera.posed(camera.rotation @ axis_rotation(1, torch.tensor(angle)), camera.translation)


def test_the_neck_lies_below_the_jaw_and_its_children_go_with_it(head, neck):
    positions, seen = head.points.positions, head.points.visible_count + head.points.mirrored_count
    parents = neck.rows[neck.rows < len(positions)]
    assert len(parents) > 500
    assert float(positions[parents, 1].max()) < -0.5  # ears and cheeks end higher
    assert 0.0 < float(neck.share.min()) and float(neck.share.max()) == 1.0
    children = neck.rows[neck.rows >= len(positions)] - len(positions)
    assert torch.equal(children, parents[parents < seen])
    assert torch.equal(neck.share[len(parents) :], neck.share[: len(parents)][parents < seen])


def test_a_small_turn_leaves_the_neck_as_it_is(head, neck, gaussians):
    assert neck.twisted(gaussians, head.points.fit.camera) is gaussians
    assert neck.twisted(gaussians, turned(head, 0.99 * NEAR)) is gaussians


def test_its_lower_end_stays_as_the_source_shows_it(head, neck, gaussians):
    """Arms from the pivot, as the camera of the turned head sees them, against the source's."""
    pose, pivot = turned(head, 1.01 * FAR), torch.tensor(PIVOT)
    twisted = neck.twisted(gaussians, pose)
    held = neck.rows[neck.share == 1.0]
    seen = (twisted.means[held] - pivot) @ pose.rotation.T
    before = (gaussians.means[held] - pivot) @ head.points.fit.camera.rotation.T
    assert len(held) > 50
    assert torch.allclose(seen, before, atol=1e-5)


def test_it_passes_over_into_the_head_without_a_step(head, neck, gaussians):
    twisted = neck.twisted(gaussians, turned(head, 1.01 * FAR))
    moved = (twisted.means - gaussians.means).norm(dim=-1)
    others = torch.ones(len(moved), dtype=torch.bool)
    others[neck.rows] = False
    assert not moved[others].any()
    slight = neck.rows[neck.share < 0.01]
    assert len(slight) > 5 and float(moved[slight].max()) < 0.01
    for name in ("quats", "scales", "opacities", "sh", "labels"):
        assert getattr(twisted, name) is getattr(gaussians, name)


def test_hair_beside_a_neck_is_none(head):
    labels = torch.full_like(head.portrait.labels, int(Label.HAIR))
    neck = neck_of(replace(head.portrait, labels=labels), head.points)
    seen = head.points.visible_count + head.points.mirrored_count
    assert int(neck.rows.min()) >= seen  # the head model's skin alone
    assert int(neck.rows.max()) < len(head.points.positions)


def test_an_orbiting_camera_twists_nothing(head):
    """The pose is the frame's own, not that of whoever looks on."""
    motion = still_motion(head.points.fit, head.model)
    sequence = predict_gaussians(head.portrait, DrivenPoints(head.points, head.binding, motion))
    view = turned(head, 0.7)
    seen = frame_gaussians(sequence.avatar, motion.beta[0], motion.gaze[0], view)
    assert torch.equal(sequence.frame(0, view).means, seen.means)
    rotation = (head.points.fit.camera.rotation @ axis_rotation(1, torch.tensor(0.7)))[None]
    twisted = predict_gaussians(
        head.portrait, DrivenPoints(head.points, head.binding, replace(motion, rotation=rotation))
    ).frame(0)
    assert float((twisted.means - seen.means).norm(dim=-1).max()) > 0.1
