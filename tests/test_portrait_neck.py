"""What the torso-background layer shows behind the jaw: the neck as wide as it is seen below it, and long hair."""

from dataclasses import replace

import numpy as np
import pytest

from mggtalk_core.portrait.background import _CURTAIN, _seen_reach, _torso_shape, _with_hair
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
    shape = _torso_shape(person, matte, hole, neck, neck, frame)
    u, v = frame.coordinates(SIZE)
    level = (v > 0.53) & (v < 0.7) & (np.abs(u) < 0.42)
    assert shape[level].min() > 0.5
    # Without what is seen of its skin, the guess narrows and the background shows between.
    thin = _torso_shape(person, matte, hole, neck, np.zeros_like(neck), frame)
    assert thin[level].min() < 0.2


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
