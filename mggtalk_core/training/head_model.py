"""Making of the head model from ICT-FaceKit (MIT): template, modes, landmarks, file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..head.model_file import write_model_file
from ..head.parts import Part
from ..portrait.blendshapes import BLENDSHAPE_INDEX
from ..studio.source_head import SourceHead, read_source
from .head_model_depths import displace, read_depths
from .head_model_landmarks import bind_landmarks
from .head_model_margins import tie_margins
from .head_model_template import Template, make_template

IDENTITY_MODES = 50
_TONGUE_TIP = 0.08
"""Depth from which the tongue comes out as a whole, so that its rounded tip stays round."""
_EYES = (Part.EYE_LEFT, Part.EYE_RIGHT)
_TONGUE_SLIDE = np.array([0.0, 0.06, 0.33])
"""How far the tip of the tongue comes out with tongueOut: up over the lower teeth, and forward."""


def make_head_model(data_dir: Path, output: Path) -> None:
    """Make ``head_model.safetensors`` from the folder that holds ``ict_facekit.npz``.

    Deterministic. Raises InputError if the source is missing.
    """
    fields = undisplaced_fields(read_source(data_dir))
    displace(fields, read_depths())
    write_model_file(output, as_tensors(fields), {"licence": "MIT", "source": "ICT-FaceKit"})


def undisplaced_fields(source: SourceHead) -> dict[str, np.ndarray]:
    """Return all fields of `HeadModel`, the mean as deep as the source."""
    fields = model_fields(source, make_template(source))
    tie_margins(fields)
    reduce_identity(fields)
    fields["landmark_vertices"], fields["landmark_weights"] = bind_landmarks(fields)
    return fields


def model_fields(source: SourceHead, template: Template) -> dict[str, np.ndarray]:
    """Return all fields of `HeadModel` but the landmarks, as float64 and int64 arrays, with the source's 100 modes."""
    mirror = template.mirror
    mean = source.neutral[template.kept]
    mean = (mean + mean[mirror] * [-1, 1, 1]) / 2
    identity, eye_basis = _source_modes(source, template)
    return {
        "mean": mean,
        "identity_basis": identity,
        "expression_basis": _expressions(source, template, mean),
        "triangles": template.triangles,
        "parts": template.parts.astype(np.uint8),
        "eye_mean": source.eye_centers,
        "eye_basis": eye_basis,
        "mirror": mirror,
        "inner_lip": template.inner_lip,
        "eyelid_left": template.eyelid_left,
        "eyelid_right": template.eyelid_right,
    }


def _source_modes(source: SourceHead, template: Template) -> tuple[np.ndarray, np.ndarray]:
    """Return the source's modes [100, V, 3] about the eyes' midpoint, and how they move the eyeballs [100, 2, 3]."""
    modes = source.identity[:, template.kept]
    eyes = np.stack([_rigid_eyes(modes, source, template, part) for part in _EYES], axis=1)
    middle = eyes.mean(axis=1, keepdims=True)
    return modes - middle, eyes - middle


def reduce_identity(fields: dict[str, np.ndarray]) -> None:
    """Turn the source's 100 correlated modes into orthogonal ones, in standard deviations, in place.

    The source draws its coefficients from a standard normal, so the covariance is the sum of the modes' outer
    products, and its principal components (area-weighted, mostly over the face) combine the modes by a rotation.
    """
    flat = (fields["identity_basis"] * identity_weights(fields)[:, None]).reshape(len(fields["identity_basis"]), -1)
    _, directions = np.linalg.eigh(flat @ flat.T)
    rotation = directions[:, ::-1][:, :IDENTITY_MODES].T
    rotation *= np.sign(rotation[np.arange(len(rotation)), abs(rotation).argmax(axis=1)])[:, None]
    for name in ("identity_basis", "eye_basis"):
        fields[name] = np.tensordot(rotation, fields[name], 1)


def identity_weights(fields: dict[str, np.ndarray]) -> np.ndarray:
    """Return what a displacement of each vertex counts when identities are compared: root of area, the face most."""
    area = vertex_areas(fields["mean"], fields["triangles"])
    return np.sqrt(area) * np.where(fields["parts"] == Part.FACE, 1.0, 0.3)


def _rigid_eyes(modes: np.ndarray, source: SourceHead, template: Template, part: Part) -> np.ndarray:
    """Make an eyeball's modes a translation and a change of size, in place; return the translations [M, 3]."""
    eye = template.parts == part
    offset = source.neutral[template.kept][eye] - source.eye_centers[_EYES.index(part)]
    centred = offset - offset.mean(axis=0)
    size = (modes[:, eye] * centred).sum(axis=(1, 2)) / (centred**2).sum()
    shift = modes[:, eye].mean(axis=1) - size[:, None] * offset.mean(axis=0)
    modes[:, eye] = shift[:, None] + size[:, None, None] * offset
    return shift


def vertex_areas(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return a third of the area of the triangles around every vertex."""
    corners = vertices[triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 6
    return np.bincount(triangles.ravel(), np.repeat(area, 3), minlength=len(vertices))


def _expressions(source: SourceHead, template: Template, mean: np.ndarray) -> np.ndarray:
    """Expressions on the template, with still eyeballs and with a tongue that can come out."""
    expressions = source.expression[:, template.kept].copy()
    expressions[:, np.isin(template.parts, _EYES)] = 0.0
    tongue = template.parts == Part.TONGUE
    height, depth = mean[tongue, 1], mean[tongue, 2]
    along = np.clip((depth - depth.min()) / (_TONGUE_TIP - depth.min()), 0.0, 1.0)
    back = np.clip((height + 0.75) / 0.04, 0.0, 1.0)  # the underside stays where it grows out of the gums
    expressions[BLENDSHAPE_INDEX["tongueOut"], tongue] = (along**2 * back)[:, None] * _TONGUE_SLIDE
    return expressions


def as_tensors(fields: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Return the fields of a `HeadModel` as it keeps them: numbers in single precision."""
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in fields.items()}
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
