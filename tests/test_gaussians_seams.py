"""Unseen skin of the neck beside skin that the picture shows."""

from dataclasses import replace

import pytest
import torch

from mggtalk_core.gaussians.inner import part_of
from mggtalk_core.gaussians.neck import below_jaw
from mggtalk_core.gaussians.seams import CELL, FAR, JAW, NEAR, blended
from mggtalk_core.geometry.points import Label
from tests.head_samples import model_head

DARK, PALE = 0.3, 0.7


@pytest.fixture(scope="module")
def head():
    return model_head()


@pytest.fixture(scope="module")
def points(head):
    """A head whose left half the picture does not show."""
    whole, count = head.points, head.points.visible_count
    left = whole.positions[:count, 0] > 0.0
    order = torch.cat((torch.nonzero(~left), torch.nonzero(left))).squeeze(-1)
    return replace(
        whole,
        positions=whole.positions[order],
        labels=torch.where(left, int(Label.BACKING), int(Label.VISIBLE))[order].to(torch.uint8),
        pixel=whole.pixel[~left],
        mirror_of=whole.mirror_of[:0],
        triangle=whole.triangle[order],
        barycentric=whole.barycentric[order],
    )


@pytest.fixture(scope="module")
def part(head, points):
    return part_of(head.model, points.triangle)


@pytest.fixture(scope="module")
def colours(points):
    """What is seen is dark, the rest is pale and grainy."""
    colours = torch.full((len(points.positions), 3), PALE)
    colours += 0.02 * torch.randn(colours.shape, generator=torch.Generator().manual_seed(0))
    colours[: points.visible_count] = DARK
    return colours


@pytest.fixture(scope="module")
def made(head, points, part, colours):
    bare = torch.ones(points.visible_count, dtype=torch.bool)
    return blended(colours, head.portrait, points, part, bare)


def unseen_neck(points):
    below = below_jaw(points.positions) > JAW[1] + CELL
    below[: points.visible_count] = False
    return torch.nonzero(below).squeeze(-1)


def test_unseen_skin_meets_the_seen_skin_beside_it(points, colours, made):
    count, rows = points.visible_count, unseen_neck(points)
    assert torch.equal(made[:count], colours[:count])
    aside = points.positions[rows, 0]
    near, far = aside < NEAR - CELL / 2.0, aside > FAR + 3.0 * CELL
    assert near.sum() > 50 and far.sum() > 50
    assert float(made[rows[near]].mean()) == pytest.approx(DARK, abs=0.02)
    torch.testing.assert_close(made[rows[far]], colours[rows[far]], atol=1e-6, rtol=0.0)
    level = [float(made[rows[(aside > low) & (aside < low + 0.1)]].mean()) for low in (0.0, 0.1, 0.2, 0.3, 0.4)]
    assert level == sorted(level) and max(b - a for a, b in zip(level, level[1:], strict=False)) < 0.2


def test_grain_is_kept(points, colours, made):
    rows = unseen_neck(points)
    moved = rows[(colours[rows] - made[rows]).mean(dim=1) > 0.2]
    assert len(moved) > 50
    before, after = (each[moved] - each[moved].mean(dim=1, keepdim=True) for each in (colours, made))
    share = (after * before).sum() / before.square().sum()
    assert float(share) == pytest.approx(1.0, abs=0.1)


def test_nothing_above_the_jaw_changes(points, colours, made):
    above = below_jaw(points.positions) < JAW[0]
    assert above.sum() > 1000 and torch.equal(made[above], colours[above])


def test_without_seen_skin_nothing_changes(head, points, part, colours):
    none = torch.zeros(points.visible_count, dtype=torch.bool)
    assert blended(colours, head.portrait, points, part, none) is colours
