"""The part of a frame that the network of the whole crop looks at."""

import pytest
import torch

from mggtalk_core.render.inpaint.guide import whole_guide
from mggtalk_core.render.inpaint.inpainter import cell_of, mended_window, surroundings
from mggtalk_core.render.inpaint.networks import load_networks
from mggtalk_core.render.inpaint.unet import InpaintConfig, UNet
from tests.inpaint_samples import frame_of, pair_of, scene


def head_at(x, y, radius, size=512):
    """A soft disc of coverage."""
    ticks = torch.arange(size) + 0.5
    return ((radius - torch.hypot(ticks - x, ticks[:, None] - y)) / 3.0 + 0.5).clamp(0.0, 1.0)[None]


@pytest.mark.parametrize(
    ("x", "y", "radius"), [(256, 256, 60), (200, 300, 20), (100, 500, 90), (0, 0, 30), (256, 256, 400)]
)
def test_it_holds_all_that_may_be_mended_in_steps(x, y, radius):
    alpha = head_at(x, y, radius)
    window = mended_window(alpha)
    assert all(edge % 32 == 0 for part in window for edge in (part.start, part.stop))
    share = surroundings(alpha[None])[0, 0]
    inside = torch.zeros_like(share)
    inside[window] = 1.0
    assert not (share * (1.0 - inside)).any() and (share * inside).max() == 1.0
    assert torch.equal(surroundings(alpha[None, :, *window])[0, 0], share[window])  # told of the window alone


def test_it_is_no_larger_than_it_must_be():
    """52 pixels around the head, up to the next multiple of 32."""
    assert mended_window(head_at(256, 256, 70)) == (slice(128, 384), slice(128, 384))
    assert mended_window(head_at(256, 256, 80)) == (slice(96, 416), slice(96, 416))


def test_without_a_head_there_is_none():
    assert mended_window(torch.zeros(1, 512, 512)) is None


@pytest.mark.parametrize("left", [0, 4, 8, 12, 20, 28])
def test_a_window_tells_what_the_whole_tells_far_from_its_edges(left):
    """On every phase of the coarse levels: convolutions see 1 (fine) to 6 (coarsest) pixels around, not farther."""
    torch.manual_seed(0)
    config = InpaintConfig(pictures=3, guides=2, stem=2, widths=(4, 4, 4), fine=4)
    network = UNet(config).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    picture, guide = torch.randn(1, 3, 192, 192), torch.randn(1, 2, 96, 96)
    part = slice(2 * left, 2 * left + 120), slice(2 * left + 8, 2 * left + 128)
    cell = left + 4, left
    with torch.inference_mode():
        whole = network.corrected(picture, guide)
        seen = guide[:, :, left : left + 60, left + 4 : left + 64]
        window = network.corrected(picture[..., *part], seen, cell)
    middle = slice(24, 36), slice(24, 36)
    wanted = whole.flow[..., left : left + 60, left + 4 : left + 64]
    assert (wanted[..., *middle] - window.flow[..., *middle]).abs().max() < 1e-5
    assert wanted.std() > 0.1


def test_the_network_tells_the_same_of_the_window_as_of_the_whole():
    """Of the weights that ship: what lies beyond the window weighs less than half a grey level in its middle."""
    turned = scene(jawOpen=0.5)
    pair = pair_of(turned)
    composite, alpha, layer, *_ = frame_of(turned, pair)
    alpha = alpha * head_at(256, 200, 150)
    composite = layer + alpha * (composite - layer)
    network = load_networks().whole
    guide, window = whole_guide(turned.guide, turned.driven, alpha, 4), mended_window(alpha)
    quarter = tuple(slice(part.start // 4, part.stop // 4) for part in window)
    corner = torch.tensor([[float(window[1].start), float(window[0].start)]])
    source = pair.source[None].float() / 255
    with torch.inference_mode():
        whole = network(composite[None], alpha[None], layer[None], source, guide[None])[0]
        part = network(
            *(each[None, :, *window] for each in (composite, alpha, layer)), source, guide[None, :, *quarter],
            corner, cell_of((window[1].start, window[0].start), 4),
        )[0]  # fmt: skip
    assert window != (slice(0, 512), slice(0, 512))
    assert (whole - composite).abs().max() > 0.02
    assert (whole[:, *window] - part).abs().max() < 0.5 / 255
