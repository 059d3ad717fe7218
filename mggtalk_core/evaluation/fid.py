"""Frechet Inception distance between the pictures of all clips and the truth's (Heusel et al. 2017)."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ..weights.resolver import resolve
from .metrics import Image
from .scorers import attempt

_WEIGHTS = "fid_inception.pt"
_SIZE = 299
FEATURES = 2048
_TRUTH = "truth"
LEAST_FRAMES = 2048
"""Frames below which the covariance of as many features is not of full rank, and the distance means nothing."""


class Inception:
    """The features of the Inception network of 2015 that every published FID is computed from."""

    def __init__(self, path: Path | None = None) -> None:
        """Read the network; ``path`` is that of the ledger's row when None.

        Raises:
            WeightsError: the network is not there and cannot be fetched.
        """
        with warnings.catch_warnings():  # the format is that of the file that every published figure rests on
            warnings.simplefilter("ignore", DeprecationWarning)
            self._network = torch.jit.load(str(path or resolve(_WEIGHTS)), map_location="cpu").eval()

    @torch.no_grad()
    def __call__(self, image: Image) -> Float[Tensor, "2048"]:
        """Return the features of one picture in 0..1, scaled to 299 pixels without antialiasing, as is the custom."""
        small = functional.interpolate(image[None].float(), (_SIZE, _SIZE), mode="bilinear", align_corners=False)
        return self._network(small * 2.0 - 1.0)[0]


class FeatureStatistics:
    """Mean and covariance of features that come one by one."""

    def __init__(self, size: int = FEATURES) -> None:
        """Start empty."""
        self.count = 0
        self._sum = np.zeros(size)
        self._products = np.zeros((size, size))

    def add(self, features: Float[Tensor, "f"]) -> None:
        """Take the features of one picture."""
        values = features.double().numpy()
        self.count += 1
        self._sum += values
        self._products += np.outer(values, values)

    def join(self, other: FeatureStatistics) -> None:
        """Take all that another one has taken."""
        self.count += other.count
        self._sum += other._sum
        self._products += other._products

    @property
    def mean(self) -> Float[np.ndarray, "f"]:
        """Mean of all features."""
        return self._sum / self.count

    @property
    def covariance(self) -> Float[np.ndarray, "f f"]:
        """Unbiased covariance; at least two pictures are needed."""
        return (self._products - self.count * np.outer(self.mean, self.mean)) / (self.count - 1)


def frechet_distance(first: FeatureStatistics, second: FeatureStatistics) -> float:
    """Return |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), the squared distance of two normal distributions."""
    one, two = first.covariance, second.covariance
    # The trace of (C1 C2)^(1/2) is that of (C1^(1/2) C2 C1^(1/2))^(1/2), whose inside is symmetric.
    values, vectors = np.linalg.eigh(one)
    half = (vectors * np.sqrt(values.clip(min=0.0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(half @ two @ half).clip(min=0.0)).sum()
    shift = first.mean - second.mean
    return float(shift @ shift + np.trace(one) + np.trace(two) - 2.0 * cross)


class FidPool:
    """Features of the truth and of every way to make its pictures, pooled over all clips."""

    def __init__(self, network: Inception) -> None:
        """Start empty."""
        self._network = network
        self.statistics: dict[str, FeatureStatistics] = {_TRUTH: FeatureStatistics()}

    def add(self, truth: Image, ways: dict[str, Image]) -> None:
        """Take one frame: the truth and what the ways made of it."""
        for name, image in ({_TRUTH: truth} | ways).items():
            self.statistics.setdefault(name, FeatureStatistics()).add(self._network(image))

    def join(self, statistics: dict[str, FeatureStatistics]) -> None:
        """Take the statistics of another pool, such as that of another process."""
        for name, each in statistics.items():
            self.statistics.setdefault(name, FeatureStatistics()).join(each)

    def results(self, left_out: list[str], least: int = LEAST_FRAMES) -> dict[str, dict[str, float]]:
        """Return ``fid``, and ``fid_<way>`` for the other ways, each with its number of frames.

        Where there are fewer than ``least`` frames nothing is returned, and a line says so.
        """
        truth = self.statistics[_TRUTH]
        if truth.count < least:
            left_out.append(too_few(truth.count, least))
            return {}
        return {
            f"fid_{name}" if name else "fid": {"value": frechet_distance(truth, each), "n": each.count}
            for name, each in self.statistics.items()
            if name != _TRUTH and each.count == truth.count
        }


def too_few(frames: int, least: int = LEAST_FRAMES) -> str:
    """Return the line that says why there is no FID."""
    return f"fid: {frames} frames are too few, {least} are needed; give more clips, or more frames of each"


def fid_pool(frames: int, left_out: list[str]) -> FidPool | None:
    """Return an empty pool for so many frames; where FID cannot be had, append the line that says why."""
    if frames < LEAST_FRAMES:
        left_out.append(too_few(frames))
        return None
    network = attempt("fid", Inception, left_out)
    return None if network is None else FidPool(network)
