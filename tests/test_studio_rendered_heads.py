"""Heads of known shape: the same seed draws the same head, and the picture shows the shape that is told."""

import numpy as np
import pytest
import torch

from mggtalk_core.errors import InputError
from mggtalk_core.head.model import load_head_model
from mggtalk_core.head.parts import Part
from mggtalk_core.studio.paint import FaceChart
from mggtalk_core.studio.rendered_heads import SIZE, HeadStudio
from mggtalk_core.studio.source_head import PART_RANGES, read_source
from mggtalk_core.training.head_model_drawn import drawn_anchors


@pytest.fixture(scope="module")
def studio(shared):
    return HeadStudio(read_source(shared / "data" / "ict_facekit"), FaceChart(load_head_model()))


@pytest.fixture(scope="module")
def head(studio):
    return studio.draw(11, yaw=20.0)


def test_a_seed_draws_one_head_and_another_draws_another(studio, head):
    again, other = studio.draw(11, yaw=20.0), studio.draw(12, yaw=20.0)
    assert torch.equal(head.image, again.image) and torch.equal(head.vertices, again.vertices)
    assert torch.equal(head.camera.world_to_camera, again.camera.world_to_camera)
    assert (head.image - other.image).abs().mean() > 0.02
    assert (head.state.identity - other.state.identity).norm() > 3.0


def test_the_pose_that_is_asked_for_is_drawn(head):
    # The nose points 20 degrees to the subject's left, which is the picture's right, give or take pitch and roll.
    nose = head.camera.rotation @ torch.tensor([0.0, 0.0, 1.0])
    assert torch.rad2deg(torch.atan2(nose[0], -nose[2])) == pytest.approx(20.0, abs=2.0)
    assert torch.allclose(head.camera.rotation @ head.camera.rotation.T, torch.eye(3), atol=1e-5)


def test_a_neutral_head_has_no_expression(studio, head):
    assert not studio.draw(11, neutral=True).state.beta.any()
    assert 1 <= int((head.state.beta > 0).sum()) <= 12 and float(head.state.beta.max()) <= 1.0


def test_the_picture_is_an_image_with_the_face_in_it(head):
    assert head.image.shape == (3, SIZE, SIZE) and 0.0 <= float(head.image.min()) and float(head.image.max()) <= 1.0
    skin = head.vertices[PART_RANGES[Part.FACE][0].start : PART_RANGES[Part.FACE][0].stop]
    pixels = head.camera.project(skin)
    inside = ((pixels[:, :2] > 0) & (pixels[:, :2] < SIZE)).all(dim=1)
    assert inside.float().mean() > 0.95 and (pixels[:, 2] > 5.0).all()


def test_hair_grows_outwards_from_the_skin_it_belongs_to(studio):
    hairy = next(head for head in map(studio.draw, range(20)) if head.state.hair >= 0.15)
    own = int((hairy.root == torch.arange(len(hairy.root))).sum())
    shell, base = hairy.vertices[own:], hairy.vertices[hairy.root[own:]]
    thickness = (shell - base).norm(dim=1)
    assert len(shell) > 500 and 0.0 < float(thickness.min()) and float(thickness.max()) < 1.5 * hairy.state.hair
    middle = base.mean(dim=0)
    assert (((shell - base) * (base - middle)).sum(dim=1) > 0).float().mean() > 0.95
    assert torch.equal(hairy.root[:own], torch.arange(own))


def test_data_that_are_missing(tmp_path):
    with pytest.raises(InputError, match=r"ict_facekit\.npz"):
        read_source(tmp_path)


def test_landmarks_are_found_where_rendered_heads_show_them(studio):
    """Landmarks that sit on known vertices of heads of all kinds: the places on the mean head come back."""
    marks = load_head_model().landmarks(load_head_model().mean)[:468]
    rows = torch.cdist(marks, studio.at_rest(torch.arange(PART_RANGES[Part.FACE][0].stop))).argmin(dim=1)
    truth, to_crop = studio.at_rest(rows).double().numpy(), torch.tensor([[0.8, 0.0, 3.0], [0.0, 0.8, -2.0]])
    heads = []
    for seed, yaw in enumerate((0.0, 8.0, -8.0, 16.0, -16.0, 4.0)):
        head = studio.draw(40 + seed, yaw=yaw, neutral=True)
        seen = torch.zeros(478, 3)
        seen[:468, :2] = head.camera.project(head.vertices[rows])[:, :2] @ to_crop[:, :2].T + to_crop[:, 2]
        heads.append((head, seen, to_crop))
    start = truth + np.random.default_rng(0).normal(0, 0.03, truth.shape)
    found = drawn_anchors(start, studio, heads)
    central = np.array([1, 4, 5, 6, 168, 197, 195, 50, 280, 205, 425, 187, 411, 101, 330, 36, 266])
    assert np.linalg.norm(found - truth, axis=1)[central].max() < 0.01
    assert np.median(np.linalg.norm(start - truth, axis=1)[central]) > 0.03
