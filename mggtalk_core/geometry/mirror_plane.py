"""The plane that a head is symmetric about, found from its own surface.

The paper mirrors by x -> -x, the symmetry plane of the canonical pose. A pose fitted to landmarks is off by some
degrees and millimetres, which puts the other side of a turned head in the wrong place by as much as the nose is long.
What both sides show of a face fixes the plane far better.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..head.model import HeadModel
from ..head.parts import Part
from ..parallel import one_thread
from ..record import Record
from .silhouette import in_view
from .surface import Surface

SAMPLES = 4000
"""Points of the face that are compared with the other side."""
ROUNDS = 30
FAR, NEAR = 0.1, 0.02
"""Distance up to which two points can be each other's image, in the first and the last round; units of 10 cm."""
ALIKE = 0.85
"""Least cosine between the normals of two such points."""
FEWEST = 0.35
"""Share of the points that must find an image for the plane to be believed."""
TURNED, SHIFTED = 12.0, 0.08
"""Largest angle (degrees) and distance (units of 10 cm) from the canonical plane that are believed."""
RIDGE = 1e-6
"""Keeps the equations solvable, per point."""


@dataclass(frozen=True)
class MirrorPlane(Record):
    """The plane ``normal . p = offset`` in canonical space."""

    normal: Float[Tensor, "3"]
    """Unit length, towards the subject's left."""
    offset: float

    @classmethod
    def canonical(cls) -> MirrorPlane:
        """Return the plane of the paper, x = 0."""
        return cls(torch.tensor([1.0, 0.0, 0.0]), 0.0)

    def reflect(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Return the mirror images of points."""
        normal = self.normal.to(points)
        return points - 2.0 * (points @ normal - self.offset)[:, None] * normal


@one_thread()
def mirror_plane(surface: Surface, model: HeadModel) -> MirrorPlane:
    """Return the plane about which the visible face is symmetric; x = 0 where it shows too little of one side.

    Gauss-Newton on the distances between the reflected face and the face itself, along its normals, each point being
    compared with what the picture shows in its place; distances that are too large for images of each other do not
    count (Tukey's weights, tighter from round to round).
    """
    skin = _skin(surface, model)
    rows, columns = torch.nonzero(skin, as_tuple=True)
    if len(rows) < SAMPLES:
        return MirrorPlane.canonical()
    chosen = torch.arange(0, len(rows), len(rows) // SAMPLES, device=rows.device)
    normals = torch.einsum("cd,chw->dhw", surface.fit.camera.rotation.to(surface.normals), surface.normals)
    faces = (surface.position_map.double(), normals.double())
    points, directions = (each[:, rows[chosen], columns[chosen]].T for each in faces)
    plane, share = MirrorPlane(points.new_tensor([1.0, 0.0, 0.0]), 0.0), 0.0
    for number in range(ROUNDS):
        reach = FAR * (NEAR / FAR) ** (number / (ROUNDS - 1))
        plane, share = _step(plane, points, directions, skin, faces, surface, reach)
    angle = math.degrees(math.acos(min(1.0, float(plane.normal[0]))))
    if share < FEWEST or angle > TURNED or abs(plane.offset) > SHIFTED:
        return MirrorPlane.canonical()
    return MirrorPlane(plane.normal.to(surface.normals), plane.offset)


def _skin(surface: Surface, model: HeadModel) -> Bool[Tensor, "512 512"]:
    """Return the opaque pixels that show the skin of the head model."""
    outer = model.parts[model.triangles[:, 0]] <= int(Part.SCALP)
    on_skin = (surface.triangle >= 0) & outer[surface.triangle.clamp(min=0).long()]
    return surface.mask & on_skin & (surface.portrait.matte[0] > 0.8)


def _step(
    plane: MirrorPlane,
    points: Float[Tensor, "n 3"],
    directions: Float[Tensor, "n 3"],
    skin: Bool[Tensor, "512 512"],
    faces: tuple[Float[Tensor, "3 512 512"], Float[Tensor, "3 512 512"]],
    surface: Surface,
    reach: float,
) -> tuple[MirrorPlane, float]:
    """Return a better plane, and the share of the points that have an image within ``reach``."""
    normal = plane.normal
    images = plane.reflect(points)
    turned = directions - 2.0 * (directions @ normal)[:, None] * normal
    _, rows, columns, inside = in_view(images, surface.fit.camera)
    there, facing = (each[:, rows, columns].T for each in faces)
    gap = ((images - there) * facing).sum(dim=1)
    valid = inside & skin[rows, columns] & ((facing * turned).sum(dim=1) > ALIKE)
    weight = valid * (1.0 - (gap / reach).square()).clamp(min=0.0).square()
    axes = torch.linalg.svd(normal[None], full_matrices=True).Vh[1:]
    height = points @ normal - plane.offset
    tilts = [-2.0 * (((points @ axis) * (facing @ normal)) + height * (facing @ axis)) for axis in axes]
    jacobian = torch.stack((*tilts, 2.0 * (facing @ normal)), dim=1)
    weighted = jacobian * weight[:, None]
    ridge = RIDGE * len(points) * torch.eye(3).to(points)
    first, second, shift = torch.linalg.solve(weighted.T @ jacobian + ridge, -weighted.T @ gap)
    moved = normal + first * axes[0] + second * axes[1]
    return MirrorPlane(moved / moved.norm(), plane.offset + float(shift)), float((weight > 0).double().mean())
