"""What follows the deformation: tangents of the picture's lattice, discs on the mesh, and openings."""

import math
from dataclasses import replace

import pytest
import torch

from mggtalk_core.gaussians.aperture import aperture_of
from mggtalk_core.gaussians.discs import discs_on
from mggtalk_core.gaussians.neighbours import PROBE_REACH, REST_REACH, TEAR, pixel_rows, surface_tangents
from mggtalk_core.geometry.points import HeadPoints
from mggtalk_core.head.model import load_head_model
from tests.head_samples import model_fit
from tests.test_gaussians_frames import covariance

SPACING, SIZE, STRETCH = 0.01, 8, 2.0
RIGHT, DOWN = torch.tensor([SPACING, 0.0, 0.0]), torch.tensor([0.0, -SPACING, 0.0])


@pytest.fixture(scope="module")
def fit():
    return model_fit(load_head_model())


def lattice(fit, pixels):
    """Points of the plane z = 0, one per pixel (column, row); rows run down."""
    pixels = torch.as_tensor(pixels)
    positions = pixels[:, :1] * RIGHT + pixels[:, 1:] * DOWN
    count = len(pixels)
    return HeadPoints(
        positions=positions,
        labels=torch.zeros(count, dtype=torch.uint8),
        pixel=pixels,
        mirror_of=torch.zeros(0, dtype=torch.long),
        triangle=torch.full((count,), -1),
        barycentric=torch.zeros(count, 3),
        fit=fit,
    )


def square(fit):
    row, column = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    return lattice(fit, torch.stack((column, row), dim=-1).view(-1, 2) + 200)


def tangents_of(points, sheet=None, probes=()):
    count = points.visible_count
    sheet = torch.ones(count, dtype=torch.long) if sheet is None else sheet
    facing = torch.tensor([0.0, 0.0, 1.0]).expand(count, 3)
    return surface_tangents(points, sheet, probes, facing, SPACING, STRETCH)


def right_half(points):
    return points.pixel[:, 0] >= 200 + SIZE // 2


def test_pixel_rows_know_every_point(fit):
    points = square(fit)
    rows = pixel_rows(points)
    assert int((rows >= 0).sum()) == SIZE**2
    column, row = points.pixel.unbind(-1)
    assert torch.equal(rows[row, column], torch.arange(SIZE**2))


def test_tangents_are_the_derivatives_of_any_affine_map(fit):
    """Edges and corners too, which have a neighbour on one side only."""
    points = square(fit)
    turn = torch.tensor([[0.8, -0.3, 0.1], [0.4, 1.1, 0.0], [-0.5, 0.2, 0.9]])
    x, y, whole = tangents_of(points)(points.positions @ turn.T + torch.tensor([1.0, 2.0, 3.0]))
    # Differences of float32 positions near 3.
    assert torch.allclose(x, (turn @ RIGHT).expand_as(x), atol=1e-6)
    assert torch.allclose(y, (turn @ DOWN).expand_as(y), atol=1e-6)
    assert torch.equal(whole, torch.ones(SIZE**2))


def test_tangents_are_central_differences_of_a_curved_map(fit):
    points = square(fit)
    bend = points.positions.clone()
    bend[:, 2] = torch.sin(40 * points.positions[:, 0]) * torch.cos(30 * points.positions[:, 1]) / 40
    x, _, _ = tangents_of(points)(bend)
    grid = bend.view(SIZE, SIZE, 3)
    assert torch.allclose(x.view(SIZE, SIZE, 3)[:, 1:-1], 0.5 * (grid[:, 2:] - grid[:, :-2]), atol=1e-7)
    assert torch.allclose(x.view(SIZE, SIZE, 3)[:, 0], grid[:, 1] - grid[:, 0], atol=1e-7)


def shifted(points, by):
    """The right half moved away from the left."""
    return points.positions + right_half(points)[:, None] * torch.tensor(by)


def assert_torn_apart(points, tangents):
    """Moving one half changes no tangent of either."""
    x, y, whole = tangents(shifted(points, (0.4, 0.3, -0.2)))
    assert torch.allclose(x, RIGHT.expand_as(x), atol=1e-6) and torch.allclose(y, DOWN.expand_as(y), atol=1e-6)
    assert torch.equal(whole, torch.ones_like(whole))


def test_tangents_never_cross_sheets(fit):
    points = square(fit)
    assert_torn_apart(points, tangents_of(points, right_half(points).long()))


@pytest.mark.parametrize("opening", [(0.0, 1.1, 0.0), (0.0, 0.0, -1.1)])
def test_tangents_never_cross_what_a_probe_parts(fit, opening):
    points = square(fit)
    probe = shifted(points, tuple(PROBE_REACH * SPACING * amount for amount in opening))
    assert_torn_apart(points, tangents_of(points, probes=[points.positions, probe]))


def test_tangents_never_cross_an_edge_at_rest(fit):
    """The nose over the cheek: neighbours in the picture, far apart in depth."""
    points = square(fit)
    points = replace(points, positions=shifted(points, (0.0, 0.0, -1.1 * REST_REACH * SPACING)))
    assert_torn_apart(points, tangents_of(points))


def test_smaller_moves_do_not_part_the_skin(fit):
    points = square(fit)
    probe = shifted(points, (0.0, 0.9 * PROBE_REACH * SPACING, 0.0))
    x, _, _ = tangents_of(points, probes=[probe])(shifted(points, (0.5 * SPACING, 0.0, 0.0)))
    seam = (points.pixel[:, 0] - 200 - SIZE // 2).clamp(-1, 0) == points.pixel[:, 0] - 200 - SIZE // 2
    assert torch.allclose(x[seam], 1.25 * RIGHT.expand_as(x[seam]), atol=1e-6)


@pytest.mark.parametrize(("factor", "length"), [(0.5, 0.5), (1.9, 1.9), (3.0, STRETCH), (5.0, STRETCH)])
def test_skin_tears_beyond_its_limit(fit, factor, length):
    points = square(fit)
    x, y, whole = tangents_of(points)(points.positions * torch.tensor([factor, 1.0, 1.0]))
    assert torch.allclose(x, length * RIGHT.expand_as(x), atol=2e-6)
    assert torch.allclose(y, DOWN.expand_as(y), atol=2e-6)
    assert torch.allclose(whole, torch.full_like(whole, (length / factor) ** TEAR), atol=1e-3)


def test_points_without_neighbours_continue_the_picture(fit):
    """A column, a row and a lone pixel: the missing axis is one pixel long, to the right or down."""
    column = [[210, row] for row in range(205, 209)]
    row = [[column, 230] for column in range(205, 209)]
    points = lattice(fit, column + row + [[250, 250]])
    x, y, whole = tangents_of(points)(points.positions)
    assert torch.allclose(x, RIGHT.expand_as(x), atol=1e-6)
    assert torch.allclose(y, DOWN.expand_as(y), atol=1e-6)
    assert torch.equal(whole, torch.ones(9))


def small_mesh():
    """A fan of triangles of many shapes."""
    random = torch.Generator().manual_seed(5)
    vertices = torch.randn(12, 3, generator=random, dtype=torch.float64)
    triangles = torch.tensor([[0, k, k + 1] for k in range(1, 11)])
    return vertices, triangles


def test_discs_cover_their_share_of_the_triangle():
    vertices, triangles = small_mesh()
    on = torch.tensor([0, 3, 3, 3, 9])
    quats, spacing = discs_on(on, triangles, vertices)(vertices)
    a, b, c = (vertices[triangles[on]][:, k] for k in range(3))
    normal = torch.linalg.cross(b - a, c - a)
    share = 0.5 * normal.norm(dim=1) / torch.tensor([1.0, 3.0, 3.0, 3.0, 1.0])
    assert torch.allclose(spacing[:, 0] * spacing[:, 1], share)
    assert torch.allclose(spacing[:, 0], spacing[:, 1])
    cov = covariance(quats, spacing)
    unit = torch.nn.functional.normalize(normal, dim=1)
    assert torch.allclose((cov @ unit[..., None])[..., 0], spacing[:, 2:] ** 2 * unit, atol=1e-12)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_discs_stretch_and_turn_exactly_with_their_triangle(seed):
    vertices, triangles = small_mesh()
    on = torch.arange(10)
    random = torch.Generator().manual_seed(seed)
    affine = torch.randn(3, 3, generator=random, dtype=torch.float64)
    discs = discs_on(on, triangles, vertices)
    before, after = flat_covariance(discs, vertices), flat_covariance(discs, vertices @ affine.T + 4.0)
    assert torch.allclose(after, affine @ before @ affine.T, atol=1e-9)


def flat_covariance(discs, vertices):
    quats, spacing = discs(vertices)
    return covariance(quats, spacing * torch.tensor([1.0, 1.0, 0.0]))


SOFT = 0.01


def eye_loop(height=0.1, start=3, clockwise=False):
    """A lens of 20 vertices between x = -0.2 and 0.2, and the loop in any order."""
    angle = torch.arange(20) * (2 * math.pi / 20)
    vertices = torch.stack((0.2 * angle.cos(), height * angle.sin(), torch.zeros(20)), dim=1)
    loop = torch.roll(torch.arange(20), start)
    return vertices, loop.flip(0) if clockwise else loop


def probe(x, y, z=0.0):
    return torch.tensor([[x, y, z]])


@pytest.mark.parametrize("start", [0, 7, 13])
@pytest.mark.parametrize("clockwise", [False, True])
def test_a_loop_splits_into_upper_and_lower(start, clockwise):
    opened, loop = eye_loop(start=start, clockwise=clockwise)
    aperture = aperture_of(loop, opened, 0.0, 0.0, SOFT)
    for half, sign in ((aperture.upper, 1.0), (aperture.lower, -1.0)):
        x, y, _ = opened[half].unbind(1)
        assert (sign * y > -1e-6).all()
        assert (x[1:] > x[:-1]).all()
        assert {int(half[0]), int(half[-1])} == {0, 10}
    assert len(set(aperture.upper.tolist()) | set(aperture.lower.tolist())) == 20


@pytest.mark.parametrize(
    ("x", "y", "shown"),
    [
        (0.0, 0.0, 1.0), (0.0, 0.085, 1.0), (0.0, -0.085, 1.0), (0.0, 0.105, 0.0), (0.0, -0.105, 0.0),
        (0.25, 0.0, 0.0), (-0.25, 0.0, 0.0), (0.15, 0.09, 0.0), (0.0, 0.1 - 0.5 * SOFT, 0.5),
    ],
)  # fmt: skip
def test_an_opening_shows_what_lies_in_it(x, y, shown):
    opened, loop = eye_loop()
    aperture = aperture_of(loop, opened, 0.0, 0.0, SOFT)
    assert float(aperture(opened, probe(x, y))) == pytest.approx(shown, abs=1e-4)


def test_the_margin_widens_the_opening_but_not_past_its_corners():
    opened, loop = eye_loop()
    aperture = aperture_of(loop, opened, 0.03, 0.0, SOFT)
    for x, y, shown in ((0.0, 0.115, 1.0), (0.0, -0.115, 1.0), (0.0, 0.135, 0.0), (0.215, 0.0, 0.0)):
        assert float(aperture(opened, probe(x, y))) == pytest.approx(shown, abs=1e-4)


def test_what_lies_deep_is_seen_at_an_angle():
    opened, loop = eye_loop()
    aperture = aperture_of(loop, opened, 0.0, 0.5, SOFT)
    assert float(aperture(opened, probe(0.0, 0.12, 0.0))) == 0.0
    assert float(aperture(opened, probe(0.0, 0.12, -0.1))) == pytest.approx(1.0)
    assert float(aperture(opened, probe(0.0, 0.12, 0.1))) == 0.0  # in front of the contour: no wider


@pytest.mark.parametrize("height", [0.0, -0.02])
def test_a_shut_opening_hides_everything(height):
    opened, loop = eye_loop()
    aperture = aperture_of(loop, opened, 0.03, 0.6, SOFT)
    shut, _ = eye_loop(height)
    points = torch.cat([probe(x, y, z) for x in (-0.1, 0.0, 0.1) for y in (-0.02, 0.0, 0.02) for z in (0.0, -0.2)])
    assert aperture(shut, points).abs().max() < 1e-6


def test_an_opening_closes_gradually():
    """A lid that comes down takes the eye away without a jump."""
    opened, loop = eye_loop()
    aperture = aperture_of(loop, opened, 0.0, 0.0, SOFT)
    shown = [float(aperture(eye_loop(height)[0], probe(0.0, 0.0))) for height in torch.linspace(0.02, 0.0, 41)]
    steps = [a - b for a, b in zip(shown, shown[1:], strict=False)]
    assert shown[0] == 1.0 and shown[-1] == 0.0
    assert all(-1e-6 <= step < 0.2 for step in steps)
