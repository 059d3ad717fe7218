"""Holes are filled smoothly; what is known stays to the bit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mggtalk_core.media.fill import _plain_relaxed, _relaxed, fill


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 5), st.floats(0, 1), st.integers(0, 99))
def test_known_pixels_are_exact_and_holes_within_range(height, width, channels, share, seed):
    image = noise(channels, height, width, seed=seed)
    known = (noise(1, height, width, seed=seed + 100) < share).float()
    filled = fill(torch.where(known > 0, image, torch.nan), known)
    assert torch.equal(torch.where(known > 0, image, 0.0), torch.where(known > 0, filled, 0.0))
    if known.any():
        for channel in range(channels):
            seen = image[channel][known[0] > 0]
            # A fill is a mean of what is seen; 1e-5 is the rounding of float32 sums.
            assert filled[channel].min() >= seen.min() - 1e-5
            assert filled[channel].max() <= seen.max() + 1e-5
    else:
        assert torch.equal(filled, torch.zeros_like(filled))


@pytest.mark.parametrize("size", [(64, 64), (37, 91), (1, 50)])
def test_constant_image_stays_constant(size):
    known = (noise(1, *size) < 0.05).float()
    known[0, 0, 0] = 1.0
    filled = fill(torch.full((3, *size), 0.7) * known, known)
    assert torch.allclose(filled, torch.tensor(0.7), atol=1e-5)


def test_linear_ramp_is_nearly_continued_through_a_hole():
    """The membrane through a hole in a ramp is the ramp itself."""
    ramp = torch.linspace(0, 1, 128).expand(1, 128, 128)
    known = torch.ones(1, 128, 128)
    known[:, 40:90, 30:100] = 0.0
    error = (fill(ramp * known, known) - ramp).abs()
    assert error.mean() < 0.005
    assert error.max() < 0.08


def test_fill_is_smooth():
    """No blocks: inside the hole, neighbours differ by little although the rim is noisy."""
    known = torch.ones(1, 128, 128)
    known[:, 32:96, 32:96] = 0.0
    inside = fill(noise(1, 128, 128), known)[0, 44:84, 44:84]
    assert inside.diff(dim=0).abs().max() < 0.05
    assert inside.diff(dim=1).abs().max() < 0.05


def test_half_known_pixels_mix():
    image, known = torch.ones(1, 16, 16), torch.ones(1, 16, 16)
    image[0, 8, 8], known[0, 8, 8] = 0.0, 0.5
    assert abs(float(fill(image, known)[0, 8, 8]) - 0.5) < 0.05


def test_same_input_same_bits():
    image, known = noise(3, 100, 77), (noise(1, 100, 77, seed=1) < 0.3).float()
    assert torch.equal(fill(image, known), fill(image, known))


@pytest.mark.parametrize("size", [(64, 48), (5, 1), (1, 7), (2, 2)])
def test_compiled_relaxation_is_the_plain_one(size):
    start, image, weight = noise(1, 3, *size), noise(1, 3, *size, seed=1), noise(1, 1, *size, seed=2)
    weight[weight < 0.3], weight[weight > 0.7] = 0.0, 1.0
    plain = _plain_relaxed(start, image, weight)
    # torch may multiply and add in one step, which rounds once less.
    torch.testing.assert_close(_relaxed(start.clone(), image, weight), plain, rtol=0.0, atol=1e-6)
