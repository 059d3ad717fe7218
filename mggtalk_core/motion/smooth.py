"""Zero-phase smoothing of motion: jitter goes, timing stays."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import InputError
from ..portrait.blendshapes import BLENDSHAPES
from .motion import Motion
from .rotations import exp_rotation, log_rotation, slerp

LID_SHARE = 0.3
"""Share of the smoothing that lids get: a blink lasts only 200 ms."""
LIP_SHARE = 0.5
"""Share of the smoothing that jaw and mouth get: a closed lip sound lasts only 60-100 ms."""
GAZE_SHARE = 0.5
"""Share of the smoothing that the eyeballs get: a saccade takes 20-80 ms."""

_REACH = 3.0  # the kernel ends at three standard deviations, where it has fallen to 1 %


def smooth(motion: Motion, seconds: float = 0.03) -> Motion:
    """Smooth a motion with a Gaussian of standard deviation ``seconds``; 0 leaves it as it is.

    The kernel is symmetric, so nothing is delayed and a reversed motion gives the reversed result; at the ends a line
    takes the place of the mean. Lids, lips and gaze get a share of it, rotations are averaged in the Lie algebra.

    Raises:
        InputError: ``seconds`` is negative or not finite.
    """
    if not (math.isfinite(seconds) and seconds >= 0.0):
        raise InputError(f"Smoothing of {seconds} seconds is not possible; give 0 or more.")
    sigma = seconds * motion.fps
    beta = motion.beta.clone()
    shares = torch.tensor([_share(name) for name in BLENDSHAPES])
    for share in shares.unique().tolist():
        columns = shares == share
        beta[:, columns] = smooth_curves(motion.beta[:, columns], share * sigma)
    return replace(
        motion,
        beta=beta,
        gaze=smooth_curves(motion.gaze, GAZE_SHARE * sigma),
        rotation=smooth_rotations(motion.rotation, sigma),
        translation=smooth_curves(motion.translation, sigma),
    )


def _share(name: str) -> float:
    if name.startswith("eye"):
        return LID_SHARE
    return LIP_SHARE if name.startswith(("jaw", "mouth", "tongue")) else 1.0


def smooth_curves(curves: Float[Tensor, "T n"], sigma: float) -> Float[Tensor, "T n"]:
    """Return the columns filtered by a Gaussian of ``sigma`` frames; a constant column comes back unchanged."""
    weights = _kernel(sigma, curves.shape[0])
    if not weights:
        return curves
    centre = curves.to(torch.float64)
    steps = [centre[lag:] - centre[:-lag] for lag in range(1, len(weights) + 1)]
    return (centre + _local_line(steps, weights)).to(curves.dtype)


def smooth_rotations(rotation: Float[Tensor, "T 3 3"], sigma: float) -> Float[Tensor, "T 3 3"]:
    """Return rotations averaged around each frame in its own tangent space, Gaussian of ``sigma`` frames."""
    weights = _kernel(sigma, rotation.shape[0])
    if not weights:
        return rotation
    centre = rotation.to(torch.float64)
    # The step back is the same vector in the other frame's tangent space, because a rotation keeps its own axis.
    steps = [log_rotation(centre[:-lag].transpose(-1, -2) @ centre[lag:]) for lag in range(1, len(weights) + 1)]
    return (centre @ exp_rotation(_local_line(steps, weights))).to(rotation.dtype)


def _local_line(steps: list[Float[Tensor, "t n"]], weights: list[float]) -> Float[Tensor, "T n"]:
    """Return what the weighted straight line through each frame's neighbours adds to that frame.

    ``steps[k - 1][t]`` is the difference from frame t to frame t + k. Inside, where both neighbours exist, this is the
    weighted mean; at the ends, where a mean would be drawn inwards, the line is not: a movement that starts at once
    keeps its first frame, from which relative motion is measured. Both directions of a lag enter one sum, which makes
    the result exact on constants and under time reversal.
    """
    frames = steps[0].shape[0] + 1
    pad = torch.nn.functional.pad
    level, slope = torch.zeros(2, frames, steps[0].shape[1], dtype=torch.float64, device=steps[0].device)
    s0, s1, s2 = torch.zeros(3, frames, 1, dtype=torch.float64, device=steps[0].device)
    s0 += 1.0
    for lag, (step, weight) in enumerate(zip(steps, weights, strict=True), start=1):
        ahead, behind = pad(step, (0, 0, 0, lag)), pad(-step, (0, 0, lag, 0))
        level += weight * (ahead + behind)
        slope += weight * lag * (ahead - behind)
        after = pad(torch.ones_like(step[:, :1]), (0, 0, 0, lag))
        before = after.flip(0)
        s0 += weight * (after + before)
        s1 += weight * lag * (after - before)
        s2 += weight * lag * lag * (after + before)
    return (s2 * level - s1 * slope) / (s0 * s2 - s1 * s1)


def _kernel(sigma: float, frames: int) -> list[float]:
    """Return the weights of lags 1, 2, ... relative to the centre's; empty where nothing is to be done."""
    if sigma < 0.1:  # the neighbour's weight is below 1e-21
        return []
    reach = min(math.ceil(_REACH * sigma), frames - 1)
    return [math.exp(-0.5 * (lag / sigma) ** 2) for lag in range(1, reach + 1)]


def fill_gaps(motion: Motion, found: Bool[Tensor, "T"]) -> Motion:
    """Replace frames without a face: held at the ends, interpolated between their neighbours elsewhere.

    The replaced frames are listed in ``Motion.held``.

    Raises:
        InputError: no frame at all has a face.
    """
    if bool(found.all()):
        return motion
    before, after, weight = gap_neighbours(found)
    column = weight[:, None]

    def lerp(curves: Tensor) -> Tensor:
        mixed = curves[before] + column.to(curves) * (curves[after] - curves[before])
        return torch.where(found[:, None], curves, mixed)

    arc = slerp(motion.rotation[before].double(), motion.rotation[after].double(), weight)
    return replace(
        motion,
        beta=lerp(motion.beta),
        gaze=lerp(motion.gaze),
        rotation=torch.where(found[:, None, None], motion.rotation, arc.to(motion.rotation.dtype)),
        translation=lerp(motion.translation),
        held=tuple((~found).nonzero()[:, 0].tolist()),
    )


def gap_neighbours(
    found: Bool[Tensor, "T"],
) -> tuple[Tensor, Tensor, Float[Tensor, "T"]]:
    """Return for each frame the nearest good frames before and after it, and the weight of the later one.

    Raises:
        InputError: no frame is good.
    """
    good = found.nonzero()[:, 0]
    if len(good) == 0:
        raise InputError("No face was found in any frame; give a clip that shows a face.")
    frames = torch.arange(len(found))
    after = torch.searchsorted(good, frames).clamp_max(len(good) - 1)
    before = (torch.searchsorted(good, frames, right=True) - 1).clamp_min(0)
    first, last = good[before], good[after]
    weight = (frames - first).double() / (last - first).clamp_min(1).double()
    return first, last, weight.clamp(0.0, 1.0)
