from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mggtalk_core.errors import InputError
from mggtalk_core.motion.blinks import blink_shape
from mggtalk_core.motion.channels import BLINKS
from mggtalk_core.motion.rotations import exp_rotation, log_rotation
from mggtalk_core.motion.smooth import fill_gaps, smooth, smooth_curves, smooth_rotations
from mggtalk_core.motion.timing import take
from tests.motion_samples import constant, wandering

VALUES = ("beta", "gaze", "rotation", "translation")


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.floats(0.0, 0.5))
def test_constants_come_back_bit_for_bit(frames, seconds):
    motion = constant(frames)
    for name in ("beta", "gaze", "translation"):
        assert torch.equal(getattr(smooth(motion, seconds), name), getattr(motion, name))
    # A float32 matrix is a rotation to 1e-7 only, which is what its logarithm against itself shows.
    torch.testing.assert_close(smooth(motion, seconds).rotation, motion.rotation, atol=3e-7, rtol=0.0)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.floats(0.0, 0.5), st.integers(0, 5))
def test_reversed_time_gives_the_reversed_result(frames, seconds, seed):
    motion = wandering(frames, seed)
    backward = torch.arange(frames - 1, -1, -1)
    there, back = smooth(take(motion, backward), seconds), take(smooth(motion, seconds), backward)
    for name in ("beta", "gaze", "translation"):
        assert torch.equal(getattr(there, name), getattr(back, name))
    torch.testing.assert_close(there.rotation, back.rotation, atol=1e-6, rtol=0.0)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.floats(0.1, 8.0))
def test_a_steady_movement_is_left_alone_to_its_very_ends(frames, sigma):
    line = 0.3 + 0.01 * torch.arange(frames, dtype=torch.float64)[:, None]
    torch.testing.assert_close(smooth_curves(line, sigma), line, atol=1e-9, rtol=0.0)
    axis = torch.tensor([[0.0, 0.6, 0.8]], dtype=torch.float64)
    torch.testing.assert_close(smooth_rotations(exp_rotation(line * axis), sigma), exp_rotation(line * axis))


def test_inside_it_is_the_gaussian_filter():
    curve = torch.from_numpy(np.random.default_rng(0).normal(size=(80, 1)))
    lags = np.arange(-6, 7)
    kernel = np.exp(-0.5 * (lags / 2.0) ** 2)
    expected = np.convolve(curve[:, 0].numpy(), kernel / kernel.sum(), mode="same")
    np.testing.assert_allclose(smooth_curves(curve, 2.0)[6:-6, 0].numpy(), expected[6:-6], atol=1e-12)


def test_rotations_about_one_axis_smooth_like_their_angles():
    angles = torch.from_numpy(np.random.default_rng(1).normal(0.0, 0.3, (50, 1)))
    axis = torch.tensor([[0.6, 0.0, 0.8]], dtype=torch.float64)
    smoothed = smooth_rotations(exp_rotation(angles * axis), 1.7)
    torch.testing.assert_close(log_rotation(smoothed), smooth_curves(angles, 1.7) * axis)


def test_rotations_stay_rotations():
    rotation = smooth(wandering(40), 0.2).rotation.double()
    eye = torch.eye(3, dtype=torch.float64).expand(40, 3, 3)
    torch.testing.assert_close(rotation @ rotation.transpose(-1, -2), eye, atol=1e-6, rtol=0.0)


def test_jitter_goes_and_a_blink_stays():
    motion = constant(100)
    beta = motion.beta + 0.02 * torch.from_numpy(np.random.default_rng(2).normal(size=(100, 52))).float()
    blink = torch.tensor([blink_shape((frame - 50) / 25.0) if abs(frame - 50) < 5 else 0.0 for frame in range(100)])
    beta[:, BLINKS] = blink[:, None]
    smoothed = smooth(replace(motion, beta=beta), 0.04).beta
    assert float(smoothed[50, BLINKS[0]]) > 0.99, "a blink still closes the lid"
    brow = 43
    assert float(smoothed[:, brow].diff().std()) < 0.4 * float(beta[:, brow].diff().std())


def test_zero_seconds_change_nothing():
    motion = wandering(20)
    for name in VALUES:
        assert torch.equal(getattr(smooth(motion, 0.0), name), getattr(motion, name))


@pytest.mark.parametrize("seconds", [-0.1, float("nan"), float("inf")])
def test_impossible_strengths_are_refused(seconds):
    with pytest.raises(InputError, match="Smoothing"):
        smooth(wandering(3), seconds)


def test_gaps_are_interpolated_inside_and_held_at_the_ends():
    motion = wandering(10)
    found = torch.tensor([0, 1, 1, 0, 0, 0, 1, 1, 0, 0], dtype=torch.bool)
    filled = fill_gaps(motion, found)
    assert filled.held == (0, 3, 4, 5, 8, 9)
    for name in VALUES:
        before, after = getattr(motion, name), getattr(filled, name)
        assert torch.equal(after[found], before[found])
        torch.testing.assert_close(after[0], before[1])
        torch.testing.assert_close(after[9], before[7])
    torch.testing.assert_close(filled.beta[4], (motion.beta[2] + motion.beta[6]) / 2)
    torch.testing.assert_close(filled.beta[3], motion.beta[2] + 0.25 * (motion.beta[6] - motion.beta[2]))
    half = log_rotation(motion.rotation[2].double().T @ filled.rotation[4].double())
    full = log_rotation(motion.rotation[2].double().T @ motion.rotation[6].double())
    torch.testing.assert_close(2 * half, full, atol=1e-6, rtol=0.0)


def test_no_face_at_all_is_an_input_error():
    with pytest.raises(InputError, match="No face"):
        fill_gaps(wandering(4), torch.zeros(4, dtype=torch.bool))
