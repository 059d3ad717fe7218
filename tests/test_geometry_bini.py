"""Bilateral normal integration: known surfaces, jumps, pieces, priors and bad input."""

import math

import pytest
import torch

from mggtalk_core.errors import InputError
from mggtalk_core.evaluation.made import mean_absolute_depth_error, measured_objects
from mggtalk_core.geometry import bini_cpu
from mggtalk_core.geometry.bini import BiniOptions, integrate_normals

EXACT = BiniOptions(tolerance=1e-10, cg_tolerance=1e-10)


def grid(height, width):
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float64) + 0.5, torch.arange(width, dtype=torch.float64) + 0.5, indexing="ij"
    )
    return x, y


def orthographic_normals(slope_x, slope_y):
    """Normals of z(x, y) in camera axes: the gradient of z - z(x, y), turned to the viewer."""
    normals = torch.stack((slope_x, slope_y, -torch.ones_like(slope_x)))
    return normals / normals.norm(dim=0)


def sphere(size=64, radius=24.0):
    """A hemisphere towards the viewer; its rim, steeper than 72 degrees, is left out."""
    x, y = grid(size, size)
    u, v = x - size / 2, y - size / 2
    inside = u**2 + v**2 < (0.95 * radius) ** 2
    w = torch.sqrt((radius**2 - u**2 - v**2).clamp(min=1e-3))
    return torch.stack((u, v, -w)) / radius, inside, -w


def centred_error(depth, truth, mask):
    difference = (depth - truth)[mask]
    return (difference - difference.mean()).abs()


def test_plane_is_exact():
    x, y = grid(20, 30)
    truth = 0.3 * x - 0.7 * y
    mask = torch.ones(20, 30, dtype=torch.bool)
    normals = orthographic_normals(torch.full_like(x, 0.3), torch.full_like(x, -0.7))
    result = integrate_normals(normals, mask, options=EXACT)
    assert centred_error(result.depth, truth, mask).max() < 1e-6


def test_sphere_orthographic():
    normals, mask, truth = sphere()
    result = integrate_normals(normals, mask)
    # One-sided differences against a rim slope of 3: a third of a pixel in the mean, of 24 high.
    assert centred_error(result.depth, truth, mask).mean() < 0.35


def test_sphere_perspective():
    size, focal, distance, radius = 96, 300.0, 5.0, 0.6
    x, y = grid(size, size)
    ray = torch.stack(((x - size / 2) / focal, (y - size / 2) / focal, torch.ones_like(x)))
    a, b, c = (ray**2).sum(0), ray[2] * distance, distance**2 - radius**2
    root = b**2 - a * c
    truth = (b - torch.sqrt(root.clamp(min=0))) / a
    center = torch.tensor([0.0, 0.0, distance], dtype=torch.float64)[:, None, None]
    normals = (ray * truth - center) / radius
    mask = (normals * ray).sum(0) / ray.norm(dim=0) < -0.35
    mask &= root > 0
    result = integrate_normals(normals, mask, intrinsics=(focal, focal, size / 2, size / 2))
    scale = (truth[mask] / result.depth[mask]).median()
    # The scale is free in perspective; the error is below 1 % of the radius, half a pixel.
    assert (result.depth[mask] * scale - truth[mask]).abs().mean() < 0.01 * radius


def test_step_survives_where_normals_show_it():
    """A tilted plane before a tilted floor: the rows where they meet tie both, the jump elsewhere must stay sharp."""
    x, y = grid(40, 40)
    slope = torch.where((x > 20) & (y > 6), torch.full_like(x, 0.6), torch.zeros_like(x))
    # Right half rises from the crease at y = 6, so along x = 20 the jump grows linearly with y.
    slope_y = torch.where(x > 20, slope, torch.zeros_like(x))
    truth = torch.where((x > 20) & (y > 6), 0.6 * (y - 6.0), torch.zeros_like(x))
    mask = torch.ones(40, 40, dtype=torch.bool)
    result = integrate_normals(orthographic_normals(torch.zeros_like(x), slope_y), mask)
    jump = result.depth[30:, 20] - result.depth[30:, 19]
    wanted = truth[30:, 20] - truth[30:, 19]
    # Plain least squares would smear the step over its neighbours; here it keeps more than nine tenths in one pixel.
    assert (jump / wanted).min() > 0.9
    assert centred_error(result.depth, truth, mask).mean() < 0.04 * truth.max()


def test_two_components_have_an_anchor_each():
    x, _ = grid(12, 24)
    mask = torch.zeros(12, 24, dtype=torch.bool)
    mask[2:10, 2:10] = mask[2:10, 14:22] = True
    normals = orthographic_normals(torch.full_like(x, 0.5), torch.zeros_like(x))
    depth = integrate_normals(normals, mask, options=EXACT).depth
    for columns in (slice(2, 10), slice(14, 22)):
        piece = depth[2:10, columns]
        assert abs(float(piece.mean())) < 1e-8
        assert torch.allclose(piece - piece.mean(), (x - x[2:10, columns].mean())[2:10, columns] * 0.5, atol=1e-6)
    assert torch.isnan(depth[~mask]).all()


def test_component_without_prior_takes_the_priors_mean():
    x, _ = grid(12, 24)
    mask = torch.zeros(12, 24, dtype=torch.bool)
    mask[2:10, 2:10] = mask[2:10, 14:22] = True
    prior = torch.full((12, 24), 7.0)
    prior[:, 12:] = math.nan
    normals = orthographic_normals(torch.zeros_like(x), torch.zeros_like(x))
    depth = integrate_normals(normals, mask, prior=prior, options=EXACT).depth
    assert torch.allclose(depth[mask], torch.full_like(depth[mask], 7.0), atol=1e-6)


def test_prior_decides_what_normals_leave_open():
    """A weak prior gives the offset and leaves the shape alone; a heavy one takes over."""
    normals, mask, truth = sphere()
    wrong = torch.full_like(truth, 5.0)
    weak = integrate_normals(normals, mask, prior=wrong, prior_weight=1e-6).depth
    heavy = integrate_normals(normals, mask, prior=wrong, prior_weight=1e3).depth
    assert abs(float(weak[mask].mean()) - 5.0) < 0.2
    assert centred_error(weak, truth, mask).mean() < 0.5
    assert (heavy[mask] - 5.0).abs().max() < 0.05


def test_prior_weight_is_relative_to_the_system():
    """In perspective the equations carry the focal length squared; the same lambda must mean the same."""
    normals, mask, _ = sphere()
    prior = torch.where(mask, 10.0, math.nan)
    depths = []
    for focal in (300.0, 30000.0):
        k = (focal, focal, 32.0, 32.0)
        result = integrate_normals(normals, mask, intrinsics=k, prior=prior, prior_weight=1e-2)
        relief = torch.log(result.depth[mask])
        depths.append((relief - relief.mean()) * focal)
    # The lateral rays still differ, by 0.1 of the slope at most.
    assert float((depths[0] - depths[1]).abs().mean() / depths[0].abs().mean()) < 0.1


def test_start_at_the_answer_needs_one_round():
    normals, mask, _ = sphere()
    first = integrate_normals(normals, mask)
    again = integrate_normals(normals, mask, start=first.depth, options=BiniOptions(tolerance=1e-3))
    assert len(again.energy) <= 2 < len(first.energy)


def test_nan_normals_leave_the_mask():
    normals, mask, truth = sphere()
    normals[:, 30:34, 30:34] = math.nan
    result = integrate_normals(normals, mask)
    assert not result.mask[30:34, 30:34].any()
    assert torch.isfinite(result.depth[result.mask]).all()
    assert torch.isnan(result.depth[~result.mask]).all()
    assert centred_error(result.depth, truth, result.mask).mean() < 0.4


@pytest.mark.parametrize("fill", [0.0, math.nan])
def test_nothing_to_solve_returns_early(fill):
    mask = torch.zeros(8, 8, dtype=torch.bool) if fill == 0 else torch.ones(8, 8, dtype=torch.bool)
    result = integrate_normals(torch.full((3, 8, 8), fill), mask)
    assert torch.isnan(result.depth).all() and not result.mask.any() and result.energy == []


def test_flipped_normals_are_refused():
    normals, mask, _ = sphere()
    with pytest.raises(InputError, match="flip"):
        integrate_normals(-normals, mask)


def test_single_pixels_and_flat_normals_with_prior():
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[1, 1] = mask[5, 2:7] = True
    normals = torch.zeros(3, 8, 8)
    normals[2] = -1.0
    depth = integrate_normals(normals, mask, prior=torch.full((8, 8), 2.0), prior_weight=1.0).depth
    assert torch.allclose(depth[mask], torch.full_like(depth[mask], 2.0))


def test_same_bits_twice_and_progress(monkeypatch):
    normals, mask, _ = sphere()
    calls = []
    monkeypatch.setattr(bini_cpu, "CALL_WORK", 5 * int(mask.sum()))
    one = integrate_normals(normals, mask, on_step=lambda done, total: calls.append((done, total)))
    two = integrate_normals(normals, mask)
    assert torch.equal(one.depth[mask], two.depth[mask])
    assert calls == sorted(calls) and calls[-1] == (150, 150) and len(calls) > 2 * len(one.energy)


def test_cancel_leaves_through_on_step():
    normals, mask, _ = sphere()

    def cancel(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        integrate_normals(normals, mask, on_step=cancel)


PUBLISHED = {
    "bear": 0.334, "buddha": 1.098, "cat": 0.074, "cow": 0.058, "goblet": 9.018,
    "harvest": 1.838, "pot1": 0.635, "pot2": 0.220, "reading": 0.257,
}  # fmt: skip
"""MADE in millimetres of the authors' own code on DiLiGenT, printed to three digits."""


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_diligent_matches_the_published_solver(shared, precision):
    folder = shared / "data" / "diligent"
    if not folder.is_dir():
        pytest.skip("needs DiLiGenT's objects in ../shared/data/diligent")
    options, found = BiniOptions(precision=precision), {}
    for each in measured_objects(folder):
        depth = integrate_normals(each.normals, each.mask, intrinsics=each.intrinsics, options=options).depth
        found[each.name] = mean_absolute_depth_error(depth, each.depth, each.mask, perspective=True)
    # Half of the last printed digit, or a hundredth.
    assert found == pytest.approx(PUBLISHED, rel=0.01, abs=0.0005)
