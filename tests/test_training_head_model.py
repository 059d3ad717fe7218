"""The making of the head model: decimation, closest points, margins, landmark measuring."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mggtalk_core.errors import InputError
from mggtalk_core.head.camera import Camera
from mggtalk_core.head.landmark_model import LandmarkModel
from mggtalk_core.head.model import load_head_model
from mggtalk_core.head.parts import Part
from mggtalk_core.head.pose import rotation_matrix
from mggtalk_core.portrait.face_mesh import mirror_indices
from mggtalk_core.studio.source_head import read_source
from mggtalk_core.training.head_model import make_head_model
from mggtalk_core.training.head_model_decimate import SymmetricDecimator
from mggtalk_core.training.head_model_depths import LIDS, Views, displace, mean_before, measured_depths, read_depths
from mggtalk_core.training.head_model_landmarks import (
    bind_landmarks,
    closest_on_contour,
    closest_on_triangles,
    closest_weights,
    read_anchors,
)
from mggtalk_core.training.head_model_margins import Margin
from mggtalk_core.training.head_model_measure import turning_people
from mggtalk_core.training.head_model_refine import refined_anchors
from mggtalk_core.training.tracks import ClipTrack, write_track

MODEL = load_head_model()


def sphere(rings=13, steps=24):
    """A symmetric ball: vertices, triangles, and the vertex on the other side of x = 0."""
    polar, around = np.linspace(0, np.pi, rings)[1:-1], np.arange(steps) * 2 * np.pi / steps
    grid = [(np.sin(p) * np.sin(a), np.cos(p), np.sin(p) * np.cos(a)) for p in polar for a in around]
    vertices = np.array([*grid, (0, 1, 0), (0, -1, 0)])
    faces, top = [], len(grid)
    for ring in range(rings - 3):
        for step in range(steps):
            a, b = ring * steps + step, ring * steps + (step + 1) % steps
            faces += [(a, a + steps, b), (b, a + steps, b + steps)] if step < steps // 2 else [
                (a, a + steps, b + steps), (a, b + steps, b)]  # fmt: skip
    last = (rings - 3) * steps
    for step in range(steps):
        after = (step + 1) % steps
        faces += [(top, step, after), (top + 1, last + after, last + step)]
    mirror = [r * steps + (-s) % steps for r in range(rings - 2) for s in range(steps)] + [top, top + 1]
    return vertices, np.array(faces), np.array(mirror)


def decimated(target):
    vertices, faces, mirror = sphere()
    weight, longest = np.ones(len(vertices)), np.full(len(vertices), 1.0)
    weight[:4] = np.inf
    weight[mirror[:4]] = np.inf
    kept, triangles = SymmetricDecimator(vertices[None], faces, mirror, weight, longest).run(target)
    return vertices, mirror, kept, triangles


def test_decimation_is_symmetric_keeps_what_it_must_and_stays_a_surface():
    vertices, mirror, kept, triangles = decimated(140)
    assert len(kept) <= 141
    assert set(mirror[kept]) == set(kept) and set(range(4)) <= set(kept)
    faces = {frozenset(face) for face in triangles.tolist()}
    assert faces == {frozenset(mirror[list(face)].tolist()) for face in faces}
    edges = np.concatenate((triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]))
    assert len(np.unique(edges, axis=0)) == len(edges) == 2 * (len(kept) + len(triangles) - 2)  # Euler: one ball
    corners = vertices[triangles]
    volume = np.linalg.det(corners).sum() / 6
    assert volume > 0.93 * np.linalg.det(vertices[sphere()[1]]).sum() / 6


def test_decimation_respects_the_longest_edge():
    vertices, _, _, triangles = decimated(0)
    lengths = np.linalg.norm(vertices[triangles] - vertices[np.roll(triangles, 1, axis=1)], axis=-1)
    assert lengths.max() <= 1.0


def test_closest_point_on_a_triangle_beats_every_sample():
    rng = np.random.default_rng(0)
    corners, points = rng.normal(size=(50, 3, 3)), rng.normal(size=(50, 3))
    weights = closest_weights(points, corners)
    assert weights.min() >= -1e-9
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    found = np.linalg.norm((weights[..., None] * corners).sum(axis=1) - points, axis=1)
    samples = rng.dirichlet((0.5, 0.5, 0.5), 4000)
    best = np.linalg.norm(samples @ corners - points[:, None], axis=-1).min(axis=1)
    assert (found <= best + 1e-12).all() and (best - found).max() < 0.2


def test_points_on_surface_and_contour_are_found_again():
    rng = np.random.default_rng(1)
    vertices, faces, _ = sphere()
    chosen, weights = faces[rng.integers(0, len(faces), 30)], rng.dirichlet((1, 1, 1), 30)
    points = (vertices[chosen] * weights[..., None]).sum(axis=1)
    corners, found = closest_on_triangles(points, vertices, faces)
    np.testing.assert_allclose((vertices[corners] * found[..., None]).sum(axis=1), points, atol=1e-12)
    line = np.arange(10)
    corners, found = closest_on_contour(vertices[:9] * 0.4 + vertices[1:10] * 0.6, vertices, line)
    np.testing.assert_allclose(found[:, :2], np.tile([0.4, 0.6], (9, 1)), atol=1e-9)


def test_a_margin_closes_exactly_on_its_contour_and_fades_around_it():
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    loop = np.stack((-np.cos(angle), 0.3 * np.sin(angle), 0 * angle), axis=1)
    far = np.array([[0.0, 2.0, 0.0], [0.0, -2.0, 0.0]])
    vertices = np.concatenate((loop, far))
    lower = vertices[:, 1] < 0
    margin = Margin(vertices, np.arange(40), np.ones(42, bool), lower, 0.5)
    closed = margin.close(vertices, margin.gaps(vertices), (0.5, 0.5))
    np.testing.assert_allclose(closed[:40, 1], 0, atol=1e-9)
    np.testing.assert_allclose(closed[40:], far)


def undisplaced():
    """The shipped model's fields with the mean head as it was before its depth was corrected, nearly."""
    fields = {name: value.cpu().numpy() for name, value in vars(MODEL).items()}
    return fields | {"mean": mean_before(fields, read_depths())}


def test_displacing_moves_the_mean_in_depth_alone_and_eyes_as_a_whole():
    fields = {name: value.cpu().numpy() for name, value in vars(MODEL).items()}
    before, eyes = fields["mean"].astype(np.float64), fields["eye_mean"]
    depths = np.random.default_rng(0).normal(0, 0.02, 468)
    displace(fields, depths)
    moved = fields["mean"] - before
    assert abs(moved[:, :2]).max() == 0 and abs(moved[:, 2]).max() > 0.01
    for part, index in ((Part.EYE_LEFT, 0), (Part.EYE_RIGHT, 1)):
        turned = moved[fields["parts"] == int(part), 2]
        np.testing.assert_allclose(turned, (fields["eye_mean"] - eyes)[index, 2], atol=1e-6)
    np.testing.assert_allclose(fields["eye_mean"].mean(axis=0), 0, atol=1e-6)
    lids = moved[fields["eyelid_left"], 2]
    assert np.ptp(lids) < 0.25 * np.ptp(depths)  # lids stay on the eyeball though their landmarks say otherwise


def test_heads_that_turn_tell_the_depth_of_their_landmarks():
    """Heads drawn with other depths than the model's: their turned views give the difference back."""
    truth, rng, mirror = LandmarkModel.of(MODEL), np.random.default_rng(1), mirror_indices()[:468]
    depths = 0.03 * np.sin(3.0 * truth.mean[:468, 1]) * np.cos(2.0 * truth.mean[:468, 0])
    people = [turning_person(truth, depths, rng) for _ in range(3)]
    found = measured_depths(truth, people, rounds=3)
    np.testing.assert_allclose(found, found[mirror])
    free = np.ones(468, bool)
    free[list(LIDS)] = False
    slopes = np.column_stack((np.ones(free.sum()), truth.mean[:468][free][:, 1:]))  # a turn of the whole says nothing
    left, right = (v[free] - slopes @ np.linalg.lstsq(slopes, v[free], rcond=None)[0] for v in (found, depths))
    assert np.corrcoef(left, right)[0, 1] > 0.9
    assert 0.5 < (left @ right) / (right @ right) < 1.3


def turning_person(truth, depths, rng):
    """Views of one head at rest, from the front and turned, whose landmarks lie ``depths`` [468] before the model's."""
    camera, marks = Camera.for_crop(), []
    rest = truth.points(rng.normal(0, 0.3, MODEL.modes), np.zeros(52), np.zeros(4))
    rest[:468, 2] += depths
    for yaw in (0.0, 0.35, -0.35, 0.5, -0.5):
        rotation = rotation_matrix(np.array([0.0, yaw, 0.0])) @ np.diag([1.0, -1.0, -1.0])
        points = rest @ rotation.T
        pixels = camera.focal * points[:, :2] / (points[:, 2:] + 9) + 256
        marks.append(np.concatenate((pixels, points[:, 2:] * camera.focal / 9), axis=1))
    return Views(np.stack(marks), np.zeros((len(marks), 52)))


def test_shipped_landmarks_follow_from_the_shipped_anchors():
    fields = undisplaced()
    corners, weights = bind_landmarks(fields)
    shipped = MODEL.landmark_vertices.numpy(), MODEL.landmark_weights.numpy()
    places, expected = ((fields["mean"][c] * w[..., None]).sum(axis=1) for c, w in ((corners, weights), shipped))
    # the depths are taken back to half a tenth of a millimetre, which moves the closest point as much
    np.testing.assert_allclose(places, expected, atol=2e-3)
    assert np.linalg.norm(places[:468] - read_anchors(), axis=1).mean() < 2e-3


def test_measuring_moves_landmarks_to_where_faces_show_them():
    truth = LandmarkModel.of(MODEL)
    camera, rng = Camera.for_crop(), np.random.default_rng(0)
    faces = []
    for _ in range(6):
        rotation = rotation_matrix(rng.normal(0, 0.15, 3)) @ np.diag([1.0, -1.0, -1.0])
        points = truth.points(rng.normal(0, 0.5, MODEL.modes), np.zeros(52), np.zeros(4)) @ rotation.T
        pixels = camera.focal * points[:, :2] / (points[:, 2:] + 9) + 256
        faces.append((np.concatenate((pixels, points[:, 2:] * camera.focal / 9), axis=1), np.zeros(52)))
    fields = {name: value.cpu().numpy() for name, value in vars(MODEL).items()}
    fields["mean"] = fields["mean"].astype(np.float64)
    shifted = truth.mean[:468] + rng.normal(0, 0.012, (468, 3)) * [1, 1, 0]
    corners, weights = bind_landmarks(fields, shifted)
    bound = {"landmark_vertices": torch.from_numpy(corners), "landmark_weights": torch.from_numpy(weights).float()}
    wrong = replace(MODEL, **bound)
    before = np.linalg.norm(LandmarkModel.of(wrong).mean - truth.mean, axis=1)[:468].mean()
    anchors, _ = refined_anchors(wrong, faces, rounds=2)
    assert np.linalg.norm(anchors - truth.mean[:468], axis=1).mean() < 0.6 * before


def test_a_missing_source_is_said_plainly(tmp_path):
    with pytest.raises(InputError, match="ict_facekit.npz"):
        make_head_model(tmp_path, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_shipped_mean_is_a_subset_of_the_source(shared):
    from scipy.spatial import cKDTree

    source = read_source(shared / "data" / "ict_facekit")
    assert source.expression.shape[0] == 52 and abs(source.expression[51]).max() == 0
    np.testing.assert_allclose(source.eye_centers.mean(axis=0), 0, atol=1e-9)
    mean = undisplaced()["mean"]
    distance, _ = cKDTree(source.neutral).query(mean)
    away = (MODEL.parts != Part.MOUTH_SOCKET).numpy() & (abs(mean[:, 1] + 0.69) > 0.2)
    assert distance[away].max() < 5e-3  # made exactly symmetric: up to half the source's asymmetry
    assert distance.max() < 0.02  # lips brought together


def test_clips_that_turn_are_the_ones_to_measure_by(tmp_path):
    with pytest.raises(InputError, match="track clips of heads that turn"):
        turning_people([])
    still, turning = (track_of_turns(degrees) for degrees in (5.0, 30.0))
    for name, track in (("still", still), ("turning", turning)):
        write_track(tmp_path / f"{name}.safetensors", track)
    people = turning_people(sorted(tmp_path.glob("*.safetensors")))
    assert len(people) == 1 and people[0].landmarks.shape == (7, 478, 3)
    # The first view is the first frame, the others are spread over those turned by more than 8 of the 30 degrees.
    frames = people[0].landmarks[:, 0, 0]
    assert frames[0] == 0 and frames[1] == 11 and frames[-1] == 39 and (np.diff(frames) > 0).all()


def track_of_turns(most):
    angles = np.radians(np.linspace(0.0, most, 40))
    rotation = np.stack([rotation_matrix(np.array([0.0, angle, 0.0])) for angle in angles])
    numbers = torch.arange(40.0)[:, None, None].expand(40, 478, 3)
    return ClipTrack(
        landmarks=numbers.contiguous(), blendshapes=torch.zeros(40, 52), beta=torch.zeros(40, 52),
        gaze=torch.zeros(40, 4), rotation=torch.from_numpy(rotation).float(), translation=torch.zeros(40, 3),
        residual=torch.zeros(40), identity=torch.zeros(50), seen=torch.ones(40, dtype=torch.bool),
        crop_transform=torch.eye(3)[:2].contiguous(), fps=25.0,
    )  # fmt: skip
