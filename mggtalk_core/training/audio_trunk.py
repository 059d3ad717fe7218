"""The bands of Google's speech embedding in terms of ours, and the mouth net's trunk with both."""

from __future__ import annotations

import copy

import numpy as np
import torch
from jaxtyping import Float

from ..motion.mel import PRE_EMPHASIS, mel_filters
from ..motion.speech_embedding import load_embedding
from ..motion.speech_features import SAMPLE_RATE
from ..motion.speech_trunk import TRUNK_BANDS, SpeechTrunk

LOWEST, HIGHEST = 60.0, 3800.0
"""Hz: edges of the embedding's lowest and highest band."""


def load_trunk() -> SpeechTrunk:
    """Return the trunk with the embedding's weights and the bands that it wants.

    Raises:
        WeightsError: the embedding is not at hand, or is another one.
    """
    trunk = copy.deepcopy(load_embedding())
    trunk.bands.copy_(torch.from_numpy(trunk_bands()))
    return trunk


def trunk_bands() -> Float[np.ndarray, "32 80"]:
    """Return what each of the embedding's bands takes from the powers in ours, whose pre-emphasis is undone.

    The embedding's are librosa's default filters; ours are narrower, and the best sum of them is within a few percent.
    """
    from librosa.filters import mel as librosa_mel
    from scipy.optimize import nnls

    ours = mel_filters()
    fft = 2 * (ours.shape[1] - 1)
    wanted = librosa_mel(sr=SAMPLE_RATE, n_fft=fft, n_mels=TRUNK_BANDS, fmin=LOWEST, fmax=HIGHEST)
    angle = np.pi * np.arange(ours.shape[1]) / (ours.shape[1] - 1)
    emphasis = np.abs(1.0 - PRE_EMPHASIS * np.exp(-1j * angle)) ** 2
    return np.stack([nnls((ours * emphasis).T, row)[0] for row in wanted]).astype(np.float32)
