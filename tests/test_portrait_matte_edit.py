"""Mattes mended by hand, and maps of the whole picture brought onto the crop."""

import numpy as np
import pytest
import torch

from mggtalk_core.errors import InputError
from mggtalk_core.portrait.load import load_portrait
from mggtalk_core.portrait.matte_edit import MatteEdit, edited
from mggtalk_core.portrait.on_crop import on_crop

SAME = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def disc(radius, size=128):
    ticks = np.arange(size) + 0.5 - size / 2
    return (np.hypot(ticks, ticks[:, None]) < radius).astype(np.float32)


@pytest.mark.parametrize("grow", [-8, 0, 8])
def test_growing_moves_the_edge_by_so_many_pixels(grow):
    area = edited(disc(30), MatteEdit(grow=grow), SAME, (128, 128)).sum()
    assert np.sqrt(area / np.pi) == pytest.approx(30 + grow, abs=0.8)


def test_softening_keeps_the_mass_and_blurs_the_edge():
    soft = edited(disc(30), MatteEdit(soften=4.0), SAME, (128, 128))
    assert soft.sum() == pytest.approx(disc(30).sum(), rel=1e-3)
    assert soft[64, 64 + 30] == pytest.approx(0.5, abs=0.1) and soft[64, 64] > 0.999


def test_an_own_mask_takes_the_place_of_the_matte():
    double = np.array([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    own = edited(np.zeros((128, 128), np.float32), MatteEdit(mask=torch.from_numpy(disc(15, 64))), double, (64, 64))
    assert np.abs(own - disc(30)).mean() < 0.02


def test_unusable_edits_are_refused():
    matte = disc(30)
    with pytest.raises(InputError, match="same size"):
        edited(matte, MatteEdit(mask=torch.ones(5, 5)), SAME, (128, 128))
    with pytest.raises(InputError, match="empty"):
        edited(matte, MatteEdit(mask=torch.zeros(128, 128)), SAME, (128, 128))
    for wrong in (MatteEdit(grow=65), MatteEdit(soften=-1.0), MatteEdit(soften=float("nan"))):
        with pytest.raises(InputError, match="at most"):
            edited(matte, wrong, SAME, (128, 128))


def test_the_layer_behind_follows_the_matte(astronaut, astronaut_head):
    found = astronaut_head.portrait
    grown = load_portrait(astronaut, matte=MatteEdit(grow=10))
    assert grown.matte.sum() > 1.05 * found.matte.sum()
    assert torch.equal(grown.landmarks, found.landmarks)
    ring = (grown.matte[0] > 0.9) & (found.matte[0] < 0.01) & (torch.arange(512)[:, None] < 250)
    assert ring.any() and (grown.background - found.background).abs().mean() < 0.05


def test_maps_of_the_picture_land_where_the_crop_was_cut(astronaut, astronaut_head):
    portrait = astronaut_head.portrait
    wide = torch.nn.functional.pad(portrait.source, (0, 3))  # a source whose size no crop has
    odd = type(portrait)(**{**vars(portrait), "source": wide})
    cut = on_crop(wide, odd)
    known = cut.isfinite()
    assert known.float().mean() > 0.9
    assert (cut - portrait.crop)[known].abs().mean() < 0.02


def test_maps_of_the_crop_are_only_resized(astronaut_head):
    portrait = astronaut_head.portrait
    odd = type(portrait)(**{**vars(portrait), "source": torch.zeros(3, 100, 90)})
    values = torch.rand(1, 512, 512)
    assert on_crop(values, odd) is values
    halves = torch.tensor([[0.0, torch.nan], [1.0, 2.0]])[None]
    near = on_crop(halves, odd, smooth=False)
    assert near[0, 0, 0] == 0.0 and near[0, :256, 256:].isnan().all() and near[0, 511, 511] == 2.0
    with pytest.raises(InputError, match="90x100"):
        on_crop(torch.zeros(1, 40, 50), odd)
