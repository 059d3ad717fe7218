"""Depth and normal maps, as pictures and as numbers."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..mggtalk_core.geometry.surface import Surface
from ..mggtalk_core.portrait.on_crop import on_crop
from ..mggtalk_core.portrait.portrait import Portrait
from .convert import one_picture


class Maps(NamedTuple):
    """Maps on the crop's pixels, NaN where unknown; None where not given."""

    depth: Float[Tensor, "512 512"] | None
    normals: Float[Tensor, "3 512 512"] | None
    detect_signs: bool
    """Whether the signs of the normals are to be found out."""


def given_maps(portrait: Portrait, depth: Any, normals: Any, style: str, moge: Any, da3: Any) -> Maps:
    """Return what is connected: pictures go before geometries, MoGe before Depth Anything."""
    found_depth, found_normals, detect = None, None, False
    for geometry in (moge, da3):
        if geometry is not None and found_depth is None and "depth" in geometry:
            found_depth = _numbers(geometry["depth"][:1], portrait)[0]
    if moge is not None and "normal" in moge:
        found_normals, detect = _numbers(moge["normal"][0].movedim(-1, 0), portrait), True
    if depth is not None:
        found_depth = on_crop(one_picture(depth), portrait).mean(dim=0)
    if normals is not None:
        found_normals = normals_of_picture(on_crop(one_picture(normals), portrait), style)
        detect = style == "auto"
    return Maps(found_depth, found_normals, detect)


def _numbers(values: Float[Tensor, "c h w"], portrait: Portrait) -> Float[Tensor, "c 512 512"]:
    """Return a geometry's map on the crop's pixels; nothing is blended across a hole."""
    values = on_crop(values.detach().to("cpu", torch.float32), portrait, smooth=False)
    return torch.where(torch.isfinite(values), values, torch.full_like(values, torch.nan))


def normals_of_picture(picture: Float[Tensor, "3 h w"], style: str) -> Float[Tensor, "3 h w"]:
    """Return the normals in camera axes that a normal map's colours stand for, NaN where it is black."""
    x, y, z = (2.0 * picture - 1.0).unbind(0)
    normals = torch.stack((x, y if style == "directx" else -y, -z))
    return torch.where(picture.sum(dim=0) > 0.05, normals, torch.full_like(normals, torch.nan))


def normal_picture(surface: Surface) -> Float[Tensor, "3 512 512"]:
    """Return the normals as colours, OpenGL style; mid-blue, which faces the viewer, outside the head."""
    flip = surface.normals.new_tensor((1.0, -1.0, -1.0))[:, None, None]
    flat = surface.normals.new_tensor((0.0, 0.0, 1.0))[:, None, None]
    return 0.5 + 0.5 * torch.where(surface.mask, surface.normals * flip, flat)


def depth_picture(surface: Surface) -> Float[Tensor, "3 512 512"]:
    """Return the depth as grey: the nearest point white, the farthest nearly black, black outside the head."""
    inside = surface.depth[surface.mask]
    near, far = inside.min(), inside.max()
    grey = 1.0 - 0.95 * (surface.depth - near) / (far - near).clamp(min=1e-6)
    return (grey * surface.mask).expand(3, -1, -1)
