import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mggtalk_core.motion.rotations import (
    FACING,
    camera_rotation,
    exp_rotation,
    head_degrees,
    head_rotation,
    log_rotation,
    mean_rotation,
    orthonormal,
    slerp,
)

UNIT = st.floats(-1.0, 1.0)
ANGLES = st.tuples(st.floats(-179.0, 179.0), st.floats(-85.0, 85.0), st.floats(-179.0, 179.0))


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@settings(max_examples=60, deadline=None)
@given(st.tuples(UNIT, UNIT, UNIT), st.floats(0.0, math.pi))
@example((0.0, 1.0, 1.0), 3.125)  # the branch for half turns, away from them
@example((1.0, 0.2, -0.3), 3.01)
def test_exp_and_log_agree_with_scipy(axis, angle):
    axis = np.asarray(axis)
    if np.linalg.norm(axis) < 1e-3:
        return
    vector = axis / np.linalg.norm(axis) * angle
    matrix = exp_rotation(torch.from_numpy(vector))
    np.testing.assert_allclose(matrix.numpy(), Rotation.from_rotvec(vector).as_matrix(), atol=1e-12)
    # The logarithm is ill-conditioned within about 1e-7 of a half turn, so compare what it stands for.
    np.testing.assert_allclose(exp_rotation(log_rotation(matrix)).numpy(), matrix.numpy(), atol=1e-7)


def test_zero_gives_exactly_the_identity():
    assert torch.equal(exp_rotation(torch.zeros(3)), torch.eye(3))
    assert torch.equal(log_rotation(torch.eye(3)), torch.zeros(3))


@pytest.mark.parametrize("axis", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.6, -0.8, 0.0), (0.0, 0.6, 0.8)])
def test_half_turns_have_a_logarithm(axis):
    half = exp_rotation(math.pi * tensor(*axis))
    vector = log_rotation(half)
    assert float(vector.norm()) == pytest.approx(math.pi, abs=1e-7)
    torch.testing.assert_close(exp_rotation(vector), half, atol=1e-7, rtol=0.0)


def test_signs_of_yaw_pitch_and_roll():
    face, crown = tensor(0.0, 0.0, 1.0), tensor(0.0, 1.0, 0.0)
    assert (head_rotation(*tensor(30.0, 0.0, 0.0)) @ face)[0] == pytest.approx(0.5), "+yaw: to the subject's left, +x"
    assert (head_rotation(*tensor(0.0, 30.0, 0.0)) @ face)[1] == pytest.approx(0.5), "+pitch: up, +y"
    assert (head_rotation(*tensor(0.0, 0.0, 30.0)) @ crown)[0] == pytest.approx(0.5), "+roll: crown to the left, +x"


def test_a_level_head_faces_the_camera():
    assert torch.equal(camera_rotation(*tensor(0.0, 0.0, 0.0)), FACING)
    # A face that turns to its own left turns to the picture's right.
    assert (camera_rotation(*tensor(20.0, 0.0, 0.0)) @ tensor(0.0, 0.0, 1.0))[0] > 0.0


@settings(max_examples=60, deadline=None)
@given(ANGLES)
def test_degrees_come_back(angles):
    wanted = tensor(*angles)
    torch.testing.assert_close(head_degrees(head_rotation(*wanted)), wanted, atol=1e-9, rtol=0.0)


def test_slerp_ends_and_middle():
    start, end = head_rotation(*tensor(-20.0, 5.0, 3.0)), head_rotation(*tensor(40.0, -10.0, 0.0))
    torch.testing.assert_close(slerp(start, end, tensor(0.0)[0]), start)
    torch.testing.assert_close(slerp(start, end, tensor(1.0)[0]), end)
    middle = slerp(start, end, tensor(0.5)[0])
    before, after = log_rotation(start.T @ middle), log_rotation(middle.T @ end)
    torch.testing.assert_close(before, after)


def test_mean_of_opposite_turns_is_between_them():
    turns = torch.stack([head_rotation(*tensor(angle, 0.0, 0.0)) for angle in (-25.0, 25.0)])
    torch.testing.assert_close(mean_rotation(turns), torch.eye(3, dtype=torch.float64))


def test_orthonormal_gives_a_rotation_not_a_reflection():
    noisy = torch.from_numpy(np.random.default_rng(0).normal(size=(20, 3, 3)))
    fixed = orthonormal(noisy)
    eye = torch.eye(3, dtype=torch.float64).expand(20, 3, 3)
    torch.testing.assert_close(fixed @ fixed.transpose(-1, -2), eye)
    torch.testing.assert_close(torch.linalg.det(fixed), torch.ones(20, dtype=torch.float64))
