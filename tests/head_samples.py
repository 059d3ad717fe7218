"""Heads whose geometry is known exactly: the head model itself as if a picture had shown it."""

from dataclasses import dataclass

import torch

from mggtalk_core.gaussians.aperture import Aperture
from mggtalk_core.geometry.points import HeadPoints, Label
from mggtalk_core.head.camera import Camera
from mggtalk_core.head.head_fit import HeadFit
from mggtalk_core.head.model import HeadModel, load_head_model
from mggtalk_core.head.parts import Part
from mggtalk_core.head.zbuffer import rasterize_mesh
from mggtalk_core.motion.deform import Binding, bind_points
from mggtalk_core.motion.rotations import camera_rotation
from mggtalk_core.portrait.blendshapes import BLENDSHAPE_INDEX
from mggtalk_core.portrait.portrait import Portrait

FLIP_X = torch.tensor([-1.0, 1.0, 1.0])
HAIR_ROWS = 60
"""Rows of pixels at the top of the head that stand off the scalp, as hair does."""


@dataclass(frozen=True)
class ModelHead:
    """The head model, its points and a picture of it."""

    model: HeadModel
    points: HeadPoints
    binding: Binding
    portrait: Portrait


def expression(**shapes: float) -> torch.Tensor:
    """Return blendshapes [52] of which some are not 0."""
    beta = torch.zeros(52)
    for name, value in shapes.items():
        beta[BLENDSHAPE_INDEX[name]] = value
    return beta


def model_fit(model: HeadModel, yaw: float = 0.0, seed: int = 0, **shapes: float) -> HeadFit:
    """Return a fit of some person's head, seen from 11 units away."""
    random = torch.Generator().manual_seed(seed)
    identity = 0.5 * torch.randn(model.modes, generator=random)
    camera = Camera.for_crop().posed(
        camera_rotation(*torch.tensor([yaw, 0.0, 0.0])).float(), torch.tensor([0.0, 0.1, 11.0])
    )
    # As smooth as those of a real fit: shut lids and lips must stay shut.
    offsets = torch.tensor([0.003, -0.002, 0.004]).expand_as(model.mean) * model.mean[:, 2:].clamp(min=0.0)
    return HeadFit(identity, expression(**shapes), torch.zeros(4), camera, offsets, 0.0)


def model_head(yaw: float = 0.0, **shapes: float) -> ModelHead:
    """Return the model as points: every pixel that shows it, twins of some of them, and points inside it."""
    model = load_head_model()
    fit = model_fit(model, yaw, **shapes)
    vertices = model.vertices(fit.identity, fit.beta_s, fit.gaze) + fit.offsets
    depth, triangle, barycentric = rasterize_mesh(fit.camera.project(vertices), model.triangles, 512, 512)
    points = _points(model, fit, vertices, triangle, barycentric)
    return ModelHead(model, points, bind_points(points, model), _portrait(fit, depth))


def lips_apart(lips: Aperture, rest: torch.Tensor, height: float) -> torch.Tensor:
    """Return the head ``rest`` with its lower lip moved, but for the corners, until its mouth is ``height`` open."""
    vertices = rest.clone()
    own = lips.lower[~torch.isin(lips.lower, lips.upper)]
    vertices[own, 1] -= (height - float(lips.height(rest))) * len(lips.lower) / len(own)
    assert abs(float(lips.height(vertices)) - height) < 1e-5
    return vertices


def _points(model, fit, vertices, triangle, barycentric) -> HeadPoints:
    row, column = torch.nonzero(triangle >= 0, as_tuple=True)
    seen, weights = triangle[row, column].long(), barycentric[:, row, column].T.contiguous()
    positions = (vertices[model.triangles[seen]] * weights[..., None]).sum(dim=1)
    hair = row < row.min() + HAIR_ROWS
    center = -fit.camera.rotation.T @ fit.camera.translation
    positions[hair] += 0.2 * torch.nn.functional.normalize(center - positions[hair], dim=1)
    twins = torch.arange(0, len(row), 17)
    hidden = torch.nonzero(model.parts[model.triangles[:, 0]] >= int(Part.MOUTH_SOCKET)).squeeze(-1)
    inside = vertices[model.triangles[hidden]].mean(dim=1)
    labels = [Label.VISIBLE] * len(row) + [Label.MIRRORED] * len(twins) + [Label.INTERIOR] * len(hidden)
    return HeadPoints(
        positions=torch.cat((positions, positions[twins] * FLIP_X, inside)),
        labels=torch.tensor([int(label) for label in labels], dtype=torch.uint8),
        pixel=torch.stack((column, row), dim=1),
        mirror_of=twins,
        triangle=torch.cat((torch.where(hair, -1, seen), torch.full((len(twins),), -1), hidden)),
        barycentric=torch.cat((weights * ~hair[:, None], torch.zeros(len(twins), 3), torch.full_like(inside, 1 / 3))),
        fit=fit,
    )


def _portrait(fit: HeadFit, depth) -> Portrait:
    """Paint soft stripes on the head; the matte is the head's silhouette, soft by a pixel or two."""
    y, x = torch.meshgrid(torch.arange(512) + 0.5, torch.arange(512) + 0.5, indexing="ij")
    crop = torch.stack((0.6 + 0.2 * torch.sin(x / 5), 0.5 + 0.2 * torch.sin(y / 4), 0.4 + 0.2 * torch.cos((x + y) / 6)))
    matte = torch.nn.functional.avg_pool2d((depth > 0).float()[None], 3, stride=1, padding=1)
    model = load_head_model()
    vertices = model.vertices(fit.identity, fit.beta_s, fit.gaze) + fit.offsets
    landmarks = fit.camera.project(model.landmarks(vertices))
    return Portrait(
        source=crop,
        crop=crop,
        crop_transform=torch.eye(3)[:2],
        matte=matte,
        background=torch.full_like(crop, 0.5),
        labels=(3 * (depth > 0)).to(torch.uint8),
        landmarks=landmarks,
        blendshapes=fit.beta_s,
        score=1.0,
    )
