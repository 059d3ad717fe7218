"""Which frames of a clip become sources and targets of training pairs."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..errors import InputError
from ..evaluation.landmarks import angle_degrees, eye_distance, eye_opening, mouth_opening
from ..motion.rotations import log_rotation
from .tracks import ClipTrack

LARGEST_RESIDUAL = 0.03
"""Mean distance of fitted and seen landmarks over the eye distance, beyond which a frame teaches wrong places."""
CUT = 0.45
"""A face that moves by more than this share of its eye distance from one frame to the next has been cut to."""
LEAST_FRAMES = 12
LEAST_FACE = 80.0
"""Height in pixels of the clip: a smaller face is blown up threefold in the crop."""
_CORNERS = (61, 291)


def usable_frames(track: ClipTrack) -> Int[Tensor, "n"]:
    """Return the frames that may be used, ascending: seen, well fitted, and from the longest part without a cut.

    Raises:
        InputError: the face is too small, or too few frames remain; says for which reason they fell out.
    """
    height = float((track.landmarks[:, 152] - track.landmarks[:, 10]).norm(dim=-1).median())
    height /= float(torch.linalg.det(track.crop_transform[:, :2]).abs().sqrt())
    if height < LEAST_FACE:
        raise InputError(f"too small a face: {height:.0f} pixels high, {LEAST_FACE:.0f} are needed")
    steps: list[tuple[str, Bool[Tensor, "T"]]] = [
        ("no face", track.seen),
        ("misaligned", track.residual <= LARGEST_RESIDUAL * eye_distance(track.landmarks)),
        ("cut", longest_take(track.landmarks)),
    ]
    usable = torch.ones(len(track), dtype=torch.bool)
    for reason, good in steps:
        before, usable = int(usable.sum()), usable & good
        if int(usable.sum()) < LEAST_FRAMES:
            why = "too few frames" if before == int(usable.sum()) else reason
            raise InputError(f"{why}: {int(usable.sum())} of {len(track)} frames remain, {LEAST_FRAMES} are needed")
    return usable.nonzero()[:, 0]


def longest_take(landmarks: Float[Tensor, "T 478 3"]) -> Bool[Tensor, "T"]:
    """Return the longest run of frames in which the face never jumps."""
    moved = (landmarks[1:, :, :2] - landmarks[:-1, :, :2]).norm(dim=-1).mean(dim=-1)
    jumps = moved > CUT * eye_distance(landmarks[1:])
    take = torch.cat((jumps.new_zeros(1), jumps)).cumsum(dim=0)
    return take == take.bincount().argmax()


def frame_features(track: ClipTrack) -> Float[Tensor, "T n"]:
    """Return what makes frames differ: expression, turn of the head (10 degrees count as one), lids and lips."""
    turn = log_rotation(track.rotation.double() @ track.rotation[0].double().T).float()
    openings = torch.stack((eye_opening(track.landmarks), mouth_opening(track.landmarks)), dim=1)
    return torch.cat((track.beta, turn / math.radians(10.0), 8.0 * openings), dim=1)


def choose_sources(track: ClipTrack, usable: Int[Tensor, "n"], count: int) -> list[int]:
    """Return the first frame, then the most turned, the widest mouth, the most closed lids, then what is farthest.

    A frame is taken only once, and none beside one that is taken: there are fewer than ``count`` in a short clip.
    """
    first = int(usable[0])
    marks, apart = track.landmarks[usable], max(1, len(usable) // 12)
    width = (marks[:, _CORNERS[0], :2] - marks[:, _CORNERS[1], :2]).norm(dim=-1) / eye_distance(marks)
    extremes = [
        angle_degrees(track.rotation[usable], track.rotation[first][None]),
        mouth_opening(marks) + 0.5 * (width - width.median()),
        -eye_opening(marks),
    ]
    free = (usable - first).abs() > apart
    chosen = [first]
    for score in extremes + [None] * max(0, count - 4):
        if len(chosen) >= count or not bool(free.any()):
            break
        distance = _distances(frame_features(track)[usable], frame_features(track)[chosen]) if score is None else score
        best = int(usable[torch.where(free, distance, -torch.inf).argmax()])
        chosen.append(best)
        free &= (usable - best).abs() > apart
    return chosen


def choose_targets(track: ClipTrack, usable: Int[Tensor, "n"], sources: list[int], count: int) -> list[list[int]]:
    """Return ``count`` targets for each source, ascending: half of them the clip's extremes, half evenly over time.

    Extremes are the frames that lie farthest from the sources and from each other (Gonzalez 1985). All are dealt out
    in turn, so that every source gets its share of both. No target is a source.
    """
    candidates = usable[~torch.isin(usable, torch.tensor(sources))]
    total = min(count * len(sources), len(candidates))
    features = frame_features(track)
    far = _farthest_first(features[candidates], features[sources], (total + 1) // 2)
    rest = torch.ones(len(candidates), dtype=torch.bool)
    rest[far] = False
    even = rest.nonzero()[:, 0][torch.linspace(0, int(rest.sum()) - 1, total - len(far)).round().long()]
    order = candidates[torch.cat((far, even))].tolist()
    if total < count * len(sources):  # a short clip: sources share its frames
        return [sorted(order[:count]) for _ in sources]
    return [sorted(order[place :: len(sources)]) for place in range(len(sources))]


def _farthest_first(points: Float[Tensor, "n d"], start: Float[Tensor, "m d"], count: int) -> Int[Tensor, "count"]:
    """Return the indices of ``count`` points, each the farthest from ``start`` and from those before it."""
    distance, order = _distances(points, start), []
    for _ in range(count):
        order.append(int(distance.argmax()))
        distance = torch.minimum(distance, _distances(points, points[order[-1]][None]))
        distance[order[-1]] = -torch.inf
    return torch.tensor(order, dtype=torch.long)


def _distances(points: Float[Tensor, "n d"], to: Float[Tensor, "m d"]) -> Float[Tensor, "n"]:
    """Return the distance of every point to the nearest of ``to``."""
    return torch.cdist(points, to).amin(dim=1)
