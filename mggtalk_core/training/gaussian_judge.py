"""How good the networks of the Gaussian stage are on training pairs of people they have not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..evaluation.clips import to_frame
from ..evaluation.landmarks import landmark_error
from ..evaluation.observe import Observed, motion_scores
from ..evaluation.perceptual import Lpips
from ..evaluation.pictures import Scores, picture_scores
from ..evaluation.regions import face_mask, part_masks
from ..evaluation.scorers import perceptual_scores
from ..evaluation.sheets import SheetRow
from ..evaluation.tables import Row
from ..evaluation.variance import parameter_variance
from ..gaussians.gaussians import Gaussians
from ..gaussians.learned import dense
from ..gaussians.networks.model import taken
from ..geometry.points import Label
from ..portrait.landmarker import Face
from ..progress import OnStep, ignore_steps
from ..render.pinholes import fill_pinholes
from .gaussian_data import Scenes
from .pairs import Pair

PER_CLIP = 4
"""Targets of every source that are scored, spread evenly."""
_MOTION = ("aed_arkit52", "apd_landmarker")
Detect = Callable[[np.ndarray], "Face | None"]
"""Find the face in a crop, uint8 [H,W,3]."""


@dataclass(frozen=True)
class Judges:
    """What looks at the pictures; scores of one that is not there are left out."""

    lpips: Lpips | None = None
    detect: Detect | None = None


def find_judges() -> Judges:
    """Return the perceptual distance and the landmark network.

    Raises:
        WeightsError: one of them cannot be read.
    """
    from ..portrait.landmarker import FaceLandmarker

    landmarker = FaceLandmarker()
    return Judges(Lpips(), lambda frame: next(iter(landmarker.detect(frame)), None))


@torch.no_grad()
def score_sources(
    scenes: Scenes,
    network: nn.Module | None,
    judges: Judges | None = None,
    per_clip: int = PER_CLIP,
    spread: bool = False,
    on_step: OnStep = ignore_steps,
) -> Iterator[tuple[Row, SheetRow]]:
    """Drive every source to its targets, and yield its scores and the pictures of its last scored target.

    Pictures are the driven head over the source's torso-background without the inpainter, against the true frame in
    the true matte: ``psnr_``, ``ssim_`` and ``lpips_`` by region, ``sharpness_head`` (gradient energy over the
    truth's), and what `motion_scores` says of the changes since the first scored target. ``spread_visible_`` and
    ``spread_mirrored_`` are `parameter_variance` of the visible and of the mirrored Gaussians over all the targets.

    Args:
        scenes: pairs, as heads of 512 pixels.
        network: `GaussianNetworks`; None for the analytic form.
        judges: see there; none when None.
        per_clip: targets of every source that are scored.
        spread: measure the variance of the parameters too.
        on_step: counts sources.
    """
    first = 0
    for place, shard in enumerate(scenes.pairs.shards):
        steps = np.linspace(first, first + len(shard) - 1, min(per_clip, len(shard)))
        row, shown = _score_source(scenes, network, judges or Judges(), [round(step) for step in steps])
        members = range(first, first + len(shard))
        yield row | (spreads(scenes, network, members) if spread else {}), shown
        first += len(shard)
        on_step(place + 1, len(scenes.pairs.shards))


def _score_source(
    scenes: Scenes, network: nn.Module | None, judges: Judges, members: list[int]
) -> tuple[Row, SheetRow]:
    scores, ours, theirs = Scores(), Observed(), Observed()
    for index in members:
        pair, image = scenes.pair(index), over_layer(scenes, gaussians_of(scenes, network, index), index)
        scores.append(_picture_scores(image, pair, judges))
        if judges.detect is not None:
            ours.add(judges.detect(to_frame(image)))
            theirs.add(judges.detect(to_frame(_unit(pair.truth))))
        shown = SheetRow(pair.clip, (_unit(pair.source), image, _unit(pair.truth)))
    row = {"clip": pair.clip, "targets": len(members), **scores.means()}
    if len(ours) > 1:
        moved, both = motion_scores(ours, theirs), ours.seen & theirs.seen
        row["landmark_error"] = float(landmark_error(ours.landmarks[both], theirs.landmarks[both]).mean())
        row |= {name: moved[name] for name in _MOTION}
    return row, shown


def spreads(scenes: Scenes, network: nn.Module | None, members: Sequence[int]) -> Row:
    """Return how much the parameters of visible and of mirrored Gaussians change between targets of one source."""
    parents = slice(0, scenes.head(members[0], torch.device("cpu"))[0].avatar.seen_count)
    frames = [taken(gaussians_of(scenes, network, index), parents) for index in members]
    return {
        name.replace("spread", f"spread_{label.name.lower()}"): value
        for label in (Label.VISIBLE, Label.MIRRORED)
        for name, value in parameter_variance(frames, label).items()
    }


def gaussians_of(scenes: Scenes, network: nn.Module | None, index: int) -> Gaussians:
    """Return the Gaussians of a pair's target: those of the networks, or the analytic ones."""
    device = torch.device("cpu") if network is None else next(network.parameters()).device
    head, image = scenes.head(index, device)
    return (head.analytic if network is None else dense(head, network([head], [image])[0])).to("cpu")


def over_layer(scenes: Scenes, gaussians: Gaussians, index: int) -> Float[Tensor, "3 512 512"]:
    """Return the driven head over the source's torso-background, as the pipeline composes them."""
    rgb, alpha = fill_pinholes(scenes.draw(gaussians, index))
    return (rgb + (1.0 - alpha) * _unit(scenes.pair(index).layer)).clamp(0.0, 1.0)


def _picture_scores(image: Float[Tensor, "3 512 512"], pair: Pair, judges: Judges) -> dict[str, float]:
    truth, inside = _unit(pair.truth), (pair.inside > 127).float()
    regions = {"head": inside * _unit(pair.matte), "face": inside * face_mask(pair.landmarks, 512, 512)}
    regions |= {name: inside * mask for name, mask in part_masks(pair.landmarks).items()}
    scores = picture_scores(image, truth, regions, {})
    if judges.lpips is not None:
        scores |= perceptual_scores(judges.lpips, {"": image}, truth, regions, pair.landmarks)[""]
    return scores


def _unit(picture: Tensor) -> Float[Tensor, "c 512 512"]:
    return picture.float() / 255.0
