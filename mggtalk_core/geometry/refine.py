"""Geometry refinement: the fitted head's depth, corrected by a learned network (paper 3.1, eq. 2)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

from ..head.head_fit import HeadFit
from ..head.model import HeadModel
from ..parallel import one_thread
from ..weights.module_file import read_module, write_module
from ..weights.resolver import resolve
from .interior import vertex_normals
from .refine_chart import Chart, load_chart
from .refine_net import RefineConfig, RefineNet

WEIGHTS = "refine.safetensors"
SHAPE_GAIN, OFFSET_GAIN, DEPTH_GAIN = 4.0, 20.0, 10.0
"""Bring the channels to about the same size."""
FACING = 0.1
"""Cosine to the line of sight from which on the picture shows a place."""
STRENGTH = 0.5
"""Share of the network's correction that is applied. The whole of it lowers the error of rendered heads most, but moves
the plane about which they are symmetric; half keeps most of the gain, on rendered heads and on filmed ones."""
LARGEST = 0.2
"""No vertex is moved by more, units of 10 cm."""


@one_thread()
@torch.no_grad()
def refined_fit(
    fit: HeadFit,
    model: HeadModel,
    landmarks: Float[Tensor, "478 3"],
    picture: Float[Tensor, "3 height width"] | None = None,
    network: RefineNet | None = None,
) -> HeadFit:
    """Return the fit with its shape corrected: ``P_f = P_c + refine(P_c, I_s^h)`` (eq. 2).

    The network reads the position map of the fitted head ``P_c``, what the landmarks say about its depth, and the
    picture ``I_s^h`` where it was trained with it, on the chart of the head's skin. Its offset goes along every
    point's line of sight: the picture says in which pixel a point is seen, and no correction may contradict it, so
    depth is all that is free. It is added to the model's vertices before the surface is made of them, so that what is
    seen, the hidden parts behind it and the mesh that moves them stay one body; eyeballs and teeth move as rigid
    pieces.

    Args:
        fit: the head that was fitted to a picture.
        model: the head model of the fit.
        landmarks: what was seen of it, in pixels of the fit's camera.
        picture: the crop, at any resolution; the network that comes with the package does without.
        network: another network than that.

    Raises:
        WeightsError: the file of weights is missing or damaged.
    """
    network = load_network() if network is None else network
    chart = load_chart(network.config.grid)
    read = features(fit, model, landmarks, picture, chart)
    shift = chart.at_vertices((STRENGTH * network(read[None])).clamp(-LARGEST, LARGEST))[0]
    return shifted_along_sight(fit, model, shift, chart)


def shifted_along_sight(fit: HeadFit, model: HeadModel, shift: Float[Tensor, "v"], chart: Chart) -> HeadFit:
    """Return the fit with every vertex ``shift`` units farther from the camera, in the pixel in which it was.

    Rigid pieces are moved along the line of sight of their middle.
    """
    points = fit.camera.to_camera(model.vertices(fit.identity, fit.beta_s, fit.gaze) + fit.offsets)
    for members in chart.rigid:
        points = torch.where(members[:, None], points[members].mean(dim=0), points)
    moved = points * (shift / points[:, 2])[:, None]
    return replace(fit, offsets=fit.offsets + moved @ fit.camera.rotation)


def features(
    fit: HeadFit,
    model: HeadModel,
    landmarks: Float[Tensor, "478 3"],
    picture: Float[Tensor, "3 height width"] | None,
    chart: Chart,
) -> Float[Tensor, "16 grid grid"]:
    """Return what the network reads, per place of the chart.

    Channels: shape of the fitted head less the mean head (3, canonical), its normals (3, camera axes), the offsets
    that made it meet the landmarks (2, across the line of sight), how much farther than the fitted head the landmark
    network's own depth lies (1), the mean head (3), whether the chart is covered (1), and the picture's colours (3),
    brought to mean 0 and spread 1, 0 where they are not seen.

    ``landmarks`` are pixels of the fit's camera; ``picture`` is the crop at any resolution, None: nothing is seen.
    """
    vertices = model.vertices(fit.identity, fit.beta_s, fit.gaze) + fit.offsets
    rotation = fit.camera.rotation
    normals = vertex_normals(vertices, model.triangles) @ rotation.T
    aside = fit.offsets @ rotation[:2].T * OFFSET_GAIN
    columns = torch.cat(((vertices - model.mean) * SHAPE_GAIN, normals, aside), dim=1)
    gap = chart.landmark_share @ _landmark_gap(vertices, landmarks, fit, model) * DEPTH_GAIN
    shape = chart.of_vertices(columns, model)
    colours = (
        torch.zeros_like(shape[3:6]) if picture is None else _colours(vertices, shape[3:6], picture, fit, model, chart)
    )
    mask = chart.mask[None].float()
    return torch.cat((shape, gap.view_as(mask), chart.mean, mask, colours))


def _landmark_gap(
    vertices: Float[Tensor, "v 3"], landmarks: Float[Tensor, "478 3"], fit: HeadFit, model: HeadModel
) -> Float[Tensor, "468"]:
    """Return how much farther than the fitted head each landmark lies by its own z, which has no zero of its own."""
    fitted = fit.camera.to_camera(model.landmarks(vertices))[:468, 2]
    told = landmarks[:468, 2] * (fitted.mean() / fit.camera.focal)
    gap = told - fitted
    return gap - gap.mean()


def _colours(
    vertices: Float[Tensor, "v 3"],
    normals: Float[Tensor, "3 grid grid"],
    picture: Float[Tensor, "3 height width"],
    fit: HeadFit,
    model: HeadModel,
    chart: Chart,
) -> Float[Tensor, "3 grid grid"]:
    pixels = chart.of_vertices(fit.camera.project(vertices)[:, :2], model)
    size = pixels.new_tensor([fit.camera.width, fit.camera.height]).view(2, 1, 1)
    places = (pixels / size * 2.0 - 1.0).permute(1, 2, 0)
    seen = chart.mask & (normals[2] < -FACING) & (places.abs() < 1.0).all(dim=-1)
    colours = grid_sample(picture[None].to(places), places[None], align_corners=False)[0]
    inside = colours[:, seen]
    if not seen.any():
        return torch.zeros_like(colours)
    return (colours - inside.mean()) / inside.std().clamp(min=0.02) * seen


def write_network(path: str | os.PathLike[str], network: RefineNet, notes: Mapping[str, str]) -> None:
    """Write the network with its sizes; ``notes`` go into the header beside them."""
    write_module(path, network, asdict(network.config), notes)


def read_network(path: str | os.PathLike[str]) -> RefineNet:
    """Read a network, in single precision.

    Raises:
        WeightsError: the file is missing, damaged or of another version.
    """
    return read_module(path, lambda sizes: RefineNet(RefineConfig(**{**sizes, "widths": tuple(sizes["widths"])})))


def load_network() -> RefineNet:
    """Return the network that comes with the package; read once per process, noted as used each time.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    return _read(resolve(WEIGHTS))


@cache
def _read(path: Path) -> RefineNet:
    return read_network(path)
