"""What the driven lids cover of the source's eye is not shown to the eyes' network."""

import numpy as np
import pytest
import torch

from mggtalk_core.portrait.warp import apply
from mggtalk_core.render.inpaint.patches import LEFT_EYE, MOUTH, RIGHT_EYE, alignment, cut, cut_source, opening
from tests.inpaint_samples import scene

WHITE, BLACK = np.ones((512, 512, 3), np.float32), np.zeros((512, 512, 3), np.float32)
OPEN, SHUT = {"eyeBlinkLeft": 0.0, "eyeBlinkRight": 0.0}, {"eyeBlinkLeft": 0.75, "eyeBlinkRight": 0.75}


@pytest.fixture(scope="module", params=(LEFT_EYE, RIGHT_EYE), ids=("left", "right"))
def place(request):
    return request.param


def shown(place, turned):
    """The share of the source that is left, where the source is white and the frame is black."""
    source = cut_source(place, turned.guide, WHITE, 2)
    head = turned.driven
    patch = cut(place, turned.guide, head, alignment(place, turned.guide, head), BLACK, source)
    return patch.source, source.opening


def test_an_opening_lies_between_the_lids(place):
    turned = scene(**OPEN)
    matrix = alignment(place, turned.guide, turned.driven)
    between = opening(place, turned.guide, turned.driven, matrix)[0]
    lids = (386, 374) if place is LEFT_EYE else (159, 145)
    upper, lower = apply(matrix, turned.driven.landmarks[list(lids), :2].double().numpy())
    x, middle = int((upper[0] + lower[0]) / 2), int((upper[1] + lower[1]) / 2)
    assert between[middle, x] > 0.99
    # Rims of two pixels belong to it; beyond them and their soft edge, nothing does.
    assert between[int(upper[1]) - 7, x] < 0.01
    assert between[int(lower[1]) + 7, x] < 0.01


def test_a_lid_that_shuts_covers_what_the_source_shows_of_the_eye(place):
    left, source = shown(place, scene(**SHUT))
    still, _ = shown(place, scene(**OPEN))
    assert source.mean() > 0.035
    hidden = 1.0 - left[0]
    assert hidden.max() > 0.95
    assert hidden.sum() > 0.4 * source.sum()
    assert (1.0 - still[0]).sum() < 0.2 * hidden.sum()
    # Away from the eye the source is shown as it is.
    assert min(left[:, :8].min(), left[:, -8:].min()) > 1.0 - 1e-5


def test_nothing_is_covered_in_the_source_itself(place):
    turned = scene(**OPEN)
    source = cut_source(place, turned.guide, WHITE, 2)
    head = turned.guide.source
    patch = cut(place, turned.guide, head, alignment(place, turned.guide, head), BLACK, source)
    assert (1.0 - patch.source).max() < 1e-5


def test_a_mouth_has_no_opening_of_lids():
    turned = scene(jawOpen=0.5)
    assert torch.equal(cut_source(MOUTH, turned.guide, WHITE, 2).opening, torch.zeros(1, *MOUTH.size))
    head = turned.driven
    source = cut_source(MOUTH, turned.guide, WHITE, 2)
    assert cut(MOUTH, turned.guide, head, alignment(MOUTH, turned.guide, head), BLACK, source).source.min() > 1.0 - 1e-5
