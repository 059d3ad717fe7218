"""Z-buffer for triangle meshes."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


def rasterize_mesh(
    vertices: Float[Tensor, "v 3"], triangles: Int[Tensor, "f 3"], width: int, height: int
) -> tuple[Float[Tensor, "height width"], Int[Tensor, "height width"], Float[Tensor, "3 height width"]]:
    """Draw a mesh, nearest surface first, both faces of every triangle.

    ``vertices`` are pixel x, pixel y and camera depth z, as `Camera.project` gives them; a pixel is covered when its
    centre (+0.5) is, and a triangle that reaches behind the camera is left out. Returns the depth (0 where empty), the
    index of the triangle (-1 where empty) and perspective-correct barycentric weights of its three corners.
    """
    from .zbuffer_kernel import rasterize

    corners = np.ascontiguousarray(vertices.detach().cpu().numpy(), dtype=np.float64)
    indices = np.ascontiguousarray(triangles.detach().cpu().numpy(), dtype=np.int64)
    depth = np.zeros((height, width), dtype=np.float32)
    triangle = np.full((height, width), -1, dtype=np.int64)
    barycentric = np.zeros((3, height, width), dtype=np.float32)
    rasterize(corners, indices, depth, triangle, barycentric)
    device = vertices.device
    maps = torch.from_numpy(depth), torch.from_numpy(triangle), torch.from_numpy(barycentric)
    return maps[0].to(device), maps[1].to(device), maps[2].to(device)


def interpolate(
    values: Float[Tensor, "v channels"],
    triangles: Int[Tensor, "f 3"],
    triangle: Int[Tensor, "height width"],
    barycentric: Float[Tensor, "3 height width"],
) -> Float[Tensor, "channels height width"]:
    """Spread values of the vertices over the pixels that `rasterize_mesh` filled; zero elsewhere."""
    filled = torch.nonzero(triangle.flatten() >= 0).squeeze(-1)
    corners = values[triangles[triangle.flatten()[filled]]]  # [K, 3, C]
    spread = values.new_zeros(values.shape[1], triangle.numel())
    spread[:, filled] = torch.einsum("kvc,vk->ck", corners, barycentric.to(values).flatten(1)[:, filled])
    return spread.unflatten(1, triangle.shape)
