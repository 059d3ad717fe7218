"""Where hair grows on the mean head: what draws heads with hair and what colours a hidden scalp agree on it."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor


def above_hairline(places: Float[Tensor, "v 3"]) -> Float[Tensor, "v"]:
    """Return how far above a slanted plane over forehead and nape ``places`` on the mean head lie, canonical."""
    return places[:, 1] - 0.72 + 0.85 * (0.1 - places[:, 2])


def on_ears(places: Float[Tensor, "v 3"]) -> Bool[Tensor, "v"]:
    """Tell which places on the mean head are ears, canonical."""
    x, y, z = places.unbind(-1)
    return (x.abs() > 0.68) & (z > -1.25) & (z < -0.6) & (y < 0.3)
