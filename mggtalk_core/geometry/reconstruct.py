"""Surface reconstruction: depth and normals of a provider, fused by bilateral normal integration (paper eq. 1)."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

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
from .network_options import NetworkOptions
from .network_provider import NETWORKS, network_prediction
from .normals import normals_of_depth, rays
from .surface import Surface

PROVIDERS = ("mesh", "given", *NETWORKS)
SURE_WEIGHT = 0.25
"""``lambda`` where the depth is the head model's own: normals only smooth its facets."""
LOOSE_WEIGHT = 2.5e-4
"""``lambda`` elsewhere: what is inflated follows what it joins, without a step."""
MEASURED_WEIGHT = 2.5e-2
"""``lambda`` where a depth map was given without normals: they are its own, and integration only takes its grain."""
TOLD_WEIGHT = 5e-4
"""``lambda`` where both normals and depth were given: both have errors that vary slowly."""
JUMP_WEIGHT = 5e-2
"""``lambda`` on both sides of a jump that only a given depth tells: normals would draw the sides together."""
JUMP = 0.02
"""Units of 10 cm off each other's tangent planes from which on there is a jump between neighbouring pixels."""
LEADING_WEIGHT = 2.5e-6
"""``lambda`` where normals were given for a depth that is only guessed: they decide, the prior hardly holds it."""
FUSION = BiniOptions(tolerance=1e-3, max_rounds=6, precision="float32")
"""The prior is near the answer already, and it starts the first round, so few rounds are left to do."""
GIVEN_FUSION = replace(FUSION, agreement=0.15)
"""Where both maps were given: networks' normals are not known to 9 degrees, and a depth that agrees with them nearly
everywhere to that much has nothing to gain."""


def reconstruct_surface(
    portrait: Portrait,
    fit: HeadFit,
    model: HeadModel,
    *,
    provider: str = "mesh",
    depth: Float[Tensor, "512 512"] | None = None,
    normals: Float[Tensor, "3 512 512"] | None = None,
    detect_signs: bool = False,
    networks: NetworkOptions | None = None,
    prior_weight: float = 1.0,
    on_step: OnStep = ignore_steps,
) -> Surface:
    """Reconstruct the visible surface of the head: ``P_c = BINI(depth, normals)`` (eq. 1).

    Args:
        portrait: the picture.
        fit: the head that was fitted to it.
        model: the head model of the fit.
        provider: ``mesh`` (the fitted head, inflated where it does not reach), ``given`` (the maps that follow),
            ``geowizard`` (the paper's network) or ``marigold``.
        depth: for ``given``: any affine function of camera depth on the crop's pixels, NaN where unknown.
        normals: for ``given``: unit normals in camera axes (nz < 0 faces the viewer), NaN where unknown.
        detect_signs: the normals' axes may point either way: take their signs from the fitted head.
        networks: how ``geowizard`` and ``marigold`` run, and where their weights are.
        prior_weight: factor on ``lambda`` of the integration: more trusts the depth, less the normals.
        on_step: steps of the networks, then rounds of the integration.

    Raises:
        InputError: an unknown provider, one whose packages are not installed, unusable maps, or a matte without a head.
        WeightsError: the networks' weights are missing, damaged, or refused because commercial-safe is on.

    """
    if depth is not None or normals is not None:
        provider = "given" if provider == "mesh" else provider
    _check(provider, depth, normals, prior_weight)
    if provider in NETWORKS:
        said = network_prediction(provider, portrait, networks, on_step=on_step)
        depth = said.depth if depth is None else depth
        normals, detect_signs = (said.normals, True) if normals is None else (normals, detect_signs)
    estimate = _estimate(portrait, fit, model, depth, normals, provider, detect_signs)
    with one_thread():
        fused = fuse(estimate, fit.camera, on_step, prior_weight=prior_weight)
        return _surface(estimate, fused, provider, portrait, fit)


def _check(provider: str, depth: Tensor | None, normals: Tensor | None, prior_weight: float) -> None:
    if provider not in PROVIDERS:
        raise InputError(f"There is no depth provider {provider!r}: choose one of {', '.join(PROVIDERS)}.")
    if provider == "given" and depth is None and normals is None:
        raise InputError("Provider 'given' needs a depth map, a normal map or both.")
    if not 0.0 < prior_weight < math.inf:
        raise InputError(f"The weight of the depth must be more than 0, not {prior_weight}.")


@one_thread()
def _estimate(
    portrait: Portrait,
    fit: HeadFit,
    model: HeadModel,
    depth: Float[Tensor, "512 512"] | None,
    normals: Float[Tensor, "3 512 512"] | None,
    provider: str,
    detect_signs: bool,
) -> Estimate:
    """Return the fitted head's depth and normals, with those that are given in their place."""
    estimate = mesh_estimate(portrait, fit, model)
    if not estimate.mask.any():
        raise InputError("The head matte is empty: give a matte that covers the head, or another picture.")
    if provider == "mesh":
        return estimate
    whose = "map" if provider == "given" else f"map of {provider}"
    return given_estimate(estimate, fit.camera, depth, normals, detect_signs=detect_signs, whose=whose)


def fuse(
    estimate: Estimate, camera: Camera, on_step: OnStep = ignore_steps, *, prior_weight: float = 1.0
) -> Float[Tensor, "height width"]:
    """Return the depth that agrees with the estimate's normals and, softly, with its depth (eq. 1)."""
    weight = prior_weight * _prior_weight(estimate, camera)
    both = estimate.told is not None and estimate.measured is not None
    result = integrate_normals(
        estimate.normals, estimate.mask, intrinsics=(camera.focal, camera.focal, *camera.center),
        prior=estimate.depth, prior_weight=weight, start=estimate.depth,
        options=GIVEN_FUSION if both else FUSION, on_step=on_step,
    )  # fmt: skip
    return torch.where(result.mask, result.depth.to(estimate.depth), estimate.depth)


def _prior_weight(estimate: Estimate, camera: Camera) -> Float[Tensor, "height width"]:
    """Return ``lambda`` for every pixel: what the depth is worth beside the normals."""
    nowhere = torch.zeros_like(estimate.sure)
    told = nowhere if estimate.told is None else estimate.told
    measured = nowhere if estimate.measured is None else estimate.measured
    guessed = torch.where(told, LEADING_WEIGHT, torch.where(estimate.sure, SURE_WEIGHT, LOOSE_WEIGHT))
    weight = torch.where(measured, MEASURED_WEIGHT, guessed)
    if estimate.told is None or estimate.measured is None:
        return weight
    both = torch.where(jumps(estimate.depth, estimate.normals, camera), JUMP_WEIGHT, TOLD_WEIGHT)
    return torch.where(told & measured, both, weight)


def jumps(
    depth: Float[Tensor, "height width"], normals: Float[Tensor, "3 height width"], camera: Camera
) -> Bool[Tensor, "height width"]:
    """Return the pixels that lie off a neighbour's tangent plane, as the neighbour lies off theirs: depth jumps there.

    Integration sees a jump only where it is larger than what the surface rises beside it. A hairline's, of millimetres,
    would be closed, and hair and forehead both be moved for it.
    """
    points = rays(camera).to(depth) * depth
    found = torch.zeros_like(depth, dtype=torch.bool)
    for axis in (0, 1):
        last = depth.shape[axis] - 1
        step = torch.diff(points, dim=axis + 1)
        planes = (normals.narrow(axis + 1, start, last) for start in (0, 1))
        one, other = ((plane * step).sum(dim=0).abs() > JUMP for plane in planes)
        for start in (0, 1):
            found.narrow(axis, start, last).logical_or_(one & other)
    return found


def _surface(
    estimate: Estimate, depth: Float[Tensor, "height width"], provider: str, portrait: Portrait, fit: HeadFit
) -> Surface:
    """Lift the fused depth to canonical space.

    Normals are the estimate's on the mesh and where they were given, and the depth's own elsewhere.
    """
    camera, mask = fit.camera, estimate.mask
    known = estimate.sure if estimate.told is None else estimate.sure | estimate.told
    normals = torch.where(known, estimate.normals, normals_of_depth(depth, camera))
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
        remarks=estimate.remarks,
    )
