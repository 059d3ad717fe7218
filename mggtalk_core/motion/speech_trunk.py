"""Sounds of speech as a network of much more speech hears them: the lower part of Google's speech embedding.

It was trained to tell spoken words apart, by very many voices; what is kept here is everything below its last pooling,
and it is not trained further.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .mel import BANDS, SCALE

TRUNK_BANDS = 32
CHANNELS = (24, *(24,) * 2, *(48,) * 4, *(72,) * 4, *(96,) * 8)
"""Of each convolution. The first sees three frames of three bands, the others in turn three bands and three frames."""
POOLED: dict[int, tuple[int, int]] = {2: (2, 2), 6: (1, 2), 10: (2, 2), 14: (1, 2)}
"""Frames and bands that are taken together after a convolution."""
MIDDLE = 14
"""Convolution whose pooled output is heard besides the last one's: it has heard less time and is surer of it."""
HEARD = 2 * 2 * CHANNELS[-1]
"""Numbers a step: channels in two bands of the middle and of the last convolution."""
TRUNK_REACH = 7
"""Steps of 40 ms on either side of a step that what is heard there depends on."""
_SKIPPED = 2  # frames: the reach in frames, 26, is not a whole number of steps
_LATER = 2  # steps that the middle convolution has more in front
_FLATTENED, _LEAST = 0.2, -0.4
_VOICE = 5.6
"""What the loud part of a voice has in a band, decimal logarithm of 16-bit samples' power; the trunk adds 2."""


class SpeechTrunk(nn.Module):
    """Convolutions over frames and bands with nothing beyond the ends of time, so chunks give what the whole gives."""

    def __init__(self) -> None:
        super().__init__()
        inputs = (1, *CHANNELS)
        shapes = [(3, 3)] + [(1, 3) if place % 2 else (3, 1) for place in range(1, len(CHANNELS))]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, shape, padding=(0, shape[1] // 2))
            for before, after, shape in zip(inputs, CHANNELS, shapes, strict=False)
        )
        self.register_buffer("bands", torch.zeros(TRUNK_BANDS, BANDS))
        """What a band of the trunk takes from each band of `log_mel`, see `trunk_bands`."""
        self.to(memory_format=torch.channels_last)  # twice as fast on a CPU

    @torch.no_grad()
    def forward(self, mel: Float[Tensor, "batch 80 mels"]) -> Float[Tensor, "batch heard steps"]:
        """Return what is heard in mels / 4 - 2 `TRUNK_REACH` steps of a normalised spectrum."""
        power = torch.exp(SCALE * mel[:, :, _SKIPPED:].transpose(1, 2)) @ self.bands.T
        x = (torch.log(power + 1e-9) / math.log(10.0) + (_VOICE + 2.0))[:, None]
        x, middle = x.contiguous(memory_format=torch.channels_last), None
        for place, convolution in enumerate(self.convolutions):
            x = convolution(x)
            if place in POOLED:
                x = F.max_pool2d(x, POOLED[place])  # before the activation, which keeps the order: the same, sooner
            x = F.leaky_relu_(x, _FLATTENED).clamp_min_(_LEAST)
            if place == MIDDLE:
                middle = x
        steps = x.shape[2]
        return torch.cat((_flat(middle[:, :, _LATER : _LATER + steps]), _flat(x)), dim=1)


def _flat(x: Float[Tensor, "batch channels steps bands"]) -> Float[Tensor, "batch kinds steps"]:
    return x.transpose(2, 3).flatten(1, 2)
