"""The command line called in this process, and small files for it to read."""

from __future__ import annotations

import csv
import sys
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mggtalk_core.__main__ import main
from mggtalk_core.portrait.blendshapes import BLENDSHAPES


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    lines: list[str]
    """What went to standard error."""


def call(capfd, *arguments: object) -> Outcome:
    """Run one command; argparse leaves by SystemExit, as the interpreter would see it."""
    capfd.readouterr()
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as left:
        status = left.code
    sys.stderr.flush()
    said = capfd.readouterr()
    return Outcome(status, said.out, said.err.splitlines())


def assert_refused(outcome: Outcome, *words: str) -> None:
    """One line that says what to do, exit status 2."""
    assert outcome.status == 2, outcome
    assert len(outcome.lines) == 1, outcome.lines
    line = outcome.lines[0]
    assert line.startswith("mggtalk: ")
    assert all(word in line for word in words), line


def write_portrait(path: Path, width: int = 512, height: int = 512) -> Path:
    """Write scikit-image's astronaut, cut to a size."""
    from skimage.data import astronaut

    Image.fromarray(astronaut()[:height, :width]).save(path)
    return path


def write_tone(path: Path, seconds: float = 0.4, rate: int = 16000) -> Path:
    samples = 0.4 * np.sin(2 * np.pi * 300 * np.arange(round(seconds * rate)) / rate)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def write_take(path: Path, rows: int = 4, without: tuple[str, ...] = ()) -> Path:
    """Write a Live Link Face take in which the jaw opens; columns may be left out."""
    names = [name for name in BLENDSHAPES if name not in without]
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["Timecode", "BlendshapeCount", *(name[0].upper() + name[1:] for name in names)])
        for row in range(rows):
            values = [0.2 * row if name == "jawOpen" else 0.0 for name in names]
            table.writerow([f"00:00:00:{row:02d}.000", len(names), *values])
    return path
