"""Resampling in continuous coordinates, and the guided filter."""

import numpy as np
import pytest

from mggtalk_core.portrait.guided import guided_filter
from mggtalk_core.portrait.warp import Region, apply, invert, warp


def _ramp(height: int, width: int) -> np.ndarray:
    """A picture whose value at continuous (x, y) is exactly (x, y, x + y)."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.stack((x, y, x + y), axis=-1).astype(np.float32)


@pytest.mark.parametrize("edge", [16, 40, 64, 200])
@pytest.mark.parametrize("flip", [False, True])
def test_warp_puts_every_coordinate_where_the_transform_says(edge: int, flip: bool) -> None:
    """Growing, shrinking and turning keep a linear ramp linear, with no half-pixel shift anywhere."""
    region = Region(np.array([101.3, 97.8]), 64.0, 0.4)
    to_crop = region.to_crop(edge, flip=flip)
    crop = warp(_ramp(200, 220), to_crop, (edge, edge))
    ticks = np.arange(edge) + 0.5
    expected = apply(invert(to_crop), np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2))
    # OpenCV's bilinear weights are multiples of 1/32 pixel.
    np.testing.assert_allclose(crop.reshape(-1, 3)[:, :2], expected, atol=1 / 32)


def test_identity_returns_the_picture() -> None:
    image = np.random.default_rng(0).random((20, 30, 3), dtype=np.float32)
    identity = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    np.testing.assert_allclose(warp(image, identity, (30, 20), smooth=True), image, atol=1e-6)


@pytest.mark.parametrize("scale", [0.7, 0.5, 0.31, 0.1])
def test_shrinking_does_not_alias(scale: float) -> None:
    """A checkerboard of single pixels turns grey instead of into a moire pattern."""
    board = ((np.indices((400, 400)).sum(axis=0) % 2)[..., None] * np.ones(3)).astype(np.float32)
    edge = int(400 * scale)
    small = warp(board, np.array([[scale, 0, 0], [0, scale, 0]]), (edge, edge), replicate=True)
    inner = small[2:-2, 2:-2]
    # Bilinear sampling alone leaves a deviation of 0.2 and more; the Gaussian passes 12 % of the finest grid at 0.7.
    assert inner.std() < (0.1 if scale > 0.5 else 0.02)
    assert inner.mean() == pytest.approx(0.5, abs=0.01)


def test_outside_is_black_or_the_border_repeated() -> None:
    image = np.full((10, 10, 3), 0.5, np.float32)
    region = Region(np.array([-50.0, 5.0]), 20.0)
    assert warp(image, region.to_crop(8), (8, 8)).max() == 0.0
    np.testing.assert_allclose(warp(image, region.to_crop(8), (8, 8), replicate=True), 0.5)


def test_invert_undoes() -> None:
    transform = Region(np.array([3.0, -7.0]), 11.0, 2.1).to_crop(64, flip=True)
    points = np.random.default_rng(1).normal(size=(9, 2))
    np.testing.assert_allclose(apply(invert(transform), apply(transform, points)), points)


def _plain_guided_filter(guide: np.ndarray, target: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """Least squares in every window, one by one (He et al. 2010, equations 19-21)."""
    pad = ((2 * radius, 2 * radius),) * 2
    guide = np.pad(guide, (*pad, (0, 0)), mode="symmetric").astype(np.float64)
    target = np.pad(target, pad, mode="symmetric").astype(np.float64)
    height, width = target.shape
    affine = np.zeros((height, width, 4))
    for y in range(radius, height - radius):
        for x in range(radius, width - radius):
            window = np.s_[y - radius : y + radius + 1, x - radius : x + radius + 1]
            colours, values = guide[window].reshape(-1, 3), target[window].reshape(-1)
            centred = colours - colours.mean(axis=0)
            matrix = centred.T @ centred / len(values) + epsilon * np.eye(3)
            slope = np.linalg.solve(matrix, centred.T @ (values - values.mean()) / len(values))
            affine[y, x] = *slope, values.mean() - slope @ colours.mean(axis=0)
    filtered = np.zeros((height - 4 * radius, width - 4 * radius))
    for y, x in np.ndindex(filtered.shape):
        mean = affine[y + radius : y + 3 * radius + 1, x + radius : x + 3 * radius + 1].reshape(-1, 4).mean(axis=0)
        filtered[y, x] = mean[:3] @ guide[y + 2 * radius, x + 2 * radius] + mean[3]
    return filtered


def test_guided_filter_agrees_with_its_plain_twin() -> None:
    rng = np.random.default_rng(2)
    guide, target = rng.random((14, 17, 3), dtype=np.float32), rng.random((14, 17), dtype=np.float32)
    plain = _plain_guided_filter(guide, target, radius=2, epsilon=1e-2)
    # Away from the border, where reflecting coefficients and reflecting pixels differ; float32 against float64.
    inner = np.s_[4:-4, 4:-4]
    np.testing.assert_allclose(guided_filter(guide, target, 2, 1e-2)[inner], plain[inner], atol=2e-5)


def test_guided_filter_moves_an_edge_onto_the_guides_edge() -> None:
    guide, target = np.zeros((40, 40, 3), np.float32), np.zeros((40, 40), np.float32)
    guide[:, 20:], target[:, 23:] = 1.0, 1.0
    filtered = guided_filter(guide, target, 8, 1e-4)[20]
    assert filtered[19] < 0.1 and filtered[20] > 0.5
    assert np.diff(filtered).argmax() == 19
