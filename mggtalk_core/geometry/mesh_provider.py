"""The `mesh` provider: depth and normals from the fitted head, with hair, ears and neck inflated from the matte."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import interpolate as resize
from torch.nn.functional import max_pool2d

from ..head.camera import FOCAL_PER_PIXEL, Camera
from ..head.head_fit import HeadFit
from ..head.model import HeadModel
from ..head.parts import Part
from ..head.zbuffer import interpolate, rasterize_mesh
from ..portrait.parsing import Label
from ..portrait.portrait import Portrait
from ..record import Record
from .inflate import CELL, inflate
from .interior import vertex_normals
from .normals import facing_viewer, normals_of_depth, unit

PRESENT = 0.02
"""Matte above which a pixel carries geometry."""
BEARD_TOP, BEARD_BACK = -0.3, -0.4
"""Below and before these canonical y and z hair on the face is a beard and moves with the skin; behind is long hair."""
COVER = 0.08
"""How far hair and hats lie over the mesh, units of 10 cm, reached `COVER_RISE` from the uncovered skin."""
COVER_RISE = 0.3
BELOW = -10.0
"""A height under everything, for pixels beside the mesh."""


@dataclass(frozen=True)
class Estimate(Record):
    """Depth and normals of a provider on the crop's pixel grid, to be fused by BINI."""

    depth: Float[Tensor, "height width"]
    """Camera z, meaningful inside ``mask``."""
    normals: Float[Tensor, "3 height width"]
    """Camera axes, towards the viewer."""
    mask: Bool[Tensor, "height width"]
    sure: Bool[Tensor, "height width"]
    """Where the depth is the head model's own surface."""
    triangle: Int[Tensor, "height width"]
    barycentric: Float[Tensor, "3 height width"]
    told: Bool[Tensor, "height width"] | None = None
    """Where the normals came from a normal map: finer than what differences of the depth tell; None is nowhere."""
    measured: Bool[Tensor, "height width"] | None = None
    """Where the depth came from a depth map; None is nowhere."""
    remarks: tuple[str, ...] = ()
    """What was noticed about the maps, one line each."""


def mesh_estimate(portrait: Portrait, fit: HeadFit, model: HeadModel) -> Estimate:
    """Return the fitted head's depth and normals; what covers or surrounds the mesh is inflated from the matte."""
    camera = fit.camera
    vertices = model.vertices(fit.identity, fit.beta_s, fit.gaze) + fit.offsets
    depth, triangle, barycentric = rasterize_mesh(
        camera.project(vertices), model.triangles, camera.width, camera.height
    )
    mask = portrait.matte[0] > PRESENT
    canonical = interpolate(vertices, model.triangles, triangle, barycentric)
    bare = mask & _is_bare(portrait, model, triangle, canonical)
    inflated = _inflated_depth(portrait, bare, depth, triangle >= 0, _outline_depth(vertices, model, camera))
    turned = vertex_normals(vertices, model.triangles) @ camera.rotation.T
    smooth = unit(interpolate(turned, model.triangles, triangle, barycentric))
    normals = torch.where(bare, facing_viewer(smooth, camera), normals_of_depth(inflated, camera))
    return Estimate(
        depth=torch.where(bare, depth, inflated),
        normals=normals,
        mask=mask,
        sure=bare,
        triangle=torch.where(bare, triangle, torch.full_like(triangle, -1)),
        barycentric=barycentric * bare,
    )


def _is_bare(
    portrait: Portrait,
    model: HeadModel,
    triangle: Int[Tensor, "height width"],
    canonical: Float[Tensor, "3 height width"],
) -> Bool[Tensor, "height width"]:
    """Return the pixels that show the mesh itself: skin, beards and inner parts, not hair, hats or glasses over it."""
    part = model.parts[model.triangles[triangle.clamp(min=0), 0]]
    labels = portrait.labels
    skin = (labels == Label.FACE) | (labels == Label.BODY)
    beard = (part == int(Part.FACE)) & (canonical[1] < BEARD_TOP) & (canonical[2] > BEARD_BACK)
    return (triangle >= 0) & (skin | beard | (part > int(Part.SCALP)))


def _outline_depth(vertices: Float[Tensor, "v 3"], model: HeadModel, camera: Camera) -> float:
    """Return the camera depth of the middle of the skull: a round head's outline lies in that plane from any side."""
    skull = vertices[(model.parts == int(Part.SCALP)) & (model.mean[:, 1] > 0)]
    middle = (skull.amin(dim=0) + skull.amax(dim=0)) / 2
    return float(camera.to_camera(middle[None])[0, 2])


def _inflated_depth(
    portrait: Portrait,
    bare: Bool[Tensor, "height width"],
    mesh_depth: Float[Tensor, "height width"],
    on_mesh: Bool[Tensor, "height width"],
    outline_depth: float,
) -> Float[Tensor, "height width"]:
    """Return a depth for every pixel: inflated from the outline, but never behind a mesh that it covers."""
    pixel = outline_depth / (portrait.crop.shape[-1] * FOCAL_PER_PIXEL)
    outline = (portrait.matte[0] < 0.25) & (portrait.labels == Label.BACKGROUND)
    cover = COVER * _rise(bare, COVER_RISE / pixel)
    floor = torch.where(on_mesh & ~bare, outline_depth - mesh_depth + cover, torch.full_like(mesh_depth, BELOW))
    neck = portrait.labels == Label.BODY
    return outline_depth - inflate(outline, bare, (outline_depth - mesh_depth) * bare, pixel, floor, neck)


def _rise(bare: Bool[Tensor, "height width"], reach: float) -> Float[Tensor, "height width"]:
    """Return 0 on bare pixels, rising to 1 at ``reach`` pixels from them."""
    from scipy.ndimage import distance_transform_edt

    cells = max_pool2d(bare[None].float(), CELL)[0] > 0
    distance = torch.from_numpy(distance_transform_edt(~cells.cpu().numpy())).to(bare.device, torch.float32)
    rise = (distance * (CELL / reach)).clamp(0.0, 1.0)
    return resize(rise[None, None], size=bare.shape, mode="bilinear")[0, 0]
