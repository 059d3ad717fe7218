"""Convolutions with few output channels, computed several pixels at a time: the same sums in less time.

A processor works out the channels of one pixel side by side, as many as its vectors hold. Where there are but 4 or 8,
most of a vector is idle: so neighbours in a row are taken as one pixel with all of their channels. In memory, channels
last, that is the same picture.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad


class NarrowConv(nn.Module):
    """A convolution of few output channels that takes several neighbours of a row at once."""

    def __init__(self, conv: nn.Conv2d, pixels: int) -> None:
        """Repack the weights of ``conv``; the width of its output must be a multiple of ``pixels``."""
        super().__init__()
        step = conv.stride[1]
        spare = (pixels - 1) * step
        shifted = [pad(conv.weight, (i * step, spare - i * step)) for i in range(pixels)]
        self.register_buffer("weight", torch.cat(shifted).contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", conv.bias.repeat(pixels))
        self._channels, self._padding, self._stride = conv.out_channels, conv.padding, (conv.stride[0], step * pixels)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o h2 w2"]:
        """Return what the convolution returns, channels last."""
        wide = conv2d(x, self.weight, self.bias, self._stride, self._padding).permute(0, 2, 3, 1).contiguous()
        return wide.view(*wide.shape[:2], -1, self._channels).permute(0, 3, 1, 2)


def vector_lanes() -> int:
    """Return how many channels are computed at the price of one: those of a vector of AVX-512, in single precision.

    1 on other processors: what narrower vectors gain is little, and was not measured.
    """
    return 16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 1


def narrowed(network: nn.Module, lanes: int) -> nn.Module:
    """Put `NarrowConv` where half the lanes were idle, in place; return the network, which can no longer learn."""
    for name, child in network.named_children():
        if isinstance(child, nn.Conv2d) and child.kernel_size[1] > 1 and 2 * child.out_channels <= lanes:
            setattr(network, name, NarrowConv(child, lanes // child.out_channels))
        else:
            narrowed(child, lanes)
    return network
