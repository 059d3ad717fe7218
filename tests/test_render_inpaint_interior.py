"""How pale the mouth's network may make the inside of a mouth."""

import numpy as np
import pytest
import torch

from mggtalk_core.render.inpaint.bounds import GRAIN
from mggtalk_core.render.inpaint.guide import CHANNELS, SOURCE_CHANNELS, HeadGuide
from mggtalk_core.render.inpaint.interior import PALER, SHADE, SHOWN, WIDE, kept_dark
from mggtalk_core.render.inpaint.networks import Networks
from mggtalk_core.render.inpaint.patches import MOUTH, alignment, cut, cut_source
from mggtalk_core.render.inpaint.refine import Refiner
from tests.head_samples import expression, model_head
from tests.inpaint_samples import small_networks

CELLS = 64
TONGUE = np.s_[24:48, 20:44]
"""Cells of the guide that show the tongue; a cell is two pixels wide."""


def guide_of(shown=2 * SHOWN[1], part="soft"):
    """A guide with the tongue in its middle, above it a row of teeth; they take the share ``shown`` of the source."""
    guide = torch.zeros(len(CHANNELS) + len(SOURCE_CHANNELS), CELLS, CELLS)
    guide[CHANNELS.index(part)][TONGUE] = 1.0
    guide[CHANNELS.index("teeth"), 14:24, 20:44] = 1.0
    guide[len(CHANNELS) + SOURCE_CHANNELS.index(CHANNELS.index("teeth"))] = shown
    return guide


def lit(brightness=1.0):
    """A frame of which the inside of the mouth has so much of the brightness of the rest."""
    frame = torch.full((3, 2 * CELLS, 2 * CELLS), 0.6)
    frame[:, 28:96, 40:88] *= brightness
    return frame


def plain(*colour):
    return np.tile(np.array(colour, np.float32), (2 * CELLS, 2 * CELLS, 1))


@pytest.mark.parametrize("part", ["soft", "socket"])
def test_the_inside_turns_no_paler_than_it_may_and_the_rest_as_pale_as_it_likes(part):
    held = kept_dark(plain(0.4, 0.4, 0.4), guide_of(part=part), lit())
    assert held[56:88, 48:80] == pytest.approx(np.full((32, 32, 3), PALER), abs=1e-6)
    outside = np.ones((2 * CELLS, 2 * CELLS), bool)
    outside[47:97, 39:89] = False  # half a cell is interpolated
    assert (held[outside] == np.float32(0.4)).all()
    down = held[40:64, 64, 0]
    # From the teeth to the tongue it fades over two cells or so.
    assert (np.diff(down) < 1e-6).all() and 3 <= ((down > PALER + 1e-4) & (down < 0.3999)).sum() <= 6


@pytest.mark.parametrize(
    "colour",
    [(0.3, 0.22, 0.22), (-0.2, -0.2, -0.2), (-0.2, -0.25, -0.2), (PALER - 1e-3,) * 3],
    ids=["redder", "darker", "darker and redder", "a little paler"],
)
def test_what_does_not_turn_pale_is_left_alone(colour):
    change = plain(*colour)
    assert kept_dark(change, guide_of(), lit()) is change


def test_what_loses_its_red_is_held_though_it_is_no_brighter():
    held = kept_dark(plain(-0.1, 0.05, 0.05), guide_of(), lit())
    # Paler by four times .15, of which `PALER` is allowed.
    assert held[72, 64] == pytest.approx(np.array([-0.1, 0.05, 0.05]) * PALER / 0.6, abs=1e-6)


def test_the_bound_comes_with_the_teeth_that_the_source_shows():
    change = plain(0.4, 0.4, 0.4)
    assert kept_dark(change, guide_of(shown=SHOWN[0]), lit()) is change
    half = kept_dark(change, guide_of(shown=sum(SHOWN) / 2.0), lit())
    assert half[72, 64, 1] == pytest.approx((0.4 + PALER) / 2.0, abs=1e-5)


def test_the_bound_comes_with_the_width_of_the_opening():
    change, guide = plain(0.4, 0.4, 0.4), guide_of()
    tongue = guide[CHANNELS.index("soft")]
    tongue *= WIDE[0] / tongue.mean()  # as small, spread thinly
    assert kept_dark(change, guide, lit()) is change
    tongue[:] = 0.0
    tongue[26:36, 26:38] = 1.0
    tongue[0, :4] = (sum(WIDE) / 2.0 * CELLS**2 - tongue.sum()) / 4.0  # far away, so that it is half way exactly
    assert kept_dark(change, guide, lit())[62, 64, 1] == pytest.approx((0.4 + PALER) / 2.0, abs=1e-5)


def test_teeth_in_the_shade_stay_there_and_lit_ones_turn_as_pale_as_they_like():
    change, teeth = plain(0.4, 0.4, 0.4), np.s_[34:42, 48:80]
    assert kept_dark(change, guide_of(), lit(SHADE[0]))[teeth] == pytest.approx(np.full((8, 32, 3), PALER), abs=1e-6)
    assert (kept_dark(change, guide_of(), lit(SHADE[1]))[teeth] == np.float32(0.4)).all()
    half = kept_dark(change, guide_of(), lit(sum(SHADE) / 2.0))[teeth]
    # Half of it counts as inside, which the rim's margin (2x - 1) leaves nothing of.
    assert half == pytest.approx(np.full((8, 32, 3), 0.4), abs=1e-5)


def test_single_pixels_may_turn_as_pale_as_they_like():
    change = plain(0.0, 0.0, 0.0)
    change[::2, ::2], change[1::2, 1::2] = 0.6, -0.6
    assert kept_dark(change, guide_of(), lit()) is change


def test_a_mirror_shows_the_mirrored_change():
    change = np.random.default_rng(0).uniform(-0.2, 0.6, (2 * CELLS, 2 * CELLS, 3)).astype(np.float32)
    mirrored = kept_dark(np.ascontiguousarray(change[:, ::-1]), guide_of().flip(-1), lit().flip(-1))
    assert mirrored[:, ::-1] == pytest.approx(kept_dark(change, guide_of(), lit()), abs=1e-6)


SMILE = {"jawOpen": 0.15, "mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "mouthUpperUpLeft": 0.5,
         "mouthUpperUpRight": 0.5}  # fmt: skip


@pytest.fixture(scope="module", params=[SMILE, {}], ids=["smile", "shut"])
def opened(request):
    """A head whose source smiles with its teeth, or is shut, opened wide."""
    head = model_head(**request.param)
    beta = expression(**(request.param | {"jawOpen": 0.8}))
    return head, HeadGuide(head.model, head.points.fit), beta, bool(request.param)


def test_the_bound_knows_from_a_head_whether_its_source_shows_teeth_and_where_its_tongue_is(opened):
    head, guide, beta, smiles = opened
    driven, blank = guide.driven(beta, torch.zeros(4), guide.fit.camera), np.zeros((512, 512, 3), np.float32)
    to_patch = alignment(MOUTH, guide, driven)
    patch = cut(MOUTH, guide, driven, to_patch, blank, cut_source(MOUTH, guide, blank, 2))
    held = kept_dark(plain(0.4, 0.4, 0.4), patch.guide, lit())[..., 0] < 0.1
    lips = driven.landmarks[[13, 14], :2].double().numpy() @ to_patch[:, :2].T + to_patch[:, 2]
    x, y = lips.mean(axis=0).astype(int)  # between the lips' middles
    assert held.any() == held[y, x] == smiles
    assert not held[: int(lips[0, 1])].any() and not held[int(lips[1, 1]) + 1 :].any()


@pytest.mark.parametrize("plainly", [False, True], ids=["compiled", "plain"])
def test_frames_keep_the_inside_dark_where_the_source_smiles(opened, plainly):
    head, guide, beta, smiles = opened
    mouth = small_networks().mouth
    torch.nn.init.constant_(mouth.unet.fine_out.bias[1:], 0.4)  # everything in the patch turns paler by that much
    refiner = Refiner(Networks(mouth=mouth), head.portrait.crop, guide.fit, head.model, plain=plainly,
                      precision=torch.float32)  # fmt: skip
    dark = torch.full((3, 512, 512), 0.2)
    frame = refiner(dark, torch.ones(1, 512, 512), dark, beta, torch.zeros(4), guide.fit.camera)
    upper, lower = guide.driven(beta, torch.zeros(4), guide.fit.camera).landmarks[[13, 14], :2]
    x, y = ((upper + lower) / 2.0).int().tolist()
    assert frame[:, y, x].numpy() == pytest.approx(0.2 + (PALER if smiles else 0.4), abs=0.01)
    skin = int(2.0 * lower[1] - y)  # as far below the lower lip as that is below the middle
    assert frame[:, skin, x].numpy() == pytest.approx(0.6, abs=0.01 + 0.1 * GRAIN)
