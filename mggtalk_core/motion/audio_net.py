"""The mouth net: log-mel spectra in, mouth and jaw out. A whole network on one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .mel import BANDS, MEL_RATE, silence_frame
from .speech_trunk import HEARD, TRUNK_REACH, SpeechTrunk

STRIDE = 4
"""Spectra that are taken together: what the net computes is 25 steps a second."""
PHASES = 2
"""Frames that come out of each step."""
NET_RATE = MEL_RATE * PHASES // STRIDE
"""Frames per second that come out; frame i is centred at (i + 0.5) / 50 s."""
LARGEST_LOSS = 0.2
"""Share of what the trunk hears that is dropped in training at most."""
CHUNK = 750
"""Steps computed at once (30 s)."""


@dataclass(frozen=True)
class MouthNetConfig:
    """Sizes of the net."""

    channels: int = 96
    kernel: int = 3
    dilations: tuple[int, ...] = (1, 2, 4, 2, 1)
    members: int = 1
    """Nets that hear the spectrum."""
    listeners: int = 0
    """Nets that hear what the trunk, a part that all of them share, makes of the spectrum; all outputs are averaged."""
    listening: tuple[int, ...] = (1, 2)
    """Dilations of these."""
    outputs: tuple[str, ...] = ()
    """Blendshapes that come out, and what else does."""

    @property
    def reach(self) -> int:
        """Steps (1/25 s) on either side of a step that it depends on; also the look-ahead of a stream."""
        spectrum = sum(self.dilations) if self.members else 0
        trunk = sum(self.listening) if self.listeners else 0
        return max(spectrum * (self.kernel // 2), trunk * (self.kernel // 2) + TRUNK_REACH * (self.listeners > 0))


class Block(nn.Module):
    """x + pointwise(gelu(norm(dilated(x)))): only frames with their whole surroundings come out."""

    def __init__(self, channels: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.margin = dilation * (kernel // 2)
        self.dilated = nn.Conv1d(channels, channels, kernel, dilation=dilation)
        self.norm = nn.LayerNorm(channels)  # over the channels of each frame alone: chunks are exact
        self.pointwise = nn.Conv1d(channels, channels, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "batch channels time"]) -> Float[Tensor, "batch channels shorter"]:
        """Return the frames that have all of their surroundings."""
        y = self.norm(self.dilated(x).transpose(1, 2)).transpose(1, 2)
        return x[:, :, self.margin : -self.margin] + self.dropout(self.pointwise(F.gelu(y)))


class Member(nn.Module):
    """Dilated convolutions over log-mel frames."""

    def __init__(self, config: MouthNetConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.stem = nn.Conv1d(BANDS, config.channels, STRIDE, stride=STRIDE)
        self.blocks = nn.Sequential(*(Block(config.channels, config.kernel, d, dropout) for d in config.dilations))
        self.head = nn.Conv1d(config.channels, PHASES * len(config.outputs), 1)

    def forward(self, mel: Float[Tensor, "batch 80 mels"]) -> Float[Tensor, "batch outputs frames"]:
        """Return the frames of mels / 4 - 2 reach steps: the surroundings are given with the spectrum."""
        return _frames(self.head(self.blocks(F.gelu(self.stem(mel)))))


class Listener(nn.Module):
    """Dilated convolutions over what the trunk hears."""

    def __init__(self, config: MouthNetConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(HEARD)
        self.dropout = nn.Dropout1d(min(dropout, LARGEST_LOSS))
        self.stem = nn.Conv1d(HEARD, config.channels, 1)
        self.blocks = nn.Sequential(*(Block(config.channels, config.kernel, d, dropout) for d in config.listening))
        self.head = nn.Conv1d(config.channels, PHASES * len(config.outputs), 1)

    def forward(self, heard: Float[Tensor, "batch heard steps"]) -> Float[Tensor, "batch outputs frames"]:
        """Return the frames of the steps that have all of their surroundings."""
        heard = self.dropout(self.norm(heard.transpose(1, 2)).transpose(1, 2))
        return _frames(self.head(self.blocks(F.gelu(self.stem(heard)))))


def _frames(steps: Float[Tensor, "batch phases_outputs steps"]) -> Float[Tensor, "batch outputs frames"]:
    """Return the frames of each step one after the other."""
    batch, _, count = steps.shape
    return steps.view(batch, PHASES, -1, count).permute(0, 2, 3, 1).reshape(batch, -1, count * PHASES)


def _inner(mel: Float[Tensor, "batch 80 mels"], spare: int) -> Float[Tensor, "batch 80 fewer"]:
    """Return a spectrum less so many steps on either side."""
    return mel[:, :, STRIDE * spare : mel.shape[2] - STRIDE * spare]


class MouthNet(nn.Module):
    """The mean of a few nets; an output depends on `MouthNetConfig.reach` steps on either side."""

    def __init__(self, config: MouthNetConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.members = nn.ModuleList(Member(config, dropout) for _ in range(config.members))
        self.trunk = SpeechTrunk() if config.listeners else None
        self.listeners = nn.ModuleList(Listener(config, dropout) for _ in range(config.listeners))

    def forward(self, mel: Float[Tensor, "batch 80 mels"]) -> Float[Tensor, "batch outputs frames"]:
        """Return the frames of mels / 4 - 2 reach steps: the surroundings are given with the spectrum."""
        reach, said = self.config.reach, []
        if self.members:
            near = _inner(mel, reach - replace(self.config, listeners=0).reach)
            said += [member(near) for member in self.members]
        if self.trunk is not None:
            heard = self.trunk(_inner(mel, reach - replace(self.config, members=0).reach))
            said += [listener(heard) for listener in self.listeners]
        return sum(said) / len(said)


def together(nets: Sequence[MouthNet]) -> MouthNet:
    """Return one net that averages the outputs of several of the same sizes; those with a trunk have the same."""
    members = [member for net in nets for member in net.members]
    listeners = [listener for net in nets for listener in net.listeners]
    joined = MouthNet(replace(nets[0].config, members=len(members), listeners=len(listeners)))
    for place, part in zip((*joined.members, *joined.listeners), (*members, *listeners), strict=True):
        place.load_state_dict(part.state_dict())
    if joined.trunk is not None:
        joined.trunk.load_state_dict(next(net.trunk for net in nets if net.trunk is not None).state_dict())
    return joined.eval().requires_grad_(False)


def surrounded(mel: Float[np.ndarray, "mels 80"], reach: int) -> Float[Tensor, "1 80 more"]:
    """Return a normalised spectrum with silence on either side, as the net wants it: of whole steps."""
    before = np.tile(silence_frame(), (STRIDE * reach, 1))
    after = np.tile(silence_frame(), (STRIDE * reach + -len(mel) % STRIDE, 1))
    return torch.from_numpy(np.concatenate((before, mel, after)).T.copy())[None]


@torch.inference_mode()
def run_net(net: MouthNet, mel: Float[np.ndarray, "mels 80"]) -> Float[np.ndarray, "frames outputs"]:
    """Return the outputs at `NET_RATE` for a normalised spectrum of any length.

    It is computed in chunks, each with the surroundings that its frames depend on: the same as in one go.
    """
    reach = net.config.reach
    whole = surrounded(mel, reach)
    steps = whole.shape[2] // STRIDE - 2 * reach
    parts = [
        net(whole[:, :, STRIDE * start : STRIDE * (min(start + CHUNK, steps) + 2 * reach)])[0].T
        for start in range(0, steps, CHUNK)
    ]
    return torch.cat(parts).numpy()
