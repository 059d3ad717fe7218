"""Motion from a clip: the head model fitted to the driver, frame by frame."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..geometry.refine import refined_fit
from ..head.camera import Camera
from ..head.fit import fit_head
from ..head.head_track import HeadTrack
from ..head.model import HeadModel, load_head_model
from ..head.track import track_head
from ..media.audio import read_sound
from ..media.sound import Sound
from ..media.video import VideoReader
from ..portrait.crop import CROP_HEIGHTS, wide_region
from ..portrait.face_frame import FaceFrame
from ..portrait.portrait import CROP_SIZE
from ..portrait.warp import Region
from ..progress import OnStep, ignore_steps
from .motion import Motion, Rest
from .rotations import mean_rotation
from .smooth import fill_gaps, smooth
from .timing import check_fps, resample_motion
from .watch import Sightings, watch

SMOOTHING = 0.02
"""Seconds of smoothing that take the jitter of the landmarks away and leave the movement."""

REST_QUANTILE = 0.25
"""Part of the frames in which a coefficient lies below its rest: a face at rest is one that does little."""


@dataclass(frozen=True)
class Clip:
    """A source of frames, opened."""

    frames: Iterable[np.ndarray]
    count: int
    """Number of frames, or 0 where it is not known beforehand."""
    fps: float
    sound: Sound | None = None


def motion_from_video(
    source: str | os.PathLike[str] | Iterable[np.ndarray],
    model: HeadModel | None = None,
    *,
    fps: float | None = None,
    smoothing: float = SMOOTHING,
    crop_transform: Float[Tensor, "2 3"] | None = None,
    identity: Float[Tensor, "k"] | None = None,
    with_sound: bool = True,
    max_frames: int | None = None,
    refine: bool = True,
    on_step: OnStep = ignore_steps,
) -> Motion:
    """Return the motion of the largest face of a clip; never more than one frame of the clip is in memory.

    Other people who come into the picture are ignored. Frames without the face are interpolated, held at the ends,
    and listed in ``Motion.held``.

    Args:
        source: a clip, or uint8 RGB frames [H,W,3].
        model: the head model; the package's own by default.
        fps: rate of the frames; for a clip, which has its own, the rate that its motion is resampled to.
        smoothing: seconds, see `smooth`; 0 for none.
        crop_transform: from pixels of the clip to those of the crop that the head is fitted in; by default a crop
            like a portrait's, placed on the first face that is seen. Give the portrait's when it is the clip's own.
        identity: the driver's identity where it is known already; otherwise it is fitted to the clip.
        with_sound: attach the clip's sound.
        max_frames: stop after so many frames.
        refine: correct the depth of the driver's head by what was learned about it (eq. 2), as the portrait's is.
        on_step: called after every frame of tracking and of fitting.

    Raises:
        InputError: no clip, no fps for frames, or no face in any frame.
    """
    clip = open_clip(source, fps, with_sound=with_sound, max_frames=max_frames)
    seen = watch(clip.frames, clip.count, on_step=partial(_half, on_step, 0))
    motion = motion_from_sightings(
        seen, clip.fps, model, crop_transform=crop_transform, identity=identity, smoothing=smoothing,
        sound=clip.sound, refine=refine, on_step=partial(_half, on_step, 1),
    )  # fmt: skip
    return motion if fps is None else resample_motion(motion, fps)


def open_clip(
    source: str | os.PathLike[str] | Iterable[np.ndarray],
    fps: float | None = None,
    *,
    with_sound: bool = True,
    max_frames: int | None = None,
) -> Clip:
    """Return the frames, rate and sound of a clip (its own rate) or of a run of frames; see `motion_from_video`."""
    if not isinstance(source, str | os.PathLike):
        if fps is None:
            raise InputError("Frames without a rate: give the frames per second of the driving pictures.")
        known = len(source) if hasattr(source, "__len__") else 0
        return Clip(itertools.islice(source, max_frames), min(known, max_frames or known), check_fps(fps))
    reader = VideoReader(source)
    count = min(reader.frame_count, max_frames or reader.frame_count)
    sound = read_sound(source) if with_sound and reader.has_sound else None
    return Clip(itertools.islice(reader, max_frames), count, check_fps(reader.fps), sound)


def motion_from_sightings(
    seen: Sightings,
    fps: float,
    model: HeadModel | None = None,
    *,
    crop_transform: Float[Tensor, "2 3"] | None = None,
    identity: Float[Tensor, "k"] | None = None,
    smoothing: float = SMOOTHING,
    sound: Sound | None = None,
    refine: bool = True,
    on_step: OnStep = ignore_steps,
) -> Motion:
    """Return the motion behind landmarks and blendshapes that were found already; see `motion_from_video`."""
    model = load_head_model() if model is None else model
    transform = driver_crop(seen) if crop_transform is None else crop_transform
    landmarks, camera = to_crop(seen.landmarks, transform), Camera.for_crop(CROP_SIZE)
    relief = relief_of(model, landmarks[0], seen.blendshapes[0], camera) if refine else None
    track = track_head(
        model, landmarks, seen.blendshapes, camera, fps, identity=identity, relief=relief, on_step=on_step
    )
    left, right = model.eye_centers(track.identity.to(model.mean))
    motion = Motion(
        beta=track.beta.float(),
        gaze=track.gaze.float(),
        rotation=track.rotation.float(),
        translation=track.translation.float(),
        fps=fps,
        rest=estimate_rest(track),
        eye_distance=float((left - right).norm()),
        kind="video",
        sound=sound,
    )
    return smooth(fill_gaps(motion, seen.found), smoothing)


def relief_of(
    model: HeadModel, landmarks: Float[Tensor, "478 3"], blendshapes: Float[Tensor, "52"], camera: Camera
) -> Float[Tensor, "478 3"]:
    """Return by how much the refinement (eq. 2) moves the landmarks of the head that is seen in a frame, canonical."""
    fit = fit_head(model, landmarks.float(), blendshapes.float(), camera)
    return model.landmarks(refined_fit(fit, model, landmarks.float()).offsets - fit.offsets)


def driver_crop(seen: Sightings) -> Float[Tensor, "2 3"]:
    """Return the affine map from the clip's pixels to a crop around the first face seen, framed like a portrait."""
    first = int(seen.found.nonzero()[0, 0])
    frame = FaceFrame.from_landmarks(seen.landmarks[first].double().numpy())
    wide = wide_region(frame)
    return torch.from_numpy(Region(wide.center, CROP_HEIGHTS * frame.height, wide.angle).to_crop(CROP_SIZE)).float()


def to_crop(landmarks: Float[Tensor, "T 478 3"], transform: Float[Tensor, "2 3"]) -> Float[Tensor, "T 478 3"]:
    """Move landmarks from pixels of the clip to those of the crop; z is scaled with them."""
    transform = transform.to(landmarks)
    flat = landmarks[..., :2] @ transform[:, :2].T + transform[:, 2]
    scale = torch.linalg.det(transform[:, :2]).abs().sqrt()
    return torch.cat((flat, landmarks[..., 2:] * scale), dim=-1)


def estimate_rest(track: HeadTrack) -> Rest:
    """Return the driver's neutral state: low quantiles of the expression, the middle of gaze and pose."""
    return Rest(
        beta=track.beta.float().quantile(REST_QUANTILE, dim=0),
        gaze=track.gaze.float().median(dim=0).values,
        rotation=mean_rotation(track.rotation).float(),
        translation=track.translation.float().median(dim=0).values,
    )


def _half(on_step: OnStep, half: int, done: int, total: int) -> None:
    """Report one of two halves of the work."""
    on_step(half * total + done, 2 * total)
