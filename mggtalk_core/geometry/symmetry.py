"""Symmetric geometry: the visible points, their mirror images and the model's hidden parts as one cloud (paper 3.1)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..errors import InputError
from ..head.hairline import on_ears
from ..head.model import HeadModel
from ..head.parts import Part
from ..parallel import one_thread
from ..portrait.parsing import Label as Parsed
from .interior import HiddenPoints, hidden_points
from .mirror_plane import MirrorPlane, mirror_plane
from .points import HeadPoints, Label
from .silhouette import eroded, in_view, silhouette, tucked_in
from .surface import Surface
from .teeth import with_seen_mouth
from .voxel import Occlusion, voxel_filter

OPAQUE = 0.8
"""Matte above which a visible point is mirrored: blended edge pixels carry the background's colour."""
CLEARANCE = 0.03
"""A mirrored point must lie this far (units of 10 cm) behind what the picture shows in its place."""
TUCK = 0.05
"""Farthest (units of 10 cm) that a mirrored point is moved to get inside the silhouette, or behind its rim."""
RIM, BESIDE = 7, 17
"""Windows in pixels by which it is to keep off the soft edge of the head, which it would show through, and in which
points count as lying at the rim."""
CHEEKS = 0.0
"""Height on the mean head (units of 10 cm from the eyes) below which the face is cheeks and jaw: above, hair grows."""
SCRAP = 5
"""Diameter in pixels of the smallest patch of mirrored points."""


@one_thread()
def symmetric_geometry(
    surface: Surface,
    model: HeadModel,
    *,
    voxel: float = 0.03,
    radius: int = 0,
    occlusion: Occlusion = "front",
    do_not_mirror: Bool[Tensor, "512 512"] | None = None,
    plane: MirrorPlane | None = None,
) -> HeadPoints:
    """Build the whole head's points from the visible surface: ``[P_f; P_f^s; ...]`` (eq. 2, 3 and D.1).

    ``P_f`` is the surface as it comes: the refinement of eq. 2, where it is asked for, has corrected the fit before.

    Args:
        surface: depth and normals of the picture.
        model: the head model that gave ``surface.triangle``; its inner parts and its skin join the cloud.
        voxel: edge of a voxel of the filter in units of 10 cm.
        radius: see `voxel_filter`.
        occlusion: see `voxel_filter`.
        do_not_mirror: crop pixels that have no counterpart on the other side (moles, partings, earrings).
        plane: to mirror about; None finds the one that the visible face is symmetric about. The paper's is x = 0,
            which is as good as the fitted pose.

    Raises:
        InputError: a mask of another size, or a setting that `voxel_filter` refuses.

    """
    surface = with_seen_mouth(surface, model)
    rows, columns = torch.nonzero(surface.mask, as_tuple=True)
    visible = surface.position_map[:, rows, columns].T
    places = _places(surface, model)
    source = _mirror_sources(surface, model, places, do_not_mirror)[rows, columns].nonzero().squeeze(-1)
    plane = (mirror_plane(surface, model) if plane is None else plane).to(visible.device)
    mirrored = _off_the_rim(plane.reflect(visible[source]), surface)
    keep = voxel_filter(visible, mirrored, voxel=voxel, radius=radius, occlusion=occlusion)
    keep &= agrees_with_picture(mirrored, surface)
    kept = torch.zeros_like(surface.mask)
    kept[rows[source], columns[source]] = keep
    keep &= ~_scraps(kept, places)[rows[source], columns[source]]
    hidden = hidden_points(surface, model)
    return _joined(surface, torch.stack((columns, rows), dim=1), visible, mirrored[keep], source[keep], hidden, plane)


def _places(surface: Surface, model: HeadModel) -> Float[Tensor, "512 512 3"]:
    """Return where on the mean head every pixel lies; 0 off the mesh."""
    places = surface.mask.new_zeros(*surface.mask.shape, 3, dtype=torch.float32)
    row, column = torch.nonzero(surface.triangle >= 0, as_tuple=True)
    places[row, column] = model.mean_places(surface.triangle[row, column], surface.barycentric[:, row, column].T)
    return places


def _mirror_sources(
    surface: Surface,
    model: HeadModel,
    places: Float[Tensor, "512 512 3"],
    do_not_mirror: Bool[Tensor, "512 512"] | None,
) -> Bool[Tensor, "512 512"]:
    """Return the pixels to mirror: opaque, allowed, and not on an inner part, whose other side the model has.

    Nor hair that lies on the model's cheeks and jaw: it hangs before or behind them, and would paint the other cheek.
    """
    part = model.parts[model.triangles[:, 0]][surface.triangle.clamp(min=0).long()].long()
    part = torch.where(surface.triangle >= 0, part, -1)
    cheek = (part == int(Part.FACE)) & (places[..., 1] < CHEEKS)
    stray = cheek & (surface.portrait.labels == int(Parsed.HAIR))
    sources = surface.mask & (surface.portrait.matte[0] > OPAQUE) & (part <= int(Part.SCALP)) & ~stray
    if do_not_mirror is None:
        return sources
    if do_not_mirror.shape != sources.shape:
        raise InputError(f"The do-not-mirror mask must be {tuple(sources.shape)}, not {tuple(do_not_mirror.shape)}.")
    return sources & ~do_not_mirror.bool()


def _off_the_rim(mirrored: Float[Tensor, "m 3"], surface: Surface) -> Float[Tensor, "m 3"]:
    """Move points that show a little past the silhouette inside it, and all at its rim behind what the picture shows.

    The plane and the surface are known to some millimetres, so the far rim of the mirrored half seldom falls on the
    silhouette. Dropping what lies outside would leave a gap beside the visible half wherever it falls short of it, and
    dropping what lies too close behind the rim would leave a gap along it, seen from the other side.
    """
    tucked = tucked_in(mirrored, surface, erosion=RIM)
    depth = torch.maximum(tucked.depth, tucked.shown + 1.01 * CLEARANCE)
    inside = surface.fit.camera.unproject(tucked.pixels, depth)
    _, row, column, in_picture = in_view(mirrored, surface.fit.camera)
    beside = eroded(silhouette(surface).float(), BESIDE)[row, column] == 0
    near = in_picture & beside & ((inside - mirrored).norm(dim=1) < TUCK)
    return torch.where(near[:, None], inside, mirrored)


def agrees_with_picture(points: Float[Tensor, "m 3"], surface: Surface) -> Bool[Tensor, "m"]:
    """Return which points the source picture does not contradict (silhouette carving, part of the occlusion test).

    A point contradicts it where the picture shows background, or where the point would hide what the picture shows.
    Outside the picture nothing is known, so everything agrees.
    """
    pixels, row, column, in_picture = in_view(points, surface.fit.camera)
    behind = pixels[:, 2] > surface.depth[row, column] + CLEARANCE
    return ~in_picture | (silhouette(surface)[row, column] & behind)


def _scraps(keep: Bool[Tensor, "512 512"], places: Float[Tensor, "512 512 3"]) -> Bool[Tensor, "512 512"]:
    """Return the pixels whose mirror images, among all that are kept, form no patch of some size.

    They would lie as flecks and ladders on the head model's skin, or hang in the air. Of an ear every piece helps.
    """
    import cv2

    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (SCRAP, SCRAP))
    opened = cv2.morphologyEx(keep.byte().cpu().numpy(), cv2.MORPH_OPEN, window)
    return keep & ~torch.from_numpy(opened > 0).to(keep.device) & ~on_ears(places)


def _joined(
    surface: Surface,
    pixel: Int[Tensor, "f 2"],
    visible: Float[Tensor, "f 3"],
    mirrored: Float[Tensor, "s 3"],
    mirror_of: Int[Tensor, "s"],
    hidden: HiddenPoints,
    plane: MirrorPlane,
) -> HeadPoints:
    columns, rows = pixel.unbind(-1)
    counts = (len(visible), len(mirrored), hidden.interior_count, len(hidden.positions) - hidden.interior_count)
    kinds = (Label.VISIBLE, Label.MIRRORED, Label.INTERIOR, Label.BACKING)
    labels = [torch.full((n,), int(kind), dtype=torch.uint8) for n, kind in zip(counts, kinds, strict=True)]
    no_triangle = torch.full((len(mirrored),), -1, dtype=torch.int64, device=visible.device)
    triangle = torch.cat((surface.triangle[rows, columns].long(), no_triangle, hidden.triangle))
    weights = surface.barycentric[:, rows, columns].T
    barycentric = torch.cat((weights, weights.new_zeros(len(mirrored), 3), hidden.barycentric))
    return HeadPoints(
        positions=torch.cat((visible, mirrored, hidden.positions)),
        labels=torch.cat(labels).to(visible.device),
        pixel=pixel,
        mirror_of=mirror_of,
        triangle=triangle,
        barycentric=barycentric,
        fit=surface.fit,
        plane=plane,
    )
