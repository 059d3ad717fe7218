"""The rim of a turned head does not keep the colour of what was behind it in the source."""

from dataclasses import replace

import pytest
import torch

from mggtalk_core.gaussians.avatar import build_avatar
from mggtalk_core.gaussians.frame import frame_gaussians
from mggtalk_core.gaussians.gaussians import SH_C0
from mggtalk_core.gaussians.rims import ENDS, REACH, rims_of, without_background
from mggtalk_core.motion.rotations import camera_rotation
from mggtalk_core.portrait.parsing import Label
from tests.head_samples import model_head

SKIN, WALL = torch.tensor([0.8, 0.5, 0.4]), torch.tensor([0.1, 0.2, 0.9])


def flat(colour):
    return colour[:, None, None].expand(3, 512, 512).clone()


def before_a_wall(head, wall=WALL):
    """The head in one colour, of which the outermost pixels, seen and not, are half the wall's."""
    inside = head.portrait.matte[0] > 0.5
    eroded = -torch.nn.functional.max_pool2d(-inside[None].float(), 5, stride=1, padding=2)[0] > 0.5
    share = torch.where(eroded, 1.0, 0.5)
    crop = torch.where(inside, flat(SKIN) * share + flat(wall) * (1.0 - share), flat(wall))
    labels = torch.where(inside, int(Label.FACE), int(Label.BACKGROUND)).to(head.portrait.labels)
    return replace(head.portrait, crop=crop, background=flat(wall), labels=labels), inside & ~eroded


@pytest.fixture(scope="module")
def head():
    found = model_head()
    return replace(found, portrait=before_a_wall(found)[0])


@pytest.fixture(scope="module")
def avatar(head):
    return build_avatar(head.portrait, head.points, head.binding)


def turned(avatar, degrees):
    camera = avatar.points.fit.camera
    return camera.posed(camera_rotation(*torch.tensor([degrees, 0.0, 0.0])).float(), camera.translation)


def driven(avatar, camera):
    return frame_gaussians(avatar, avatar.points.fit.beta_s, avatar.points.fit.gaze, camera)


def test_the_head_shows_its_own_colour_where_the_wall_shone_in(head):
    portrait, mixed = before_a_wall(head)
    cleaned, changed = without_background(portrait)
    assert mixed.sum() > 1000
    assert changed[mixed].all()
    assert (cleaned[:, mixed] - SKIN[:, None]).abs().max() < 0.02
    assert torch.equal(cleaned[:, ~changed], portrait.crop[:, ~changed])
    assert not changed[portrait.matte[0] < 0.01].any()


def test_nothing_is_taken_out_of_a_head_that_looks_like_the_wall(head):
    portrait, _ = before_a_wall(head, wall=SKIN + 0.03)
    cleaned, changed = without_background(portrait)
    assert not changed.any()
    assert torch.equal(cleaned, portrait.crop)


def test_colour_deep_inside_is_never_changed(head):
    portrait, _ = before_a_wall(head)
    stained = portrait.crop.clone()
    stained[:, 250:262, 250:262] = WALL[:, None, None]  # a blue patch on the cheek
    _, changed = without_background(replace(portrait, crop=stained))
    assert not changed[240:272, 240:272].any()
    assert REACH < 10.0


def test_the_source_view_is_left_bit_for_bit(avatar):
    still = replace(avatar, rims=replace(avatar.rims, constant=torch.full_like(avatar.rims.constant, 9.0)))
    for camera in (None, avatar.points.fit.camera, turned(avatar, 4.0)):
        assert torch.equal(driven(avatar, camera).sh, driven(still, camera).sh)


def test_the_rim_of_a_turned_head_has_the_colour_of_the_head(head, avatar):
    rows = avatar.rims.rows
    before = (driven(avatar, None).sh[rows, 0] * SH_C0 + 0.5 - SKIN).norm(dim=1)
    after = (driven(avatar, turned(avatar, 30.0)).sh[rows, 0] * SH_C0 + 0.5 - SKIN).norm(dim=1)
    assert len(rows) > 2000
    assert before.median() > 0.2
    assert after.max() < 0.1
    others = torch.ones(len(avatar.colours), dtype=torch.bool)
    others[rows] = False
    others[avatar.mouth_light.hidden] = False  # behind lips that are shut
    assert torch.equal(driven(avatar, turned(avatar, 30.0)).sh[others], avatar.harmonics[others])


def test_mirrored_points_and_children_follow_their_twins(head, avatar):
    count, total = head.points.visible_count, len(head.points.positions)
    parents = avatar.rims.rows[: len(avatar.rims.rows) // 2]
    assert torch.equal(avatar.rims.rows[len(parents) :], parents + total)
    seen = parents[parents < count]
    mirrored = torch.nonzero(torch.isin(head.points.mirror_of.long(), seen)).squeeze(-1) + count
    assert torch.equal(parents[parents >= count], mirrored)


def test_a_mirrored_rim_keeps_the_light_of_its_side(head):
    """Mirrored points half as bright as their twins stay half as bright."""
    count, last = head.points.visible_count, head.points.visible_count + head.points.mirrored_count
    column, row = head.points.pixel.long().unbind(-1)
    colours = torch.zeros_like(head.points.positions)
    colours[count:last] = 0.5 * head.portrait.crop[:, row, column].T[head.points.mirror_of.long()]
    rims = rims_of(head.portrait, head.points, colours)
    parents = rims.rows[: len(rims.rows) // 2]
    found = (rims.constant[: len(parents)] * SH_C0 + 0.5)[parents >= count]
    assert (found - 0.5 * SKIN).abs().max() < 0.06


def test_the_change_fades_in(avatar):
    rows = avatar.rims.rows
    start = driven(avatar, None).sh[rows, 0]
    shares = []
    for degrees in (0.0, 8.0, 13.0, 18.0, 25.0):
        moved = driven(avatar, turned(avatar, degrees)).sh[rows, 0] - start
        shares.append(float(moved.norm() / (avatar.rims.constant - start).norm()))
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert 0.3 < shares[2] < 0.7
    assert shares[4] > 1.0 - 1e-4
    assert torch.rad2deg(torch.tensor(ENDS)) < 25.0
