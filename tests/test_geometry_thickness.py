"""How thick the head model is: plates of known thickness, and what lies under the wings of the nose."""

import pytest
import torch

from mggtalk_core.geometry.interior import THIN, vertex_normals
from mggtalk_core.geometry.thickness import thickness
from mggtalk_core.head.model import load_head_model
from mggtalk_core.head.parts import Part


def plate(z, up):
    """A grid of vertices 0.01 apart, and normals that all point up or down."""
    x, y = torch.meshgrid(torch.arange(0.0, 0.1, 0.01), torch.arange(0.0, 0.1, 0.01), indexing="ij")
    places = torch.stack((x, y, torch.full_like(x, z)), dim=-1).flatten(0, 1)
    return places, torch.tensor([0.0, 0.0, 1.0 if up else -1.0]).expand(len(places), 3)


def test_a_plate_is_as_thick_as_its_sides_lie_apart():
    (top, up), (bottom, down) = plate(0.04, up=True), plate(0.0, up=False)
    skin = torch.ones(len(top) + len(bottom), dtype=torch.bool)
    found = thickness(torch.cat((top, bottom)), torch.cat((up, down)), skin)
    torch.testing.assert_close(found, torch.full_like(found, 0.04))


def test_one_side_alone_or_a_gap_between_two_is_not_thin():
    (top, up), (bottom, down) = plate(0.04, up=False), plate(0.0, up=True)  # normals towards each other: a gap
    both = torch.cat((top, bottom)), torch.cat((up, down))
    skin = torch.ones(len(both[0]), dtype=torch.bool)
    assert thickness(*both, skin).isinf().all()
    assert thickness(top, up, skin[: len(top)]).isinf().all()


def test_what_is_no_skin_has_no_other_side():
    (top, up), (bottom, down) = plate(0.04, up=True), plate(0.0, up=False)
    skin = torch.arange(len(top) + len(bottom)) < len(top)
    assert thickness(torch.cat((top, bottom)), torch.cat((up, down)), skin).isinf().all()


@pytest.mark.parametrize("nearest", [327, 98], ids=("left wing", "right wing"))
def test_the_wings_of_the_nose_are_thin_and_the_cheeks_are_not(nearest):
    model = load_head_model()
    normals = vertex_normals(model.mean, model.triangles)
    found = thickness(model.mean, normals, model.parts <= int(Part.SCALP))
    landmarks = model.landmarks(model.mean)
    wing = (model.mean - landmarks[nearest]).norm(dim=1) < 0.12
    cheek = (model.mean - landmarks[425 if nearest == 327 else 205]).norm(dim=1) < 0.12
    assert wing.any() and cheek.any()
    assert 0.0 < THIN * float(found[wing].min()) < 0.03
    assert found[cheek & (model.parts == int(Part.FACE))].isinf().all()


def test_what_is_less_deep_than_asked_for_is_found_as_without_a_limit():
    model = load_head_model()
    normals, skin = vertex_normals(model.mean, model.triangles), model.parts <= int(Part.SCALP)
    every, near = (thickness(model.mean, normals, skin, deepest) for deepest in (float("inf"), 0.075))
    assert (every <= 0.075).sum() > 100
    torch.testing.assert_close(near.clamp(max=0.075), every.clamp(max=0.075), rtol=0.0, atol=0.0)
