"""Convolutions that take several pixels at once."""

import copy

import pytest
import torch
from torch import nn

from mggtalk_core.render.inpaint.narrow import NarrowConv, narrowed
from mggtalk_core.render.inpaint.unet import InpaintConfig, UNet


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "channels", "pixels"),
    [(3, 1, 1, 4, 4), (4, 2, 1, 8, 2), (3, 1, 1, 8, 2), (5, 3, 2, 2, 3), (3, (2, 1), (0, 1), 4, 1)],
)
def test_it_returns_what_the_convolution_returns(kernel, stride, padding, channels, pixels):
    torch.manual_seed(0)
    conv = nn.Conv2d(5, channels, kernel, stride=stride, padding=padding)
    picture = torch.randn(2, 5, 24, 36)
    with torch.inference_mode():
        wanted, made = conv(picture), NarrowConv(conv, pixels)(picture)
    assert made.shape == wanted.shape and made.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(made, wanted, atol=1e-5) and wanted.std() > 0.1


BLOCKS = {"down.0.0.first", "down.0.0.second", "up.1.0.first", "up.1.0.second"}
"""Of the middle level, whose 8 channels are few."""


def test_a_network_with_its_narrow_ones_replaced_says_the_same():
    torch.manual_seed(0)
    config = InpaintConfig(pictures=3, guides=2, stem=2, widths=(24, 8, 16), fine=8)
    network = UNet(config).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    packed = narrowed(copy.deepcopy(network), 16)
    kinds = {name for name, module in packed.named_modules() if isinstance(module, NarrowConv)}
    assert kinds == {"flow", "fine_stem", "fine_mix", "fine_out", "shrink.0"} | BLOCKS
    pictures, guide = [torch.randn(1, 3, 64, 64)], torch.randn(1, 2, 32, 32)
    with torch.inference_mode():
        plain, fast = network(pictures, guide), packed(pictures, guide)
    for part in ("flow", "blend", "residual"):
        assert torch.allclose(getattr(plain, part), getattr(fast, part), atol=1e-5), part
    assert plain.flow.std() > 0.01 and plain.residual.std() > 0.01
