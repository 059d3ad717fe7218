"""When each speech sound is said, from a transcript: truth that the driver of the mouth has not seen."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from ..media.audio import resample, to_mono
from ..media.sound import Sound

SAMPLE_RATE = 16000
BILABIALS = ("P", "B", "M")
"""Sounds of ARPAbet that close the lips."""
OPEN_VOWELS = ("AA", "AE", "AO", "AW", "AY", "AH", "EH")
"""Vowels of ARPAbet in which the mouth is open."""

GRID: tuple[dict[str, str], ...] = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {letter: f"{letter}." for letter in "abcdefghijklmnopqrstuvxyz"},
    dict(zip("z123456789", "zero one two three four five six seven eight nine".split(), strict=True)),
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)
"""The sentences of the GRID corpus (Cooke et al. 2006): six words, one letter of the file's name for each."""

_PEAK = 0.7


@dataclass(frozen=True)
class SpokenSound:
    """A speech sound with its time in seconds."""

    name: str
    start: float
    end: float


def grid_sentence(stem: str) -> str | None:
    """Return what is said in a clip of GRID, from the end of its name (``bbaf2n``: bin blue at f two now), or None."""
    code = re.search(r"(?:^|[^a-z0-9])([a-z]{4}[z1-9][a-z])$", stem.lower())
    words = [table.get(letter) for table, letter in zip(GRID, code.group(1), strict=True)] if code else [None]
    return None if None in words else " ".join(words)


def transcript(clip: str | os.PathLike[str]) -> str | None:
    """Return what is said in a clip: the text file of the same name beside it, or the sentence of a GRID name."""
    text = Path(clip).with_suffix(".txt")
    if text.is_file():
        return " ".join(re.findall(r"[a-z'.]+", text.read_text(encoding="utf-8").lower()))
    return grid_sentence(Path(clip).stem)


def align(sound: Sound, text: str) -> list[SpokenSound] | None:
    """Return the sounds of ``text`` in time by forced alignment with pocketsphinx (English).

    The words come from the transcript and their sounds from the dictionary; only their times are found by machine.
    None where pocketsphinx is not installed, a word is not in its dictionary, or the text does not fit the sound.
    """
    decoder = _decoder()
    mono = resample(to_mono(sound), SAMPLE_RATE).samples[0].numpy()
    peak = float(np.abs(mono).max(initial=0.0))
    if decoder is None or peak < 1e-4 or any(decoder.lookup_word(word) is None for word in text.split()):
        return None
    pcm = (mono * (_PEAK / peak) * 32767.0).astype(np.int16).tobytes()
    try:
        decoder.set_align_text(text)
        _decode(decoder, pcm)
        decoder.set_alignment()
        _decode(decoder, pcm)
    except RuntimeError:
        return None
    phones = itertools.chain.from_iterable(decoder.get_alignment())
    return [SpokenSound(phone.name, phone.start / 100.0, (phone.start + phone.duration) / 100.0) for phone in phones]


@cache
def _decoder():  # noqa: ANN202 - the type is of a package that may be missing
    try:
        from pocketsphinx import Decoder, get_model_path
    except ImportError:
        return None
    folder = os.path.join(get_model_path(), "en-us")
    model, words = os.path.join(folder, "en-us"), os.path.join(folder, "cmudict-en-us.dict")
    return Decoder(hmm=model, dict=words, lm=None, loglevel="FATAL")


def _decode(decoder, pcm: bytes) -> None:  # noqa: ANN001 - see above
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()
