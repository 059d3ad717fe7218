"""Surface reconstruction: depth and normals of a provider, fused by bilateral normal integration (paper eq. 1)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import conv_transpose2d

from ..errors import InputError
from ..head.camera import Camera
from ..head.head_fit import HeadFit
from ..head.model import HeadModel
from ..parallel import one_thread
from ..portrait.portrait import Portrait
from ..progress import OnStep, ignore_steps
from .bini import BiniOptions, integrate_normals
from .given_provider import given_estimate
from .mesh_provider import Estimate, mesh_estimate
from .normals import normals_of_depth, rays
from .surface import Surface

PROVIDERS = ("mesh", "given", "geowizard", "marigold")
NETWORKS = ("geowizard", "marigold")
STRIDE = 2
"""BINI sees every second pixel of the crop: 256x256."""
SURE_WEIGHT = 1.0
"""``lambda`` where the depth is the head model's own: normals only smooth its facets."""
LOOSE_WEIGHT = 1e-3
"""``lambda`` elsewhere: normals decide the shape, the prior where it floats."""
FUSION = BiniOptions(tolerance=1e-3, max_rounds=6)
"""The prior is near the answer already, and it starts the first round, so few rounds are left to do."""


@one_thread()
def reconstruct_surface(
    portrait: Portrait,
    fit: HeadFit,
    model: HeadModel,
    *,
    provider: str = "mesh",
    depth: Float[Tensor, "512 512"] | None = None,
    normals: Float[Tensor, "3 512 512"] | None = None,
    on_step: OnStep = ignore_steps,
) -> Surface:
    """Reconstruct the visible surface of the head: ``P_c = BINI(depth, normals)`` (eq. 1).

    Args:
        portrait: the picture.
        fit: the head that was fitted to it.
        model: the head model of the fit.
        provider: ``mesh`` (the fitted head, inflated where it does not reach) or ``given`` (the maps that follow).
        depth: for ``given``: any affine function of camera depth on the crop's pixels, NaN where unknown.
        normals: for ``given``: unit normals in camera axes (nz < 0 faces the viewer), NaN where unknown.
        on_step: rounds of the integration.

    Raises:
        InputError: an unknown provider, one that needs networks this release does not have, unusable maps, or a matte
            without a head.

    """
    if depth is not None or normals is not None:
        provider = "given" if provider == "mesh" else provider
    _check(provider, depth, normals)
    estimate = mesh_estimate(portrait, fit, model)
    if not estimate.mask.any():
        raise InputError("The head matte is empty: give a matte that covers the head, or another picture.")
    if provider == "given":
        estimate = given_estimate(estimate, fit.camera, depth, normals)
    fused = fuse(estimate, fit.camera, on_step)
    return _surface(estimate, fused, provider, portrait, fit)


def _check(provider: str, depth: Tensor | None, normals: Tensor | None) -> None:
    if provider not in PROVIDERS:
        raise InputError(f"There is no depth provider {provider!r}: choose one of {', '.join(PROVIDERS)}.")
    if provider in NETWORKS:
        raise InputError(
            f"Provider {provider!r} is not in this release: use 'mesh', or hand in its depth and normal maps."
        )
    if provider == "given" and depth is None and normals is None:
        raise InputError("Provider 'given' needs a depth map, a normal map or both.")


def fuse(estimate: Estimate, camera: Camera, on_step: OnStep = ignore_steps) -> Float[Tensor, "height width"]:
    """Return the depth that agrees with the estimate's normals and, softly, with its depth (eq. 1).

    The integration runs on every second pixel; what it changes is interpolated and added to the estimate's depth, whose
    own detail and occlusion edges stay as sharp as the picture.
    """
    coarse = estimate.depth[::STRIDE, ::STRIDE]
    mask = estimate.mask[::STRIDE, ::STRIDE]
    cx, cy = camera.center
    # The first pixel's centre, at 0.5, must stay where it is: it is the centre of the first coarse pixel too.
    center = (cx - 0.5) / STRIDE + 0.5, (cy - 0.5) / STRIDE + 0.5
    focal = camera.focal / STRIDE
    weight = torch.where(estimate.sure, SURE_WEIGHT, LOOSE_WEIGHT)[::STRIDE, ::STRIDE]
    result = integrate_normals(
        estimate.normals[:, ::STRIDE, ::STRIDE], mask, intrinsics=(focal, focal, *center),
        prior=coarse, prior_weight=weight, start=coarse, options=FUSION, on_step=on_step,
    )  # fmt: skip
    change = torch.where(result.mask, result.depth.to(coarse) - coarse, torch.zeros_like(coarse))
    return estimate.depth + _upsample(change, result.mask)[: camera.height, : camera.width]


def _upsample(
    values: Float[Tensor, "rows columns"], known: Bool[Tensor, "rows columns"]
) -> Float[Tensor, "height width"]:
    """Interpolate bilinearly between every second pixel, using known values only; 0 where there are none near."""
    kernel = values.new_tensor([[0.25, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.25]])[None, None]
    pair = torch.stack((values * known, known.to(values)))[:, None]
    total, weight = conv_transpose2d(pair, kernel, stride=STRIDE, padding=1, output_padding=1)[:, 0]
    return total / weight.clamp(min=0.25)


def _surface(
    estimate: Estimate, depth: Float[Tensor, "height width"], provider: str, portrait: Portrait, fit: HeadFit
) -> Surface:
    """Lift the fused depth to canonical space; normals are the estimate's on the mesh and the depth's own elsewhere."""
    camera, mask = fit.camera, estimate.mask
    normals = torch.where(estimate.sure, estimate.normals, normals_of_depth(depth, camera))
    in_camera = (rays(camera).to(depth) * depth).flatten(1).T
    canonical = (in_camera - camera.translation.to(depth)) @ camera.rotation.to(depth)
    return Surface(
        depth=depth * mask,
        normals=normals * mask,
        mask=mask,
        position_map=canonical.T.reshape(3, *mask.shape) * mask,
        triangle=torch.where(mask, estimate.triangle, torch.full_like(estimate.triangle, -1)),
        barycentric=estimate.barycentric * mask,
        provider=provider,
        portrait=portrait,
        fit=fit,
    )
