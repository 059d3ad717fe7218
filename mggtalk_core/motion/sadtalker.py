"""SadTalker's network from sound to expression (Zhang et al. 2023), which the paper drives its heads with (D.2).

Only the part ``audio2exp`` of the user's own file is read. A frame of 25 a second depends on 0.2 s of sound around it,
on the coefficients of the portrait and on how far a blink has come; every frame by itself, so chunks change nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import WeightsError
from ..media.audio import resample, to_mono
from ..media.sound import Sound
from ..progress import OnStep, ignore_steps

NAME = "SadTalker_V0.0.2_256.safetensors"
PREFIX = "audio2exp."
FPS = 25
COEFFICIENTS = 64
"""Expression coefficients of the 3D face model of Deep3DFaceReconstruction."""
SAMPLE_RATE, HOP, WINDOW = 16000, 200, 800
BANDS, COLUMNS = 80, 16
"""Mel bands, and spectra that one frame sees."""
PRE_EMPHASIS = 0.97
_CHUNK = 100  # frames

LAYERS: tuple[tuple[int, int, int, int | tuple[int, int], int, bool], ...] = (
    (1, 32, 3, 1, 1, False), (32, 32, 3, 1, 1, True), (32, 32, 3, 1, 1, True),
    (32, 64, 3, (3, 1), 1, False), (64, 64, 3, 1, 1, True), (64, 64, 3, 1, 1, True),
    (64, 128, 3, 3, 1, False), (128, 128, 3, 1, 1, True), (128, 128, 3, 1, 1, True),
    (128, 256, 3, (3, 2), 1, False), (256, 256, 3, 1, 1, True),
    (256, 512, 3, 1, 0, False), (512, 512, 1, 1, 0, False),
)  # fmt: skip
"""Channels in and out, kernel, stride, padding, residual."""


class ConvBlock(nn.Module):
    """relu(norm(conv(x)) [+ x]); the names of its parts are those of the published file."""

    def __init__(self, layer: tuple[int, int, int, int | tuple[int, int], int, bool]) -> None:
        super().__init__()
        into, out, kernel, stride, padding, self.residual = layer
        self.conv_block = nn.Sequential(nn.Conv2d(into, out, kernel, stride, padding), nn.BatchNorm2d(out))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        """Return the block's output."""
        y = self.conv_block(x)
        return torch.relu(y + x if self.residual else y)


class AudioToExpression(nn.Module):
    """Thirteen convolutions over a mel spectrum of 80 x 16 and one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.audio_encoder = nn.Sequential(*map(ConvBlock, LAYERS))
        self.mapping1 = nn.Linear(LAYERS[-1][1] + COEFFICIENTS + 1, COEFFICIENTS)

    def forward(
        self, mel: Float[Tensor, "n 1 80 16"], reference: Float[Tensor, "n 64"], blink: Float[Tensor, "n 1"]
    ) -> Float[Tensor, "n 64"]:
        """Return the coefficients of each frame, given those of the portrait and how far the lids are closed."""
        return self.mapping1(torch.cat((self.audio_encoder(mel).flatten(1), reference, blink), dim=1))


def read_sadtalker(path: str | os.PathLike[str]) -> AudioToExpression:
    """Read the network out of SadTalker's safetensors; everything else in the file is left alone.

    Raises:
        WeightsError: the file cannot be read, or lacks one of the network's tensors.
    """
    from safetensors import SafetensorError, safe_open

    net = AudioToExpression()
    try:
        with safe_open(os.fspath(path), framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(PREFIX)]
            tensors = {name.removeprefix(PREFIX): file.get_tensor(name).float() for name in names}
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} is not a readable safetensors file: fetch {NAME} again") from error
    counters = {name: value for name, value in net.state_dict().items() if name.endswith("num_batches_tracked")}
    try:
        net.load_state_dict({**counters, **tensors})
    except RuntimeError as error:
        raise WeightsError(f"{path} does not hold SadTalker's {PREFIX}* as published: take {NAME}") from error
    return net.eval().requires_grad_(False)


@torch.inference_mode()
def expression(
    net: AudioToExpression,
    sound: Sound,
    *,
    reference: Float[Tensor, "64"] | None = None,
    blink: Float[np.ndarray, "T"] | None = None,
    on_step: OnStep = ignore_steps,
) -> Float[Tensor, "T 64"]:
    """Return the coefficients of ``max(1, seconds x 25)`` frames.

    Args:
        net: the network.
        sound: speech of any rate and number of channels.
        reference: coefficients of the portrait; a neutral face by default.
        blink: how far the lids are closed in each frame, 0..1; none by default.
        on_step: called after every hundred frames.
    """
    mono = resample(to_mono(sound), SAMPLE_RATE).samples[0].numpy()
    count = max(1, len(mono) * FPS // SAMPLE_RATE)
    blink = np.zeros(count) if blink is None else np.pad(blink, (0, max(0, count - len(blink))), mode="edge")[:count]
    ratio = torch.from_numpy(blink).float()[:, None]
    source = torch.zeros(COEFFICIENTS) if reference is None else reference.float()
    parts = []
    for start, mels in _chunks(mono, count):
        parts.append(net(mels[:, None], source.expand(len(mels), -1), ratio[start : start + len(mels)]))
        on_step(start + len(mels), count)
    return torch.cat(parts)


def _chunks(mono: np.ndarray, count: int) -> Iterator[tuple[int, Float[Tensor, "n 80 16"]]]:
    last = len(mono) // HOP  # the last spectrum; a frame that reaches beyond it sees it again
    for start in range(0, count, _CHUNK):
        frames = np.arange(start, min(start + _CHUNK, count))
        # Column 80 (i - 2) / 25, cut off towards zero.
        first = np.trunc(80.0 * ((frames - 2) / FPS)).astype(int)
        columns = np.clip(first[:, None] + np.arange(COLUMNS), 0, last)
        low = int(columns.min())
        spectra = mel_spectra(mono, low, int(columns.max()) + 1)
        yield start, torch.from_numpy(spectra[columns - low]).transpose(1, 2).float()


def mel_spectra(mono: Float[np.ndarray, "samples"], first: int, end: int) -> Float[np.ndarray, "n 80"]:
    """Return the spectra ``first`` to ``end - 1`` of 16 kHz sound; spectrum i is centred at sample 200 i.

    Pre-emphasis .97, Hann windows of 800, 80 Slaney mels of 55-7600 Hz, 20 log10 (at least 1e-5) - 20 dB, and
    -100..0 dB laid on -4..4, cut off there.
    """
    begin = first * HOP - WINDOW // 2
    wanted = np.arange(begin, (end - 1) * HOP + WINDOW // 2)
    known = np.concatenate((np.zeros(1), mono, np.zeros(1)))  # silence around it
    now, before = (known[np.clip(wanted + shift, 0, len(mono) + 1)].astype(np.float64) for shift in (1, 0))
    # The sample behind the last one is no echo of it: the filter stops with the sound.
    emphasised = np.where(wanted < len(mono), now - PRE_EMPHASIS * before, 0.0)
    windows = np.lib.stride_tricks.sliding_window_view(emphasised, WINDOW)[::HOP]
    amplitude = np.abs(np.fft.rfft(windows * np.hanning(WINDOW + 1)[:-1])) @ _filters().T
    decibels = 20.0 * np.log10(np.maximum(amplitude, 1e-5)) - 20.0
    return np.clip(8.0 * (decibels + 100.0) / 100.0 - 4.0, -4.0, 4.0).astype(np.float32)


def _filters() -> Float[np.ndarray, "80 401"]:
    import librosa

    return librosa.filters.mel(sr=SAMPLE_RATE, n_fft=WINDOW, n_mels=BANDS, fmin=55.0, fmax=7600.0)
