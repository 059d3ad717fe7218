"""What the torso-background layer shows behind the jaw: the neck as wide as it is seen below it, and long hair."""

from dataclasses import replace

import numpy as np
import pytest

from mggtalk_core.portrait.background import _CURTAIN, _UNDER_FACE, _neck_column, _seen_reach, _torso_shape, _with_hair
from mggtalk_core.portrait.face_frame import FaceFrame
from mggtalk_core.portrait.face_mesh import FACE_OVAL

SIZE = 256
HEIGHT = 80.0
"""Pixels of the face's height: one unit of u and v."""


@pytest.fixture(scope="module")
def frame():
    """A round face about the middle of the crop, its chin at v = 0.75."""
    landmarks = np.zeros((478, 2))
    angle = np.linspace(0.0, 2.0 * np.pi, len(FACE_OVAL), endpoint=False)
    landmarks[list(FACE_OVAL)] = np.column_stack((0.45 * np.sin(angle), 0.15 - 0.6 * np.cos(angle)))
    return FaceFrame(np.array([128.0, 100.0]), np.eye(2), HEIGHT, landmarks)


def layers(frame, width):
    """A head over a neck of ``width`` half-widths, which is seen below the jaw and beside it as high as v = 0.5."""
    u, v = frame.coordinates(SIZE)
    head = ((u / 0.45) ** 2 + ((v - 0.15) / 0.6) ** 2 < 1.0) & (v < frame.chin)
    neck = (np.abs(u) < width) & (v > 0.5) & ~head
    person = (neck | (v > 1.1)).astype(np.float32)
    return person, head.astype(np.float32), head, neck & (v < 1.1)


def test_a_wide_neck_has_no_gap_between_its_edge_and_what_is_guessed_of_it(frame):
    person, matte, hole, neck = layers(frame, 0.42)
    u, v = frame.coordinates(SIZE)
    person, neck = person * ((u < 0.0) | (v > 1.1)), neck & (u < 0.0)  # hair hides the other side
    shape = _torso_shape(person, matte, hole, neck, neck, frame)
    level = (v > 0.53) & (v < 0.7) & (u > -0.42) & (u < 0.0)
    assert shape[level].min() > 0.5
    # Without what is seen of its skin, the guess narrows and the background shows between.
    nowhere = np.zeros_like(neck)
    assert _torso_shape(person, matte, hole, nowhere, nowhere, frame)[level].min() < 0.2


@pytest.mark.parametrize(("edges", "wanted"), [((-0.3, 0.3), (-0.3, 0.3)), ((0.1, 0.35), (-_UNDER_FACE * 0.45, 0.35))])
def test_a_neck_that_a_chin_hides_on_one_side_goes_on_under_it(frame, edges, wanted):
    u, v = frame.coordinates(SIZE)
    center, half = _neck_column((u > edges[0]) & (u < edges[1]) & (v > 0.7), frame, u, v)
    least = 0.55 * frame.half_width
    assert half == pytest.approx(max((wanted[1] - wanted[0]) / 2, least), abs=0.02)
    assert center == pytest.approx(sum(wanted) / 2, abs=0.02)


def test_shoulders_on_both_sides_of_a_lowered_chin_go_on_behind_it(frame):
    """A shirt that rises to v = 0.4 beside the jaw, on one side and on both."""
    u, v = frame.coordinates(SIZE)
    head = ((u / 0.45) ** 2 + ((v - 0.15) / 0.6) ** 2 < 1.0) & (v < frame.chin)
    for sides, solid in (((-1.0, 1.0), True), ((1.0,), False)):
        shirt = np.zeros_like(head)
        for side in sides:
            shirt |= (side * u > 0.3) & (side * u < 0.9) & (v > 0.4) & ~head
        person, nowhere = shirt.astype(np.float32), np.zeros_like(head)
        shape = _torso_shape(person, head.astype(np.float32), head, nowhere, nowhere, frame)
        beside = head & (v > 0.5) & (v < 0.56) & (u < -0.25) & (u > -0.31)  # of the neck that is guessed
        assert beside.sum() > 10
        assert shape[beside].min() > 0.9 if solid else shape[beside].max() < 0.5


def test_above_what_is_seen_the_neck_draws_in(frame):
    u, v = frame.coordinates(SIZE)
    bare = (np.abs(u) < 0.4) & (v > 0.6) & (v < 0.9)
    reach = _seen_reach(bare, u, v, frame)
    for level, wanted in ((0.8, 0.4), (0.62, 0.4), (0.5, 0.3), (0.4, 0.2)):
        row = int(frame.to_pixels(np.array([[0.0, level]]))[0, 1])
        assert np.abs(reach[row, [20, -20]] - wanted).max() < 0.03


def test_each_side_is_as_wide_as_it_is_seen_whatever_the_roll(frame):
    turn = np.deg2rad(30.0)
    axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    rolled = replace(frame, axes=axes)
    u, v = rolled.coordinates(SIZE)
    bare = (u > -0.2) & (u < 0.4) & (v > 0.6) & (v < 0.9)
    reach = _seen_reach(bare, u, v, rolled)
    level = np.abs(v - 0.75) < 0.02
    assert np.abs(reach[level & (u > 0.02)] - 0.4).max() < 0.03
    assert np.abs(reach[level & (u < -0.02)] - 0.2).max() < 0.03


def test_a_neck_that_is_not_seen_reaches_nowhere(frame):
    u, v = frame.coordinates(SIZE)
    assert (_seen_reach(np.zeros_like(u, dtype=bool), u, v, frame) <= 0.0).all()


@pytest.mark.parametrize("sides", [(-1.0, 1.0), (1.0,), ()])
def test_long_hair_goes_on_behind_the_neck_where_it_hangs(frame, sides):
    """Brown hair beside the face on a white wall; no wider than the face, and no higher than the cheeks."""
    u, v = frame.coordinates(SIZE)
    face = (u / 0.45) ** 2 + ((v - 0.15) / 0.6) ** 2 < 1.0
    strands = (np.abs(u) > 0.3) & (np.abs(u) < 0.7) & (np.abs(v) < 1.1) & ~face
    strands &= sum(((side * u > 0.0) for side in sides), np.zeros_like(face))
    crop, brown = np.ones((SIZE, SIZE, 3), np.float32), np.float32([0.4, 0.25, 0.1])
    crop[strands] = brown
    matte = (face | strands | ((np.abs(u) < 0.7) & (v > 0.4) & (v < 0.9))).astype(np.float32)
    inside = np.ones((SIZE, SIZE), bool)
    filled = _with_hair(np.ones_like(crop), crop, strands.astype(np.float32), matte, inside, frame)
    half = _CURTAIN * frame.half_width
    behind = (v > 0.45) & (v < 0.7) & (np.abs(u) < half - 0.15)
    for side in (-1.0, 1.0):
        shown = filled[behind & (side * u > 0.15)]
        assert np.abs(shown - (brown if side in sides else 1.0)).max() < 0.02
    assert np.abs(filled[(np.abs(u) > half + 0.15) | (v < 0.1)] - 1.0).max() < 0.01
