"""`Heard`: what is scored of one clip, the truth beside the sound."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from ..media.sound import Sound
from .audio_curves import Curve
from .audio_transcripts import SpokenSound


@dataclass(frozen=True)
class Heard:
    """A clip with its sound in step with its picture."""

    path: Path
    sound: Sound
    fps: float
    truth: Curve
    """Opening of the real mouth in every frame; NaN where no face was seen."""
    spoken: list[SpokenSound] | None
    silent: Bool[np.ndarray, "T"]
