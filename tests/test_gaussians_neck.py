"""Neck and long hair between a head that turns far and a torso that does not."""

from dataclasses import replace

import pytest
import torch

from mggtalk_core.gaussians.frame import frame_gaussians
from mggtalk_core.gaussians.levels import below_hair_level, below_jaw, is_hair
from mggtalk_core.gaussians.neck import FAR, HANGS, NEAR, neck_of
from mggtalk_core.gaussians.predict import predict_gaussians
from mggtalk_core.motion.driven import DrivenPoints
from mggtalk_core.motion.rotations import axis_rotation
from mggtalk_core.motion.still import still_motion
from mggtalk_core.motion.torso import NECK, follow_weight, torso_shift
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


def labelled(head, label):
    """The same picture, all of it of one class."""
    return replace(head.portrait, labels=torch.full_like(head.portrait.labels, int(label)))


def test_its_lower_end_goes_where_the_torsos_layer_shows_it(head, neck, gaussians):
    """A head that turns about where the neck meets the skull carries no torso along: the source's pixels stay."""
    source, joint = head.points.fit.camera, torch.tensor(NECK)
    rotation = source.rotation @ axis_rotation(1, torch.tensor(1.01 * FAR))
    pose = source.posed(rotation, source.translation + (source.rotation - rotation) @ joint)
    held = neck.rows[neck.share == 1.0]
    assert len(held) > 50
    seen = pose.project(neck.twisted(gaussians, pose).means[held])
    assert torch.allclose(seen, source.project(gaussians.means[held]), atol=1e-2)


def test_its_lower_end_goes_along_with_a_torso_that_follows(head, neck, gaussians):
    """A lean to the side, of which each point takes the layer's share."""
    source, joint = head.points.fit.camera, torch.tensor(NECK)
    rotation = source.rotation @ axis_rotation(1, torch.tensor(1.1 * FAR))
    aside = torch.tensor([0.3, 0.0, 0.0])
    pose = source.posed(rotation, source.translation + (source.rotation - rotation) @ joint + aside)
    across, down = torso_shift(source, pose)
    assert across > 20.0 and abs(down) < 0.1
    held = neck.rows[neck.share == 1.0]
    before = source.project(gaussians.means[held])[:, :2]
    moved = pose.project(neck.twisted(gaussians, pose).means[held])[:, :2] - before
    column, row = before.floor().long().unbind(-1)
    share = torch.from_numpy(follow_weight(head.portrait.labels, source))[row.clamp(max=511), column]
    assert float(share.max() - share.min()) > 0.1  # nearer the border it takes less
    assert torch.allclose(moved[:, 0], across * share, atol=0.02 * across)  # children lie beside their parents' pixel
    assert moved[:, 1].abs().max() < 0.1


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


def test_hair_hangs_down_from_the_level_of_the_layer(head):
    """It moves with the head to `HANGS` above that level, and stays with the torso below it; skin goes by the jaw."""
    hairy = labelled(head, Label.HAIR)
    neck, level = neck_of(hairy, head.points), below_hair_level(hairy, head.points)
    seen, count = head.points.visible_count + head.points.mirrored_count, len(head.points.positions)
    share = torch.zeros(count).index_put((neck.rows[neck.rows < count],), neck.share[neck.rows < count])
    assert (share[:seen][level[:seen] > 0.0] == 1.0).all() and (level[:seen] > 0.0).sum() > 50
    assert not share[:seen][level[:seen] < -HANGS].any()
    between = (level[:seen] > -HANGS) & (level[:seen] < 0.0)
    order = level[:seen][between].argsort()
    assert (share[:seen][between][order].diff() >= 0.0).all()


def test_the_level_is_measured_down_the_face(head):
    """A chin lies above it by the distance at which hair begins to fade, in face heights."""
    landmarks = head.portrait.landmarks
    on_chin = replace(
        head.points,
        positions=head.points.fit.camera.unproject(landmarks[152:153, :2], torch.tensor([11.0])),
        labels=head.points.labels[:1],
    )
    assert float(below_hair_level(head.portrait, on_chin)) == pytest.approx(-0.12, abs=0.02)


def test_mirrored_hair_is_hair_and_the_models_skin_is_none(head):
    count, seen = head.points.visible_count, head.points.visible_count + head.points.mirrored_count
    labels = head.portrait.labels.clone()
    labels[:200] = int(Label.HAIR)
    hair = is_hair(replace(head.portrait, labels=labels), head.points)
    assert torch.equal(hair[:count], head.points.pixel[:, 1] < 200)
    assert torch.equal(hair[count:seen], hair[head.points.mirror_of]) and bool(hair[count:seen].any())
    assert not hair[seen:].any()


def test_the_jaws_plane_passes_below_the_chin_and_rises_to_the_back():
    places = torch.tensor([[0.0, -1.15, 0.26], [0.0, -1.65, 0.26], [0.0, -1.15, -0.74]])
    assert torch.allclose(below_jaw(places), torch.tensor([0.0, 0.5, 0.517]), atol=1e-6)


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
