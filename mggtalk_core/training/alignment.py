"""Where the rendered head is in the wrong place: optical flow to the truth, by region.

No network that repaints pixels can mend a head that is drawn in the wrong place without blurring it. So this measures,
on training pairs, how far every part of the head is off, and what moving it there would gain.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..evaluation.landmarks import eye_distance
from ..evaluation.metrics import psnr
from ..evaluation.regions import EYES, face_mask
from ..evaluation.reports import Sheets, write_report
from ..evaluation.sheets import SheetRow, contact_sheet
from ..evaluation.tables import Row, Table
from ..portrait.face_frame import FaceFrame
from ..progress import OnStep, ignore_steps
from .pairs import Pair, PairSet

REGIONS = ("eyes", "mouth", "face", "hair", "neck")
"""Apart from each other: ``face`` is what eyes and mouth leave, ``hair`` has the ears, ``neck`` is below the jaw."""
LIPS = (61, 291, 0, 17, 37, 267, 84, 314, 40, 270, 91, 321)
"""Outline of the lips."""
SOLID = 0.5
"""Matte above which a pixel belongs to the head."""
BORDER = 8
"""Pixels beside the border of the clip's picture that are left out: what comes into the picture there has no origin."""
ROWS_SHOWN = 6


@dataclass(frozen=True)
class Misplacement:
    """How one rendered head is to be moved so that it meets the truth."""

    flow: Float[Tensor, "2 512 512"]
    """For every pixel of the truth, where in the render its content is (x, y), in pixels from there."""
    regions: dict[str, Bool[Tensor, "512 512"]]
    driven: Float[Tensor, "3 512 512"]
    truth: Float[Tensor, "3 512 512"]
    head: Float[Tensor, "1 512 512"]
    """Weight of the head in scores."""


def evaluate_alignment(
    pairs: PairSet, report: str | os.PathLike[str] | None = None, *, on_step: OnStep = ignore_steps
) -> Table:
    """Measure the misplacement of the renders in training pairs; a row per clip, each the mean over its pairs.

    ``flow_<region>`` is the mean and ``flow_<region>_p90`` the 90th percentile of the flow's length in percent of the
    eye distance; ``rigid`` the mean length of the similarity (shift, turn, scale) that fits the face's flow best, which
    is the error of the pose. ``psnr_head`` is as it is, ``psnr_head_moved`` after warping by the true flow, and
    ``gain_<region>`` the decibels that moving this region alone would add to the head's.

    Args:
        pairs: what to measure.
        report: JSON file to write, with CSV, Markdown and a folder of contact sheets beside it; None writes nothing.
        on_step: counts pairs.
    """
    table, sheets, done = Table("Alignment", {"regions": list(REGIONS)}), Sheets(report), 0
    for clip, members in pairs.by_clip.items():
        rows, shown = [], []
        for index in members:
            pair = pairs[index]
            place = misplacement(pair)
            rows.append(alignment_scores(place, pair.landmarks))
            shown.append(SheetRow(f"{rows[-1]['psnr_head']:.1f} dB", _pictures(place)))
            done += 1
            on_step(done, len(pairs))
        mean = {name: float(np.nanmean([row[name] for row in rows])) for name in rows[0]}
        table.rows.append({"clip": clip, "pairs": len(rows), **mean})
        worst = np.argsort([row["psnr_head"] for row in rows])[:ROWS_SHOWN]
        captions = ("driven", "truth", "flow", "moved")
        sheets.add(clip, contact_sheet([shown[place] for place in worst], captions, title=clip))
    write_report(table, report, {name: {"value": mean.value, "n": mean.n} for name, mean in table.means().items()})
    return table


def misplacement(pair: Pair) -> Misplacement:
    """Return the flow from the truth of a pair to its render over the torso-background layer (DIS, Kroeger 2016)."""
    colour, alpha = _unit(pair.render[:3]), _unit(pair.render[3:])
    driven = (colour + (1.0 - alpha) * _unit(pair.layer)).clamp(0.0, 1.0)
    truth, matte = _unit(pair.truth), _unit(pair.matte)
    inside = _shrunk(pair.inside[0] > 0)
    regions = {name: mask & inside for name, mask in head_regions(pair.landmarks, matte[0]).items()}
    return Misplacement(optical_flow(truth, driven), regions, driven, truth, matte * inside[None])


def alignment_scores(place: Misplacement, landmarks: Float[Tensor, "478 3"]) -> Row:
    """Return the scores of one pair; see `evaluate_alignment`. A region that is not in the picture has NaN."""
    length = 100.0 * place.flow.norm(dim=0) / float(eye_distance(landmarks))
    row: Row = {}
    for name, mask in place.regions.items():
        values = length[mask]
        row[f"flow_{name}"] = float(values.mean()) if len(values) else np.nan
        row[f"flow_{name}_p90"] = float(values.quantile(0.9)) if len(values) else np.nan
    face = place.regions["face"] | place.regions["eyes"] | place.regions["mouth"]
    row["rigid"] = 100.0 * rigid_part(place.flow, face) / float(eye_distance(landmarks))
    before = psnr(place.driven, place.truth, place.head)
    moved = moved_by(place.driven, place.flow)
    row |= {"psnr_head": before, "psnr_head_moved": psnr(moved, place.truth, place.head)}
    for name, mask in place.regions.items():
        mixed = torch.where(mask[None], moved, place.driven)
        row[f"gain_{name}"] = psnr(mixed, place.truth, place.head) - before
    return row


def optical_flow(
    first: Float[Tensor, "3 height width"], second: Float[Tensor, "3 height width"]
) -> Float[Tensor, "2 height width"]:
    """Return for every pixel of ``first`` how many pixels (x, y) further its content lies in ``second``."""
    import cv2

    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(_bytes(image), cv2.COLOR_RGB2GRAY) for image in (first, second)]
    return torch.from_numpy(search.calc(grey[0], grey[1], None)).permute(2, 0, 1)


def moved_by(
    image: Float[Tensor, "3 height width"], flow: Float[Tensor, "2 height width"]
) -> Float[Tensor, "3 height width"]:
    """Return the image with every pixel fetched from where the flow points."""
    import cv2

    height, width = image.shape[1:]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    maps = x + flow[0].numpy(), y + flow[1].numpy()
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    warped = cv2.remap(pixels, *maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return torch.from_numpy(warped).permute(2, 0, 1).clamp(0.0, 1.0)


def rigid_part(flow: Float[Tensor, "2 height width"], mask: Bool[Tensor, "height width"]) -> float:
    """Return the mean length, in pixels, of the shift, turn and scaling that fit the flow in the mask best."""
    y, x = mask.nonzero(as_tuple=True)
    if len(x) < 3:
        return np.nan
    points = torch.stack((x, y), dim=1).double()
    points -= points.mean(dim=0)
    moves = flow[:, mask].T.double()
    one, zero = torch.ones(len(x), dtype=torch.float64), torch.zeros(len(x), dtype=torch.float64)
    across = torch.stack((points[:, 0], -points[:, 1], one, zero), dim=1)
    down = torch.stack((points[:, 1], points[:, 0], zero, one), dim=1)
    equations = torch.cat((across, down))
    solution = torch.linalg.lstsq(equations, torch.cat((moves[:, 0], moves[:, 1]))[:, None]).solution
    return float((equations @ solution)[:, 0].view(2, -1).norm(dim=0).mean())


def head_regions(
    landmarks: Float[Tensor, "478 3"], matte: Float[Tensor, "height width"]
) -> dict[str, Bool[Tensor, "height width"]]:
    """Return the pixels of every one of `REGIONS`, by landmarks and matte of the truth."""
    height, width = matte.shape
    frame = FaceFrame.from_landmarks(landmarks.double().numpy())
    u, v = frame.coordinates(height)
    below = torch.from_numpy(v > frame.jaw(u) - 0.02)
    hull = face_mask(landmarks, height, width)[0] > 0
    eyes, mouth = (_around(landmarks, points, height, width) for points in (EYES, LIPS))
    head = matte > SOLID
    return {
        "eyes": eyes & ~mouth,
        "mouth": mouth,
        "face": hull & ~eyes & ~mouth,
        "hair": head & ~hull & ~below,
        "neck": (matte > 0.1) & ~hull & below & ~mouth,
    }


def _around(
    landmarks: Float[Tensor, "478 3"], points: tuple[int, ...], height: int, width: int
) -> Bool[Tensor, "height width"]:
    """Return the hulls of some landmarks, of the left and of the right half of the face apart where they are eyes."""
    import cv2

    mask = np.zeros((height, width), np.uint8)
    sides = [[p for p in points if p < 250], [p for p in points if p >= 250]] if points == EYES else [list(points)]
    for side in sides:
        corners = np.round(landmarks[side, :2].numpy() - 0.5).astype(np.int32)
        cv2.fillConvexPoly(mask, cv2.convexHull(corners), 1)
    radius = max(1, round(0.05 * float(eye_distance(landmarks))))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return torch.from_numpy(cv2.dilate(mask, kernel) > 0)


def _shrunk(inside: Bool[Tensor, "height width"]) -> Bool[Tensor, "height width"]:
    """Take a border off a mask, but none at the picture's own edge."""
    import cv2

    kernel = np.ones((2 * BORDER + 1, 2 * BORDER + 1), np.uint8)
    return torch.from_numpy(cv2.erode(inside.numpy().astype(np.uint8), kernel) > 0)


def _pictures(place: Misplacement) -> list[Float[Tensor, "3 512 512"]]:
    moved = moved_by(place.driven, place.flow)
    shown = torch.cat((0.5 + place.flow / 24.0, torch.full_like(place.flow[:1], 0.5))).clamp(0.0, 1.0)
    return [place.driven, place.truth, torch.where(place.head > SOLID, shown, torch.ones_like(shown)), moved]


def _unit(picture: Tensor) -> Tensor:
    return picture.float() / 255.0


def _bytes(image: Float[Tensor, "3 height width"]) -> np.ndarray:
    return np.ascontiguousarray((image * 255.0 + 0.5).to(torch.uint8).permute(1, 2, 0).numpy())
