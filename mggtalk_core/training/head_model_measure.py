"""``train landmarks``: measure anew where the landmarks lie on the mean head, and how deep."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..evaluation.landmarks import angle_degrees
from ..head.landmark_model import LandmarkModel
from ..head.model import HeadModel
from ..portrait.load import load_portrait
from ..progress import OnStep, ignore_steps
from ..studio.paint import FaceChart
from ..studio.rendered_heads import HeadStudio
from ..studio.source_head import read_source
from .head_model import as_tensors, undisplaced_fields
from .head_model_depths import DEPTHS_FILE, Views, displace, measured_depths
from .head_model_drawn import drawn_anchors
from .head_model_landmarks import ANCHORS_FILE, bind_landmarks, read_anchors
from .tracks import ClipTrack, read_track

TURNED, MOST_TURNED = 8.0, 12.0
"""Degrees from the first frame: of a frame that tells depth, and that a clip must reach to be of use."""
VIEWS = 6
PASSES = 3
"""Depths are spread over the face and measured again: the fit to the first view changes with them."""
SEED = 2000


def measure_landmarks(
    data_dir: Path, tracks: Path, output: Path, *, heads: int = 72, on_step: OnStep = ignore_steps
) -> None:
    """Write ``landmark_anchors.csv`` and ``landmark_depths.csv`` into the folder ``output``.

    Args:
        data_dir: folder that holds ``ict_facekit.npz``; ``heads`` heads are drawn from it.
        tracks: folder of clips' tracks, made by ``train prepare`` or ``train audio``.
        output: made if it is missing.
        heads: anchors move half-way from where they are to where this many rendered heads show them.
        on_step: counts heads and passes.

    Raises:
        InputError: the source is missing, no clip turns, or no head can be read.
    """
    people = turning_people(sorted(tracks.glob("*.safetensors")))
    source, anchors = read_source(data_dir), read_anchors()
    fields = undisplaced_fields(source)
    studio = HeadStudio(source, FaceChart(_model(fields)))
    shown = drawn_anchors(anchors, studio, _drawn(studio, heads, heads + PASSES, on_step))
    fields["landmark_vertices"], fields["landmark_weights"] = bind_landmarks(fields, (anchors + shown) / 2.0)
    start = LandmarkModel.of(_model(fields)).mean[:468]
    for number in range(PASSES):
        displace(fields, measured_depths(LandmarkModel.of(_model(fields)), people))
        on_step(heads + number + 1, heads + PASSES)
    output.mkdir(parents=True, exist_ok=True)
    moved = LandmarkModel.of(_model(fields)).mean[:468] - start
    np.savetxt(output / ANCHORS_FILE.name, start, "%.5f", delimiter=",")
    np.savetxt(output / DEPTHS_FILE.name, moved[:, 2], "%.5f")


def turning_people(tracks: Iterable[Path]) -> list[Views]:
    """Return the views of all clips whose head turns enough to tell its depth.

    Raises:
        InputError: there is none.
    """
    people = [views for views in map(_views, map(read_track, tracks)) if views is not None]
    if not people:
        raise InputError(f"No clip turns its head by {MOST_TURNED:.0f} degrees: track clips of heads that turn.")
    return people


def _views(track: ClipTrack) -> Views | None:
    turn = angle_degrees(track.rotation, track.rotation[:1])
    frames = (turn > TURNED).nonzero()[:, 0]
    if len(track) == 0 or float(turn.max()) < MOST_TURNED:
        return None
    rows = frames[torch.linspace(0, len(frames) - 1, VIEWS).long()].unique()
    rows = torch.cat((torch.zeros(1, dtype=torch.long), rows))
    return Views(track.landmarks[rows].double().numpy(), track.blendshapes[rows].double().numpy())


def _drawn(studio: HeadStudio, count: int, total: int, on_step: OnStep) -> Iterable[tuple[object, Tensor, Tensor]]:
    """Yield rendered heads with the landmarks that the network finds, leaving out those where it finds no face."""
    found = 0
    for number in range(count):
        head = studio.draw(SEED + number)
        try:
            portrait = load_portrait(head.image)
        except InputError:
            continue
        finally:
            on_step(number + 1, total)
        found += 1
        yield head, portrait.landmarks, portrait.crop_transform
    if found == 0:
        raise InputError("No face was found in the rendered heads: draw more of them.")


def _model(fields: dict[str, np.ndarray]) -> HeadModel:
    return HeadModel(**as_tensors(fields))
