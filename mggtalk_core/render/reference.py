"""Dense float64 splatting in plain torch: what every other backend is compared with."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import InputError
from ..gaussians.gaussians import Gaussians
from ..head.camera import Camera
from . import splatting as rule
from .rendering import Rendering

_MAX_PAIRS = 2_000_000_000  # of Gaussian and pixel
_ELEMENTS = 4_000_000  # pairs held at once: bounds the memory to a few hundred MB


def render_reference(gaussians: Gaussians, camera: Camera, *, antialiased: bool = False) -> Rendering:
    """Render small scenes exactly and differentiably: every Gaussian meets every pixel, in depth order.

    Returns float64 tensors on the device of the Gaussians; colour is premultiplied, over nothing. Raises InputError for
    a scene that would take minutes.
    """
    if len(gaussians) * camera.width * camera.height > _MAX_PAIRS:
        raise InputError('The "reference" backend is for small scenes: choose backend "auto".')
    finite = finite_rows(gaussians)
    kept = drawable(gaussians, finite, torch.float64)
    depth = camera.to_camera(kept.means)[:, 2]
    order = torch.argsort(depth, stable=True)
    order = order[depth[order] >= rule.NEAR_PLANE]
    splats = project_splats(drawable(kept, order, torch.float64), camera, antialiased)
    rows = max(1, _ELEMENTS // max(1, camera.width * order.numel()))
    bands = [_blend(*splats, camera, top, min(top + rows, camera.height)) for top in range(0, camera.height, rows)]
    image = torch.cat(bands, dim=1)
    alpha = image[4:5]
    return Rendering(image[:3], alpha, image[3:4] / alpha.clamp(min=rule.MIN_WEIGHT), int((~finite).sum()))


def finite_rows(gaussians: Gaussians) -> Bool[Tensor, "n"]:
    """Tell which Gaussians can be drawn: all parameters finite and a quaternion that is not zero."""
    g = gaussians
    parameters = torch.cat((g.means, g.quats, g.scales, g.opacities[:, None], g.sh.flatten(1)), dim=1)
    return torch.isfinite(parameters).all(dim=1) & (g.quats != 0).any(dim=1)


def view_colors(means: Float[Tensor, "n 3"], sh: Float[Tensor, "n 4 3"], camera: Camera) -> Float[Tensor, "n 3"]:
    """Evaluate spherical harmonics of degree 1 in the direction from the camera's centre to each mean."""
    center = -camera.rotation.to(means).T @ camera.translation.to(means)
    x, y, z = torch.nn.functional.normalize(means - center, dim=1).unbind(1)
    basis = torch.stack((torch.full_like(x, rule.SH_C0), -rule.SH_C1 * y, rule.SH_C1 * z, -rule.SH_C1 * x), dim=1)
    return (0.5 + torch.einsum("nk,nkc->nc", basis, sh)).clamp(min=0.0)


def drawable(gaussians: Gaussians, rows: Tensor, dtype: torch.dtype) -> Gaussians:
    """Return the given rows, by index or mask, as ``dtype``."""
    g = gaussians
    fields = {name: getattr(g, name)[rows].to(dtype) for name in ("means", "quats", "scales", "opacities", "sh")}
    return replace(g, labels=g.labels[rows], **fields)


def project_splats(g: Gaussians, camera: Camera, antialiased: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the 2D means [N,2], covariances [N,2,2], features [N,4] (colour, depth) and opacities [N].

    Antialiased, what the low-pass filter adds in area is taken from the opacity (mip-splatting).
    """
    pixels = camera.project(g.means)
    to_pixels = _jacobian(camera.to_camera(g.means), camera) @ camera.rotation.to(g.means)
    axes = to_pixels @ rotations(g.quats) * g.scales[:, None, :]
    sharp = axes @ axes.mT
    covariance = sharp + rule.LOW_PASS * torch.eye(2).to(axes)
    features = torch.cat((view_colors(g.means, g.sh, camera), pixels[:, 2:]), dim=1)
    opacities = g.opacities
    if antialiased:
        ratio = torch.det(sharp) / torch.det(covariance)
        # Where the ratio is 0 the root has no slope: such a splat is not drawn.
        opacities = opacities * torch.where(ratio > 0, ratio.clamp(min=1e-30), 0.0).sqrt()
    return pixels[:, :2], covariance, features, opacities


def _jacobian(points: Float[Tensor, "n 3"], camera: Camera) -> Float[Tensor, "n 2 3"]:
    """Differentiate the perspective projection, its tangents clamped near the picture (EWA splatting)."""
    x, y, z = points.unbind(1)
    limit_x = (1 + rule.FRUSTUM_MARGIN) * 0.5 * camera.width / camera.focal
    limit_y = (1 + rule.FRUSTUM_MARGIN) * 0.5 * camera.height / camera.focal
    zero, scale = torch.zeros_like(z), camera.focal / z
    row_x = torch.stack((scale, zero, -scale * (x / z).clamp(-limit_x, limit_x)), dim=1)
    row_y = torch.stack((zero, scale, -scale * (y / z).clamp(-limit_y, limit_y)), dim=1)
    return torch.stack((row_x, row_y), dim=1)


def rotations(quats: Float[Tensor, "n 4"]) -> Float[Tensor, "n 3 3"]:
    """Return the rotation matrices of quaternions w, x, y, z of any length but 0."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=1).unbind(1)
    rows = (
        torch.stack((1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)), dim=1),
        torch.stack((2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)), dim=1),
        torch.stack((2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)), dim=1),
    )
    return torch.stack(rows, dim=1)


def _blend(
    means: Tensor, covariances: Tensor, features: Tensor, opacities: Tensor, camera: Camera, top: int, bottom: int
) -> Float[Tensor, "5 rows width"]:
    """Blend the splats front to back over the pixel rows top..bottom: colour, weighted depth and alpha."""
    conics = torch.linalg.inv(covariances)
    y = torch.arange(top, bottom).to(means) + 0.5
    x = torch.arange(camera.width).to(means) + 0.5
    dx, dy = x - means[:, 0, None, None], y[:, None] - means[:, 1, None, None]
    a, b, c = (conics[:, i, j, None, None] for i, j in ((0, 0), (0, 1), (1, 1)))
    alpha = opacities[:, None, None] * torch.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)
    alpha = torch.where(alpha >= rule.MIN_ALPHA, alpha.clamp(max=rule.MAX_ALPHA), 0.0)
    after = torch.cumprod(1.0 - alpha, dim=0)
    before = torch.cat((torch.ones_like(after[:1]), after))[: len(after)]
    weight = torch.where(after > rule.MIN_TRANSMITTANCE, before * alpha, 0.0)
    blended = torch.einsum("nc,nhw->chw", features, weight)
    return torch.cat((blended, weight.sum(dim=0, keepdim=True)))
