"""`HeadPoints`: the canonical point cloud of the whole head."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from ..head.head_fit import HeadFit
from ..record import Record
from .mirror_plane import MirrorPlane
from .silhouette import in_view


class Label(IntEnum):
    """Where a point, and the Gaussian made of it, comes from."""

    VISIBLE = 0
    """Seen in the source picture (``P_f``)."""
    MIRRORED = 1
    """The mirror image of a visible point (``P_f^s``)."""
    INTERIOR = 2
    """Teeth, gums, tongue, mouth socket, eyeballs: on the head model, hidden or partly hidden."""
    BACKING = 3
    """Skin of the head model just under the surface: fills what opens when the head turns or the lids close."""
    CHILD = 4
    """Added by parent-child densification (eq. 6); only on Gaussians."""


@dataclass(frozen=True)
class HeadPoints(Record):
    """Visible, mirrored and model-made points in canonical space, in this order: visible, mirrored, interior + backing.

    ``n`` counts all of them, ``f`` the visible ones, ``s`` the mirrored ones.
    """

    positions: Float[Tensor, "n 3"]
    """Canonical positions ``[P_f; P_f^s; ...]`` at the source expression."""
    labels: UInt8[Tensor, "n"]
    """A `Label` per point."""
    pixel: Int[Tensor, "f 2"]
    """Column x and row y of the crop pixel that each visible point was lifted from."""
    mirror_of: Int[Tensor, "s"]
    """For each mirrored point, the row of the visible point that it mirrors."""
    triangle: Int[Tensor, "n"]
    """Triangle of the head model that the point lies on, or -1 (hair, clothes, mirrored points)."""
    barycentric: Float[Tensor, "n 3"]
    """Barycentric coordinates in that triangle; 0 where there is none."""
    fit: HeadFit
    plane: MirrorPlane = field(default_factory=MirrorPlane.canonical)
    """What the mirrored points were mirrored about; some were moved a little afterwards."""

    @property
    def visible_count(self) -> int:
        """Number of visible points ``f``."""
        return self.pixel.shape[0]

    @property
    def mirrored_count(self) -> int:
        """Number of mirrored points ``s``."""
        return self.mirror_of.shape[0]

    def with_label(self, label: Label) -> Int[Tensor, "k"]:
        """Return the rows of the points that carry ``label``."""
        return torch.nonzero(self.labels == int(label)).squeeze(-1)

    def behind(self, rows: Int[Tensor, "k"], seen: Bool[Tensor, "f"]) -> Int[Tensor, "m"]:
        """Return those of some points that lie, in the picture, in the place of one of the visible points ``seen``."""
        camera = self.fit.camera
        shown = torch.zeros(camera.height, camera.width, dtype=torch.bool, device=seen.device)
        column, row = self.pixel[seen].long().unbind(-1)
        shown[row, column] = True
        view = in_view(self.positions[rows], camera)
        return rows[view.in_picture & shown[view.row, view.column]]
