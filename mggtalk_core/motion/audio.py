"""Motion from speech: mouth from the sound, blinks, and small movements of head and eyes."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from ..errors import InputError
from ..media.sound import Sound
from ..progress import OnStep, ignore_steps
from .audio_net import MouthNet, run_net
from .audio_net_file import load_mouth_net
from .blinks import RATE
from .energy import opening_curve
from .headmotion import liveliness
from .mel import log_mel, normalised, voice_level
from .motion import Motion
from .mouth import Heard, at_frames, mouth
from .phonemes import load_decoder, phoneme_segments
from .speaking import speaking_motion
from .speech_features import FEATURE_RATE, PIECE_SECONDS, band_levels, feature_count, pieces
from .timing import check_fps, frame_count
from .vad import voice_activity


def motion_from_audio(
    sound: Sound,
    fps: float = 25.0,
    seed: int = 0,
    *,
    phonemes: bool = True,
    learned: bool = True,
    blink_rate: float = RATE,
    head_motion: float = 1.0,
    look: float = 0.0,
    on_step: OnStep = ignore_steps,
) -> Motion:
    """Return ``max(1, floor(seconds x fps + 0.5))`` frames of motion for a sound of any rate, channels and length.

    The mouth averages what the mouth net hears and what the recognised phonemes ask for; without the net, the loudness
    in the band of open vowels takes its place. Silence closes the mouth, and P, B and M shut the lips. Everything that
    is drawn by chance follows ``seed``.

    Args:
        sound: speech; samples that are not finite count as silence.
        fps: frames per second.
        seed: of blinks, glances and the sway of the head.
        phonemes: recognise phonemes where pocketsphinx is installed.
        learned: use the mouth net where its licence is accepted; it is a research weight.
        blink_rate: blinks a minute.
        head_motion: strength of the movement of head, eyes, brows and smile, 0 for none.
        look: how much the eyes are locked on the camera, 0..1: at 1 they stay on it wherever the head turns.
        on_step: called at least twice a second.

    Raises:
        InputError: a setting that is not finite or is negative, or a ``look`` beyond 1.
    """
    fps = check_fps(fps)
    if not 0.0 <= look <= 1.0:
        raise InputError(f"look is {look}; give a number from 0 to 1.")
    for name, value in (("blink_rate", blink_rate), ("head_motion", head_motion)):
        if not (math.isfinite(value) and value >= 0.0):
            raise InputError(f"{name} is {value}; give 0 or more.")
    heard = _listen(sound, phonemes, load_mouth_net(on_step) if learned else None, on_step)
    frames = frame_count(sound.seconds, fps)
    opening, activity = (at_frames(curve, frames, fps) for curve in (heard.opening, heard.activity))
    life = liveliness(fps, seed, opening, activity, strength=head_motion, blink_rate=blink_rate, look=look)
    return speaking_motion(mouth(heard, frames, fps), life, fps, look=look, sound=sound)


def _listen(sound: Sound, phonemes: bool, net: MouthNet | None, on_step: OnStep) -> Heard:
    """Hear the sound piece by piece; what is kept of each second is a few thousand numbers."""
    decoder = load_decoder() if phonemes else None
    total = math.ceil(feature_count(sound) / (PIECE_SECONDS * FEATURE_RATE))
    whole, vowels, mels, segments = [], [], [], []
    for done, piece in enumerate(pieces(sound), start=1):
        levels = band_levels(piece)
        whole.append(levels[0])
        vowels.append(levels[1])
        if net is not None:
            mels.append(log_mel(piece))
        if decoder is not None:
            segments += phoneme_segments(decoder, piece, partial(on_step, done - 1, total))
        on_step(done, total)
    activity = voice_activity(np.concatenate(whole))
    opening = opening_curve(np.concatenate(vowels), activity)
    said = None
    if net is not None:
        mel = np.concatenate(mels)
        said = run_net(net, normalised(mel, voice_level(mel)), on_step=lambda *_: on_step(total, total))
    return Heard(opening, activity, None if decoder is None else segments, said)
