"""Depth and normal maps from elsewhere: scale, shift and signs from the fitted head, and what is said of bad ones."""

import pytest
import torch

from mggtalk_core.errors import InputError
from mggtalk_core.geometry.given_provider import (
    fit_alignment,
    given_estimate,
    without_terraces,
)
from mggtalk_core.geometry.mesh_provider import mesh_estimate
from mggtalk_core.geometry.normals import normals_of_depth
from mggtalk_core.geometry.orientation import CONVENTIONS, orientation_of, oriented
from mggtalk_core.geometry.reconstruct import reconstruct_surface
from tests.head_samples import model_head

SIGNS = [(x, y, z) for x in (1, -1) for y in (1, -1) for z in (1, -1)]


@pytest.fixture(scope="module")
def mesh(astronaut_head):
    return mesh_estimate(astronaut_head.portrait, astronaut_head.fit, astronaut_head.model)


@pytest.fixture(scope="module")
def camera(astronaut_head):
    return astronaut_head.fit.camera


def picture_of(mesh, *, near_bright, levels=None):
    """Return a depth map as a picture holds it: 0..1 over the head, in so many steps."""
    inside = mesh.depth[mesh.mask]
    far = (mesh.depth - inside.min()) / (inside.max() - inside.min())
    shown = (1.0 - far if near_bright else far).clamp(0.0, 1.0)
    return shown if levels is None else (shown * (levels - 1)).round() / (levels - 1)


@pytest.mark.parametrize("slope", [3.0, -0.2, 1e-4, -500.0])
def test_any_affine_map_is_brought_home(mesh, slope):
    found = fit_alignment(7.0 + slope * mesh.depth.double(), mesh.depth, mesh.sure)
    assert found.slope == pytest.approx(slope, rel=1e-4) and found.explained > 0.999
    assert (found.apply(7.0 + slope * mesh.depth.double()) - mesh.depth).abs().max() < 1e-3
    assert ("dark" if slope > 0 else "bright") in str(found)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.4])
@pytest.mark.parametrize("kind", ["far off", "scattered"])
def test_outliers_have_no_say(mesh, share, kind):
    """Whatever stands in a tenth to two fifths of the face's pixels, the rest gives the scale."""
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.nonzero(mesh.sure, as_tuple=True)
    chosen = torch.randperm(len(rows), generator=generator)[: int(share * len(rows))]
    depth = 2.0 + 0.5 * mesh.depth
    wrong = (
        torch.full((len(chosen),), 1000.0)
        if kind == "far off"
        else 20.0 * torch.randn(len(chosen), generator=generator)
    )
    depth[rows[chosen], columns[chosen]] = wrong
    assert fit_alignment(depth, mesh.depth, mesh.sure).slope == pytest.approx(0.5, rel=0.02)


def test_noise_lowers_what_is_explained_and_is_said(mesh):
    noise = torch.randn(mesh.depth.shape, generator=torch.Generator().manual_seed(0))
    shares = [fit_alignment(mesh.depth + size * noise, mesh.depth, mesh.sure) for size in (0.01, 0.1, 0.2)]
    explained = [found.explained for found in shares]
    assert explained == sorted(explained, reverse=True) and explained[0] > 0.9
    assert "poor" not in str(shares[0]) and "poor" in str(shares[-1])
    with pytest.raises(InputError, match="does not resemble"):
        fit_alignment(mesh.depth + noise, mesh.depth, mesh.sure)


@pytest.mark.parametrize("near_bright", [True, False])
def test_pictures_of_either_kind_are_understood_and_it_is_said(mesh, camera, near_bright):
    shown = picture_of(mesh, near_bright=near_bright)
    made = given_estimate(mesh, camera, shown, None)
    known = mesh.mask & (shown > 0.0) & (shown < 1.0)
    assert (made.depth - mesh.depth)[known].abs().max() < 1e-3
    assert f"near is {'bright' if near_bright else 'dark'}" in made.remarks[0]
    assert not made.sure.any()


def test_eight_bits_lose_their_terraces(mesh, camera):
    """Between two steps an 8-bit map is flat: its normals are right only once the steps are melted."""
    shown = picture_of(mesh, near_bright=True, levels=256)
    made = given_estimate(mesh, camera, shown, None)
    truth = normals_of_depth(mesh.depth, camera)
    terraced = normals_of_depth(fit_alignment(shown, mesh.depth, mesh.sure).apply(shown), camera)
    inner = -torch.nn.functional.max_pool2d(-mesh.sure[None].float(), 15, stride=1, padding=7)[0] > 0

    def degrees(normals):
        return torch.rad2deg(torch.acos((normals * truth).sum(0)[inner].clamp(-1.0, 1.0))).median()

    assert degrees(made.normals) < 0.5 * degrees(terraced)
    assert "8-bit" in made.remarks[0]
    assert (made.depth - mesh.depth)[inner].abs().median() < 0.01


def test_float_maps_are_not_smoothed(mesh):
    same, melted = without_terraces(mesh.depth)
    assert same is mesh.depth and not melted


def test_smoothing_stops_at_holes():
    depth = torch.arange(32.0).repeat(32, 1)
    depth[:, 16:] = torch.nan
    smooth, melted = without_terraces(depth)
    assert melted and bool(smooth[:, 16:].isnan().all()) and bool(torch.isfinite(smooth[:, :16]).all())
    assert torch.allclose(smooth[8:24, 4:12], depth[8:24, 4:12], atol=1e-4)


@pytest.mark.parametrize("signs", SIGNS)
@pytest.mark.parametrize("yaw", [0.0, 0.4])
def test_every_convention_is_told(signs, yaw):
    head = model_head(yaw)
    mesh = mesh_estimate(head.portrait, head.points.fit, head.model)
    noise = 0.3 * torch.randn(mesh.normals.shape, generator=torch.Generator().manual_seed(0))
    shown = (mesh.normals + noise) * torch.tensor(signs)[:, None, None]
    found = orientation_of(shown, mesh.normals, mesh.sure)
    assert found.is_sure and found.signs == signs
    assert torch.allclose(oriented(shown, found), mesh.normals + noise)
    assert str(found) == CONVENTIONS.get(signs, str(found))


def test_detected_signs_lead_to_the_same_surface(mesh, camera, astronaut_head):
    flipped = mesh.normals * torch.tensor([1.0, -1.0, -1.0])[:, None, None]
    right = given_estimate(mesh, camera, None, mesh.normals)
    found = given_estimate(mesh, camera, None, flipped, detect_signs=True)
    assert torch.equal(right.normals, found.normals) and right.remarks == ()
    assert "OpenGL" in found.remarks[0]
    parts = astronaut_head.portrait, astronaut_head.fit, astronaut_head.model
    surface = reconstruct_surface(*parts, normals=flipped, detect_signs=True)
    assert surface.remarks == found.remarks and surface.provider == "given"


def test_a_style_that_contradicts_the_head_is_said(mesh, camera):
    flipped = mesh.normals * torch.tensor([1.0, -1.0, 1.0])[:, None, None]
    made = given_estimate(mesh, camera, None, flipped)
    assert "its y points against the fitted head's" in made.remarks[0]


def test_normals_of_something_else(mesh, camera):
    noise = torch.randn(mesh.normals.shape, generator=torch.Generator().manual_seed(0))
    noise[2] = -noise[2].abs()
    assert "hardly follows" in given_estimate(mesh, camera, None, noise).remarks[0]
    with pytest.raises(InputError, match="cannot be told"):
        given_estimate(mesh, camera, None, noise, detect_signs=True)
    with pytest.raises(InputError, match="too little of the face"):
        given_estimate(mesh, camera, None, torch.full_like(noise, torch.nan))


def test_unknown_pixels_are_the_heads(mesh, camera):
    depth, normals = 2.0 * mesh.depth, mesh.normals.clone()
    depth[:, :256], normals[:, :, :256] = torch.nan, torch.nan
    made = given_estimate(mesh, camera, depth, normals)
    assert torch.equal(made.depth[:, :256], mesh.depth[:, :256])
    assert torch.isfinite(made.normals).all()


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_weights_of_the_depth_that_mean_nothing(astronaut_head, weight):
    parts = astronaut_head.portrait, astronaut_head.fit, astronaut_head.model
    with pytest.raises(InputError, match="weight of the depth"):
        reconstruct_surface(*parts, prior_weight=weight)


def test_a_heavier_depth_is_kept_closer(mesh, astronaut_head):
    """Depth and normals that contradict each other: lambda decides between them."""
    parts = astronaut_head.portrait, astronaut_head.fit, astronaut_head.model
    tilted = mesh.normals + torch.tensor([0.3, 0.0, 0.0])[:, None, None]
    given = given_estimate(mesh, astronaut_head.fit.camera, mesh.depth, tilted).depth
    surfaces = [
        reconstruct_surface(*parts, depth=mesh.depth, normals=tilted, prior_weight=weight)
        for weight in (0.1, 1.0, 10.0)
    ]
    off = [float((surface.depth - given)[mesh.sure].abs().mean()) for surface in surfaces]
    assert off[0] > off[1] > off[2]


def test_remarks_travel_with_the_surface(astronaut_head):
    parts = astronaut_head.portrait, astronaut_head.fit, astronaut_head.model
    assert reconstruct_surface(*parts).remarks == ()
    surface = reconstruct_surface(*parts, depth=astronaut_head.surface.depth)
    assert len(surface.remarks) == 1 and surface.to("cpu").remarks == surface.remarks
