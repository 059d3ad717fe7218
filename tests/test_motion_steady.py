"""Landmarks held to the pictures: what the network is off by goes, what the pictures do not show stays."""

import cv2
import numpy as np
import pytest

from mggtalk_core.head.camera import Camera
from mggtalk_core.head.model import load_head_model
from mggtalk_core.head.observation import eye_distance
from mggtalk_core.motion.rotations import FACING as TO_CAMERA
from mggtalk_core.motion.steady import FACING, Steadier
from mggtalk_core.portrait.warp import apply, similarity, to_indices

SIZE = 512
NOISE = 0.01
"""What the landmark network is off by, relative to the eye distance."""


@pytest.fixture(scope="module")
def face():
    """Landmarks of the mean head from the front, pixels."""
    model = load_head_model()
    camera = Camera.for_crop(SIZE)
    points = model.landmarks(model.mean) @ TO_CAMERA.T.float()
    x, y, z = (points + points.new_tensor([0.0, 0.0, 9.0])).double().T.numpy()
    return np.column_stack((camera.focal * x / z + SIZE / 2, camera.focal * y / z + SIZE / 2, camera.focal * z / 9.0))


@pytest.fixture(scope="module")
def picture():
    """Spots of every size, as skin has them."""
    random = np.random.default_rng(0)
    layers = [cv2.resize(random.uniform(0, 255, (n, n, 3)), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
              for n in (16, 48, 128)]  # fmt: skip
    return np.mean(layers, axis=0).clip(0, 255).astype(np.uint8)


def moved(picture, face, matrix):
    """The next frame of a clip, and where the landmarks truly are in it."""
    frame = cv2.warpAffine(picture, to_indices(matrix), (SIZE, SIZE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)
    return frame, np.column_stack((apply(matrix, face[:, :2]), face[:, 2]))


def misread(face, seed):
    noise = np.random.default_rng(seed).normal(0.0, NOISE * eye_distance(face), (478, 2))
    return face + np.column_stack((noise, np.zeros(478)))


def miss(landmarks, truth, which=slice(None)):
    return np.linalg.norm((landmarks - truth)[which, :2], axis=1).mean() / eye_distance(truth)


def test_the_first_frame_is_believed(picture, face):
    np.testing.assert_allclose(Steadier()(picture, face), face, atol=1e-9)


@pytest.mark.parametrize("matrix", [
    np.array([[1.0, 0.0, 3.4], [0.0, 1.0, -2.7]]),
    np.array([[0.98, -0.1, 20.0], [0.1, 0.98, -31.0]]),
    np.array([[1.01, 0.02, 1.0], [-0.01, 0.96, 6.0]]),
])  # fmt: skip
def test_errors_of_the_network_go_where_the_picture_has_texture(picture, face, matrix):
    steadier = Steadier()
    steadier(picture, face)
    frame, truth = moved(picture, face, matrix)
    read = misread(truth, seed=1)
    steadied = steadier(frame, read)
    free = np.setdiff1d(np.arange(478), FACING)
    assert miss(read, truth, free) > 0.9 * NOISE
    assert miss(steadied, truth, free) < 0.25 * miss(read, truth, free)
    np.testing.assert_array_equal(steadied[:, 2], read[:, 2])


def test_no_opening_is_changed(picture, face):
    steadier = Steadier()
    steadier(picture, face)
    read = misread(face, seed=2)
    steadied = steadier(picture, read)
    upper, lower = FACING.T
    np.testing.assert_allclose(
        (steadied[upper] - steadied[lower])[:, :2], (read[upper] - read[lower])[:, :2], atol=1e-6
    )


def test_a_picture_without_texture_or_of_something_else_changes_next_to_nothing(picture, face):
    other = np.random.default_rng(5).integers(0, 256, picture.shape, dtype=np.uint8)
    for frame, allowed in ((np.full_like(picture, 90), 1e-9), (other, 0.2 * NOISE)):
        steadier = Steadier()
        steadier(picture, face)
        assert miss(steadier(frame, face), face) <= allowed


def test_a_long_clip_keeps_few_frames_and_does_not_drift(picture, face):
    steadier, random = Steadier(), np.random.default_rng(7)
    steadier(picture, face)
    for number in range(1, 30):
        angle = 0.3 * np.sin(number / 5.0)
        matrix = np.array([[np.cos(angle), -np.sin(angle), 60.0 * angle], [np.sin(angle), 1.0, -20.0 * angle]])
        frame, truth = moved(picture, face, matrix)
        steadied = steadier(frame, misread(truth, int(random.integers(1 << 30))))
        assert miss(steadied, truth) < 0.6 * NOISE
    assert len(steadier._keys) <= 12


def test_similarity_finds_the_one_that_was_applied():
    points = np.random.default_rng(3).normal(size=(20, 2))
    matrix = np.array([[0.6, -0.8, 3.0], [0.8, 0.6, -1.0]]) * [[1.5, 1.5, 1.0]]
    np.testing.assert_allclose(similarity(points, apply(matrix, points)), matrix, atol=1e-12)
