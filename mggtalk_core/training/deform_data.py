"""Rendered heads for the deformation: how a true face moves between two pictures, and how the fitted model does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import InputError
from ..evaluation.known_shapes import Similarity
from ..head.camera import Camera
from ..head.fit import fit_head
from ..head.head_fit import HeadFit
from ..head.parts import Part
from ..head.track import track_head
from ..parallel import one_thread
from ..portrait.face_frame import FaceFrame
from ..portrait.landmarker import Face
from ..portrait.portrait import CROP_SIZE
from ..portrait.warp import Region, apply
from ..progress import OnStep, ignore_steps
from ..record import Record
from ..studio.rendered_heads import HeadState, drawn_state
from .refine_data import LAST_SEED, Sitters, draw_files, spoilt

CROP = 2.4
"""Edge of the crop that a head is fitted in, in face heights."""
LARGEST = 0.3
"""A vertex that the model misses by more (units of 10 cm) is no vertex of the same place."""
CALM = 0.3
"""Share of the pictures that show the head at rest."""
SOURCE_YAW, TURN = 15.0, 6.0
"""Spread in degrees of the source's yaw, and of how far the head turns from there."""
DRIVEN = 3
"""Expressions that a head is driven to."""


@dataclass(frozen=True)
class DeformExample(Record):
    """One rendered head in a source expression and ``k`` others, fitted and tracked in their pictures."""

    rest: Float[Tensor, "v 3"]
    """Fitted vertices at the source expression, canonical."""
    beta_s: Float[Tensor, "52"]
    """Fitted to the source picture."""
    beta_d: Float[Tensor, "k 52"]
    """Retargeted from the track of all the pictures, as a clip's is: relative to the source."""
    missing: Float[Tensor, "k v 3"]
    """True displacement of every vertex less the model's, units of 10 cm."""
    weight: Float[Tensor, "k v"]
    """1 on skin, teeth and gums; 0 on eyeballs, which the gaze turns, and where the two heads do not correspond."""


@one_thread()
def draw_deformation(heads: Sitters, seed: int) -> DeformExample:
    """Draw a head by chance in several expressions and poses, and fit and track it as the pipeline does.

    Raises:
        InputError: the landmark network does not find the face.
    """
    random = np.random.default_rng([seed, 11])
    yaw = float(random.normal(0.0, SOURCE_YAW))
    states = [drawn_state(random, yaw=yaw, neutral=bool(random.random() < CALM))]
    for _ in range(DRIVEN):
        turned = yaw + float(random.normal(0.0, TURN))
        other = drawn_state(random, yaw=turned, neutral=bool(random.random() < CALM))
        states.append(replace(states[0], beta=other.beta, gaze=other.gaze, rotation=other.rotation))
    model, faces = heads.model, [_seen(heads, state, [seed, 13]) for state in states]
    landmarks = torch.stack([_in_crop(face) for face in faces])
    blendshapes = torch.stack([face.blendshapes for face in faces])
    fit = fit_head(model, landmarks[0], blendshapes[0], Camera.for_crop())
    track = track_head(model, landmarks, blendshapes, Camera.for_crop(), fps=1.0)
    return _compared(heads, states, fit, fit.beta_s + track.beta[1:] - track.beta[:1])


def _seen(heads: Sitters, state: HeadState, seed: list[int]) -> Face:
    """Return what is recognised in a picture of this head; the same seed gives the same paint and light."""
    random = np.random.default_rng(seed)
    head = heads.studio.render(state, random, oversample=1)
    picture = (spoilt(head.image, random).permute(1, 2, 0).numpy() * 255.0).round().astype(np.uint8)
    faces = heads.landmarker.detect(picture, precise=True, upright=True)
    if not faces:
        raise InputError("A rendered head is not recognised as a face.")
    return faces[0]


def _in_crop(face: Face) -> Float[Tensor, "478 3"]:
    """Return landmarks in a crop like the pipeline's."""
    seen = face.landmarks.double().numpy()
    frame = FaceFrame.from_landmarks(seen)
    region = Region(frame.to_pixels(np.array([[0.0, 0.15]]))[0], CROP * frame.height)
    flat = apply(region.to_crop(CROP_SIZE), seen[:, :2])
    return torch.from_numpy(np.concatenate((flat, seen[:, 2:] * (CROP_SIZE / region.size)), axis=1)).float()


def _compared(
    heads: Sitters, states: Sequence[HeadState], fit: HeadFit, beta_d: Float[Tensor, "k 52"]
) -> DeformExample:
    """Compare displacements: the truth is laid onto the fitted head by the similarity of their faces at the source."""
    model = heads.model
    source, *driven = (heads.studio.mesh(replace(state, hair=0.0))[0][heads.twin] for state in states)
    rest = model.vertices(fit.identity, fit.beta_s, fit.gaze) + fit.offsets
    face = model.parts == int(Part.FACE)
    laid = Similarity.between(source[face], rest[face])
    missing = torch.stack(
        [
            laid(true) - laid(source) - ((beta - fit.beta_s) @ model.expression_basis.flatten(1)).view_as(rest)
            for true, beta in zip(driven, beta_d, strict=True)
        ]
    )
    eyes = (model.parts == int(Part.EYE_LEFT)) | (model.parts == int(Part.EYE_RIGHT))
    weight = (~eyes & (missing.norm(dim=-1) < LARGEST)).float()
    return DeformExample(rest, fit.beta_s, beta_d, missing * weight[..., None], weight)


def write_deformation(path: Path, example: DeformExample) -> None:
    """Write an example as one small file."""
    tensors = {name: value.half().contiguous() for name, value in vars(example).items()}
    part = path.with_suffix(".part")
    save_file(tensors, part)
    part.replace(path)


def read_deformation(path: Path) -> DeformExample:
    """Read an example; raise `InputError` if the file is damaged."""
    try:
        return DeformExample(**{name: value.float() for name, value in load_file(path).items()})
    except Exception as problem:  # safetensors raises its own kinds of errors for damaged files
        raise InputError(f"{path} cannot be read ({problem}): delete it and draw the heads again.") from problem


def deformation_files(folder: Path) -> list[Path]:
    """Return the examples in a folder, in order; raise `InputError` if there is none."""
    paths = sorted(folder.glob("deform_*.safetensors"))
    if not paths:
        raise InputError(f"No rendered heads in {folder}: draw some with train deform --data DIR --draw N.")
    return paths


def deformation_path(folder: Path, seed: int) -> Path:
    """Return where the head of a seed is kept."""
    return folder / f"deform_{seed:07d}.safetensors"


def prepare_deformations(
    data: Path, folder: Path, count: int, *, first: int = 0, jobs: int = 1, on_step: OnStep = ignore_steps
) -> int:
    """Draw the heads of ``count`` seeds that are not in ``folder`` yet; return how many of them there are.

    Raises:
        InputError: the raw data are missing, or the seeds are on both sides of those kept for measuring.
    """
    if count < 1 or first <= LAST_SEED < first + count - 1:
        raise InputError(f"Draw at least 1 head; seeds up to {LAST_SEED} are for training, the others for measuring.")
    place = partial(deformation_path, folder)
    return draw_files(data, place, draw_deformation, write_deformation, range(first, first + count), jobs, on_step)
