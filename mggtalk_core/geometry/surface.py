"""`Surface`: depth, normals and the coarse position map of the visible head."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..head.head_fit import HeadFit
from ..portrait.portrait import Portrait
from ..record import Record


@dataclass(frozen=True)
class Surface(Record):
    """Visible geometry on the crop's pixel grid (paper eq. 1)."""

    depth: Float[Tensor, "512 512"]
    """Camera z in units of 10 cm; 0 outside the mask."""
    normals: Float[Tensor, "3 512 512"]
    """Unit normals in camera axes (x right, y down, z forward), so nz < 0 faces the viewer; 0 outside the mask."""
    mask: Bool[Tensor, "512 512"]
    """Pixels that carry geometry."""
    position_map: Float[Tensor, "3 512 512"]
    """Coarse canonical position ``P_c`` of every pixel (eq. 1); 0 outside the mask."""
    triangle: Int[Tensor, "512 512"]
    """Triangle of the head model that is seen in the pixel; -1 where there is none (hair, clothes, background)."""
    barycentric: Float[Tensor, "3 512 512"]
    """Barycentric coordinates inside that triangle; 0 where there is none."""
    provider: str
    """Where depth and normals came from: ``mesh``, ``geowizard``, ``marigold`` or ``given``."""
    portrait: Portrait
    fit: HeadFit
    remarks: tuple[str, ...] = ()
    """What was noticed about the provider's maps, one line each: for people to read."""
