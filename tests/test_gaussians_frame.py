"""The Gaussians of one expression, their calibration against the picture, and sequences of them."""

from dataclasses import replace

import pytest
import torch

from mggtalk_core.evaluation.metrics import psnr
from mggtalk_core.gaussians.avatar import build_avatar
from mggtalk_core.gaussians.calibrate import FLAT, GAIN, REACH, calibrate
from mggtalk_core.gaussians.colours import LARGEST_OPACITY
from mggtalk_core.gaussians.frame import INWARDS, frame_gaussians
from mggtalk_core.gaussians.gaussians import SH_C0
from mggtalk_core.gaussians.grazing import FACE_STREAK, STREAK, grazing_of
from mggtalk_core.gaussians.mirror import Mirror
from mggtalk_core.gaussians.neighbours import pixel_rows
from mggtalk_core.gaussians.predict import predict_gaussians, with_motion
from mggtalk_core.geometry.mirror_plane import MirrorPlane
from mggtalk_core.geometry.points import Label
from mggtalk_core.head.model import gaze_rotations
from mggtalk_core.head.parts import Part
from mggtalk_core.motion.driven import DrivenPoints
from mggtalk_core.motion.rotations import axis_rotation
from mggtalk_core.motion.still import still_motion
from mggtalk_core.motion.timing import take
from mggtalk_core.portrait.parsing import Label as Parsed
from mggtalk_core.render.rasterize import render
from tests.head_samples import FLIP_X, expression, model_head
from tests.test_gaussians_frames import matrix_of


@pytest.fixture(scope="module")
def head():
    return model_head(jawOpen=0.15)


@pytest.fixture(scope="module")
def avatar(head):
    return build_avatar(head.portrait, head.points, head.binding)


@pytest.fixture(scope="module")
def rest(head, avatar):
    return frame_gaussians(avatar, head.points.fit.beta_s, head.points.fit.gaze)


def draw(gaussians, camera, background):
    seen = render(gaussians, camera, background, backend="numba")
    return seen.rgb, seen.alpha, seen.depth


def part_of_points(head):
    return head.model.parts[head.model.triangles[head.points.triangle.clamp(min=0), 0]].long()


def interior(head, *parts):
    """Rows of the model-made points of some parts."""
    part = part_of_points(head)
    chosen = torch.isin(part, torch.tensor([int(p) for p in parts]))
    return torch.nonzero(chosen & (head.points.labels == int(Label.INTERIOR))).squeeze(-1)


def test_means_at_rest_are_the_points(head, rest):
    assert torch.equal(rest.means[: len(head.points.positions)], head.points.positions)


def test_visible_and_mirrored_points_have_one_child_each(head, avatar, rest):
    points = head.points
    seen = points.visible_count + points.mirrored_count
    assert avatar.seen_count == seen
    assert len(rest) == len(points.positions) + seen
    assert torch.equal(rest.labels[: len(points.positions)], points.labels)
    assert (rest.labels[len(points.positions) :] == int(Label.CHILD)).all()
    for values in (rest.quats, rest.scales, rest.opacities):
        assert torch.equal(values[len(points.positions) :], values[:seen])


def test_children_stand_between_the_pixels(head, rest):
    """On a face that is seen from the front a child projects half a pixel right of and below its parent."""
    points, camera = head.points, head.points.fit.camera
    count = points.visible_count
    skin = points.triangle[:count] >= 0
    skin &= (part_of_points(head)[:count] == int(Part.FACE)) & (points.positions[:count, 2] > 0.2)
    parent = camera.project(rest.means[:count][skin])
    child = camera.project(rest.means[len(points.positions) :][:count][skin])
    step = (child - parent)[:, :2]
    assert torch.allclose(step.median(dim=0).values, torch.tensor([0.5, 0.5]), atol=0.02)
    assert ((step - 0.5).norm(dim=1) < 0.25).float().mean() > 0.95


def test_parameters_are_in_their_ranges(rest):
    assert torch.allclose(rest.quats.norm(dim=1), torch.ones(len(rest)), atol=1e-5)
    assert rest.scales.min() > 0.0 and rest.scales.max() < 0.2
    assert rest.opacities.min() >= 0.0 and rest.opacities.max() <= LARGEST_OPACITY
    assert all(torch.isfinite(getattr(rest, name)).all() for name in ("means", "quats", "scales", "sh"))


def test_colours_are_the_pixels_and_the_harmonics_constant(head, avatar, rest):
    count = head.points.visible_count
    column, row = head.points.pixel.unbind(-1)
    assert torch.equal(avatar.colours[:count], head.portrait.crop[:, row, column].T)
    lit = torch.ones(len(rest), dtype=torch.bool)
    lit[avatar.mouth_light.hidden] = False  # behind lips that are shut
    assert torch.allclose((0.5 + SH_C0 * rest.sh[:, 0])[lit], avatar.colours[lit], atol=1e-6)
    assert not rest.sh[:, 1:].any()


def test_mirrored_gaussians_are_reflections_of_their_twins(head, avatar, rest):
    points, first = head.points, head.points.visible_count
    mirrored, twin = slice(first, first + points.mirrored_count), points.mirror_of
    assert torch.equal(rest.means[mirrored], rest.means[twin] * FLIP_X)
    assert torch.equal(rest.quats[mirrored], rest.quats[twin] * torch.tensor([1.0, 1.0, -1.0, -1.0]))
    assert torch.equal(rest.scales[mirrored], rest.scales[twin])
    # They are seen from another side than their twins, and what lies behind lips and lids is not mirrored as such.
    kept = torch.ones(points.mirrored_count, dtype=torch.bool)
    kept[avatar.grazing.mirrored - first] = False
    kept &= ~torch.isin(twin, torch.cat(avatar.behind))
    assert float(kept.float().mean()) > 0.5
    assert torch.equal(rest.opacities[mirrored][kept], rest.opacities[twin][kept])
    children = rest.means[len(points.positions) :]
    assert torch.allclose(children[mirrored], children[twin] * FLIP_X, atol=1e-6)


def test_the_mirrored_half_is_reflected_in_the_plane_that_its_points_were(head):
    """Places, orientations and children of a head that is symmetric about another plane than x = 0."""
    plane = MirrorPlane(torch.nn.functional.normalize(torch.tensor([1.0, 0.1, -0.08]), dim=0), 0.04)
    points, twin = head.points, head.points.mirror_of
    first, last = points.visible_count, points.visible_count + points.mirrored_count
    positions = points.positions.clone()
    positions[first:last] = plane.reflect(positions[twin])
    tilted = build_avatar(head.portrait, replace(points, positions=positions, plane=plane), head.binding)
    made = frame_gaussians(tilted, points.fit.beta_s, points.fit.gaze)
    count, axes = len(positions), matrix_of(made.quats)
    covariances = (axes * made.scales.square()[:, None]) @ axes.mT
    reflection = Mirror.about(plane).vectors
    for shown, mirrored in ((twin, slice(first, last)), (count + twin, slice(count + first, count + last))):
        assert torch.allclose(made.means[mirrored], plane.reflect(made.means[shown]), atol=1e-5)
        assert torch.allclose(covariances[mirrored], reflection @ covariances[shown] @ reflection, atol=1e-7)
    eye = plane.reflect(torch.tensor([[8.0, 1.0, 6.0]]))
    left = torch.ones(count)
    streak = tilted.grazing.streak(points.fit.camera)
    tilted.grazing._compiled(left, positions, eye[0], streak)
    plain = torch.ones(count)
    tilted.grazing._plain(plain, positions, eye[0], streak)
    assert torch.allclose(left, plain, atol=1e-4)
    seen = torch.ones(count)
    tilted.grazing._plain(seen, positions, plane.reflect(eye)[0], streak)
    assert float(left[first:last].min()) < 0.5
    assert torch.allclose(left[first:last], seen[twin], atol=1e-4)


def test_what_the_picture_shows_stays_and_what_a_turn_draws_out_fades(head, avatar, rest):
    """Distances on the screen, pixel by pixel, tell what may be left of every visible point."""
    points, count = head.points, head.points.visible_count
    still = torch.ones(len(points.positions))
    avatar.grazing.fade(still, points.positions, points.fit.camera)
    assert torch.equal(still[:count], torch.ones(count))
    turned = points.fit.camera.posed(points.fit.camera.rotation @ axis_rotation(1, torch.tensor(0.6)),
                                     points.fit.camera.translation)  # fmt: skip
    left = torch.ones(len(points.positions))
    avatar.grazing.fade(left, points.positions, turned)
    assert float(left.min()) == 0.0 and float(left.max()) <= 1.0
    assert 0.001 < float((left[:count] < 0.5).float().mean()) < 0.2
    pixels, grid = turned.project(points.positions[:count])[:, :2], pixel_rows(points)

    def nearer(across, down):
        """Distance per pixel of the nearer of the neighbours on both sides."""
        near = torch.full((count,), float("inf"))
        for side in (1, -1):
            column, row = (points.pixel.long() + side * torch.tensor([across, down])).clamp(0, 511).unbind(-1)
            gap = (pixels[grid[row, column].clamp(min=0)] - pixels).norm(dim=-1) / (across + down)
            near = torch.minimum(near, torch.where(grid[row, column] >= 0, gap, torch.inf))
        return near

    near = nearer(1, 0)
    skin = part_of_points(head)[:count] <= int(Part.SCALP)
    gone = torch.isfinite(near) & (near > 1.2 * 2.0 * STREAK) & skin
    assert int(gone.sum()) > 50 and float(left[:count][gone].max()) < 0.1
    farthest = torch.stack([nearer(*step) for step in ((1, 0), (0, 1), (3, 0), (0, 3))]).amax(dim=0)
    close = (farthest < 0.9 * FACE_STREAK) & (rest.opacities[:count] > 0)
    assert float(close.float().mean()) > 0.5 and not (left[:count][close] < 0.99).any()


def test_the_face_fades_sooner_than_what_its_skin_cannot_stand_in_for(head):
    """Of points that a turn draws out alike, cheeks and ears fade and hair stays."""
    labels = head.portrait.labels.clone()
    labels[:, ::2] = int(Parsed.HAIR)
    avatar = build_avatar(replace(head.portrait, labels=labels), head.points, head.binding)
    camera, grazing = head.points.fit.camera, avatar.grazing
    turned = camera.posed(camera.rotation @ axis_rotation(1, torch.tensor(0.5)), camera.translation)
    rows, limits = grazing.rows, grazing.streak(turned) / avatar.tangents.pixel
    on_face = (part_of_points(head)[rows] == int(Part.FACE)) & (head.points.triangle[rows] >= 0)
    hair = (head.points.pixel[rows, 0] % 2 == 0) & ~on_face
    assert int(hair.sum()) > 100 and int((~hair).sum()) > 100
    assert limits[~hair].numpy() == pytest.approx(FACE_STREAK, rel=1e-5)
    assert limits[hair].numpy() == pytest.approx(STREAK, rel=1e-5)
    assert grazing.streak(camera).numpy() == pytest.approx(STREAK * avatar.tangents.pixel, rel=1e-5)


def test_a_shelf_at_a_step_in_depth_fades_as_well(head, avatar):
    """Two columns of pixels that hold together, between steps down, are judged by what lies three pixels away."""
    points, column = head.points, head.points.pixel[:, 0]
    edge, positions = int(column.median()), points.positions.clone()
    positions[: points.visible_count, 2] -= 0.2 * (column > edge) + 0.2 * (column > edge + 2)
    shelf = torch.nonzero((column > edge) & (column <= edge + 2)).squeeze(-1)
    every = torch.arange(points.visible_count)
    face, stepped = torch.ones(len(every), dtype=torch.bool), replace(points, positions=positions)
    near, far = (
        grazing_of(stepped, every, face, smooth, Mirror.about(points.plane), avatar.tangents.pixel)
        for smooth in (~face, face)
    )
    assert len(shelf) > 200
    assert torch.isin(shelf, far.rows).all() and torch.isin(shelf, near.rows).float().mean() < 0.5


def test_only_what_shows_its_inner_side_lies_in_the_dark(head, avatar):
    """What is seen edge-on, like backing along a turned jaw, keeps its colour. Eyeballs stand for it."""
    camera = head.points.fit.camera
    turned = camera.posed(camera.rotation @ axis_rotation(1, torch.tensor(0.6)), camera.translation)
    rows = interior(head, Part.EYE_LEFT, Part.EYE_RIGHT)
    made = frame_gaussians(replace(avatar, cheeks=rows), head.points.fit.beta_s, head.points.fit.gaze, turned)
    a, b, c = head.binding.rest[head.model.triangles[head.points.triangle[rows]]].unbind(1)
    inwards = -torch.nn.functional.cosine_similarity(turned.place - a, torch.linalg.cross(b - a, c - a), dim=-1)
    left = (0.5 + SH_C0 * made.sh[rows, 0]) / avatar.colours[rows]
    outer, inner = inwards < INWARDS[0] - 0.01, inwards > INWARDS[1] + 0.01
    assert int(outer.sum()) > 100 and int(inner.sum()) > 100 and int((outer & (inwards > 0.0)).sum()) > 10
    assert torch.allclose(left[outer], torch.ones(3), atol=1e-4)
    assert torch.allclose(left[inner], avatar.cavity.expand(int(inner.sum()), 3), atol=1e-4)


def test_shut_lids_hide_the_eyeballs_and_open_lids_show_them(head, avatar, rest):
    rows = interior(head, Part.EYE_LEFT, Part.EYE_RIGHT)
    gaze = head.points.fit.gaze
    shut = frame_gaussians(avatar, expression(eyeBlinkLeft=1.0, eyeBlinkRight=1.0), gaze)
    left = frame_gaussians(avatar, expression(eyeBlinkLeft=1.0), gaze)
    assert rest.opacities[rows].amax() > 0.9
    assert shut.opacities[rows].sum() < 0.01 * rest.opacities[rows].sum()
    hidden = interior(head, Part.EYE_LEFT)
    assert left.opacities[hidden].sum() < 0.01 * rest.opacities[hidden].sum()
    assert left.opacities[interior(head, Part.EYE_RIGHT)].amax() > 0.9


def test_torn_skin_fades(head, avatar, rest):
    """Lids that come down stretch their few pixels far beyond the limit: these fade, the rest of the face does not."""
    points, count = head.points, head.points.visible_count
    shut = frame_gaussians(avatar, expression(jawOpen=0.15, eyeBlinkLeft=1.0), points.fit.gaze)
    _, _, whole = avatar.tangents(shut.means[:count])
    skin = part_of_points(head)[:count] <= int(Part.SCALP)
    assert torch.equal(shut.opacities[:count][skin], (avatar.opacities[:count] * whole)[skin])
    assert torch.equal(rest.opacities[:count][skin], avatar.opacities[:count][skin])
    torn = skin & (whole < 0.5)
    assert torn.sum() > 20
    lid = torch.cdist(points.positions[:count][torn], head.binding.rest[head.model.eyelid_left]).amin(dim=1)
    assert lid.max() < 0.1


def test_discs_turn_with_the_eyeballs(head, avatar, rest):
    rows = interior(head, Part.EYE_LEFT)
    looking = frame_gaussians(avatar, head.points.fit.beta_s, torch.tensor([0.4, 0.2, 0.0, 0.0]))
    turn = gaze_rotations(torch.tensor([0.4, 0.2, 0.0, 0.0]))[0]
    axes, turned = (matrix_of(g.quats[rows]) for g in (rest, looking))
    assert torch.allclose(turned[..., 2], axes[..., 2] @ turn.T, atol=2e-3)
    assert torch.allclose(looking.scales[rows], rest.scales[rows], rtol=0.02)


def test_face_and_scalp_are_one_surface(head, avatar):
    """The border between the two parts is no edge: neighbours on both sides of it share their tangents."""
    points, count = head.points, head.points.visible_count
    part = part_of_points(head)[:count]
    grid = pixel_rows(points)
    column, row = points.pixel.unbind(-1)
    ahead = grid[row, (column + 1).clamp(max=511)]
    border = (ahead >= 0) & (points.triangle[:count] >= 0) & (points.triangle[ahead] >= 0)
    border &= (part == int(Part.FACE)) & (part[ahead] == int(Part.SCALP))
    assert border.sum() > 50
    assert (avatar.tangents.rows[0, border, 0] == ahead[border]).float().mean() > 0.8


def test_closed_lips_hide_the_mouth_and_an_open_jaw_shows_it(head, avatar):
    rows = interior(head, Part.TEETH, Part.TONGUE, Part.GUMS, Part.MOUTH_SOCKET)
    gaze = head.points.fit.gaze
    shown = [float(frame_gaussians(avatar, expression(jawOpen=jaw), gaze).opacities[rows].sum()) for jaw in (0, 0.3, 1)]
    assert shown[0] < 0.05 * min(shown[1:])


def test_a_stretched_cheek_has_no_holes(head, avatar):
    """Wide smile, puffed cheeks: on the skin between eyes and chin the head stays as solid as at rest."""
    camera, gaze = head.points.fit.camera, head.points.fit.gaze
    puffed = frame_gaussians(avatar, expression(cheekPuff=0.8, mouthSmileLeft=0.6, mouthSmileRight=0.6), gaze)
    alpha = render(puffed, camera, backend="numba").alpha[0]
    inside = -torch.nn.functional.max_pool2d(-head.portrait.matte[None], 41, stride=1, padding=20)[0, 0] > 0.99
    inside[: int(inside.nonzero()[:, 0].float().mean())] = False
    assert inside.sum() > 2000
    assert torch.quantile(alpha[inside], 0.01) > 0.9


def matted_psnr(head, avatar):
    fit = head.points.fit
    seen = render(frame_gaussians(avatar, fit.beta_s, fit.gaze), fit.camera, torch.full((3,), FLAT), backend="numba")
    target = head.portrait.crop * head.portrait.matte + FLAT * (1.0 - head.portrait.matte)
    return psnr(seen.rgb, target, head.portrait.matte)


def test_calibration_raises_the_likeness(head, avatar):
    before, after = (matted_psnr(head, a) for a in (avatar, calibrate(avatar, head.portrait, draw)))
    assert after > before + 2.0
    assert after > 30.0


def test_calibration_adds_what_the_render_lacks(head, avatar):
    """A made-up renderer that is 0.02 too dark everywhere, over a surface at the points' own depth."""
    count = head.points.visible_count
    target = head.portrait.crop * head.portrait.matte + FLAT * (1.0 - head.portrait.matte)
    found = calibrate(avatar, head.portrait, dark_render(head, target), rounds=1)
    rows = [slice(0, count), slice(len(head.points.positions), len(head.points.positions) + count)]
    changed = torch.zeros(len(avatar.colours), dtype=torch.bool)
    for row in rows:
        changed[row] = True
        assert torch.allclose(found.colours[row] - avatar.colours[row], torch.tensor(GAIN * 0.02), atol=1e-5)
    assert torch.equal(found.colours[~changed], avatar.colours[~changed])
    assert torch.allclose(found.opacities, avatar.opacities, atol=1e-6)


def dark_render(head, target, covered=None):
    points, camera = head.points, head.points.fit.camera
    column, row = points.pixel.unbind(-1)
    depth = torch.zeros(1, 512, 512)
    own = camera.to_camera(points.positions[: points.visible_count])[:, 2]
    # Twice the reach before the points where something covers them.
    lift = torch.zeros_like(own) if covered is None else covered * 2.0 * REACH * own / camera.focal
    depth[0, row, column] = own - lift
    return lambda gaussians, camera, background: (target - 0.02, head.portrait.matte.clamp(min=0.05), depth)


def test_calibration_leaves_covered_points_alone(head, avatar):
    count = head.points.visible_count
    covered = head.points.positions[:count, 0] > 0.0
    target = head.portrait.crop * head.portrait.matte + FLAT * (1.0 - head.portrait.matte)
    found = calibrate(avatar, head.portrait, dark_render(head, target, covered), rounds=3)
    change = (found.colours - avatar.colours)[:count].norm(dim=1)
    assert change[covered].max() < 1e-6
    assert change[~covered].min() > 0.05


def test_calibration_brings_the_edge_to_the_matte(head, avatar):
    fit, matte = head.points.fit, head.portrait.matte

    def edge_error(a):
        alpha = render(frame_gaussians(a, fit.beta_s, fit.gaze), fit.camera, backend="numba").alpha
        edge = (matte > 0.2) & (matte < 0.8)
        return float((alpha - matte)[edge].abs().mean())

    assert edge_error(calibrate(avatar, head.portrait, draw)) < 0.8 * edge_error(avatar)


def test_sequences_are_lazy_and_repeat_themselves(head):
    motion = still_motion(head.points.fit, head.model)
    sequence = predict_gaussians(head.portrait, DrivenPoints(head.points, head.binding, motion))
    longer = take(motion, torch.zeros(3, dtype=torch.long))
    longer = replace(longer, beta=longer.beta + torch.tensor([0.0, 0.1, 0.0])[:, None])
    driven = with_motion(sequence, longer)
    assert (len(sequence), len(driven), driven.fps) == (1, 3, motion.fps)
    assert driven.avatar is sequence.avatar
    frames = [driven.frame(index) for index in range(3)]
    assert torch.equal(frames[0].means, frames[2].means) and torch.equal(frames[0].opacities, frames[2].opacities)
    assert (frames[1].means - frames[0].means).norm(dim=1).max() > 0.02
    assert torch.equal(driven.camera(1).world_to_camera, head.points.fit.camera.world_to_camera)


def test_avatars_move_between_devices_whole(avatar):
    moved = avatar.to("meta")
    assert moved.tangents.rows.device.type == moved.apertures[0].upper.device.type == moved.behind[2].device.type
    assert moved.binding.model.mean.device.type == "meta"
