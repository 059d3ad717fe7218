"""What the whole's network may change, and how much."""

import numpy as np
import pytest

from mggtalk_core.render.inpaint.bounds import (
    CELL,
    ELSEWHERE,
    FAR,
    FARTHEST,
    INSIDE,
    NEAR,
    bounded,
    led_astray,
    solid_cells,
)


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


def test_what_a_turn_leaves_unknown_is_held_back_as_the_inside_is(cover):
    change = np.full((512, 512, 3), 0.5, np.float32)
    assert np.array_equal(bounded(change, cover, FAR), bounded(change, cover))
    assert bounded(change, cover, FARTHEST) == pytest.approx(np.full_like(change, INSIDE), abs=1e-6)
    between = bounded(change, cover, (FAR + FARTHEST) / 2.0)[20, 256]
    assert between == pytest.approx(np.full(3, (INSIDE + ELSEWHERE) / 2.0), abs=1e-6)


def test_what_is_found_on_the_head_may_be_used(cover):
    astray = led_astray(cover, solid_cells(cover), np.zeros((2, 128, 128), np.float32), FAR)
    change = np.full((512, 512, 3), 0.5 * INSIDE, np.float32)
    held = bounded(change, cover, FAR, astray)
    assert held[160:352, 160:352] == pytest.approx(0.5 * INSIDE)
    assert held[:120] == pytest.approx(0.5 * INSIDE)


def test_nothing_from_beside_the_source_s_head_is_laid_over_the_driven_one(cover):
    """A flow that leads 200 pixels to the right ends beside the head for its right part only."""
    flow = np.zeros((2, 256, 256), np.float32)  # on a finer grid than the squares
    flow[0] = 200.0
    astray = led_astray(cover, solid_cells(cover), flow, FAR)
    change = np.full((512, 512, 3), 0.5 * INSIDE, np.float32)
    held = bounded(change, cover, FAR, astray)
    assert held[256, 150] == pytest.approx(0.5 * INSIDE, rel=1e-5)
    assert held[256, 200:360] == pytest.approx(0.0, abs=1e-6)
    assert held[256, 400:] == pytest.approx(0.5 * INSIDE)  # beside the head it shows what is beside the source's
    assert not led_astray(cover, solid_cells(cover), flow, NEAR).any()


def test_nothing_of_the_source_s_head_is_left_beside_the_driven_one(cover):
    """The same flow leads from the left of the head onto it."""
    flow = np.zeros((2, 128, 128), np.float32)
    flow[0] = 200.0
    astray = led_astray(cover, solid_cells(cover), flow, FAR)
    held = bounded(np.full((512, 512, 3), 0.5 * INSIDE, np.float32), cover, FAR, astray)
    assert held[256, :100] == pytest.approx(0.0, abs=1e-6)
    assert held[60, 20] == pytest.approx(0.5 * INSIDE)  # above it


def test_a_look_up_ends_where_the_flow_leads():
    """Half a picture's rise leads from below the head's middle to above it."""
    solid, cover = np.zeros((128, 128), np.float32), np.ones((512, 512), np.float32)
    solid[20:40] = 1.0
    flow = np.zeros((2, 128, 128), np.float32)
    flow[1] = -50.0 * CELL
    astray = led_astray(cover, solid, flow, FAR)
    assert astray[72:88] == pytest.approx(0.0, abs=1e-6)
    assert astray[:68] == pytest.approx(1.0) and astray[92:] == pytest.approx(1.0)
