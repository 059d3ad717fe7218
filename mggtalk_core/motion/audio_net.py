"""The mouth net: log-mel spectra in, mouth and jaw out. A whole network on one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..progress import OnStep, ignore_steps
from .mel import BANDS, MEL_RATE, silence_frame
from .speech_trunk import HEARD, TRUNK_AHEAD, TRUNK_PAST, SpeechTrunk

STRIDE = 4
"""Spectra that are taken together: what the net computes is 25 steps a second."""
PHASES = 2
"""Frames that come out of each step."""
NET_RATE = MEL_RATE * PHASES // STRIDE
"""Frames per second that come out; frame i is centred at (i + 0.5) / 50 s."""
LARGEST_LOSS = 0.2
"""Share of what the trunk hears that is dropped in training at most."""
WINDOW = 250
"""Steps that the trunk listens to at once (10 s), with their surroundings. All of a window is within its hearing, so
windows always begin at whole multiples of this, wherever the sound is cut."""
CHUNK = 3 * WINDOW
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
    reader: int = 0
    """How many nets a plain weighted sum of what the trunk hears counts as; 0 for none."""
    outputs: tuple[str, ...] = ()
    """Blendshapes that come out, and what else does."""

    @property
    def past(self) -> int:
        """Steps (1/25 s) before a step that have to be given with it."""
        return max(self._spectrum, TRUNK_PAST + self._listening if self.hears else 0)

    @property
    def ahead(self) -> int:
        """Steps after a step that have to be given with it: the look-ahead of a stream."""
        return max(self._spectrum, TRUNK_AHEAD + self._listening if self.hears else 0)

    @property
    def hears(self) -> bool:
        """Whether anything needs the trunk."""
        return bool(self.listeners or self.reader)

    @property
    def _spectrum(self) -> int:
        return sum(self.dilations) * (self.kernel // 2) if self.members else 0

    @property
    def _listening(self) -> int:
        return sum(self.listening) * (self.kernel // 2)


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
        self.dropout = nn.Dropout1d(min(dropout, LARGEST_LOSS))
        self.stem = nn.Conv1d(HEARD, config.channels, 1)
        self.blocks = nn.Sequential(*(Block(config.channels, config.kernel, d, dropout) for d in config.listening))
        self.head = nn.Conv1d(config.channels, PHASES * len(config.outputs), 1)

    def forward(self, heard: Float[Tensor, "batch heard steps"]) -> Float[Tensor, "batch outputs frames"]:
        """Return the frames of the steps that have all of their surroundings."""
        return _frames(self.head(self.blocks(F.gelu(self.stem(self.dropout(heard))))))


class Reader(nn.Module):
    """A weighted sum of what the trunk hears in the steps around; of all outputs but the last, shut lips."""

    def __init__(self, config: MouthNetConfig) -> None:
        super().__init__()
        steps = 2 * sum(config.listening) * (config.kernel // 2) + 1
        self.sums = nn.Conv1d(HEARD, PHASES * (len(config.outputs) - 1), steps)

    def forward(self, heard: Float[Tensor, "batch heard steps"]) -> Float[Tensor, "batch outputs frames"]:
        """Return the frames of the steps that have all of their surroundings."""
        return _frames(self.sums(heard))


def _frames(steps: Float[Tensor, "batch phases_outputs steps"]) -> Float[Tensor, "batch outputs frames"]:
    """Return the frames of each step one after the other."""
    batch, _, count = steps.shape
    return steps.view(batch, PHASES, -1, count).permute(0, 2, 3, 1).reshape(batch, -1, count * PHASES)


class MouthNet(nn.Module):
    """The mean of a few nets; see `MouthNetConfig` for the surroundings that an output depends on."""

    def __init__(self, config: MouthNetConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.members = nn.ModuleList(Member(config, dropout) for _ in range(config.members))
        self.trunk = SpeechTrunk() if config.hears else None
        self.listeners = nn.ModuleList(Listener(config, dropout) for _ in range(config.listeners))
        self.reader = Reader(config) if config.reader else None

    def forward(self, mel: Float[Tensor, "batch 80 mels"]) -> Float[Tensor, "batch outputs frames"]:
        """Return the frames of mels / 4 - past - ahead steps: the surroundings are given with the spectrum."""
        past, ahead = self.config.past, self.config.ahead
        end = mel.shape[2] - STRIDE * ahead
        total = 0.0
        if self.members:
            own = replace(self.config, listeners=0, reader=0)
            near = mel[:, :, STRIDE * (past - own.past) : end + STRIDE * own.ahead]
            total = sum(member(near) for member in self.members)
        if self.trunk is not None:
            starts = range(STRIDE * past, end, STRIDE * WINDOW)
            windows = [self._window(mel, start, min(start + STRIDE * WINDOW, end)) for start in starts]
            total = total + torch.cat(windows, dim=2)
        nets = self.config.members + self.config.listeners
        counts = torch.full((len(self.config.outputs), 1), float(nets + self.config.reader))
        counts[-1] = max(nets, 1)  # the reader says nothing of shut lips
        return total / counts

    def _window(
        self, mel: Float[Tensor, "batch 80 mels"], start: int, end: int
    ) -> Float[Tensor, "batch outputs frames"]:
        """Return the sum of what those that hear through the trunk say to the spectra from ``start`` to ``end``."""
        own = replace(self.config, members=0)
        heard = self.trunk(mel[:, :, start - STRIDE * own.past : end + STRIDE * own.ahead])
        total = sum(listener(heard) for listener in self.listeners)
        if self.reader is not None:
            total = total + self.config.reader * F.pad(self.reader(heard), (0, 0, 0, 1))
        return total


def together(nets: Sequence[MouthNet]) -> MouthNet:
    """Return one net that averages the outputs of several of the same sizes; those with a trunk have the same.

    At most one of them has a reader, and it keeps its weight.
    """
    members = [member for net in nets for member in net.members]
    listeners = [listener for net in nets for listener in net.listeners]
    readers = [net for net in nets if net.reader is not None]
    weight = readers[0].config.reader if readers else 0
    joined = MouthNet(replace(nets[0].config, members=len(members), listeners=len(listeners), reader=weight))
    for place, part in zip((*joined.members, *joined.listeners), (*members, *listeners), strict=True):
        place.load_state_dict(part.state_dict())
    if joined.reader is not None:
        joined.reader.load_state_dict(readers[0].reader.state_dict())
    if joined.trunk is not None:
        joined.trunk.load_state_dict(next(net.trunk for net in nets if net.trunk is not None).state_dict())
    return joined.eval().requires_grad_(False)


def surrounded(mel: Float[np.ndarray, "mels 80"], config: MouthNetConfig) -> Float[Tensor, "1 80 more"]:
    """Return a normalised spectrum with silence on either side, as the net wants it: of whole steps."""
    before = np.tile(silence_frame(), (STRIDE * config.past, 1))
    after = np.tile(silence_frame(), (STRIDE * config.ahead + -len(mel) % STRIDE, 1))
    return torch.from_numpy(np.concatenate((before, mel, after)).T.copy())[None]


@torch.inference_mode()
def run_net(
    net: MouthNet, mel: Float[np.ndarray, "mels 80"], *, on_step: OnStep = ignore_steps
) -> Float[np.ndarray, "frames outputs"]:
    """Return the outputs at `NET_RATE` for a normalised spectrum of any length.

    It is computed in chunks, each with the surroundings that its frames depend on: the same as in one go.
    """
    past, ahead = net.config.past, net.config.ahead
    whole = surrounded(mel, net.config)
    steps = whole.shape[2] // STRIDE - past - ahead
    parts = []
    for start in range(0, steps, CHUNK):
        end = min(start + CHUNK, steps)
        parts.append(net(whole[:, :, STRIDE * start : STRIDE * (end + past + ahead)])[0].T)
        on_step(end, steps)
    return torch.cat(parts).numpy()
