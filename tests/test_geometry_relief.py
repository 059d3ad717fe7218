"""The relief of a depth map by its normals, and what given normals do to the surface."""

import pytest
import torch

from mggtalk_core.geometry.given_provider import fit_alignment, given_estimate
from mggtalk_core.geometry.mesh_provider import mesh_estimate
from mggtalk_core.geometry.normals import normals_of_depth
from mggtalk_core.geometry.reconstruct import reconstruct_surface
from mggtalk_core.geometry.relief import relief_by_normals


@pytest.fixture(scope="module")
def mesh(astronaut_head):
    return mesh_estimate(astronaut_head.portrait, astronaut_head.fit, astronaut_head.model)


@pytest.fixture(scope="module")
def camera(astronaut_head):
    return astronaut_head.fit.camera


@pytest.mark.parametrize("slope", [1.0, 0.2, -3.0, 1e-3])
def test_the_relief_of_an_affine_map_is_found(mesh, camera, slope):
    """Within what cells of 8 pixels round off."""
    normals = normals_of_depth(mesh.depth, camera)
    distance = float(mesh.depth[mesh.sure].median())
    factor = relief_by_normals(5.0 + slope * mesh.depth.double(), normals, camera, mesh.sure, distance)
    assert factor == pytest.approx(1.0 / slope, rel=0.03)


def test_a_deeper_head_than_the_fitted_one_is_made_as_deep_as_it_is(mesh, camera):
    """The depth is 1.25 times as deep as the fitted head: by itself it is squeezed, with its normals it is not."""
    middle = float(mesh.depth[mesh.sure].median())
    true = middle + 1.25 * (mesh.depth - middle)
    normals = normals_of_depth(true, camera)
    alone = given_estimate(mesh, camera, 0.3 * true + 2.0, None)
    told = given_estimate(mesh, camera, 0.3 * true + 2.0, normals)
    assert (alone.depth - mesh.depth)[mesh.sure].abs().mean() < 0.01
    assert (told.depth - true)[mesh.sure].abs().mean() < 0.01 < 0.3 * (alone.depth - true)[mesh.sure].abs().mean()


def test_too_little_says_nothing(mesh, camera):
    few = torch.zeros_like(mesh.sure)
    few[200:216, 200:216] = True
    assert relief_by_normals(mesh.depth, mesh.normals, camera, few, 10.0) is None
    assert relief_by_normals(mesh.depth, mesh.normals, camera, torch.zeros_like(few), 10.0) is None
    flat = torch.full_like(mesh.depth, 10.0)
    assert relief_by_normals(flat, torch.zeros_like(mesh.normals), camera, mesh.sure, 10.0) is None


def test_normals_that_contradict_the_depth_leave_it_its_scale(mesh, camera):
    upside_down = mesh.normals * torch.tensor([-1.0, -1.0, 1.0])[:, None, None]
    with_them = given_estimate(mesh, camera, 2.0 * mesh.depth, upside_down)
    assert (with_them.depth - mesh.depth)[mesh.sure].abs().max() < 1e-3


def test_a_fitted_head_with_errors_does_not_stretch_the_map(mesh):
    """A target that is right on average leaves the scale: its errors must not stretch the map."""
    noise = torch.randn(mesh.depth.shape, generator=torch.Generator().manual_seed(0))
    spread = (mesh.depth[mesh.sure] - mesh.depth[mesh.sure].median()).abs().median()
    found = fit_alignment(mesh.depth, mesh.depth + 0.4 * spread * noise, mesh.sure)
    assert found.slope == pytest.approx(1.0, abs=0.06)


def test_the_surface_carries_the_normals_that_were_given(mesh, camera, astronaut_head):
    parts = astronaut_head.portrait, astronaut_head.fit, astronaut_head.model
    tilted = torch.nn.functional.normalize(mesh.normals + torch.tensor([0.05, 0.02, 0.0])[:, None, None], dim=0)
    holes = tilted.clone()
    holes[:, :, 300:] = torch.nan
    surface = reconstruct_surface(*parts, depth=mesh.depth, normals=holes)
    known = surface.mask & torch.isfinite(holes).all(0)
    assert torch.allclose(surface.normals[:, known], tilted[:, known], atol=1e-5)
    unknown = surface.mask & ~known
    assert (surface.normals[:, unknown].norm(dim=0) - 1.0).abs().max() < 1e-3


def test_grain_is_taken_from_a_depth_without_normals(mesh, camera, astronaut_head):
    parts = astronaut_head.portrait, astronaut_head.fit, astronaut_head.model
    grain = 0.003 * torch.randn(mesh.depth.shape, generator=torch.Generator().manual_seed(1))
    clean, grainy = (reconstruct_surface(*parts, depth=mesh.depth + each) for each in (0.0 * grain, grain))
    inner = -torch.nn.functional.max_pool2d(-mesh.sure[None].float(), 15, stride=1, padding=7)[0] > 0

    def degrees(normals):
        return torch.rad2deg((normals * mesh.normals).sum(0)[inner].clamp(-1.0, 1.0).acos()).median()

    raw = normals_of_depth(mesh.depth + grain, camera)
    assert degrees(grainy.normals) < 0.4 * degrees(raw)
    assert degrees(clean.normals) < 3.0
    assert (grainy.depth - mesh.depth)[inner].abs().median() < 0.003
