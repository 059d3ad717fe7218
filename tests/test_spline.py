"""The spline of kernel -r beside an affine map."""

import numpy as np
import pytest
from scipy.interpolate import RBFInterpolator
from scipy.spatial.distance import cdist

from mggtalk_core.spline import solve_spline


def affine(points):
    return np.column_stack((np.ones(len(points)), points))


def drawn(dimensions, seed=0):
    random = np.random.default_rng(seed)
    return (
        random.uniform(-1.0, 1.0, (40, dimensions)),
        random.normal(size=(40, 2)),
        random.normal(size=(60, dimensions)),
    )


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("stiffness", [0.0, 0.3])
def test_agrees_with_scipy(dimensions, stiffness):
    points, values, places = drawn(dimensions)
    weights, slopes = solve_spline(cdist(points, points), affine(points), values, stiffness)
    twin = RBFInterpolator(points, values, kernel="linear", degree=1, smoothing=stiffness)
    np.testing.assert_allclose(affine(places) @ slopes + cdist(places, points) @ weights, twin(places), atol=1e-9)


def test_meets_the_values_when_it_is_not_stiff():
    points, values, _ = drawn(3, seed=1)
    distances = cdist(points, points)
    weights, slopes = solve_spline(distances, affine(points), values, 0.0)
    np.testing.assert_allclose(affine(points) @ slopes + distances @ weights, values, atol=1e-9)


def test_an_affine_map_is_left_to_the_slopes():
    points, _, _ = drawn(3, seed=2)
    truth = np.random.default_rng(3).normal(size=(4, 2))
    weights, slopes = solve_spline(cdist(points, points), affine(points), affine(points) @ truth, 0.5)
    np.testing.assert_allclose(slopes, truth, atol=1e-9)
    np.testing.assert_allclose(weights, 0.0, atol=1e-9)


def test_weights_hold_no_affine_map():
    points, values, _ = drawn(3, seed=4)
    weights, _ = solve_spline(cdist(points, points), affine(points), values, 0.1)
    np.testing.assert_allclose(affine(points).T @ weights, 0.0, atol=1e-9)
