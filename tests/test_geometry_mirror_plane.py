"""The plane of symmetry, on a head that is symmetric about a plane that is known."""

import math
from dataclasses import replace

import pytest
import torch

from mggtalk_core.geometry.mirror_plane import SHIFTED, TURNED, MirrorPlane, mirror_plane
from mggtalk_core.geometry.symmetry import TUCK, symmetric_geometry
from mggtalk_core.motion.rotations import axis_rotation
from tests.test_geometry_head import Head


@pytest.fixture(scope="module")
def turned():
    return Head(30.0)


def posed_wrongly(surface, degrees, shift):
    """The same surface in the canonical space of a pose that is off: turned about the vertical, and shifted aside."""
    turn = axis_rotation(1, torch.tensor(math.radians(degrees)))
    moved = (surface.position_map.flatten(1).T @ turn.T + torch.tensor([shift, 0.0, 0.0])).T
    camera = surface.fit.camera
    rotation = camera.rotation @ turn.T
    camera = camera.posed(rotation, camera.translation - rotation @ torch.tensor([shift, 0.0, 0.0]))
    position_map = moved.reshape(3, 512, 512) * surface.mask
    return replace(surface, position_map=position_map, fit=replace(surface.fit, camera=camera)), turn


def angle(plane, normal):
    return math.degrees(math.acos(min(1.0, float(plane.normal @ normal))))


def test_reflection_is_its_own_inverse_and_keeps_the_plane():
    plane = MirrorPlane(torch.nn.functional.normalize(torch.tensor([1.0, 0.2, -0.1]), dim=0), 0.3)
    points = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(plane.reflect(plane.reflect(points)), points, atol=1e-6)
    on_it = points - ((points @ plane.normal) - plane.offset)[:, None] * plane.normal
    assert torch.allclose(plane.reflect(on_it), on_it, atol=1e-6)
    flipped = MirrorPlane.canonical().reflect(points)
    assert torch.allclose(flipped, points * torch.tensor([-1.0, 1.0, 1.0]))


def test_a_symmetric_head_is_symmetric_about_its_middle(turned):
    """Seen from 30 degrees, with hair inflated on one side: a degree and a millimetre and a half are what is left."""
    plane = mirror_plane(turned.surface, turned.model)
    assert angle(plane, torch.tensor([1.0, 0.0, 0.0])) < 1.0 and abs(plane.offset) < 0.015


@pytest.mark.parametrize(("degrees", "shift"), [(4.0, 0.0), (-4.0, 0.02), (0.0, -0.03), (10.0, 0.0)])
def test_a_wrong_pose_is_found_out(turned, degrees, shift):
    """The plane moves with the head: whatever the pose says, it stays where the face is symmetric."""
    right = mirror_plane(turned.surface, turned.model)
    surface, turn = posed_wrongly(turned.surface, degrees, shift)
    found = mirror_plane(surface, turned.model)
    normal = turn @ right.normal
    assert angle(found, normal) < 0.2
    assert found.offset == pytest.approx(right.offset + shift * float(normal[0]), abs=0.003)


@pytest.mark.parametrize(("degrees", "shift"), [(0.0, 2.0 * SHIFTED), (TURNED + 2.0, 0.0)])
def test_a_plane_too_far_off_is_not_believed(turned, degrees, shift):
    surface, _ = posed_wrongly(turned.surface, degrees, shift)
    plane = mirror_plane(surface, turned.model)
    assert torch.equal(plane.normal, torch.tensor([1.0, 0.0, 0.0])) and plane.offset == 0.0


def test_without_a_face_the_plane_is_the_papers(turned):
    nothing = replace(turned.surface, triangle=torch.full_like(turned.surface.triangle, -1))
    assert mirror_plane(nothing, turned.model).offset == 0.0


def test_a_plane_that_is_given_is_used(turned):
    plane = MirrorPlane(torch.tensor([1.0, 0.0, 0.0]), 0.0)
    points = symmetric_geometry(turned.surface, turned.model, plane=plane)
    assert torch.equal(points.plane.normal, plane.normal) and points.plane.offset == plane.offset
    first, count = points.visible_count, points.mirrored_count
    twins = points.positions[points.mirror_of] * torch.tensor([-1.0, 1.0, 1.0])
    away = (points.positions[first : first + count] - twins).norm(dim=1)
    # What would show past the silhouette is moved inside it.
    assert count > 0 and away.max() < TUCK and (away < 1e-6).float().mean() > 0.7
