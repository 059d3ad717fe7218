"""How far a reconstructed head is from the true shape behind its picture (paper appendix D.1, figures 10 and 11)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..geometry.interior import subdivision, vertex_normals
from ..geometry.points import HeadPoints, Label
from ..head.parts import Part
from ..head.zbuffer import interpolate, rasterize_mesh
from ..portrait.portrait import Portrait
from ..studio.rendered_heads import RenderedHead
from ..studio.source_head import PART_RANGES
from .tables import Row

MILLIMETRES = 100.0
"""In a unit of 10 cm."""
NEAR = 0.03
"""A true point is covered where the cloud comes this near, units: the edge of the filter's voxel."""
SEEN = 0.02
"""A true point is seen in the picture when it lies at most this far behind what the picture shows there, units."""
LEVEL = 3
"""Every triangle of the truth is sampled at LEVEL**2 places, about a millimetre apart."""


@dataclass(frozen=True)
class Truth:
    """The true shape on the pixels of a portrait's crop."""

    depth: Float[Tensor, "512 512"]
    """Camera z; 0 where there is no head."""
    normals: Float[Tensor, "3 512 512"]
    """Camera axes, towards the viewer."""
    position_map: Float[Tensor, "3 512 512"]
    """Canonical."""
    face: Bool[Tensor, "512 512"]
    """Skin of the face, without hair."""
    head: RenderedHead
    to_crop: Float[Tensor, "2 3"]


def truth_on_crop(head: RenderedHead, portrait: Portrait) -> Truth:
    """Draw the true shape with the crop's pixels."""
    pixels = _crop_pixels(head, portrait.crop_transform, head.vertices)
    depth, triangle, barycentric = rasterize_mesh(pixels, head.triangles, 512, 512)
    turned = vertex_normals(head.vertices, head.triangles) @ head.camera.rotation.T
    normals = interpolate(turned, head.triangles, triangle, barycentric)
    normals = normals / normals.norm(dim=0, keepdim=True).clamp(min=1e-9)
    face = (triangle >= 0) & _on_face(head)[triangle.clamp(min=0)]
    return Truth(
        depth=depth,
        normals=torch.where(normals[2:] > 0, -normals, normals),
        position_map=interpolate(head.vertices, head.triangles, triangle, barycentric),
        face=face,
        head=head,
        to_crop=portrait.crop_transform,
    )


def _crop_pixels(head: RenderedHead, to_crop: Float[Tensor, "2 3"], points: Float[Tensor, "n 3"]) -> Tensor:
    """Return crop pixel x, y and camera z of canonical points."""
    pixels = head.camera.project(points)
    return torch.cat((pixels[:, :2] @ to_crop[:, :2].T + to_crop[:, 2], pixels[:, 2:]), dim=1)


@dataclass(frozen=True)
class Similarity:
    """Scale, rotation and shift that lay one cloud onto another: monocular scale and pose cannot be known better."""

    scale: float
    rotation: Float[Tensor, "3 3"]
    shift: Float[Tensor, "3"]

    @classmethod
    def between(cls, points: Float[Tensor, "n 3"], target: Float[Tensor, "n 3"]) -> Similarity:
        """Return the best one in the sense of least squares (Umeyama 1991)."""
        middle, goal = points.double().mean(dim=0), target.double().mean(dim=0)
        source, wanted = points.double() - middle, target.double() - goal
        u, sizes, vh = torch.linalg.svd(wanted.T @ source)
        sign = torch.ones(3, dtype=torch.float64)
        sign[2] = torch.sign(torch.linalg.det(u @ vh))
        rotation = u @ torch.diag(sign) @ vh
        scale = float((sizes * sign).sum() / source.square().sum())
        return cls(scale, rotation.float(), (goal - scale * rotation @ middle).float())

    def __call__(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Lay a cloud onto the other."""
        return self.scale * points @ self.rotation.T + self.shift


def map_errors(
    truth: Truth,
    mask: Bool[Tensor, "512 512"],
    position_map: Float[Tensor, "3 512 512"],
    normals: Float[Tensor, "3 512 512"],
) -> tuple[Row, Similarity]:
    """Return the errors of a visible surface, and the similarity under which it was judged.

    The similarity is fitted on the face. ``point`` is the mean distance in mm between a pixel's point and its true one,
    ``depth`` its part along the camera's axis, ``normal`` the mean angle in degrees; each for the face and for the
    whole head with its hair.
    """
    face = mask & truth.face
    laid = Similarity.between(position_map[:, face].T, truth.position_map[:, face].T)
    row: Row = {}
    axis = truth.head.camera.rotation[2]
    for name, region in (("face", face), ("head", mask & (truth.depth > 0))):
        error = laid(position_map[:, region].T) - truth.position_map[:, region].T
        cosine = (normals[:, region] * truth.normals[:, region]).sum(dim=0).clamp(-1.0, 1.0)
        row[f"point_{name}"] = float(error.norm(dim=1).mean()) * MILLIMETRES
        row[f"depth_{name}"] = float((error @ axis).abs().mean()) * MILLIMETRES
        row[f"normal_{name}"] = float(torch.rad2deg(cosine.acos()).mean())
    return row, laid


def other_side_errors(truth: Truth, points: HeadPoints, laid: Similarity, voxel: float) -> Row:
    """Return how well the mirrored half stands for what the picture does not show.

    The hidden side is the part of the true surface that is not seen, though its mirror image is. ``covered`` is the
    share of it that some visible or mirrored point comes within `NEAR` of (``holes`` the rest), ``seen`` the same share
    of the side that is seen, which its mirror image can hardly surpass, ``distance`` the mean distance in mm of the
    mirrored points from the true surface, ``duplicates`` the mirrored points that share a voxel with a visible one.
    All of it after ``laid``, which was fitted to the seen face alone: what one picture cannot tell of scale and place
    does not count.
    """
    from scipy.spatial import cKDTree

    surface, is_face = _samples(truth.head)
    seen = _is_seen(truth, surface)
    hidden = ~seen & _is_seen(truth, surface * surface.new_tensor([-1.0, 1.0, 1.0]))
    mirrored = points.positions[points.with_label(Label.MIRRORED)]
    visible = points.positions[points.with_label(Label.VISIBLE)]
    cloud = cKDTree(laid(torch.cat((visible, mirrored))).numpy())
    row: Row = {"mirrored": len(mirrored)}
    for name, region in (("face", is_face), ("head", torch.ones_like(is_face))):
        for side, part in (("covered", hidden & region), ("seen", seen & region)):
            if part.sum() >= 100:
                near = cloud.query(surface[part].numpy())[0] <= NEAR
                row[f"{side}_{name}"] = 100.0 * float(near.mean())
    if len(mirrored):
        far = cKDTree(surface.numpy()).query(laid(mirrored).numpy())[0]
        row["distance"] = float(far.mean()) * MILLIMETRES
        row["distance_p90"] = float(np.percentile(far, 90)) * MILLIMETRES
    row["duplicates"] = _shared_voxels(visible, mirrored, voxel)
    return row


def _samples(head: RenderedHead) -> tuple[Float[Tensor, "k 3"], Bool[Tensor, "k"]]:
    """Return points all over skin and hair, and which of them lie on the skin of the face.

    What lies inside mouth and eyes has no other side to be filled.
    """
    outer = _belongs(head, Part.FACE, Part.SCALP)
    corners, weights = head.vertices[head.triangles[outer]], subdivision(LEVEL)
    samples = torch.einsum("kc,tcx->tkx", weights, corners).reshape(-1, 3)
    return samples, _on_face(head)[outer].repeat_interleave(len(weights))


def _belongs(head: RenderedHead, *parts: Part) -> Bool[Tensor, "f"]:
    """Return the triangles on some parts of the head, hair that grows there included."""
    first = head.root[head.triangles[:, 0]]
    spans = [span for part in parts for span in PART_RANGES[part]]
    return torch.stack([(first >= span.start) & (first < span.stop) for span in spans]).any(dim=0)


def _on_face(head: RenderedHead) -> Bool[Tensor, "f"]:
    """Return the triangles of the face's own skin, not of hair over it."""
    first = head.triangles[:, 0]
    return _belongs(head, Part.FACE) & (head.root[first] == first)


def _is_seen(truth: Truth, points: Float[Tensor, "k 3"]) -> Bool[Tensor, "k"]:
    """Return which points lie on what the picture shows."""
    pixels = _crop_pixels(truth.head, truth.to_crop, points)
    column, row = pixels[:, 0].floor().long(), pixels[:, 1].floor().long()
    inside = (column >= 0) & (column < 512) & (row >= 0) & (row < 512)
    shown = truth.depth[row.clamp(0, 511), column.clamp(0, 511)]
    return inside & (shown > 0) & ((pixels[:, 2] - shown).abs() <= SEEN)


def _shared_voxels(visible: Float[Tensor, "n 3"], mirrored: Float[Tensor, "m 3"], voxel: float) -> int:
    cells = {tuple(cell) for cell in torch.floor(visible.double() / voxel).long().tolist()}
    return sum(tuple(cell) in cells for cell in torch.floor(mirrored.double() / voxel).long().tolist())
