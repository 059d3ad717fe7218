"""Offsets of Gaussian parameters: 20 numbers per Gaussian that are added where parameters have no bounds."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from ..gaussians import Gaussians
from ..mirror import Mirror

WIDTHS = (3, 4, 12, 1)
"""Numbers of log-scale, raw quaternion, spherical harmonics and logit of the opacity: ``s, r, c, o`` of D.3."""
TOTAL = sum(WIDTHS)
LARGEST = 4.0
"""A scale changes by a factor of at most e^4; the odds of the opacity as well."""
SMALLEST_ODDS = 1e-4


Parts = tuple[Float[Tensor, "n 3"], Float[Tensor, "n 4"], Float[Tensor, "n 12"], Float[Tensor, "n 1"]]
"""Offsets by parameter: four small tensors are much faster to work with than one large one."""


def apply_offsets(gaussians: Gaussians, offsets: Parts) -> Gaussians:
    """Return Gaussians with their offsets added; offsets of zero change nothing.

    They act on the logarithm of the scales, on the raw quaternion (normalised afterwards), on the harmonics and on the
    logit of the opacity.
    """
    scale, turn, colour, odds = offsets
    return replace(
        gaussians,
        scales=gaussians.scales * bounded(scale),
        quats=normalize(gaussians.quats + turn, dim=-1),
        sh=gaussians.sh + colour.unflatten(-1, (4, 3)),
        opacities=with_odds(gaussians.opacities, odds),
    )


def bounded(offset: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Return the factor that an offset of a logarithm stands for."""
    return offset.clamp(-LARGEST, LARGEST).exp()


def with_odds(opacity: Float[Tensor, "n"], offset: Float[Tensor, "n 1"]) -> Float[Tensor, "n"]:
    """Return ``sigmoid(logit(opacity) + offset)``, also where the opacity is 0 or 1 and has no logit."""
    factor = bounded(offset[:, 0])
    return opacity * factor / (1.0 + opacity * (factor - 1.0))


def parameters(gaussians: Gaussians) -> Float[Tensor, "n 20"]:
    """Return the parameters that offsets are added to, in the order of the offsets."""
    opacity = gaussians.opacities.clamp(SMALLEST_ODDS, 1.0 - SMALLEST_ODDS)
    unbounded = (gaussians.scales.clamp(min=1e-6).log(), gaussians.quats, gaussians.sh.flatten(1))
    return torch.cat((*unbounded, torch.logit(opacity)[:, None]), dim=-1)


def reflect(values: Float[Tensor, "n 20"], mirror: Mirror) -> Float[Tensor, "n 20"]:
    """Return parameters, or their offsets, of the Gaussians in a mirror: both change alike."""
    scale, turn, colour, odds = values.split(WIDTHS, dim=-1)
    mirrored = mirror.reflect_harmonics(colour.unflatten(-1, (4, 3))).flatten(1)
    return torch.cat((scale, mirror.reflect_quaternions(turn), mirrored, odds), dim=-1)
