"""Mirrored Gaussians hide their backs from a camera near the source's, and from none in particular nothing."""

import pytest
import torch

from mggtalk_core.gaussians.backs import AWAY, EDGE_ON, FAR, NEAR, shown_from
from mggtalk_core.geometry.points import Label
from mggtalk_core.head.camera import Camera
from mggtalk_core.motion.rotations import axis_rotation

FRONT = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
MIDDLE = torch.zeros(1, 3)


def before(distance, turn=0.0):
    """A camera that looks at the origin, turned about the y axis by ``turn`` radians from +z."""
    rotation = FRONT @ axis_rotation(1, torch.tensor(turn))
    return Camera.for_crop(512).posed(rotation, torch.tensor([0.0, 0.0, distance]))


def normal_at(cosine):
    """A normal that meets the +z axis at this cosine."""
    return torch.tensor([[(1.0 - cosine**2) ** 0.5, 0.0, cosine]])


def test_backs_are_hidden_and_fronts_shown_with_a_soft_edge():
    camera = before(10.0)
    for cosine, shown in ((1.0, 1.0), (0.0, 1.0), (EDGE_ON + 0.01, 1.0), (AWAY - 0.01, 0.0), (-1.0, 0.0)):
        assert shown_from(normal_at(cosine), MIDDLE, camera, camera) == shown
    halfway = shown_from(normal_at((AWAY + EDGE_ON) / 2.0), MIDDLE, camera, camera)
    assert torch.allclose(halfway, torch.tensor([0.5]), atol=1e-3)


def test_the_way_to_the_camera_counts_and_not_its_axis():
    normal, aside = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[-2.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    camera = before(4.0)
    assert shown_from(normal.expand(2, 3), aside, camera, camera).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(("turn", "shown"), [(NEAR - 0.01, 0.0), ((NEAR + FAR) / 2.0, 0.5), (FAR + 0.01, 1.0)])
def test_a_far_turn_shows_backs_again(turn, shown):
    seen = shown_from(torch.tensor([[0.0, 0.0, -1.0]]), MIDDLE, before(10.0, turn), before(10.0))
    assert torch.allclose(seen, torch.tensor([shown]), atol=1e-3)


def test_only_mirrored_gaussians_and_their_children_are_hidden(astronaut_head, monkeypatch):
    monkeypatch.setattr("mggtalk_core.gaussians.backs.NEAR", 2.0)  # radians: as if every turn were small
    monkeypatch.setattr("mggtalk_core.gaussians.backs.FAR", 3.0)
    still = astronaut_head.still
    points, camera = still.avatar.points, still.camera(0)
    turns = [camera.rotation @ axis_rotation(1, torch.tensor(way)) for way in (-1.2, 1.2)]
    sides = [camera.posed(turn, camera.translation) for turn in turns]
    every, count = still.frame(0), len(points.positions)
    rows = points.with_label(Label.MIRRORED)
    mirrored, grazing = torch.zeros(len(every), dtype=torch.bool), torch.zeros(len(every), dtype=torch.bool)
    mirrored[rows], mirrored[count + rows] = True, True
    grazing[still.avatar.grazing.rows], grazing[count + still.avatar.grazing.rows] = True, True  # hidden otherwise
    shares = []
    for view in sides:
        seen = still.frame(0, view)
        hidden = every.opacities > seen.opacities
        assert not hidden[~mirrored & ~grazing].any()
        assert torch.equal(hidden[rows], hidden[count + rows])
        shares.append(float(hidden[rows].float().mean()))
    assert max(shares) > 0.7 and min(shares) < 0.25  # one side sees the outside of the mirrored half, one its inside
