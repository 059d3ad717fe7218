"""What the trunk hears in examples: it is not trained, and to hear them anew in each step would cost ten times more."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ..motion.audio_net import MouthNetConfig
from ..motion.speech_trunk import SpeechTrunk
from ..progress import OnStep, ignore_steps
from .audio_augment import Augmentation
from .audio_batches import Batch, Example, Stretch, batch_of, chosen_of, draw_stretch
from .audio_data import Speech

VARIANTS = 24
"""Examples of each recording, in other voices and rooms, that are heard at most; then they come again."""


class HeardExamples:
    """Examples that are made and heard once, whichever net learns from them and whatever the lag of the recording.

    Nets of several folds share them, and so do those that tell the lags.
    """

    def __init__(self, trunk: SpeechTrunk) -> None:
        self.trunk = trunk
        self._kept: dict[tuple[str, Augmentation, int], tuple[Stretch, np.ndarray]] = {}

    def draw(
        self, speeches: Sequence[Speech], size: int, net: MouthNetConfig, kinds: Augmentation, rng: np.random.Generator
    ) -> Batch:
        """Draw examples as `draw_batch` does, but of `VARIANTS` each and as the trunk hears them."""
        chosen = chosen_of(speeches, size, rng)
        return batch_of(chosen, [self._example(speech, net, kinds, int(rng.integers(VARIANTS))) for speech in chosen])

    def all_of(self, speech: Speech, net: MouthNetConfig, kinds: Augmentation, on_step: OnStep = ignore_steps) -> Batch:
        """Return all examples of one recording."""
        examples = []
        for variant in range(VARIANTS):
            examples.append(self._example(speech, net, kinds, variant))
            on_step(variant + 1, VARIANTS)
        return batch_of([speech] * VARIANTS, examples)

    def _example(self, speech: Speech, net: MouthNetConfig, kinds: Augmentation, variant: int) -> Example:
        key = (speech.name, kinds, variant)
        if key not in self._kept:
            rng = np.random.default_rng([zlib.crc32(speech.name.encode()), variant])
            listening = replace(net, members=0, listeners=1)
            mel, stretch = draw_stretch(speech, listening, kinds, rng)
            # One by one: what else is in a batch must not change the last bit.
            heard = self.trunk(torch.from_numpy(mel)[None])[0].numpy()
            self._kept[key] = stretch, heard.astype(np.float16)
        stretch, heard = self._kept[key]
        return heard, *stretch.targets(speech)
