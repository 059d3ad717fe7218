"""Points that move with the head: rest, a plain twin, symmetry and hair."""

import math
from dataclasses import replace

import pytest
import torch

from mggtalk_core.geometry.points import Label
from mggtalk_core.head.parts import Part
from mggtalk_core.motion.deform import DECAY_LENGTH, FREE_DISTANCE, bind_points, deform, model_vertices
from mggtalk_core.motion.driven import DrivenPoints
from mggtalk_core.motion.still import still_motion
from mggtalk_core.portrait.blendshapes import BLENDSHAPES
from tests.head_samples import FLIP_X, expression, model_head


@pytest.fixture(scope="module")
def head():
    return model_head(jawOpen=0.3, mouthSmileLeft=0.2)


def part_of_points(head):
    triangle = head.points.triangle
    part = head.model.parts[head.model.triangles[triangle.clamp(min=0), 0]].long()
    return torch.where(triangle >= 0, part, -1)


def random_expression(seed):
    return torch.rand(52, generator=torch.Generator().manual_seed(seed)) * 0.6


def test_source_expression_moves_nothing(head):
    fit = head.points.fit
    assert torch.equal(deform(head.points, head.binding, fit.beta_s, fit.gaze), head.points.positions)


def test_still_motion_is_the_picture(head):
    motion = still_motion(head.points.fit, head.model)
    driven = DrivenPoints(head.points, head.binding, motion)
    assert len(driven) == 1
    assert torch.equal(driven.frame(0), head.points.positions)
    assert torch.equal(driven.camera(0).world_to_camera, head.points.fit.camera.world_to_camera)


@pytest.mark.parametrize("seed", [0, 1])
def test_agrees_with_a_plain_twin(head, seed):
    """Sum over expressions, one at a time, of the displacement at the point's place on its triangle, in float64."""
    beta, model, points = random_expression(seed), head.model, head.points
    part = part_of_points(head)
    rows = torch.nonzero((part >= 0) & (part < int(Part.EYE_LEFT)))[::37].squeeze(-1)
    corners = model.triangles[points.triangle[rows]]
    wanted = points.positions[rows].double()
    for index, change in enumerate((beta - points.fit.beta_s).double()):
        basis = model.expression_basis[index].double()
        for corner in range(3):
            wanted += change * points.barycentric[rows, corner, None].double() * basis[corners[:, corner]]
    moved = deform(points, head.binding, beta, points.fit.gaze)[rows]
    assert (moved - wanted).abs().max() < 2e-6
    assert (moved - points.positions[rows]).norm(dim=1).max() > 0.05


def test_points_on_the_mesh_stay_on_the_mesh(head):
    beta, gaze = random_expression(2), torch.tensor([0.2, -0.1, 0.15, 0.1])
    vertices = model_vertices(head.model, head.points.fit, beta, gaze)
    rows = torch.nonzero(head.points.triangle >= 0).squeeze(-1)
    corners = vertices[head.model.triangles[head.points.triangle[rows]]]
    on_mesh = (corners * head.points.barycentric[rows, :, None]).sum(dim=1)
    assert torch.allclose(deform(head.points, head.binding, beta, gaze)[rows], on_mesh, atol=2e-6)


def test_gaze_turns_the_eyeballs_alone(head):
    fit, part = head.points.fit, part_of_points(head)
    moved = deform(head.points, head.binding, fit.beta_s, torch.tensor([0.3, 0.0, 0.3, 0.0]))
    shift = moved - head.points.positions
    eyes = (part == int(Part.EYE_LEFT)) | (part == int(Part.EYE_RIGHT))
    front = eyes & (head.points.labels == int(Label.VISIBLE))
    assert shift[front, 0].min() > 0.0  # to the subject's left
    first = head.points.visible_count
    others = ~eyes
    others[first : first + head.points.mirrored_count] = False
    assert shift[others].abs().max() == 0.0


def test_mirrored_points_move_as_the_mirror_image():
    head = model_head()
    shapes = {name: 0.4 for name in BLENDSHAPES if name.startswith(("jawOpen", "eyeBlink", "mouthPucker"))}
    points, first = head.points, head.points.visible_count
    moved = deform(points, head.binding, expression(**shapes), points.fit.gaze) - points.positions
    twin = moved[points.mirror_of] * FLIP_X
    mirrored = moved[first : first + points.mirrored_count]
    # Scanned faces are not quite symmetric: the blendshapes differ from their mirror images by up to 0.7 mm.
    assert moved.norm(dim=1).max() > 0.15
    assert (mirrored - twin).norm(dim=1).max() < 0.02
    assert (mirrored - twin).norm(dim=1).mean() < 0.002


def test_mirrored_points_follow_their_own_side():
    """A blink of the left eye moves what lies on the left, whichever side it was seen on."""
    head = model_head()
    points, first = head.points, head.points.visible_count
    moved = deform(points, head.binding, expression(eyeBlinkLeft=1.0), points.fit.gaze) - points.positions
    mirrored = slice(first, first + points.mirrored_count)
    far = moved[mirrored].norm(dim=1) > 0.02
    assert far.sum() > 20
    assert (points.positions[mirrored][far, 0] > 0.1).all()


def test_hair_follows_less_the_farther_it_stands_off():
    """Points above the crown at growing distance, while the whole head would be lifted by one unit."""
    head = model_head()
    points, rest = head.points, head.binding.rest
    skin = torch.nonzero(head.model.parts == int(Part.SCALP)).squeeze(-1)
    crown = rest[skin[rest[skin, 1].argmax()]]
    distance = torch.tensor([0.0, 0.02, 0.1, 0.3, 1.0])
    up = torch.tensor([0.0, 1.0, 0.0])
    loose = torch.nonzero(points.triangle[: points.visible_count] < 0).squeeze(-1)[: len(distance)]
    positions = points.positions.clone()
    positions[loose] = crown + distance[:, None] * up
    moved_points = replace(points, positions=positions)
    lifted = replace(head.model, expression_basis=torch.zeros_like(head.model.expression_basis))
    lifted.expression_basis[BLENDSHAPES.index("browInnerUp")] = up
    binding = bind_points(moved_points, lifted)
    shift = (deform(moved_points, binding, expression(browInnerUp=1.0), points.fit.gaze) - positions)[loose]
    wanted = [math.exp(-max(0.0, d - FREE_DISTANCE) / DECAY_LENGTH) for d in distance.tolist()]
    assert torch.allclose(shift, torch.tensor(wanted)[:, None] * up, atol=1e-4)
