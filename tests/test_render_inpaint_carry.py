"""The source's patch bent to the driven contours."""

import numpy as np
import pytest
import torch
from scipy.interpolate import RBFInterpolator

from mggtalk_core.render.inpaint.carry import STIFFNESS, bending, carried
from mggtalk_core.render.inpaint.patches import LEFT_EYE, PLACES, alignment, near
from tests.inpaint_samples import scene


@pytest.fixture(scope="module")
def points():
    return np.random.default_rng(0).uniform((0.0, 0.0), (128.0, 64.0), (40, 2))


@pytest.fixture(scope="module")
def picture():
    coarse = torch.rand(1, 3, 8, 16, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(coarse, size=(64, 128), mode="bicubic")[0].clamp(0.0, 1.0)


def test_bending_agrees_with_scipy(points):
    random = np.random.default_rng(2)
    values, places = random.normal(size=(40, 2)), random.uniform(-20.0, 140.0, (300, 2))
    twin = RBFInterpolator(points, values, kernel="linear", degree=1, smoothing=STIFFNESS)
    np.testing.assert_allclose(bending(points, values, places), twin(places), atol=1e-10)


def test_nothing_moves_where_the_contours_lie_alike(picture, points):
    assert (carried(picture, points, points) - picture).abs().max() < 1e-6


def test_a_shift_of_the_contours_shifts_the_picture(picture, points):
    shifted = carried(picture, points, points + (5.0, -3.0))
    expected = picture.roll((-3, 5), dims=(1, 2))
    assert (shifted - expected)[:, 4:-8, 8:-8].abs().max() < 1e-4


def test_an_affine_change_is_followed_exactly(points):
    height, width = 64, 128
    x = (torch.arange(width) + 0.5).expand(height, width) / width
    ramp = torch.stack((x, x, x))
    # Twice as wide about the middle: the ramp is half as steep.
    wide = carried(ramp, points, (points - (64.0, 32.0)) * (2.0, 1.0) + (64.0, 32.0))
    assert (wide[0, 32, 8:-8] - (0.5 + (x[0, 8:-8] - 0.5) / 2.0)).abs().max() < 1e-3


def test_near_landmarks_lie_around_the_patch():
    turned = scene(eyeBlinkLeft=0.5)
    for place in PLACES:
        landmarks = near(place, turned.guide)
        assert set(place.corners) <= set(landmarks)
        assert len(landmarks) > 40
    source = alignment(LEFT_EYE, turned.guide, turned.guide.source)
    spots = turned.guide.source.landmarks[near(LEFT_EYE, turned.guide), :2].double().numpy() @ source[:, :2].T
    spots = spots + source[:, 2]
    height, width = LEFT_EYE.size
    assert (np.abs(spots - (width / 2, height / 2)) < (0.9 * width, 0.9 * height)).all()
