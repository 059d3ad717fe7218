"""What goes and what comes when a mouth is opened wider than in the picture, and the colours of what comes."""

from dataclasses import replace

import pytest
import torch

from mggtalk_core.gaussians.avatar import THROAT, build_avatar
from mggtalk_core.gaussians.colours import FEWEST_TEETH, INSIDE_LIPS, point_colours
from mggtalk_core.gaussians.frame import frame_gaussians
from mggtalk_core.gaussians.gap import TORN
from mggtalk_core.gaussians.inner import inner_colours, part_of
from mggtalk_core.geometry.points import Label
from mggtalk_core.geometry.teeth import upper_jaw
from mggtalk_core.head.parts import Part
from mggtalk_core.motion.deform import bind_points
from tests.head_samples import expression, lips_apart, model_head

SHAPES = {"jawOpen": 0.3}
GOLD = torch.tensor([0.9, 0.7, 0.1])


@pytest.fixture(scope="module")
def head():
    """A head whose mouth is open: left of its middle the picture shows teeth, right of it neither teeth nor lips."""
    made = model_head(**SHAPES)
    model, points, count = made.model, made.points, made.points.visible_count
    part = part_of(model, points.triangle)
    mouth = torch.nonzero(torch.isin(part[:count], torch.tensor([2, 4, 5, 6]))).squeeze(-1)
    is_left = points.pixel[mouth, 0] < 256
    chosen = {
        kind: torch.nonzero((model.parts[model.triangles[:, 0]] == int(kind)) & upper_jaw(model))[0, 0]
        for kind in (Part.TEETH, Part.GUMS)
    }
    triangle = points.triangle.clone()
    triangle[mouth] = torch.where(is_left, chosen[Part.TEETH], chosen[Part.GUMS])
    points = replace(points, triangle=triangle)
    crop = made.portrait.crop.clone()
    column, row = points.pixel[mouth[is_left]].long().unbind(-1)
    crop[:, row, column] = GOLD[:, None]
    made = replace(made, points=points, binding=bind_points(points, model), portrait=replace(made.portrait, crop=crop))
    return made, mouth[is_left], mouth[~is_left]


@pytest.fixture(scope="module")
def avatar(head):
    made = head[0]
    return build_avatar(made.portrait, made.points, made.binding)


def opacities(avatar, jaw):
    return frame_gaussians(avatar, expression(jawOpen=jaw), torch.zeros(4)).opacities[: len(avatar.points.positions)]


def test_what_is_neither_tooth_nor_lip_gives_way_to_the_models_teeth(head, avatar):
    _, teeth, between = head
    gap = avatar.gap
    assert torch.equal(gap.seen, between)
    labels, part = avatar.points.labels[gap.instead], part_of(avatar.binding.model, avatar.points.triangle)[gap.instead]
    assert len(gap.instead) > 20 and (labels == int(Label.INTERIOR)).all() and (part == int(Part.TEETH)).all()
    # Behind what the picture shows between the lips: right of the middle.
    pixels = avatar.points.fit.camera.project(avatar.points.positions[gap.instead])
    assert (pixels[:, 0] > 255).all()
    rest, wide = opacities(avatar, SHAPES["jawOpen"]), opacities(avatar, 0.8)
    assert rest[between].median() > 0.5 and rest[gap.instead].max() == 0.0
    assert wide[between].max() == 0.0 and wide[gap.instead].median() > 0.5
    assert wide[teeth].median() > 0.5


def test_it_gives_way_as_the_opening_grows_and_stays_where_it_shrinks(avatar):
    gap, shown = avatar.gap, torch.ones(len(avatar.points.positions))
    for growth, left in ((-0.05, 1.0), (TORN[0], 1.0), (sum(TORN) / 2.0, 0.5), (TORN[1], 0.0), (0.3, 0.0)):
        lower = lips_apart(gap.lips, avatar.binding.rest, gap.rest + growth)
        shown[:] = 1.0
        gap.fade(shown, lower)
        assert shown[gap.seen].unique().tolist() == pytest.approx([left], abs=1e-3)
        assert shown[gap.instead].unique().tolist() == pytest.approx([1.0 - left], abs=1e-3)
        others = torch.ones(len(shown), dtype=torch.bool)
        others[gap.seen], others[gap.instead] = False, False
        assert (shown[others] == 1.0).all()


def test_hidden_teeth_have_the_colour_of_the_seen_ones(head):
    made, teeth, _ = head
    part = part_of(made.model, made.points.triangle)
    colours, _ = point_colours(made.portrait, made.points, made.binding, part)
    hidden = torch.nonzero((part == int(Part.TEETH)) & (made.points.labels == int(Label.INTERIOR))).squeeze(-1)
    brightest = colours[hidden][colours[hidden].sum(dim=1).argmax()]
    assert torch.allclose(brightest / brightest.sum(), GOLD / GOLD.sum(), atol=0.02)  # light grows redder inwards
    assert len(teeth) > FEWEST_TEETH
    few = replace(made.points, triangle=made.points.triangle.clone())
    few.triangle[teeth[FEWEST_TEETH - 1 :]] = -1
    part = part_of(made.model, few.triangle)
    colours, _ = point_colours(made.portrait, few, made.binding, part)
    brightest = colours[hidden][colours[hidden].sum(dim=1).argmax()]
    assert brightest[2] > 0.5 * brightest[1]  # a guess again, and not golden


def test_seen_teeth_colour_no_other_part(head):
    made, light = head[0], torch.tensor([0.8, 0.6, 0.5])
    plain, golden = (inner_colours(made.model, made.binding.rest, light, teeth) for teeth in (None, GOLD))
    teeth = made.model.parts == int(Part.TEETH)
    assert torch.equal(plain[~teeth], golden[~teeth]) and not torch.allclose(plain[teeth], golden[teeth], atol=0.05)


def backed(head, places):
    """The head with some points of backing at these places."""
    made, count = head[0], len(head[0].points.positions)
    skin = torch.nonzero(made.model.parts[made.model.triangles[:, 0]] == int(Part.FACE))[0, 0]
    points = replace(
        made.points,
        positions=torch.cat((made.points.positions, places)),
        labels=torch.cat((made.points.labels, torch.full((len(places),), int(Label.BACKING), dtype=torch.uint8))),
        triangle=torch.cat((made.points.triangle, skin.repeat(len(places)))),
        barycentric=torch.cat((made.points.barycentric, torch.full((len(places), 3), 1 / 3))),
    )
    return points, bind_points(points, made.model), count


def test_backing_behind_the_opening_is_the_inner_side_of_a_lip(head):
    made, teeth, _ = head
    inside = made.points.positions[teeth[::20]] - torch.tensor([0.0, 0.0, 0.05])
    beside = inside + torch.tensor([0.0, 0.8, 0.0])
    points, binding, count = backed(head, torch.cat((inside, beside)))
    colours, _ = point_colours(made.portrait, points, binding, part_of(made.model, points.triangle))
    within, without = colours[count:].split(len(inside))
    assert torch.allclose(within, without * torch.tensor(INSIDE_LIPS), atol=1e-6)


def test_the_throat_may_be_seen_from_within_and_the_chin_may_not(head):
    made = head[0]
    lips = made.binding.rest[made.model.inner_lip.long()]
    middle = torch.tensor([0.0, float(lips[:, 1].mean()), float(lips[:, 2].amax())])
    throat, chin = middle - torch.tensor([0.1, 0.3, THROAT + 0.3]), middle - torch.tensor([0.0, 0.4, 0.0])
    nose = middle + torch.tensor([0.0, 0.3, -THROAT - 0.3])
    points, binding, count = backed(head, torch.stack((throat, chin, nose)))
    cheeks = build_avatar(made.portrait, points, binding).cheeks.tolist()
    assert [count + number in cheeks for number in range(3)] == [True, False, False]
