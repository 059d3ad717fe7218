"""Surface and points of a head whose geometry is known: the model itself, as if seen in a picture."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from mggtalk_core.errors import InputError
from mggtalk_core.geometry import interior
from mggtalk_core.geometry.given_provider import fit_alignment
from mggtalk_core.geometry.inflate import inflate
from mggtalk_core.geometry.interior import INNER_INSET, LOWER_DROP
from mggtalk_core.geometry.mirror_plane import mirror_plane
from mggtalk_core.geometry.points import Label
from mggtalk_core.geometry.reconstruct import reconstruct_surface
from mggtalk_core.geometry.silhouette import SOLID, eroded, tucked_in
from mggtalk_core.geometry.symmetry import BESIDE, CHEEKS, SCRAP, TUCK, agrees_with_picture, symmetric_geometry
from mggtalk_core.geometry.teeth import behind_seen_mouth, upper_jaw
from mggtalk_core.head.camera import Camera
from mggtalk_core.head.hairline import on_ears
from mggtalk_core.head.head_fit import HeadFit
from mggtalk_core.head.model import load_head_model
from mggtalk_core.head.parts import Part
from mggtalk_core.head.zbuffer import rasterize_mesh
from mggtalk_core.portrait.blendshapes import BLENDSHAPE_INDEX
from mggtalk_core.portrait.parsing import Label as Parsed
from mggtalk_core.portrait.portrait import Portrait

NECK_END = 430


def turned_camera(degrees):
    """Camera of a head turned about the vertical, 11 units away."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.diag([1.0, -1.0, -1.0]) @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return Camera.for_crop().posed(torch.tensor(turn, dtype=torch.float32), torch.tensor([0.0, 0.1, 11.0]))


class Head:
    """The model with its mouth open as a portrait: skin on the face, hair over and around the skull."""

    def __init__(self, degrees):
        self.model = load_head_model()
        beta = torch.zeros(52)
        beta[BLENDSHAPE_INDEX["jawOpen"]] = 0.5
        zero = torch.zeros(self.model.modes)
        self.fit = HeadFit(zero, beta, torch.zeros(4), turned_camera(degrees), torch.zeros_like(self.model.mean), 0.0)
        self.vertices = self.model.vertices(zero, beta, torch.zeros(4))
        projected = self.fit.camera.project(self.vertices)
        self.depth, self.triangle, _ = rasterize_mesh(projected, self.model.triangles, 512, 512)
        self.part = self.model.parts[self.model.triangles[self.triangle.clamp(min=0), 0]]
        hit = self.triangle >= 0
        hit[NECK_END:] = False
        around = torch.nn.functional.max_pool2d(hit[None].float(), 21, stride=1, padding=10)[0] > 0
        around[NECK_END:] = False
        labels = torch.where(hit, Parsed.FACE, torch.where(around, Parsed.HAIR, 0)).to(torch.uint8)
        self.skull = around & (self.part == int(Part.SCALP)) & (torch.arange(512)[:, None] < 240)
        labels[self.skull] = Parsed.HAIR
        blank, matte = torch.zeros(3, 512, 512), around[None].float()
        self.portrait = Portrait(
            blank, blank, torch.eye(3)[:2], matte, blank, labels, torch.zeros(478, 3), torch.zeros(52), 1.0
        )
        self.surface = reconstruct_surface(self.portrait, self.fit, self.model)
        self.points = symmetric_geometry(self.surface, self.model)


@pytest.fixture(scope="module")
def frontal():
    return Head(0.0)


@pytest.fixture(scope="module")
def turned():
    return Head(30.0)


@pytest.fixture(params=["frontal", "turned"])
def head(request):
    return request.getfixturevalue(request.param)


def test_surface_is_the_mesh_where_the_mesh_is_seen(head):
    on_mesh = head.surface.triangle >= 0
    assert torch.equal(head.surface.triangle[on_mesh], head.triangle[on_mesh])
    error = (head.surface.depth - head.depth)[on_mesh].abs()
    # Integration smooths the facets: a quarter of a millimetre in the mean, a millimetre nearly everywhere.
    assert error.mean() < 0.0025
    assert torch.quantile(error[::7], 0.99) < 0.01


def test_teeth_and_eyeballs_carry_their_own_triangles(frontal):
    seen = frontal.surface.triangle
    parts = frontal.model.parts[frontal.model.triangles[seen.clamp(min=0), 0]]
    for part in (Part.TEETH, Part.EYE_LEFT, Part.EYE_RIGHT):
        assert int(((parts == int(part)) & (seen >= 0)).sum()) > 30


def test_occlusion_edges_stay_sharp(turned):
    """Beside a jump of the mesh (nose over cheek, chin over neck) pixels must not float between the two surfaces."""
    surface, mesh = turned.surface, turned.depth
    skin = (surface.triangle >= 0) & (turned.part <= int(Part.SCALP))
    both = skin[:, 1:] & skin[:, :-1]
    jump = (mesh[:, 1:] - mesh[:, :-1]).abs()
    kept = (surface.depth[:, 1:] - surface.depth[:, :-1]).abs()
    edges = both & (jump > 0.1)
    assert int(edges.sum()) > 30
    share = kept[edges] / jump[edges]
    assert torch.quantile(share, 0.05) > 0.95 and share.min() > 0.6


def test_position_map_projects_onto_its_own_pixels(head):
    rows, columns = torch.nonzero(head.surface.mask, as_tuple=True)
    projected = head.fit.camera.project(head.surface.position_map[:, rows, columns].T)
    wanted = torch.stack((columns + 0.5, rows + 0.5, head.surface.depth[rows, columns]), dim=1)
    assert torch.allclose(projected, wanted, atol=2e-3)


def test_hair_lies_over_the_scalp_and_ends_near_the_skulls_middle(frontal):
    surface, camera = frontal.surface, frontal.fit.camera
    skull = frontal.skull & surface.mask
    # Bilinear cells may cut 2 mm into the skull at its edge, where its surface turns away.
    assert torch.quantile((surface.depth - frontal.depth)[skull], 0.99) < 0.02
    middle = float(camera.to_camera(torch.tensor([[0.0, 0.3, -0.8]]))[0, 2])
    inner = -torch.nn.functional.max_pool2d(-surface.mask[None].float(), 5, stride=1, padding=2)[0] > 0
    rim = surface.mask & ~inner & (torch.arange(512)[:, None] < 200)
    assert (surface.depth[rim] - middle).abs().mean() < 0.3


def test_normals_are_unit_and_face_the_viewer(head):
    normals = head.surface.normals[:, head.surface.mask]
    assert torch.allclose(normals.norm(dim=0), torch.ones(normals.shape[1]), atol=1e-4)
    # Perspective lets a surface be seen whose normal points 10 degrees away from the axis.
    assert normals[2].max() < 0.2
    assert not head.surface.normals[:, ~head.surface.mask].any()


def test_points_keep_their_order_and_bookkeeping(head):
    points = head.points
    f, s = points.visible_count, points.mirrored_count
    order = [Label.VISIBLE] * f + [Label.MIRRORED] * s
    assert points.labels[: f + s].tolist() == [int(label) for label in order]
    rest = points.labels[f + s :]
    assert torch.equal(rest, rest.sort().values) and set(rest.tolist()) == {int(Label.INTERIOR), int(Label.BACKING)}
    assert f == int(head.surface.mask.sum())
    columns, rows = points.pixel.T
    assert torch.equal(points.positions[:f], head.surface.position_map[:, rows, columns].T)
    found = mirror_plane(head.surface, head.model)
    assert torch.equal(points.plane.normal, found.normal) and points.plane.offset == found.offset
    twins = points.plane.reflect(points.positions[points.mirror_of])
    away = (points.positions[f : f + s] - twins).norm(dim=1)
    x, y, _ = head.fit.camera.project(twins).unbind(-1)
    solid = head.surface.mask & (head.surface.portrait.matte[0] > SOLID)
    solid = eroded(solid.float(), BESIDE) > 0
    # Only what lies at the silhouette or past it is moved, and not far.
    assert not away[solid[y.long(), x.long()]].any() and away.max() < TUCK
    assert (points.triangle[f : f + s] == -1).all() and not points.barycentric[f : f + s].any()


def test_mirrored_points_come_in_patches(turned):
    """Within a window of `SCRAP` pixels around each, in the picture of what they mirror, all are there; but on ears."""
    points, surface = turned.points, turned.surface
    column, row = points.pixel[points.mirror_of].T
    there = np.zeros((512, 512), np.uint8)
    there[row, column] = 1
    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (SCRAP, SCRAP))
    lone = there - cv2.morphologyEx(there, cv2.MORPH_OPEN, window)
    corners = turned.model.mean[turned.model.triangles[surface.triangle.clamp(min=0).long()]]
    places = (corners * surface.barycentric.permute(1, 2, 0)[..., None]).sum(dim=2)
    assert there.sum() > 5000 and on_ears(places)[torch.from_numpy(lone > 0)].all()


def test_mirroring_fills_the_far_side_only_when_it_is_hidden(frontal, turned):
    assert turned.points.mirrored_count > 5000 > 5 * frontal.points.mirrored_count
    first = turned.points.visible_count
    mirrored = turned.points.positions[first : first + turned.points.mirrored_count]
    # The head is turned so that the subject's right is hidden; its twin comes from the left.
    assert (torch.sign(mirrored[:, 0]) == torch.sign(mirrored[:, 0].median())).float().mean() > 0.95


def test_hair_before_the_cheeks_is_not_mirrored(turned):
    """Where it hangs into the face; on forehead and skull it is."""
    labels = torch.full_like(turned.surface.portrait.labels, int(Parsed.HAIR))
    surface = replace(turned.surface, portrait=replace(turned.surface.portrait, labels=labels))
    points = symmetric_geometry(surface, turned.model)
    triangle = points.triangle[points.mirror_of]
    corners = turned.model.mean[turned.model.triangles[triangle.clamp(min=0)]]
    height = (corners * points.barycentric[points.mirror_of][..., None]).sum(dim=1)[:, 1]
    face = (triangle >= 0) & (turned.model.parts[turned.model.triangles[triangle.clamp(min=0), 0]] == int(Part.FACE))
    assert not (face & (height < CHEEKS)).any() and (face & (height > 0.2)).sum() > 100
    assert 1000 < points.mirrored_count < turned.points.mirrored_count


def test_mirrored_points_do_not_contradict_the_picture(turned):
    first, count = turned.points.visible_count, turned.points.mirrored_count
    mirrored = turned.points.positions[first : first + count]
    x, y, z = turned.fit.camera.project(mirrored).unbind(-1)
    assert agrees_with_picture(mirrored, turned.surface).all()
    assert turned.surface.mask[y.long(), x.long()].all()
    assert (z > turned.surface.depth[y.long(), x.long()]).all()


def test_carving_knows_background_front_and_outside(frontal):
    camera = frontal.fit.camera
    depth = float(frontal.surface.depth[256, 256])
    pixels = torch.tensor([[256.5, 256.5], [256.5, 256.5], [5.5, 5.5], [-40.0, 256.5]])
    points = camera.unproject(pixels, torch.tensor([depth - 0.2, depth + 0.2, depth, depth]))
    assert agrees_with_picture(points, frontal.surface).tolist() == [False, True, False, True]


def test_points_past_the_silhouette_are_moved_onto_its_nearest_pixel(frontal):
    """A row through the middle of the face: the head's first pixel is the nearest to what lies left of it."""
    inside = frontal.surface.mask & (frontal.surface.portrait.matte[0] > SOLID)
    first = int(torch.nonzero(inside[256])[0])
    camera, pixels = frontal.fit.camera, torch.tensor([[first - 0.5, 256.5], [256.5, 256.5], [-40.0, 256.5]])
    tucked = tucked_in(camera.unproject(pixels, torch.tensor([9.0, 9.0, 9.0])), frontal.surface)
    there = torch.cat((tucked.pixels, tucked.depth[:, None]), dim=1)
    assert tucked.shift[0] == pytest.approx(1.0, abs=1e-3) and tucked.shift[1] == 0.0
    assert torch.allclose(there[:2], torch.tensor([[first + 0.5, 256.5, 9.0], [256.5, 256.5, 9.0]]), atol=1e-3)
    assert tucked.in_picture.tolist() == [True, True, False]
    assert torch.equal(tucked.shown[:2], frontal.surface.depth[256, [first, 256]])


def test_do_not_mirror_mask(turned):
    everything = torch.ones(512, 512, dtype=torch.bool)
    assert symmetric_geometry(turned.surface, turned.model, do_not_mirror=everything).mirrored_count == 0
    upper = everything.clone()
    upper[256:] = False
    points = symmetric_geometry(turned.surface, turned.model, do_not_mirror=upper)
    assert 0 < points.mirrored_count < turned.points.mirrored_count
    assert (points.pixel[points.mirror_of][:, 1] >= 256).all()
    with pytest.raises(InputError, match="mask"):
        symmetric_geometry(turned.surface, turned.model, do_not_mirror=upper[:100])


def test_hidden_points_lie_behind_their_triangles_and_the_lower_row_below(head):
    points, model = head.points, head.model
    rows = points.with_label(Label.INTERIOR)
    corners = head.vertices[model.triangles[points.triangle[rows]]]
    on_mesh = torch.einsum("nk,nkd->nd", points.barycentric[rows], corners)
    parts = model.parts[model.triangles[points.triangle[rows], 0]]
    bones = (parts == int(Part.TEETH)) | (parts == int(Part.GUMS))
    lower = bones & ~upper_jaw(model)[points.triangle[rows]]
    expected = on_mesh - torch.tensor([0.0, 0.0, INNER_INSET])
    expected[:, 1] -= LOWER_DROP * lower
    pushed = (points.positions[rows] - expected).norm(dim=1) > 1e-6  # what would hide the picture's mouth
    assert not pushed[(parts == int(Part.EYE_LEFT)) | (parts == int(Part.EYE_RIGHT))].any()
    assert pushed.float().mean() < 0.1
    assert torch.equal(behind_seen_mouth(expected, head.surface, model)[pushed], points.positions[rows][pushed])
    assert 0 < int(lower.sum()) < int(bones.sum())
    assert set(parts.tolist()) == set(range(int(Part.MOUTH_SOCKET), int(Part.EYE_RIGHT) + 1))
    assert 40_000 < len(rows) + len(points.with_label(Label.BACKING)) <= 60_000


def test_backing_stays_behind_the_picture(head):
    """Nothing of the backing may show in the source view: not before the surface, not past the matte."""
    rows = head.points.with_label(Label.BACKING)
    parts = head.model.parts[head.model.triangles[head.points.triangle[rows], 0]]
    assert (parts <= int(Part.SCALP)).all()
    x, y, z = head.fit.camera.project(head.points.positions[rows]).unbind(-1)
    column, row = x.long(), y.long()
    assert head.surface.mask[row, column].all()
    # A point moved by whole pixels may round into the next one.
    assert (z > head.surface.depth[row, column] - 0.005).float().mean() > 0.999


def test_subdivision_covers_evenly():
    for level in (1, 2, 5):
        centers = interior.subdivision(level)
        assert centers.shape == (level**2, 3)
        assert torch.allclose(centers.sum(1), torch.ones(level**2)) and (centers > 0).all()
        assert torch.allclose(centers.mean(0), torch.full((3,), 1 / 3), atol=1e-6)
        assert len(torch.unique((centers * 3 * level).round(), dim=0)) == level**2


def test_same_bits_twice(turned):
    surface = reconstruct_surface(turned.portrait, turned.fit, turned.model)
    points = symmetric_geometry(surface, turned.model)
    assert torch.equal(surface.depth, turned.surface.depth)
    assert torch.equal(points.positions, turned.points.positions)


def test_inflating_a_disc_makes_a_ball():
    y, x = torch.meshgrid(torch.arange(256) + 0.5, torch.arange(256) + 0.5, indexing="ij")
    pixel, radius = 0.01, 0.8
    distance = torch.sqrt((x - 128) ** 2 + (y - 128) ** 2) * pixel
    nothing = torch.zeros(256, 256, dtype=torch.bool)
    height = inflate(distance > radius, nothing, torch.zeros(256, 256), pixel, torch.full((256, 256), -1.0), nothing)
    ball = torch.sqrt((radius**2 - distance**2).clamp(min=0))
    # The softened rim lowers the ball by 0.15 at the edge, and less above it; cells of 4 pixels blur by 0.02.
    inside = distance < 0.9 * radius
    assert (height - ball)[inside].max() < 0.02 and (height - ball)[inside].min() > -0.16
    assert height[distance > radius + 0.08].abs().max() < 1e-3


def test_inflation_meets_the_known_surface_and_stays_over_the_floor():
    known = torch.zeros(128, 128, dtype=torch.bool)
    known[40:88, 40:88] = True
    outline = torch.ones(128, 128, dtype=torch.bool)
    outline[16:112, 16:112] = False
    floor = torch.full((128, 128), -1.0)
    floor[20:36, 40:88] = 0.7
    height = inflate(outline, known, torch.full((128, 128), 0.5) * known, 0.01, floor, torch.zeros_like(known))
    assert (height[39, 44:84] - 0.5).abs().max() < 0.1
    assert (height >= floor).all()


def test_inflation_does_not_join_the_neck_to_the_jaw():
    """A known high surface beside a known low one; the gap between them belongs to the low one, whose edge it is."""
    outline = torch.zeros(64, 64, dtype=torch.bool)
    jaw, neck = outline.clone(), outline.clone()
    jaw[:24], neck[24:] = True, True
    known = jaw.clone()
    known[40:] = True
    height = torch.where(jaw, 0.9, 0.1) * known
    low = inflate(outline, known, height, 0.001, torch.full((64, 64), -1.0), neck)
    # They still feel each other a little, or a patch of neck framed by hair would float.
    assert low[28].max() < 0.35 and (low[36] - 0.1).abs().max() < 0.1
    joined = inflate(outline, known, height, 0.001, torch.full((64, 64), -1.0), torch.zeros_like(neck))
    assert joined[28].min() > 0.6


def test_given_depth_is_brought_to_scale(frontal):
    depth = torch.where(frontal.surface.mask, 3.0 - 0.25 * frontal.surface.depth, torch.nan)
    depth[200:210, 200:210] = 40.0  # a patch of nonsense must not tilt the fit
    aligned = fit_alignment(depth, frontal.depth, frontal.surface.triangle >= 0).apply(depth)
    good = frontal.surface.mask.clone()
    good[200:210, 200:210] = False
    assert (aligned - frontal.surface.depth)[good].abs().max() < 0.01


def test_given_maps_reproduce_the_surface_they_came_from(turned):
    depth = torch.where(turned.surface.mask, 1.0 / turned.surface.depth, torch.nan)
    again = reconstruct_surface(
        turned.portrait, turned.fit, turned.model, provider="given", depth=depth, normals=turned.surface.normals
    )
    assert again.provider == "given"
    error = (again.depth - turned.surface.depth)[turned.surface.mask].abs()
    # 1 / z is not affine in z: over a head's depth that alone bends by 0.02.
    assert error.mean() < 0.03


def test_maps_without_a_provider_are_taken_as_given(frontal):
    surface = reconstruct_surface(frontal.portrait, frontal.fit, frontal.model, normals=frontal.surface.normals)
    assert surface.provider == "given"
    assert (surface.depth - frontal.surface.depth)[frontal.surface.triangle >= 0].abs().mean() < 0.05


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"provider": "sonar"}, "choose one of"),
        ({"provider": "given"}, "needs a depth map"),
        ({"depth": torch.ones(512, 512)}, "no relief"),
        ({"depth": torch.rand(512, 512, generator=torch.Generator().manual_seed(0))}, "does not resemble"),
        ({"depth": torch.rand(64, 64)}, "make it of the crop"),
    ],
)
def test_unusable_providers_and_maps(frontal, arguments, text):
    with pytest.raises(InputError, match=text):
        reconstruct_surface(frontal.portrait, frontal.fit, frontal.model, **arguments)


def test_flipped_normal_map_is_refused(frontal):
    with pytest.raises(InputError, match="flip"):
        reconstruct_surface(frontal.portrait, frontal.fit, frontal.model, normals=-frontal.surface.normals)


def test_empty_matte_is_refused(frontal):
    empty = replace(frontal.portrait, matte=torch.zeros(1, 512, 512))
    with pytest.raises(InputError, match="matte"):
        reconstruct_surface(empty, frontal.fit, frontal.model)
