"""The part of a frame that the network of the whole crop looks at."""

import pytest
import torch

from mggtalk_core.render.inpaint.guide import whole_guide
from mggtalk_core.render.inpaint.inpainter import mended_window, surroundings
from mggtalk_core.render.inpaint.networks import load_networks
from mggtalk_core.render.inpaint.unet import WHOLE, InpaintConfig
from tests.inpaint_samples import frame_of, pair_of, scene


def head_at(x, y, radius, size=512):
    """A soft disc of coverage."""
    ticks = torch.arange(size) + 0.5
    return ((radius - torch.hypot(ticks - x, ticks[:, None] - y)) / 3.0 + 0.5).clamp(0.0, 1.0)[None]


@pytest.mark.parametrize(
    ("x", "y", "radius"), [(256, 256, 60), (200, 300, 20), (100, 500, 90), (0, 0, 30), (256, 256, 400)]
)
def test_it_holds_all_that_may_be_mended_on_the_networks_grid(x, y, radius):
    alpha = head_at(x, y, radius)
    window = mended_window(alpha, 64)
    assert all(edge % 64 == 0 for part in window for edge in (part.start, part.stop))
    share = surroundings(alpha[None])[0, 0]
    inside = torch.zeros_like(share)
    inside[window] = 1.0
    assert not (share * (1.0 - inside)).any() and (share * inside).max() == 1.0
    assert torch.equal(surroundings(alpha[None, :, *window])[0, 0], share[window])  # told of the window alone


def test_it_is_no_larger_than_it_must_be():
    """52 pixels around the head, up to the next multiple of 64."""
    assert mended_window(head_at(256, 256, 70), 64) == (slice(128, 384), slice(128, 384))
    assert mended_window(head_at(256, 256, 80), 64) == (slice(64, 448), slice(64, 448))


def test_without_a_head_there_is_none():
    assert mended_window(torch.zeros(1, 512, 512), 64) is None


def test_the_grid_is_that_of_the_coarsest_level():
    assert WHOLE.grid == 64 and InpaintConfig(3, 1, stem=2, widths=(4, 8)).grid == 4


def test_the_network_tells_the_same_of_the_window_as_of_the_whole():
    """Of the weights that ship: what lies beyond the window weighs less than half a grey level in its middle."""
    turned = scene(jawOpen=0.5)
    pair = pair_of(turned)
    composite, alpha, layer, *_ = frame_of(turned, pair)
    alpha = alpha * head_at(256, 200, 150)
    composite = layer + alpha * (composite - layer)
    network = load_networks().whole
    guide, window = whole_guide(turned.guide, turned.driven, alpha, 4), mended_window(alpha, network.config.grid)
    quarter = tuple(slice(part.start // 4, part.stop // 4) for part in window)
    corner = torch.tensor([[float(window[1].start), float(window[0].start)]])
    source = pair.source[None].float() / 255
    with torch.inference_mode():
        whole = network(composite[None], alpha[None], layer[None], source, guide[None])[0]
        part = network(
            *(each[None, :, *window] for each in (composite, alpha, layer)), source, guide[None, :, *quarter], corner
        )[0]
    assert window != (slice(0, 512), slice(0, 512))
    assert (whole - composite).abs().max() > 0.02
    assert (whole[:, *window] - part).abs().max() < 0.5 / 255
