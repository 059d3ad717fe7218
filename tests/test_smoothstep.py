"""The smooth step between two values."""

import numpy as np
import torch

from mggtalk_core.smoothstep import smoothstep

PLACES, VALUES = [-1.0, 0.0, 0.25, 0.5, 1.0, 2.0], [0.0, 0.0, 0.15625, 0.5, 1.0, 1.0]


def test_it_rises_from_0_to_1():
    np.testing.assert_array_equal(smoothstep(np.array(PLACES), 0.0, 1.0), VALUES)
    np.testing.assert_array_equal(smoothstep(3.0 + 2.0 * np.array(PLACES), 3.0, 5.0), VALUES)


def test_it_falls_where_the_end_is_the_smaller_one():
    np.testing.assert_array_equal(smoothstep(-np.array(PLACES), 0.0, -1.0), VALUES)


def test_tensors_step_as_arrays_do():
    stepped = smoothstep(torch.tensor(PLACES), 0.0, 1.0)
    assert stepped.dtype == torch.float32 and stepped.tolist() == VALUES
