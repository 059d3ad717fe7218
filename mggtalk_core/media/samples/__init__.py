"""A portrait and a voice that anyone may use, for demo and benchmarks."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from ...errors import InputError
from ..images import write_image

SPEECH = Path(__file__).parent / "speech.ogg"
"""Thirteen seconds of synthesised speech."""


def sample_portrait(folder: Path) -> Path:
    """Write scikit-image's astronaut (Eileen Collins; NASA, public domain) into a folder and return its path.

    Raises:
        InputError: scikit-image is not installed, or the folder cannot be written.
    """
    logging.getLogger("skimage").setLevel(logging.ERROR)
    try:
        from skimage.data import astronaut
    except ImportError as error:
        raise InputError(
            "The sample portrait needs scikit-image: pip install scikit-image, or name your own."
        ) from error
    path = folder / "astronaut.png"
    write_image(path, torch.from_numpy(astronaut().copy()).permute(2, 0, 1).float() / 255.0)
    return path
