"""Openings of a mouth that tests of speech share."""

import numpy as np

FPS, FRAMES = 25.0, 60


def babble(frames=FRAMES, seed=0):
    """An opening 0..0.2 that wanders, with closures."""
    rng = np.random.default_rng(seed)
    return 0.2 * np.clip(np.convolve(rng.uniform(-0.6, 1.6, frames + 4), np.hanning(7)[1:-1] / 3.0, "valid"), 0.0, 1.0)
