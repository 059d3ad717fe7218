"""Lips that close let less light into the mouth."""

from dataclasses import replace

import pytest
import torch

from mggtalk_core.gaussians.avatar import build_avatar
from mggtalk_core.gaussians.gaussians import SH_C0
from mggtalk_core.gaussians.inner import is_mouth, part_of
from mggtalk_core.gaussians.mouth_light import LIT, POWER, SLIT, mouth_light
from mggtalk_core.geometry.points import Label
from tests.head_samples import lips_apart, model_head


@pytest.fixture(scope="module")
def avatar():
    made = model_head(jawOpen=0.3)
    return build_avatar(made.portrait, made.points, made.binding)


def opened(avatar, height):
    return lips_apart(avatar.mouth_light.lips, avatar.binding.rest, height)


def colours(avatar, light, vertices):
    sh = avatar.harmonics.clone()
    light.dim(sh, vertices)
    assert torch.equal(sh[:, 1:], avatar.harmonics[:, 1:])
    return 0.5 + SH_C0 * sh[:, 0]


def test_it_knows_what_lies_in_the_mouth_and_what_of_it_is_seen(avatar):
    light, points = avatar.mouth_light, avatar.points
    count, inside = len(points.positions), is_mouth(part_of(avatar.binding.model, points.triangle))
    seen, hidden = light.seen[light.seen < count], light.hidden
    assert len(seen) > 50 and len(hidden) > 1000
    assert torch.equal(torch.cat((seen, hidden)).sort().values, torch.nonzero(inside).squeeze(-1))
    assert (points.labels[hidden] == int(Label.INTERIOR)).all()
    assert torch.equal(light.seen[light.seen >= count] - count, seen)  # their children
    assert light.rest == pytest.approx(float(light.lips.height(avatar.binding.rest)))


@pytest.mark.parametrize("height", [-0.01, 0.0, 0.02, 0.05, 0.5])
def test_light_follows_the_opening_and_is_never_added(avatar, height):
    light = avatar.mouth_light
    now = colours(avatar, light, opened(avatar, height))
    for rows, full in ((light.seen, light.rest), (light.hidden, LIT)):
        share = min(1.0, max(0.0, (height + SLIT) / (full + SLIT))) ** POWER
        assert torch.allclose(now[rows], share * avatar.colours[rows], atol=1e-5)
    others = torch.ones(len(now), dtype=torch.bool)
    others[light.seen] = others[light.hidden] = False
    assert torch.allclose(now[others], avatar.colours[others], atol=1e-6)


def test_the_source_itself_is_as_bright_as_its_picture(avatar):
    light = avatar.mouth_light
    assert light.rest > 0.05
    now = colours(avatar, light, avatar.binding.rest)
    assert torch.allclose(now[light.seen], avatar.colours[light.seen], atol=1e-6)
    wide, base = colours(avatar, light, opened(avatar, 0.5)), 0.5 + SH_C0 * avatar.harmonics[:, 0]
    assert torch.equal(wide, base)  # bit for bit


def test_lips_that_all_but_touch_do_not_flicker(avatar):
    shut = replace(avatar.mouth_light, rest=0.004)
    brightness = [colours(avatar, shut, opened(avatar, height))[shut.seen].mean() for height in (0.0, 0.002, 0.004)]
    assert 0.85 * brightness[2] < brightness[0] < brightness[1] < brightness[2]


def test_a_mouth_without_anything_in_it_is_let_be(avatar):
    empty = torch.zeros(len(avatar.points.positions), dtype=torch.bool)
    nothing = mouth_light(avatar.mouth_light.lips, -0.01, empty, 7)
    assert len(nothing.seen) == len(nothing.hidden) == 0 and nothing.rest == 0.0
    assert torch.equal(colours(avatar, nothing, opened(avatar, 0.0)), 0.5 + SH_C0 * avatar.harmonics[:, 0])
