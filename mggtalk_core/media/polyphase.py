"""Band-limited resampling by a ratio of whole numbers, as one product of matrices.

Whole periods of both rates repeat one pattern: every block of outputs is the same linear map of the samples around it.
Most of that matrix is zero, and the product is still several times faster than a loop over the filter's taps.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

FILTER_PERIODS = 32
"""Half the length of the resampling filter in periods of the lower rate."""
CUTOFF = 0.92
"""Edge of the passband over the lower of the two Nyquist rates: what the filter's slope needs to let nothing fold."""
BLOCK = 160
"""Outputs that are computed together at least."""
LARGEST_MATRIX = 2**20
"""Entries up to which there is a matrix; rates with little in common have long periods and go tap by tap."""


def polyphase(samples: Float[np.ndarray, "n"], up: int, down: int) -> Float[np.ndarray, "m"]:
    """Return ceil(n x up / down) samples at ``up / down`` times the rate, without delay; silence beyond both ends."""
    if up * (down + 2 * _lead(up, down)) > LARGEST_MATRIX:
        return tap_by_tap(samples, up, down)
    matrix = _block_matrix(up, down)
    step = matrix.shape[0] // up * down
    count = -(-len(samples) * up // down)
    blocks = -(-count // matrix.shape[0])
    padded = torch.zeros((blocks - 1) * step + matrix.shape[1])
    lead = _lead(up, down)
    padded[lead : lead + len(samples)] = torch.as_tensor(samples)[: len(padded) - lead]
    return (padded.unfold(0, matrix.shape[1], step) @ matrix.T).flatten()[:count].numpy()


def tap_by_tap(samples: Float[np.ndarray, "n"], up: int, down: int) -> Float[np.ndarray, "m"]:
    """Return the same by scipy's polyphase filter: the plain twin, for any two rates."""
    from scipy.signal import resample_poly

    return resample_poly(samples, up, down, window=_taps(up, down))


def _lead(up: int, down: int) -> int:
    """Return how many samples before and after a block its outputs depend on."""
    return math.ceil(FILTER_PERIODS * max(up, down) / up)


@lru_cache(maxsize=8)
def _taps(up: int, down: int) -> Float[np.ndarray, "taps"]:
    from scipy.signal import firwin

    reach = FILTER_PERIODS * max(up, down)
    return firwin(2 * reach + 1, CUTOFF / max(up, down), window=("kaiser", 10.0))


@lru_cache(maxsize=8)
def _block_matrix(up: int, down: int) -> Float[Tensor, "outputs inputs"]:
    """Return what each output of a block takes from the block's samples and those `_lead` before and after."""
    taps, lead, periods = _taps(up, down), _lead(up, down), math.ceil(BLOCK / up)
    outputs, inputs = np.arange(periods * up), np.arange(-lead, periods * down + lead)
    place = outputs[:, None] * down - inputs * up + len(taps) // 2
    inside = (place >= 0) & (place < len(taps))
    return torch.from_numpy(np.where(inside, up * taps[place.clip(0, len(taps) - 1)], 0.0)).float()
