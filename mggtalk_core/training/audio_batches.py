"""Batches of speech: stretches of four seconds, in another voice and another room each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..motion.audio_net import NET_RATE, PHASES, STRIDE, MouthNetConfig
from ..motion.mel import MEL_RATE, normalised
from ..motion.vad import same_convolution
from .audio_augment import (
    SILENCE,
    Augmentation,
    at_positions,
    falls_silent,
    masked,
    other_room,
    other_voice,
    steady_noise,
)
from .audio_data import Speech

SECONDS = 4.0
STEPS = int(SECONDS * NET_RATE) // PHASES
LONGEST_VOICE = 20.0
"""Seconds of one voice beyond which more of it does not make it more likely."""
_CLOSING = np.hanning(9)[1:-1] / np.hanning(9).sum()


Example = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Sound [kinds, times], targets [outputs, frames] and where they are known."""


@dataclass(frozen=True)
class Batch:
    """Examples for one step."""

    sound: Float[Tensor, "batch kinds times"]
    """Normalised spectra, or what the trunk hears in them, with the surroundings the net wants."""
    targets: Float[Tensor, "batch outputs frames"]
    """In the order of `OUTPUTS`."""
    known: Bool[Tensor, "batch outputs frames"]
    trust: Float[Tensor, "batch"]


def draw_batch(
    speeches: Sequence[Speech], size: int, net: MouthNetConfig, kinds: Augmentation, rng: np.random.Generator
) -> Batch:
    """Draw stretches of speech, as `shares_of` says."""
    chosen = chosen_of(speeches, size, rng)
    return batch_of(chosen, [draw_example(speech, net, kinds, rng) for speech in chosen])


def chosen_of(speeches: Sequence[Speech], size: int, rng: np.random.Generator) -> list[Speech]:
    """Return as many speeches, drawn with replacement as `shares_of` says."""
    return [speeches[index] for index in rng.choice(len(speeches), size, p=shares_of(speeches))]


def batch_of(speeches: Sequence[Speech], examples: Sequence[Example]) -> Batch:
    """Return one batch of an example of each speech."""
    sound, targets, known = (torch.from_numpy(np.stack(part)) for part in zip(*examples, strict=True))
    trust = torch.tensor([speech.trust for speech in speeches], dtype=torch.float32)
    return Batch(sound.float(), targets.float(), known, trust)


def shares_of(speeches: Sequence[Speech]) -> Float[np.ndarray, "speeches"]:
    """Return how often to draw from each recording: as often as it is long among those of its voice.

    A voice counts as the root of its seconds, up to `LONGEST_VOICE`: a net for all voices learns more from one more
    voice than from one more minute of a voice that it knows.
    """
    seconds = np.array([min(len(speech.mel) / MEL_RATE, 60.0) for speech in speeches])
    voices = np.array([speech.speaker for speech in speeches])
    total = np.array([seconds[voices == voice].sum() for voice in voices])
    shares = seconds / total * np.sqrt(np.minimum(total, LONGEST_VOICE))
    return shares / shares.sum()


def draw_example(speech: Speech, net: MouthNetConfig, kinds: Augmentation, rng: np.random.Generator) -> Example:
    """Return spectrum [80,mels], targets [outputs,frames] and where they are known, of a stretch of a speech."""
    mel, stretch = draw_stretch(speech, net, kinds, rng)
    return mel, *stretch.targets(speech)


@dataclass(frozen=True)
class Stretch:
    """What was drawn from a speech, apart from its sound."""

    times: Float[np.ndarray, "frames"]
    """Seconds of the speech at which the mouth is asked for."""
    voiced: Float[np.ndarray, "frames"]
    """0 where the sound was made silent, or noise."""

    def targets(self, speech: Speech) -> tuple[np.ndarray, np.ndarray]:
        """Return targets [outputs,frames] and where they are known; the lag of the speech counts as it is now."""
        values, known = speech.targets(self.times)
        values *= same_convolution(self.voiced, _CLOSING)[:, None]
        return values.T.astype(np.float32), known.T.copy()


def draw_stretch(
    speech: Speech, net: MouthNetConfig, kinds: Augmentation, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "80 mels"], Stretch]:
    """Draw a stretch of a speech, in another voice and room; what is drawn does not depend on its lag.

    Its spectrum is normalised and has the surroundings that the net wants.
    """
    tempo = rng.uniform(*kinds.tempo)
    span = STEPS * STRIDE * tempo
    start = rng.uniform(min(0.0, len(speech.mel) - span), max(0.0, len(speech.mel) - span))
    positions = start + np.arange(-STRIDE * net.past, STRIDE * (STEPS + net.ahead)) * tempo
    mel = at_positions(speech.mel - np.float32(speech.level), positions)
    mel = other_voice(mel, kinds, rng)
    quiet = falls_silent(len(mel), kinds, rng)
    mel[quiet] = SILENCE
    if rng.random() < kinds.steady:
        mel, quiet = steady_noise(len(mel), rng), np.ones(len(mel), dtype=bool)
    mel = masked(normalised(other_room(mel, kinds, rng), 0.0), kinds, rng)
    inner = slice(STRIDE * net.past, STRIDE * (net.past + STEPS))
    middles = positions[inner].reshape(-1, STRIDE // PHASES).mean(axis=1)
    return mel.T.copy(), Stretch((middles + 0.5) / MEL_RATE, 1.0 - quiet[inner][:: STRIDE // PHASES])
