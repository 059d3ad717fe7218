"""The trunk of the mouth net: the encoder's bands in terms of ours, and what is kept of what it says."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..motion.audio_net import MouthNetConfig, surrounded
from ..motion.mel import MEL_RATE, PRE_EMPHASIS, mel_filters, normalised
from ..motion.speech_encoder import load_encoder
from ..motion.speech_features import SAMPLE_RATE
from ..motion.speech_trunk import HEARD, SpeechTrunk
from .audio_data import Speech

_FFT = 400
_LONGEST = 20.0  # seconds of one recording that count


def load_trunk(speeches: Sequence[Speech]) -> SpeechTrunk:
    """Return the trunk with the encoder's weights, the bands that it wants and what varies most in some speech.

    Raises:
        WeightsError: the encoder is not at hand, or is another one.
    """
    trunk = copy.deepcopy(load_encoder())
    trunk.bands.copy_(torch.from_numpy(trunk_bands()))
    weight, bias = main_directions(torch.cat([_tokens(trunk, speech) for speech in speeches]))
    trunk.kept.weight.copy_(weight)
    trunk.kept.bias.copy_(bias)
    return trunk


def trunk_bands() -> Float[np.ndarray, "80 80"]:
    """Return what each of the encoder's bands takes from the powers in ours, whose pre-emphasis is undone.

    The encoder's are librosa's default filters; each is the sum of ours that comes nearest.
    """
    from librosa.filters import mel as librosa_mel
    from scipy.optimize import nnls

    ours = mel_filters()
    frequency = np.linspace(0.0, SAMPLE_RATE / 2, ours.shape[1])
    theirs = librosa_mel(sr=SAMPLE_RATE, n_fft=_FFT, n_mels=len(ours))
    there = np.linspace(0.0, SAMPLE_RATE / 2, theirs.shape[1])
    emphasis = np.abs(1.0 - PRE_EMPHASIS * np.exp(-2j * np.pi * frequency / SAMPLE_RATE)) ** 2
    wanted = np.stack([np.interp(frequency, there, row) for row in theirs])
    return np.stack([nnls((ours * emphasis).T, row)[0] for row in wanted]).astype(np.float32)


def main_directions(
    tokens: Float[Tensor, "n width"],
) -> tuple[Float[Tensor, "heard width"], Float[Tensor, "heard"]]:
    """Return the linear map onto the directions in which tokens vary most, each number of a token counting alike.

    What comes out has the mean 0 and, on the whole, the variance 1.
    """
    mean, spread = tokens.mean(dim=0), tokens.std(dim=0) + 1e-3
    scaled = (tokens - mean) / spread
    values, vectors = torch.linalg.eigh(scaled.T @ scaled / len(tokens))
    weight = vectors[:, -HEARD:].T / values[-HEARD:].mean().sqrt() / spread
    return weight, -weight @ mean


def _tokens(trunk: SpeechTrunk, speech: Speech) -> Float[Tensor, "steps width"]:
    mel = normalised(speech.mel[: int(_LONGEST * MEL_RATE)], speech.level)
    return trunk.tokens(surrounded(mel, MouthNetConfig(members=0, listeners=1, listening=())))[0]
