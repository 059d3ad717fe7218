"""Colours of the neck that the picture does not show, brought to those of the skin that it shows beside them.

Mirrored skin lies in the light of its own side, and the head model's skin in a diffused one. Where a turn lays them
beside skin that the picture shows in the shadow of the jaw, a jump in brightness would look like a tear.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from ..geometry.points import HeadPoints
from ..geometry.silhouette import eroded
from ..head.parts import Part
from ..portrait.parsing import Label
from ..portrait.portrait import Portrait
from ..smoothstep import smoothstep
from .levels import below_jaw
from .skin import MATTE_EROSION

NEAR, FAR = 0.05, 0.5
"""Distances from seen skin, units of 10 cm, up to which the colours meet its own, and from which they are untouched."""
JAW = (-0.3, 0.0)
"""Distances below the jaw's plane between which it comes in force: the rim of a cheek is mixed with what is behind."""
CELL = 0.05
"""Edge of the cubes over which colours are averaged: grain, beard and pores stay as they are."""
NEIGHBOURS = 6
"""Cubes between which colours are interpolated."""
SOLID = 0.9
"""Least matte around a pixel whose colour counts as skin's."""
_SKIN = (int(Label.FACE), int(Label.BODY))


@dataclass(frozen=True)
class _Cells:
    """Means of points over cubes."""

    places: Float[np.ndarray, "c 3"]
    colours: Float[np.ndarray, "c 3"]

    @classmethod
    def of(cls, places: Float[np.ndarray, "n 3"], colours: Float[np.ndarray, "n 3"]) -> _Cells:
        """Average points over the cubes that hold any."""
        _, cell, count = np.unique(np.floor(places / CELL), axis=0, return_inverse=True, return_counts=True)
        sums = [np.bincount(cell.ravel(), column) for column in (*places.T, *colours.T)]
        means = np.stack(sums, axis=1) / count[:, None]
        return cls(means[:, :3], means[:, 3:])

    def at(
        self, places: Float[np.ndarray, "n 3"], values: Float[np.ndarray, "c k"]
    ) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "n"]]:
        """Return values of the cubes, interpolated by inverse square distance, and the distance of the nearest cube."""
        from scipy.spatial import KDTree

        count = min(NEIGHBOURS, len(self.places))
        distance, near = KDTree(self.places).query(places, count)
        distance, near = distance.reshape(-1, count), near.reshape(-1, count)
        weight = 1.0 / (distance**2 + (0.5 * CELL) ** 2)
        weight /= weight.sum(axis=1, keepdims=True)
        return (values[near] * weight[..., None]).sum(axis=1), distance[:, 0]


def blended(
    colours: Float[Tensor, "n 3"],
    portrait: Portrait,
    points: HeadPoints,
    part: Int[Tensor, "n"],
    bare: Bool[Tensor, "v"],
) -> Float[Tensor, "n 3"]:
    """Return the colours of all points with those of unseen skin brought to the seen skin's beside them.

    Args:
        colours: of every point.
        portrait: tells which pixels are skin.
        points: visible ones first, then mirrored ones, then the head model's.
        part: of the head model, for every point; -1 off it.
        bare: which visible points may be skin like that beside them; ears are redder.
    """
    below = below_jaw(points.positions)
    clear = _is_skin(portrait, points) & bare
    seen = pad(clear, (0, len(part) - len(clear))) & (below > JAW[0] - FAR)
    unseen = _unseen_skin(points, part, clear) & (below > JAW[0])
    if not bool(seen.any()) or not bool(unseen.any()):
        return colours
    places, shades = points.positions.double().cpu().numpy(), colours.double().cpu().numpy()
    rows, shown = unseen.cpu().numpy(), seen.cpu().numpy()
    skin, hidden = _Cells.of(places[shown], shades[shown]), _Cells.of(places[rows], shades[rows])
    wanted, distance = skin.at(hidden.places, skin.colours)
    depth = below_jaw(torch.from_numpy(hidden.places)).numpy()
    share = (1.0 - smoothstep(distance, NEAR, FAR)) * smoothstep(depth, *JAW)
    change, _ = hidden.at(places[rows], share[:, None] * (wanted - hidden.colours))
    result = colours.clone()
    result[unseen] = torch.from_numpy((shades[rows] + change).clip(0.0, 1.0)).to(colours)
    return result


def _is_skin(portrait: Portrait, points: HeadPoints) -> Bool[Tensor, "v"]:
    """Tell which visible points lie in pixels of skin alone."""
    column, row = points.pixel.long().unbind(-1)
    skin = torch.isin(portrait.labels[row, column].long(), torch.tensor(_SKIN).to(row))
    return skin & (eroded(portrait.matte[0], MATTE_EROSION)[row, column] > SOLID)


def _unseen_skin(points: HeadPoints, part: Int[Tensor, "n"], clear: Bool[Tensor, "v"]) -> Bool[Tensor, "n"]:
    """Tell which points are skin of the head model, or the mirror images of ``clear`` skin."""
    count, seen = points.visible_count, points.visible_count + points.mirrored_count
    unseen = (part == int(Part.FACE)) | (part == int(Part.SCALP))
    unseen[:count] = False
    unseen[count:seen] = clear[points.mirror_of.long()]
    return unseen
