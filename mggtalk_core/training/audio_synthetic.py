"""Synthetic speech: every sound and its time are known exactly, which no recording of a face can offer."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ..media.audio import read_sound
from ..motion.mouth_shapes import CLOSED, OPENING, OUTPUTS, gap_basis, gathered
from ..motion.speech_features import FEATURE_RATE
from ..motion.visemes import VISEMES, Segment, viseme_curves
from ..progress import OnStep, ignore_steps
from .audio_data import Speech, spectrum, to_reference

PROGRAM = "flite"
"""CMU Flite (a free speech synthesiser): it tells the times of the sounds that it speaks."""
VOICES = ("slt", "rms", "awb", "kal16")
WORDS_PER_SENTENCE = 9
TRUST = 0.5
"""Weight against recordings: the mouth is made by rule here."""

RULED = tuple(output in {OPENING, CLOSED, *itertools.chain.from_iterable(VISEMES.values())} for output in OUTPUTS)
"""Which of the net's outputs the rules of `VISEMES` speak of."""

VOWELS = """aa ae ah ao aw ay eh er ey ih iy ow oy uh uw""".split()
CONSONANTS = """b ch d dh f g hh k l m n ng p r s sh t th v w y z zh jh""".split()


def synthetic_speech(sentences: int, seed: int = 0, *, on_step: OnStep = ignore_steps) -> list[Speech]:
    """Return sentences of made-up words in several voices and tempos, or nothing where Flite is not installed."""
    if shutil.which(PROGRAM) is None:
        return []
    rng, speeches = np.random.default_rng(seed), []
    with TemporaryDirectory() as folder:
        for index in range(sentences):
            voice = VOICES[index % len(VOICES)]
            speeches.append(_spoken(Path(folder) / "speech.wav", voice, rng, f"{voice}_{index}"))
            on_step(index + 1, sentences)
    return speeches


def made_up_phones(rng: np.random.Generator, words: int = WORDS_PER_SENTENCE) -> list[str]:
    """Return the sounds of made-up words of one to three syllables, a third of them with a P, B or M."""
    phones = ["pau"]
    for _ in range(words):
        for _ in range(rng.integers(1, 4)):
            phones += [_consonant(rng)] * (rng.random() < 0.85)
            phones += [f"{rng.choice(VOWELS)}{rng.integers(0, 2)}"]
            phones += [_consonant(rng)] * (rng.random() < 0.4)
        phones += ["pau"] * (rng.random() < 0.15)
    return [*phones, "pau"]


def _consonant(rng: np.random.Generator) -> str:
    return str(rng.choice(["p", "b", "m"] if rng.random() < 0.25 else CONSONANTS))


def _spoken(path: Path, voice: str, rng: np.random.Generator, name: str) -> Speech:
    stretch, pitch = rng.uniform(0.75, 1.25), rng.uniform(90.0, 210.0)
    settings = ("--setf", f"duration_stretch={stretch:.3f}", "--setf", f"int_f0_target_mean={pitch:.1f}")
    command = [PROGRAM, "-voice", voice, *settings, "-psdur", "-p", " ".join(made_up_phones(rng)), "-o", str(path)]
    told = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    mel = spectrum(read_sound(path))
    segments = list(_segments(told))
    shapes, _ = viseme_curves(segments, len(mel))
    shut = np.zeros(len(mel))
    for phone, start, end in segments:
        if phone in ("P", "B", "M"):
            shut[start:end] = 1.0
    shapes = shapes * (1.0 - shut)[:, None]
    values = to_reference(name, gathered(shapes), shapes @ gap_basis()[1], FEATURE_RATE)
    values[:, -1] = shut
    return Speech(name, voice, mel, values, RULED, FEATURE_RATE, trust=TRUST)


def _segments(told: str) -> Iterator[Segment]:
    """Read ``name:end`` pairs, seconds, into sounds of ARPAbet in feature frames."""
    start = 0
    for part in told.split():
        name, _, end = part.partition(":")
        last = round(float(end) * FEATURE_RATE)
        yield {"ax": "AH", "pau": "SIL"}.get(name, name.upper()), start, last
        start = last
