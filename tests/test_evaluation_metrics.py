"""Metrics agree with plain twins and with values known beforehand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mggtalk_core.evaluation.landmarks import (
    angle_degrees,
    eye_distance,
    eye_opening,
    jitter,
    landmark_error,
    mouth_opening,
    turns,
    yaw_degrees,
)
from mggtalk_core.evaluation.metrics import correlation, psnr, regional_scores, ssim
from mggtalk_core.evaluation.regions import MOUTH, close_up, face_mask


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def rotation(degrees: float, axis: int) -> torch.Tensor:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    a, b = ((1, 2), (2, 0), (0, 1))[axis]
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[a, a] = matrix[b, b] = cos
    matrix[a, b], matrix[b, a] = -sin, sin
    return matrix


def test_psnr_of_a_known_difference():
    assert psnr(torch.full((3, 8, 8), 0.5), torch.full((3, 8, 8), 0.6)) == pytest.approx(20.0, abs=1e-5)
    assert psnr(noise(3, 8, 8), noise(3, 8, 8)) == math.inf


def test_psnr_sees_only_its_mask():
    image, truth, mask = noise(3, 20, 30), noise(3, 20, 30, seed=1), torch.zeros(1, 20, 30)
    mask[:, 5:10, 5:20] = 1.0
    assert psnr(image, truth, mask) == pytest.approx(psnr(image[:, 5:10, 5:20], truth[:, 5:10, 5:20]), abs=1e-9)
    assert math.isnan(psnr(image, truth, torch.zeros(1, 20, 30)))


@settings(max_examples=15, deadline=None)
@given(st.integers(11, 60), st.integers(11, 60), st.integers(0, 1000))
def test_ssim_agrees_with_scikit_image(height, width, seed):
    metrics = pytest.importorskip("skimage.metrics")
    truth = noise(3, height, width, seed=seed)
    image = (truth + 0.2 * noise(3, height, width, seed=seed + 1) - 0.1).clamp(0, 1)
    twin = metrics.structural_similarity(
        image.numpy().astype(np.float64), truth.numpy().astype(np.float64), channel_axis=0, data_range=1.0,
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    )  # fmt: skip
    assert ssim(image, truth) == pytest.approx(twin, abs=2e-5)  # ours sums in float32


def test_ssim_of_equal_pictures_is_one_and_of_tiny_ones_unknown():
    assert ssim(noise(3, 30, 30), noise(3, 30, 30)) == pytest.approx(1.0, abs=1e-6)
    assert math.isnan(ssim(noise(3, 10, 30), noise(3, 10, 30)))


def test_ssim_sees_only_its_mask():
    image, truth = noise(3, 64, 64), noise(3, 64, 64)
    image[:, :, 40:] = 0.0
    mask = torch.zeros(1, 64, 64)
    mask[:, :, :30] = 1.0
    assert ssim(image, truth, mask) == pytest.approx(1.0, abs=1e-6)
    assert ssim(image, truth) < 0.8
    assert math.isnan(ssim(image, truth, torch.zeros(1, 64, 64)))


def test_scores_of_many_regions_are_those_of_each():
    image, truth = noise(3, 40, 50), noise(3, 40, 50, seed=1)
    masks = {
        "a": noise(1, 40, 50, seed=2),
        "b": (noise(1, 40, 50, seed=3) > 0.5).float(),
        "none": torch.zeros(1, 40, 50),
    }
    scores = regional_scores(image, truth, masks)
    for name, mask in masks.items():
        assert scores[f"psnr_{name}"] == pytest.approx(psnr(image, truth, mask), nan_ok=True)
        assert scores[f"ssim_{name}"] == pytest.approx(ssim(image, truth, mask), nan_ok=True)


def test_correlation_agrees_with_numpy_and_knows_when_it_is_undefined():
    x, y = noise(50), noise(50, seed=1)
    assert correlation(x, y) == pytest.approx(float(np.corrcoef(x, y)[0, 1]), abs=1e-6)
    assert correlation(x, 3.0 - 2.0 * x) == pytest.approx(-1.0)
    assert math.isnan(correlation(x, torch.ones(50)))
    assert math.isnan(correlation(x[:2], y[:2]))


def face(scale: float = 1.0) -> torch.Tensor:
    """478 points of which only those used by the measures matter."""
    points = 100.0 * noise(478, 3, seed=3)
    named = {
        33: (0, 0),
        263: (100, 0),
        13: (50, 60),
        14: (50, 72),
        159: (20, -4),
        145: (20, 4),
        386: (80, -2),
        374: (80, 2),
    }
    for index, (x, y) in named.items():
        points[index, 0], points[index, 1] = x, y
    return points * scale


@pytest.mark.parametrize("scale", [1.0, 0.37, 4.0])
def test_lengths_are_relative_to_the_eyes(scale):
    points = face(scale)
    assert float(eye_distance(points)) == pytest.approx(100 * scale, rel=1e-6)
    assert float(mouth_opening(points)) == pytest.approx(0.12, rel=1e-5)
    assert float(eye_opening(points)) == pytest.approx((0.08 + 0.04) / 2, rel=1e-5)
    moved = points + scale * torch.tensor([3.0, 4.0, 99.0])
    assert float(landmark_error(moved, points)) == pytest.approx(5.0, rel=1e-4)


def test_measures_take_many_frames_at_once():
    frames = torch.stack([face(), face(2.0)])
    assert torch.allclose(mouth_opening(frames), torch.tensor([0.12, 0.12]))
    assert landmark_error(frames, frames).tolist() == [0.0, 0.0]


def test_jitter_ignores_steady_motion_and_measures_shaking():
    steady = torch.stack([face() + 2.0 * index for index in range(10)])
    assert jitter(steady) == pytest.approx(0.0, abs=1e-4)
    shaking = torch.stack([face() + torch.tensor([(-1.0) ** index, 0.0, 0.0]) for index in range(10)])
    assert jitter(shaking) == pytest.approx(4.0, rel=1e-4)  # 1 - 2(-1) + 1 pixels over 100
    assert math.isnan(jitter(steady[:2]))


@pytest.mark.parametrize("degrees", [-70.0, -12.5, 0.0, 40.0])
def test_yaw_of_a_turned_head(degrees):
    facing = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    assert float(yaw_degrees(facing @ rotation(degrees, 1))) == pytest.approx(degrees, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.floats(-80, 80), st.floats(-80, 80), st.floats(0.5, 2.0))
def test_turns_are_found_again(first, second, scale):
    turn = rotation(first, 1) @ rotation(second, 0)
    frames = (scale * face().double() @ turn.T + 7.0)[None]
    assert float(angle_degrees(turns(frames, face()), turn[None])) < 1e-4


def test_angle_between_rotations():
    assert float(angle_degrees(rotation(10, 0), rotation(31, 0))) == pytest.approx(21.0, abs=1e-9)
    assert float(angle_degrees(rotation(10, 0), rotation(10, 0))) == 0.0


def test_face_mask_is_the_hull():
    points = torch.tensor([[10.0, 10.0, 0.0], [40.0, 10.0, 0.0], [25.0, 40.0, 0.0], [25.0, 15.0, 0.0]])
    mask = face_mask(points, 64, 48)
    assert mask.shape == (1, 64, 48)
    assert mask[0, 12, 25] == mask[0, 30, 25] == 1.0
    assert mask[0, 5, 25] == mask[0, 38, 12] == 0.0
    assert float(mask.sum()) == pytest.approx(450.0 + 48.5, abs=5.0)  # half of 30 x 30, and half its rim of 97


def test_close_up_shows_the_place_it_is_named_after():
    image = torch.zeros(3, 128, 128)
    points = face() * 0.5 + 30.0
    x, y = points[list(MOUTH), :2].amin(0).add(points[list(MOUTH), :2].amax(0)).div(2).tolist()
    image[:, round(y) - 2 : round(y) + 2, round(x) - 2 : round(x) + 2] = 1.0
    crop = close_up(image, points, MOUTH, 100)
    bright = (crop[0] > 0.5).nonzero().float().mean(dim=0)
    assert torch.allclose(bright, torch.tensor([49.5, 49.5]), atol=2.5)
