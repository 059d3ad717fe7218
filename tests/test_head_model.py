"""The head model that ships with the package."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from mggtalk_core.errors import WeightsError
from mggtalk_core.head.model import MODEL_FILE, gaze_rotations, load_head_model
from mggtalk_core.head.model_file import read_model_file, write_model_file
from mggtalk_core.head.parts import Part
from mggtalk_core.portrait.blendshapes import BLENDSHAPE_INDEX, BLENDSHAPES
from mggtalk_core.portrait.face_mesh import mirror_indices
from mggtalk_core.training.head_model import identity_weights

MODEL = load_head_model()
STILL = torch.zeros(4)
EYES = (Part.EYE_LEFT, Part.EYE_RIGHT)


def expression(**values: float) -> torch.Tensor:
    beta = torch.zeros(52)
    for name, value in values.items():
        beta[BLENDSHAPE_INDEX[name]] = value
    return beta


def person(seed: int) -> torch.Tensor:
    return torch.randn(MODEL.modes, generator=torch.Generator().manual_seed(seed))


def test_file_is_small_and_comes_with_its_notice():
    assert MODEL_FILE.stat().st_size <= 6 * 1024**2
    card = MODEL_FILE.with_suffix(".md").read_text(encoding="utf-8")
    assert "Copyright (c) 2020 USC Institute for Creative Technologies" in card


def test_missing_and_damaged_files_say_so(tmp_path):
    with pytest.raises(WeightsError, match="cannot be read"):
        read_model_file(tmp_path / "head_model.safetensors")
    damaged = tmp_path / "head_model.safetensors"
    damaged.write_bytes(MODEL_FILE.read_bytes()[:5000])
    with pytest.raises(WeightsError, match="install"):
        read_model_file(damaged)


def test_file_survives_a_round_trip(tmp_path):
    stored = {field.name: getattr(MODEL, field.name) for field in fields(MODEL)}
    write_model_file(tmp_path / "copy.safetensors", stored, {})
    for name, value in read_model_file(tmp_path / "copy.safetensors").items():
        # 16 bits over the range of a mode: half a step of its largest displacement
        torch.testing.assert_close(value, stored[name], atol=float(stored[name].abs().max()) / 60000, rtol=0)


def test_mean_is_symmetric():
    mirror, flip = MODEL.mirror, torch.tensor([-1.0, 1.0, 1.0])
    assert torch.equal(mirror[mirror], torch.arange(len(mirror)))
    torch.testing.assert_close(MODEL.mean[mirror] * flip, MODEL.mean, atol=1e-5, rtol=0)
    assert not torch.equal(mirror, torch.arange(len(mirror)))


@pytest.mark.parametrize("name", [name for name in BLENDSHAPES if "Left" in name])
def test_left_shapes_mirror_right_ones(name):
    flip = torch.tensor([-1.0, 1.0, 1.0])
    left = MODEL.expression_basis[BLENDSHAPE_INDEX[name]]
    right = MODEL.expression_basis[BLENDSHAPE_INDEX[name.replace("Left", "Right")]]
    # the source's own shapes differ by up to .6 mm between the sides
    assert (left[MODEL.mirror] * flip - right).norm(dim=1).mean() < 1e-3
    # whatever is named Left and belongs to one side of the face acts where x > 0
    if not name.startswith(("jaw", "mouthLeft")):
        assert left.norm(dim=1)[MODEL.mean[:, 0] > 0].sum() > left.norm(dim=1)[MODEL.mean[:, 0] < 0].sum()


def test_mesh_is_sound():
    triangles = MODEL.triangles
    assert triangles.min() == 0 and triangles.max() == len(MODEL.mean) - 1
    edges = torch.cat((triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]))
    assert len(torch.unique(edges, dim=0)) == len(edges)  # no edge twice in the same direction: oriented, manifold
    face = triangles[(MODEL.parts[triangles] == Part.FACE).all(dim=1)]
    corners = MODEL.mean[face]
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    front = corners[..., 2].mean(dim=1) > 0.35  # nose, lips and chin look forward
    assert (normal[front, 2] > 0).float().mean() > 0.8


def test_every_shape_moves_something_and_no_eyeball():
    moved = MODEL.expression_basis.norm(dim=2)
    assert (moved.amax(dim=1) > 0.01).all()
    eyes = torch.isin(MODEL.parts, torch.tensor(EYES, dtype=torch.uint8))
    assert moved[:, eyes].max() == 0
    tongue = moved[BLENDSHAPE_INDEX["tongueOut"]] > 0
    assert (MODEL.parts[tongue] == Part.TONGUE).all()
    jaw = MODEL.expression_basis[BLENDSHAPE_INDEX["jawOpen"]]
    assert (jaw[MODEL.parts == Part.TONGUE, 1] < 0).all()  # the tongue follows the jaw


def test_identity_modes_are_orthogonal_and_sorted():
    arrays = {"mean": MODEL.mean.numpy(), "triangles": MODEL.triangles.numpy(), "parts": MODEL.parts.numpy()}
    weighted = MODEL.identity_basis.double().numpy() * identity_weights(arrays)[:, None]
    flat = weighted.reshape(MODEL.modes, -1)
    norms = np.linalg.norm(flat, axis=1)
    cosine = (flat @ flat.T) / np.outer(norms, norms) - np.eye(MODEL.modes)
    assert abs(cosine).max() < 0.02  # orthogonal before the mean, whose areas weigh them, was moved in depth
    assert (np.diff(norms) < 0).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_origin_stays_between_the_eyes_and_eyeballs_stay_round(seed):
    identity = person(seed)
    centers = MODEL.eye_centers(identity)
    torch.testing.assert_close(centers.mean(dim=0), torch.zeros(3), atol=1e-6, rtol=0)
    assert centers[0, 0] > 0 > centers[1, 0]
    vertices = MODEL.vertices(identity, torch.rand(52, generator=torch.Generator().manual_seed(seed)), STILL)
    for part, center, rest in zip(EYES, centers, MODEL.eye_mean, strict=True):
        eye = MODEL.parts == part
        ratio = (vertices[eye] - center).norm(dim=1) / (MODEL.mean[eye] - rest).norm(dim=1)
        assert ratio.max() - ratio.min() < 1e-3  # the same change of size in every direction


def test_gaze_turns_eyeballs_alone_about_their_centres():
    identity, gaze = person(3), torch.tensor([0.3, 0.2, -0.1, -0.25])
    straight = MODEL.vertices(identity, torch.zeros(52), STILL)
    turned = MODEL.vertices(identity, torch.zeros(52), gaze)
    others = ~torch.isin(MODEL.parts, torch.tensor(EYES, dtype=torch.uint8))
    assert torch.equal(straight[others], turned[others])
    for part, center in zip(EYES, MODEL.eye_centers(identity), strict=True):
        eye = MODEL.parts == part
        torch.testing.assert_close((turned[eye] - center).norm(dim=1), (straight[eye] - center).norm(dim=1))


def test_gaze_signs():
    forward = torch.tensor([0.0, 0.0, 1.0])
    left, right = gaze_rotations(torch.tensor([0.3, 0.2, 0.0, 0.0]))
    looking = left @ forward
    assert looking[0] > 0 and looking[1] > 0  # +yaw to the subject's left, +pitch up
    torch.testing.assert_close(looking[1], torch.tensor(np.sin(0.2), dtype=torch.float32))
    torch.testing.assert_close(right @ forward, forward)


def _gap(vertices: torch.Tensor, loop: torch.Tensor) -> float:
    """Largest distance between the middle halves of a contour, across the opening."""
    line = vertices[loop].double().numpy()
    far = int(abs(line[:, 0] - line[0, 0]).argmax())
    upper, lower = line[: far + 1], np.vstack((line[far:], line[:1]))[::-1]
    x = np.linspace(*np.quantile(upper[:, 0], (0.2, 0.8)), 20)
    order = [np.argsort(half[:, 0]) for half in (upper, lower)]
    heights = [np.interp(x, half[o, 0], half[o, 1]) for half, o in zip((upper, lower), order, strict=True)]
    return float(abs(heights[0] - heights[1]).max())


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_lips_close_at_rest_and_lids_with_a_blink(seed):
    identity = torch.zeros(MODEL.modes) if seed is None else person(seed)
    rest = MODEL.vertices(identity, torch.zeros(52), STILL)
    shut = MODEL.vertices(identity, expression(eyeBlinkLeft=1, eyeBlinkRight=1), STILL)
    wide = MODEL.vertices(identity, expression(jawOpen=0.7), STILL)
    assert _gap(rest, MODEL.inner_lip) < 0.006  # 0.6 mm
    assert _gap(wide, MODEL.inner_lip) > 0.1
    for lid in (MODEL.eyelid_left, MODEL.eyelid_right):
        assert _gap(rest, lid) > 0.06
        assert _gap(shut, lid) < 0.012


def test_a_wink_leaves_the_other_eye_open():
    wink = MODEL.vertices(torch.zeros(MODEL.modes), expression(eyeBlinkLeft=1), STILL)
    assert _gap(wink, MODEL.eyelid_left) < 0.012
    assert _gap(wink, MODEL.eyelid_right) > 0.08


def test_landmarks_are_symmetric_and_lie_on_the_right_parts():
    weights = MODEL.landmark_weights
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(478))
    assert weights.min() >= -1e-6
    landmarks = MODEL.landmarks(MODEL.mean)
    mirrored = landmarks[torch.from_numpy(mirror_indices())] * torch.tensor([-1.0, 1.0, 1.0])
    # on the midline the nearest triangle lies to one side, by at most a tenth of a millimetre
    torch.testing.assert_close(mirrored, landmarks, atol=1e-3, rtol=0)
    parts = MODEL.parts[MODEL.landmark_vertices]
    assert (parts[:468] == Part.FACE).all()
    assert (parts[468:473] == Part.EYE_RIGHT).all() and (parts[473:] == Part.EYE_LEFT).all()
    assert landmarks[263, 0] > 0.35 and landmarks[33, 0] < -0.35  # outer corners: the subject's left is +x
    assert landmarks[152, 1] < landmarks[13, 1] < landmarks[1, 1] < landmarks[10, 1]


def test_upper_and_lower_lip_landmarks_part_when_the_jaw_opens():
    rest = MODEL.landmarks(MODEL.mean)
    wide = MODEL.landmarks(MODEL.vertices(torch.zeros(MODEL.modes), expression(jawOpen=1), STILL))
    drop = (rest - wide)[:, 1]
    assert drop[[13, 82, 312, 0, 37, 267]].max() < 0.05
    assert drop[[14, 87, 317, 17, 84, 314]].min() > 0.25


def test_model_is_read_once():
    assert load_head_model() is MODEL
