"""The head over the torso-background layer: identities, pinholes, and the torso that follows."""

import math

import pytest
import torch

from mggtalk_core.errors import InputError
from mggtalk_core.head.camera import Camera
from mggtalk_core.motion.torso import HELD, follow_weight, neck_in, torso_shift
from mggtalk_core.portrait.parsing import Label
from mggtalk_core.portrait.portrait import Portrait
from mggtalk_core.render.composite import Compositor
from mggtalk_core.render.pinholes import fill_pinholes, push_pull
from mggtalk_core.render.rendering import Rendering

UPRIGHT = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
AT_REST = Camera.for_crop(512).posed(UPRIGHT, torch.tensor([0.0, 0.0, 14.0]))


def smooth(*shape: int, seed: int = 0) -> torch.Tensor:
    """A smooth random picture in 0..1."""
    noise = torch.rand(1, shape[0], 20, 20, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, shape[1:], mode="bicubic")[0].clamp(0.0, 1.0)


def disc(x: float, y: float, radius: float, soft: float = 3.0) -> torch.Tensor:
    """Soft disc [1,512,512]."""
    p = torch.arange(512) + 0.5
    return ((radius - torch.hypot(p - x, p[:, None] - y)) / soft + 0.5).clamp(0.0, 1.0)[None]


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    crop, matte = smooth(3, 512, 512), disc(256, 220, 120)
    labels = torch.zeros(512, 512, dtype=torch.uint8)
    labels[380:, 60:450] = 4
    layer = smooth(3, 512, 512, seed=1)
    transform = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    return Portrait(crop, crop, transform, matte, layer, labels, torch.zeros(478, 3), torch.zeros(52), 1.0)


def composite(portrait, head, camera, torso="hold"):
    return Compositor(portrait, AT_REST, torso=torso)(head, camera)


def rendering(alpha: torch.Tensor, seed: int = 2) -> Rendering:
    return Rendering(smooth(3, 512, 512, seed=seed) * alpha, alpha, alpha * 14.0)


def test_without_a_head_the_layer_is_exact(portrait):
    result = composite(portrait, rendering(torch.zeros(1, 512, 512)), AT_REST)
    assert torch.equal(result, portrait.background)


def test_an_opaque_head_is_exact(portrait):
    head = rendering(torch.ones(1, 512, 512))
    assert torch.equal(composite(portrait, head, AT_REST), head.rgb)


@pytest.mark.parametrize("torso", ["hold", "follow"])
def test_a_soft_disc_is_blended_over_the_layer(portrait, torso):
    head = rendering(disc(256, 220, 120, soft=30.0))
    result = composite(portrait, head, AT_REST, torso)
    # At rest a layer that follows has not moved.
    assert torch.allclose(result, head.rgb + (1 - head.alpha) * portrait.background, atol=1e-6)


def test_unknown_torso_mode(portrait):
    with pytest.raises(InputError, match='"wobble": choose hold or follow'):
        Compositor(portrait, AT_REST, torso="wobble")


def test_pinholes_take_the_color_around_them():
    solid = disc(256, 220, 120)
    holes = torch.zeros_like(solid)
    for x, y, width in ((250, 200, 1), (200, 230, 3), (300, 180, 6)):
        holes[:, y : y + width, x : x + width] = 1.0
    color = torch.tensor([0.7, 0.4, 0.2])[:, None, None]
    alpha = solid * (1 - holes)
    rgb, filled = fill_pinholes(Rendering(color * alpha, alpha, alpha))
    assert torch.allclose(filled, solid, atol=2 / 255)
    assert torch.allclose(rgb, color * filled, atol=1e-3)


def test_pinholes_of_a_float64_rendering():
    alpha = disc(256, 220, 120).double()
    alpha[:, 200:203, 250:253] = 0.0
    rgb, filled = fill_pinholes(Rendering(0.5 * alpha.expand(3, -1, -1), alpha, alpha))
    assert rgb.dtype == torch.float64 and filled[0, 201, 251] > 0.99
    assert rgb[0, 201, 251] == pytest.approx(0.5, abs=1e-3)


def test_partly_transparent_dips_are_filled():
    solid = disc(256, 220, 120)
    alpha = solid.clone()
    alpha[:, 210:213, 240:260] = 0.7
    rgb, filled = fill_pinholes(Rendering(0.5 * alpha.expand(3, -1, -1), alpha, alpha))
    assert torch.allclose(filled, solid, atol=2 / 255) and torch.allclose(rgb[:1], 0.5 * filled, atol=1e-3)


@pytest.mark.parametrize("case", ["soft disc", "strands", "wide opening", "neck", "cut by the border", "empty"])
def test_what_is_no_pinhole_is_left_alone(case):
    alpha = disc(256, 220, 120, soft=8.0)
    if case == "strands":
        alpha = alpha.clone()
        alpha[:, :130, 200:300:4] = 0.0  # gaps that open to the outside
    elif case == "wide opening":
        alpha = alpha * (1 - disc(256, 220, 30))
    elif case == "neck":
        alpha = alpha * (1 - ((torch.arange(512) - 240) / 60).clamp(0.0, 1.0))[None, :, None]
    elif case == "cut by the border":
        alpha = disc(256, 500, 150, soft=8.0)
    elif case == "empty":
        alpha = torch.zeros(1, 512, 512)
    head = rendering(alpha)
    rgb, filled = fill_pinholes(head)
    # Closing rounds corners of a wide opening's soft rim by less than two grey levels.
    assert (filled - alpha).abs().max() <= 2 / 255
    assert (rgb - head.rgb).abs().max() <= 2 / 255


def test_push_pull_keeps_what_is_known_and_spreads_it():
    import numpy as np

    picture = np.zeros((37, 52, 4), np.float32)
    picture[10:20, 10:30] = (0.2, 0.6, 0.4, 1.0)
    spread = push_pull(picture, 5)
    assert np.allclose(spread[10:20, 10:30], (0.2, 0.6, 0.4), atol=1e-6)
    assert np.allclose(spread, (0.2, 0.6, 0.4), atol=1e-3)


def test_pinholes_are_filled_as_push_pull_fills_the_whole_picture():
    alpha = disc(256, 220, 120)
    for x, y, width in ((250, 200, 1), (201, 231, 3), (300, 180, 6), (320, 260, 8)):
        alpha[:, y : y + width, x : x + width] *= 0.3
    head = rendering(alpha)
    rgb, filled = fill_pinholes(head)
    whole = push_pull(torch.cat((head.rgb, alpha)).permute(1, 2, 0).contiguous().numpy(), 4)
    assert ((filled - alpha) > 0.5).sum() > 80
    assert torch.allclose(rgb, head.rgb + torch.from_numpy(whole).permute(2, 0, 1) * (filled - alpha), atol=1e-6)


def moved(x: float = 0.0, y: float = 0.0, roll: float = 0.0) -> Camera:
    c, s = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    turn = torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    return AT_REST.posed(turn @ UPRIGHT, torch.tensor([x, y, 14.0]))


def test_the_torso_is_tied_to_the_neck():
    assert neck_in(AT_REST) == pytest.approx((256.0, 256.0 + 1400 * 1.5 / 14.8), abs=1e-3)


@pytest.mark.parametrize(("x", "y"), [(0.002, 0.0), (0.05, -0.02), (0.2, -0.1), (0.0, 0.6)])
def test_the_torso_holds_back_at_first_and_never_leaps(x, y):
    """Of a small step hardly anything, of `HELD` pixels half, of a large one up to the soft limit of 64."""
    across, down = torso_shift(AT_REST, moved(x=x, y=y))
    length = 1400 * math.hypot(x, y) / 14.8
    kept = 64.0 * math.tanh(length / 64.0)
    assert math.hypot(across, down) == pytest.approx(kept * kept**2 / (kept**2 + HELD**2), rel=1e-3)
    assert across * y == pytest.approx(down * x, abs=1e-4)  # in the neck's own direction


def test_a_torso_that_has_not_moved_stays():
    assert torso_shift(AT_REST, AT_REST) == (0.0, 0.0)


def test_hair_on_the_shoulders_belongs_to_the_torso_and_hair_above_them_does_not():
    _, row = neck_in(AT_REST)
    labels = torch.full((512, 512), int(Label.HAIR), dtype=torch.uint8)
    body = torch.full((512, 512), int(Label.CLOTHES), dtype=torch.uint8)
    hair, clothes = (follow_weight(each, AT_REST) for each in (labels, body))
    below, above = int(row) + 50, int(row) - 200
    assert hair[below, 150] == pytest.approx(clothes[below, 150], abs=0.02) and hair[below, 150] > 0.4
    assert hair[above, 150] < 0.01 < clothes[above, 150]


@pytest.mark.parametrize("camera", [moved(x=0.3), moved(y=-0.3), moved(roll=20.0), moved(x=5.0, y=5.0)])
def test_a_following_torso_opens_no_border(portrait, camera):
    empty = rendering(torch.zeros(1, 512, 512))
    held = composite(portrait, empty, camera)
    followed = composite(portrait, empty, camera, "follow")
    assert torch.equal(held, portrait.background)
    for edge in ((slice(None), 0), (slice(None), -1), (slice(None), slice(None), 0), (slice(None), slice(None), -1)):
        assert torch.allclose(followed[edge], held[edge], atol=1e-6)
    assert not torch.allclose(followed, held, atol=0.01)
    # Far from body and neck, the background stands still.
    assert torch.allclose(followed[:, :100], held[:, :100], atol=1e-3)


def test_a_following_torso_takes_the_neck_along(portrait):
    empty = rendering(torch.zeros(1, 512, 512))
    camera = moved(x=0.3)
    (x, y), (shift, _) = neck_in(AT_REST), torso_shift(AT_REST, camera)
    followed = composite(portrait, empty, camera, "follow")
    column, row, step = round(x + shift), round(y), round(shift)
    assert step > 20
    # The content of the neck has moved by the torso's displacement, to a fifth of it.
    patch = followed[:, row - 4 : row + 4, column - 4 : column + 4]
    errors = [
        (patch - portrait.background[:, row - 4 : row + 4, column - 4 - d : column + 4 - d]).abs().mean()
        for d in range(40)
    ]
    assert abs(int(torch.tensor(errors).argmin()) - step) <= max(2, 0.2 * step)
