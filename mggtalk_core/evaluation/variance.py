"""How much the parameters of each Gaussian change over the frames of a clip (paper 4.4.3)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from ..gaussians.gaussians import Gaussians
from ..geometry.points import Label
from ..render.reference import rotations
from ..render.splatting import MIN_ALPHA

FACTORS = {"rotation": 2.0 * 180.0 / math.pi}
"""From the unit of a parameter to that of its spread; a hundred for the others."""


def parameter_variance(frames: Iterable[Gaussians], label: Label | None = None) -> dict[str, float]:
    """Return how far the parameters stray from their mean over the frames, mean over all Gaussians.

    Each is the root of a parameter's variance, its components added: ``spread_position`` in hundredths of the canonical
    unit (millimetres), ``spread_rotation`` in degrees, ``spread_scale`` of the logarithm in percent,
    ``spread_opacity`` and ``spread_colour`` (all twelve coefficients) in percent of full range. The position holds the
    motion that is asked for; what the rest changes besides is what makes pictures unstable. A round Gaussian may turn
    without being seen to: ``spread_shape``, of the covariance over its trace, in percent, does not count that.

    With a ``label`` the mean is taken over the Gaussians of this label that show in one of the frames at least.

    Returns nothing where there are fewer than two frames, or no such Gaussians. Memory: three copies of one frame's
    parameters.
    """
    start: dict[str, Tensor] = {}
    sums: dict[str, Tensor] = {}
    squares: dict[str, Tensor] = {}
    count = 0
    most: Float[Tensor, "n"] | None = None
    for gaussians in frames:
        values = _parameters(gaussians, start.get("rotation"))
        if not start:
            start = values
            sums, squares = ({name: torch.zeros_like(each) for name, each in values.items()} for _ in range(2))
        for name, each in values.items():
            # Differences from the first frame are small: nothing is lost in single precision.
            off = each - start[name]
            sums[name] += off
            squares[name] += off.square()
        most = gaussians.opacities if most is None else torch.maximum(most, gaussians.opacities)
        count += 1
    if count < 2:
        return {}
    rows = slice(None) if label is None else (gaussians.labels == int(label)) & (most >= MIN_ALPHA)
    if not len(most[rows]):
        return {}
    spreads = {name: _spread(sums[name][rows] / count, squares[name][rows] / count) for name in sums}
    return {f"spread_{name}": FACTORS.get(name, 100.0) * spread for name, spread in spreads.items()}


def _parameters(gaussians: Gaussians, first: Float[Tensor, "n 4"] | None) -> dict[str, Float[Tensor, "n c"]]:
    """Return the parameters as rows; quaternions get the sign that is nearer to the first frame's."""
    quats = gaussians.quats
    if first is not None:
        quats = torch.where((quats * first).sum(dim=1, keepdim=True) < 0.0, -quats, quats)
    return {
        "position": gaussians.means,
        "rotation": quats,
        "shape": _shape(gaussians),
        "scale": gaussians.scales.clamp(min=1e-8).log(),
        "opacity": gaussians.opacities[:, None],
        "colour": gaussians.sh.flatten(1),
    }


def _shape(gaussians: Gaussians) -> Float[Tensor, "n 9"]:
    """Return the covariances, of trace 1."""
    axes = rotations(gaussians.quats) * (gaussians.scales / gaussians.scales.norm(dim=1, keepdim=True))[:, None, :]
    return (axes @ axes.transpose(1, 2)).flatten(1)


def _spread(mean: Float[Tensor, "n c"], square: Float[Tensor, "n c"]) -> float:
    return float((square - mean.square()).clamp(min=0.0).sum(dim=1).sqrt().mean())
