"""What speech made of the picture: rendered frames against the clip's own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..media.video import VideoReader
from ..motion.audio import motion_from_audio
from ..motion.mix import mix_motions
from ..motion.motion import Motion
from ..motion.timing import extend, take
from ..progress import OnStep
from .audio_heard import Heard
from .audio_scores import best_lag, correlation
from .clips import cropped, inside_frame, to_frame, to_image
from .comparison import OWN
from .fid import FidPool
from .instruments import Avatar, Instruments
from .landmarks import RIGID, eye_distance, mouth_opening
from .lip_sync import Listener, SyncWatch
from .observe import Observed
from .pictures import PictureScores, Sample, sample_indices, sample_sheet
from .tables import Row

POSES = ("fixed", "driven")
"""The head keeps the pose of the first frame (table 7), or has the clip's own (table 2)."""
PICTURES = 10
"""In how many frames of a clip PSNR and SSIM are taken: finding the truth's matte is slow."""

LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
)  # fmt: skip
"""Outer and inner contour of the lips."""


@dataclass(frozen=True)
class Looked:
    """Which frames of every clip are rendered, and who looks at them."""

    pose: str
    count: int
    seed: int
    syncnet: Listener | None = None
    """Judges lips by sound; it needs frames on end."""
    pool: FidPool | None = None
    """Takes the pictures of all clips."""

    def frames(self, total: int) -> range:
        """Return the frames of a clip of ``total`` that are rendered: spread evenly, or the first ones on end."""
        if self.syncnet is not None or not self.count:
            return range(min(self.count, total))
        return range(0, total, max(1, math.ceil(total / self.count)))


def rendered_scores(
    heard: Heard, looked: Looked, instruments: Instruments, on_step: OnStep
) -> tuple[Row, Float[Tensor, "3 height width"]]:
    """Drive the clip's first frame by its sound, look at some of its frames, and return scores and a sheet."""
    frames = looked.frames(len(heard.truth))
    with VideoReader(heard.path) as reader:
        avatar = instruments.build(to_image(next(iter(reader))), lambda done, total: on_step(0, 1))
        motion = _motion(heard, looked.pose, looked.seed, reader, avatar, instruments, on_step)
        motion = take(motion, torch.tensor(list(frames)))
        sync = None if looked.syncnet is None else SyncWatch(looked.syncnet, heard.fps)
        watch = _Watch(avatar, instruments, len(frames), sync, looked.pool)
        for index, (truth, driven) in enumerate(
            zip(_truths(reader, avatar, frames), avatar.animate(motion), strict=True)
        ):
            watch.add(index, truth, driven)
            on_step(0, 1)
    sheet = sample_sheet(avatar.portrait.crop, watch.samples, heard.path.name, compare=True)
    return watch.row(heard, frames), sheet


def _motion(
    heard: Heard, pose: str, seed: int, reader: VideoReader, avatar: Avatar, instruments: Instruments, on_step: OnStep
) -> Motion:
    """Return what the sound asks for; head and eyes that move by chance would only hide what is measured."""
    voice = motion_from_audio(heard.sound, heard.fps, seed, head_motion=0.0, on_step=lambda done, total: on_step(0, 1))
    count = len(heard.truth)
    voice = extend(voice, count)
    if pose == "fixed":
        return voice
    frames = (frame for _, frame in zip(range(count), reader, strict=False))
    body = instruments.track(frames, heard.fps, avatar.portrait.crop_transform, lambda done, total: on_step(0, 1))
    return mix_motions(voice, extend(body, count), {"head": 1.0})


def _truths(reader: VideoReader, avatar: Avatar, frames: range) -> Iterator[np.ndarray]:
    for index, frame in zip(range(frames.stop), reader, strict=False):
        if index in frames:
            yield cropped(frame, avatar.portrait.crop_transform)


class _Watch:
    """Tracks rendered and real faces in the same crop."""

    def __init__(
        self, avatar: Avatar, instruments: Instruments, count: int, sync: SyncWatch | None, pool: FidPool | None
    ) -> None:
        self._matte = instruments.matte
        self._find_truth, self._find_driven = instruments.new_tracker(), instruments.new_tracker()
        self._truth, self._driven = Observed(), Observed()
        self._scores, self._copy = PictureScores(), PictureScores("_copy")
        source = avatar.portrait.source
        self._inside = inside_frame(source.shape[2], source.shape[1], avatar.portrait.crop_transform)
        self._first: Float[Tensor, "3 512 512"] | None = None
        self._pictured, self._kept = sample_indices(count, PICTURES), sample_indices(count)
        self._sync, self._pool = sync, pool
        self.samples: list[Sample] = []

    def add(self, index: int, truth_frame: np.ndarray, driven: Float[Tensor, "3 512 512"]) -> None:
        """Take one pair; ``truth_frame`` is the uint8 crop of the clip's frame."""
        truth = to_image(truth_frame)
        driven_frame = to_frame(driven)
        faces = self._find_truth(truth_frame), self._find_driven(driven_frame)
        self._truth.add(faces[0])
        self._driven.add(faces[1])
        if self._sync is not None:
            self._sync.add((driven_frame, faces[1]), (truth_frame, faces[0]))
        if self._pool is not None and index > 0:
            self._pool.add(truth, {OWN: driven})
        if self._first is None:
            self._first = truth
        if index in self._pictured:
            regions = {"whole": self._inside}
            if faces[0] is not None:
                regions["head"] = self._inside * self._matte(truth_frame, faces[0])
            self._scores.add(driven, truth, regions)
            self._copy.add(self._first, truth, regions)
        if index in self._kept:
            self.samples.append(Sample(index, truth, driven.clone(), *faces))

    def row(self, heard: Heard, frames: range) -> Row:
        """Return all scores of the clip; lags are in frames of the clip, though not all of them are rendered."""
        opening = np.full(len(heard.truth), math.nan)
        opening[list(frames)] = mouth_opening(self._driven.landmarks).double().numpy()
        both = self._truth.seen & self._driven.seen
        truth, driven = self._truth.landmarks[both], self._driven.landmarks[both]
        first = truth[:1].expand_as(truth)
        return {
            "rendered_frames": int(both.sum()),
            "rendered_correlation": correlation(opening, heard.truth),
            "rendered_lag": best_lag(opening, heard.truth, heard.fps)[0],
            "lmd": float(lip_distance(driven, truth).mean()),
            "lmd_copy": float(lip_distance(first, truth).mean()),
            **self._scores.means(),
            **self._copy.means(),
            **({} if self._sync is None else self._sync.row(heard.sound)),
        }


def lip_distance(landmarks: Float[Tensor, "T 478 d"], truth: Float[Tensor, "T 478 d"]) -> Float[Tensor, "T"]:
    """Return the mean distance of the lips' landmarks (LMD) in percent of the truth's eye distance.

    Faces are first laid over each other by the similarity that fits `RIGID` points best, so that pose does not count.
    """
    ours, theirs = (torch.view_as_complex(points[..., :2].double().contiguous()) for points in (landmarks, truth))
    rigid, lips = list(RIGID), list(LIPS)
    center, target = (points[:, rigid].mean(dim=1, keepdim=True) for points in (ours, theirs))
    x, y = ours[:, rigid] - center, theirs[:, rigid] - target
    turn = (x.conj() * y).sum(dim=1, keepdim=True) / (x.conj() * x).sum(dim=1, keepdim=True)
    laid = (ours[:, lips] - center) * turn + target
    return 100.0 * (laid - theirs[:, lips]).abs().mean(dim=1) / eye_distance(truth).double()
