"""What the whole's network may change, and how much."""

import numpy as np
import pytest

from mggtalk_core.render.inpaint.bounds import ELSEWHERE, INSIDE, bounded


@pytest.fixture
def cover():
    """A head that fills the middle of the picture."""
    cover = np.zeros((512, 512), np.float32)
    cover[128:384, 128:384] = 1.0
    return cover


def test_small_changes_stay_as_they_are(cover):
    change = np.random.default_rng(0).uniform(-INSIDE, INSIDE, (512, 512, 3)).astype(np.float32)
    assert np.array_equal(bounded(change, cover), change)


def test_a_large_change_is_held_back_most_inside_the_head(cover):
    change = np.full((512, 512, 3), -0.5, np.float32)
    change[..., 1] = 0.25
    held = bounded(change, cover)
    assert held[256, 256] == pytest.approx([-INSIDE, INSIDE / 2, -INSIDE], abs=1e-6)
    for row, column in ((20, 256), (118, 256), (256, 394)):
        assert held[row, column] == pytest.approx([-ELSEWHERE, ELSEWHERE / 2, -ELSEWHERE], abs=1e-6)
    along = -held[100:160, 256, 0]
    # From the silhouette inwards the bound tightens without a step.
    assert (np.diff(along) < 1e-6).all() and np.abs(np.diff(along)).max() < 0.03


def test_fine_detail_may_be_as_strong_as_it_likes(cover):
    change = np.zeros((512, 512, 3), np.float32)
    change[::2, ::2], change[1::2, 1::2] = 0.6, -0.6
    assert np.array_equal(bounded(change, cover), change)


def test_half_covered_pixels_are_not_inside():
    held = bounded(np.full((512, 512, 3), 0.5, np.float32), np.full((512, 512), 0.5, np.float32))
    assert held == pytest.approx(np.full_like(held, ELSEWHERE), abs=1e-6)
