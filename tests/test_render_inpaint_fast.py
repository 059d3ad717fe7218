"""The inpainter's compiled loops give what the plain networks give."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from mggtalk_core.head.zbuffer import interpolate, rasterize_mesh
from mggtalk_core.render.inpaint.fast import patch_changes
from mggtalk_core.render.inpaint.guide import draw
from mggtalk_core.render.inpaint.kernels import assemble, correct, finish
from mggtalk_core.render.inpaint.networks import Networks
from mggtalk_core.render.inpaint.patches import LEFT_EYE, RIGHT_EYE
from mggtalk_core.render.inpaint.refine import border_window
from mggtalk_core.render.inpaint.unet import Correction, Veil, apply_correction, enlarged, look_up
from tests.inpaint_samples import frame_of, pair_of, patch_of, pictures, refiner_of, scene, small_networks


@pytest.fixture(scope="module")
def turned():
    return scene(jawOpen=0.5, eyeBlinkLeft=0.5)


@pytest.fixture(scope="module")
def pair(turned):
    return pair_of(turned)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rows(values):
    """[1, C, H, W] as the kernels take it."""
    return values[0].permute(1, 2, 0).contiguous().numpy()


@pytest.mark.parametrize("parts", [("whole", "eyes", "mouth"), ("whole",), ("eyes", "mouth")], ids=" ".join)
def test_frames_are_those_of_the_plain_networks(turned, pair, parts):
    networks = Networks(**{part: getattr(small_networks(seed=3), part) for part in parts})
    frame = frame_of(turned, pair)
    fast, plain = (
        refiner_of(turned, networks, precision=torch.float32, plain=plain)(*frame) for plain in (False, True)
    )
    assert (plain - frame[0]).abs().max() > 0.05
    # Single precision, summed in another order; a place in a picture of 512 pixels is known to 3e-5 pixels.
    assert (fast - plain).abs().max() < 2e-4 and (fast - plain).abs().mean() < 1e-6


def test_half_precision_costs_no_more_than_in_the_plain_networks(turned, pair):
    frame, networks = frame_of(turned, pair), small_networks(seed=3)
    exact = refiner_of(turned, networks, precision=torch.float32, plain=True)(*frame)
    fast, plain = (refiner_of(turned, networks, precision=torch.bfloat16, plain=each)(*frame) for each in (False, True))
    assert 0.0 < (fast - exact).abs().mean() <= 1.05 * (plain - exact).abs().mean()


def test_a_head_that_is_nowhere_leaves_the_frame_alone(turned, pair):
    composite, alpha, *rest = frame_of(turned, pair)
    refiner = refiner_of(turned, Networks(whole=small_networks(seed=3).whole))
    refiner(composite, alpha, *rest)  # what it leaves behind in memory must not show
    assert torch.equal(refiner(composite, torch.zeros_like(alpha), *rest), composite)


CORNERS = [(0, 0), (24, 8)]


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("grids", [(16, 32, 16, 4), (64, 64, 1, 1), (7, 21, 3, 5)])
def test_a_correction_is_applied_as_the_plain_one(grids, corner):
    size, (coarse, fine, near, share) = 64, grids
    composite, source, layer = (pictures(seed, edge)[None] for seed, edge in ((1, size), (2, 128), (3, size)))
    flow = 30.0 * noise(1, 4, coarse, coarse)  # far beyond the border too
    details = noise(1, 4, fine, fine, seed=1)
    veil = (noise(1, 1, near, near, seed=2) + 0.5).clamp(0.0, 1.0)
    part = (noise(1, 1, share, share, seed=3) + 0.5).clamp(0.0, 1.0)
    correction = Correction(flow, details[:, :1], details[:, 1:])
    hidden = Veil(layer, enlarged(veil, size, size))
    base = torch.zeros(1, 2, coarse, coarse)
    plain = apply_correction(correction, composite, source, base, torch.tensor([corner]), hidden) - composite
    change = np.empty((size, size, 3), np.float32)
    maps = (rows(each) for each in (veil, part, flow, details))
    correct(rows(composite), rows(source), corner, layer[0].numpy(), *maps, change)
    assert np.abs(change - rows(plain * enlarged(part, size, size))).max() < 1e-4


@pytest.mark.parametrize("corner", CORNERS)
def test_what_the_network_sees_is_put_together_as_by_torch(corner):
    size = 64
    composite, source, layer = (pictures(seed, edge)[None] for seed, edge in ((1, size), (2, 128), (3, size)))
    alpha = pictures(4, size)[None, :1]
    flow, near = 20.0 * noise(1, 2, 16, 16), (noise(1, 1, 16, 16, seed=2) + 0.5).clamp(0.0, 1.0)
    shown = Veil(layer, enlarged(near, size, size))(look_up(source, enlarged(flow, size, size), torch.tensor([corner])))
    plain = torch.cat((composite, alpha, layer, shown), dim=1) - 0.5
    inputs = rows(composite), alpha[0, 0].numpy(), layer[0].numpy(), rows(source), corner, rows(flow), rows(near)
    single, half = np.empty((size, size * 10), np.uint32), np.empty((size, size * 10), np.uint16)
    assemble(*inputs, single)
    assemble(*inputs, half)
    values = torch.from_numpy(single.view(np.float32)).view(size, size, 10)
    assert (values.permute(2, 0, 1) - plain[0]).abs().max() < 1e-4
    assert torch.equal(torch.from_numpy(half).view(torch.bfloat16), values.view(size, -1).bfloat16())


def test_a_frame_is_finished_as_by_numpy():
    picture, change = rows(pictures(1, 96)[None]), rows(noise(1, 3, 96, 96))
    window = border_window(96)
    image = np.empty((3, 96, 96), np.float32)
    finish(picture, change, np.ascontiguousarray(window[48, :, 0]), image)
    assert np.abs(image - (picture + change * window).clip(0.0, 1.0).transpose(2, 0, 1)).max() < 1e-6


@pytest.mark.parametrize(("scale", "offset"), [(0.25, 0.0), (0.06, 4.0), (2.0, -300.0)])
def test_a_mesh_is_drawn_as_by_the_plain_rasteriser(turned, scale, offset):
    vertices, triangles = turned.driven.vertices.clone(), turned.guide.model.triangles
    vertices[:, :2] = vertices[:, :2] * scale + offset
    values = noise(len(vertices), 12)
    _, triangle, weights = rasterize_mesh(vertices, triangles, 128, 96)
    plain = interpolate(values, triangles, triangle, weights)
    drawn = draw(vertices, values, triangles, (96, 128))
    assert (triangle >= 0).float().mean() > 0.01
    assert torch.equal(drawn[0] != 0, plain[0] != 0) and (drawn - plain).abs().max() < 1e-5


@pytest.mark.parametrize("mixes", [True, False])
def test_eyes_together_are_what_they_are_alone(turned, mixes):
    network = small_networks(seed=3).eyes
    network.config = replace(network.config, mixes=mixes)
    picture = rows(pictures()[None])
    patches = [patch_of(place, turned.guide, turned.driven, picture) for place in (LEFT_EYE, RIGHT_EYE)]
    with torch.inference_mode():
        together = patch_changes(network, patches)
        for patch, change in zip(patches, together, strict=True):
            alone = network(patch.composite[None], patch.source[None], patch.guide[None])[0] - patch.composite
            assert np.abs(change - rows(alone[None])).max() < 1e-4
    assert functional.mse_loss(*(torch.from_numpy(change) for change in together)) > 1e-6
    with torch.inference_mode():
        assert np.abs(patch_changes(network, patches[::-1])[0] - together[1]).max() < 1e-5
