"""A portrait and its drivers become a clip: the pipeline with files at both ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from . import __version__
from .clock import StageClock, peak_memory_mb
from .errors import InputError
from .gaussians.predict import AnalyticSequence
from .head.model import load_head_model
from .media.audio import read_sound
from .media.images import read_image
from .media.video_writer import VideoWriter
from .motion.files import read_motion
from .motion.mix import mix_audio_video
from .motion.motion import Motion
from .motion.sadtalker_map import motion_from_speech
from .motion.timing import take
from .motion.video import motion_from_video
from .parallel import one_thread
from .pipeline import Head, Settings, drive, frames, reconstruct
from .portrait.portrait import Portrait
from .progress import OnStep, ignore_steps
from .render.paste import Paster
from .render.rasterize import available_backends
from .weights.resolver import used_weights


@dataclass(frozen=True)
class Job:
    """One call of ``animate``: what to read, what to write and how."""

    portrait: Path
    output: Path
    audio: Path | None = None
    video: Path | None = None
    motion: Path | None = None
    fps: float = 25.0
    """Frame rate when sound alone drives; a clip or a motion file brings its own."""
    size: int = 512
    """Edge of the picture with ``framing="crop"``."""
    framing: str = "source"
    seed: int = 0
    max_frames: int | None = None
    audio_model: str = "auto"
    """What moves the mouth to sound: ``auto``, ``embedded`` or ``sadtalker``."""
    sadtalker: Path | None = None
    """SadTalker's weights, where no model folder holds them."""
    look: float = 0.0
    """How much the eyes are locked on the camera while sound drives, 0..1."""
    settings: Settings = field(default_factory=Settings)


def animate(job: Job, on_step: OnStep = ignore_steps) -> dict[str, object]:
    """Animate a portrait into an MP4 and return the report.

    ``on_step`` counts anew in each phase: reading the drivers, building the head, rendering the frames.

    Raises:
        InputError: an input cannot be used or the output cannot be written; nothing is left half-written.
    """
    clock = StageClock()
    head, motion = prepare(job, clock, on_step)
    sequence = drive(head, motion, job.settings)
    written = write_clip(job, head, sequence, clock, on_step)
    return report(job, sequence, written, clock)


def prepare(job: Job, clock: StageClock, on_step: OnStep = ignore_steps) -> tuple[Head, Motion]:
    """Read the drivers and reconstruct the head."""
    image = read_image(job.portrait)
    with clock("motion"):
        motion = read_drivers(job, on_step)
    head = reconstruct(image, job.settings, clock=clock, on_step=on_step)
    return head, motion if job.max_frames is None else shorten(motion, job.max_frames)


def read_drivers(job: Job, on_step: OnStep = ignore_steps) -> Motion:
    """Return the motion of the job's drivers; sound beside a clip or a file moves the mouth, the other the rest."""
    if job.video is not None and job.motion is not None:
        raise InputError("Both a driving clip and a motion file were given: leave out one of them.")
    sound = None if job.audio is None else read_sound(job.audio)
    body: Motion | None = None
    if job.video is not None:
        body = motion_from_video(
            job.video, load_head_model(), max_frames=job.max_frames, refine=job.settings.refines, on_step=on_step
        )
    elif job.motion is not None:
        body = read_motion(job.motion)
    if sound is None:
        if body is None:
            raise InputError("Nothing drives the portrait: give a sound, a driving clip or a motion file.")
        return body
    fps = job.fps if body is None else body.fps
    voice = motion_from_speech(
        sound, fps, job.seed, model=job.audio_model, path=job.sadtalker, learned=job.settings.learned, look=job.look,
        on_step=on_step,
    )  # fmt: skip
    return voice if body is None else mix_audio_video(voice, body)


def shorten(motion: Motion, count: int) -> Motion:
    """Return at most the first ``count`` frames of a motion."""
    if count < 1:
        raise InputError("The largest number of frames must be at least 1.")
    return motion if len(motion) <= count else take(motion, torch.arange(count))


def write_clip(job: Job, head: Head, sequence: AnalyticSequence, clock: StageClock, on_step: OnStep) -> int:
    """Render every frame into the job's output file and return how many were written."""
    finish = Framing(head.portrait, job.framing, job.size)
    return write_frames(job.output, head, sequence, finish, job.settings, clock=clock, on_step=on_step)


def write_frames(
    output: Path,
    head: Head,
    sequence: AnalyticSequence,
    finish: Framing,
    settings: Settings,
    *,
    clock: StageClock,
    on_step: OnStep = ignore_steps,
) -> int:
    """Render a sequence into an MP4, a frame at a time and with the motion's sound; return how many were written."""
    done, total = 0, len(sequence)
    sound = sequence.motion.sound
    writer = VideoWriter(output, sequence.fps, finish.width, finish.height, sound, {"comment": _credits()})
    with one_thread(), writer:
        for frame in frames(head, sequence, settings, clock=clock):
            with clock("paste"):
                picture = finish(frame.image)
            with clock("encode"):
                writer.write(picture)
            done += 1
            on_step(done, total)
    return done


class Framing:
    """Puts a finished crop back into the source picture, or gives the crop alone."""

    def __init__(self, portrait: Portrait, framing: str = "source", size: int = 512) -> None:
        """Prepare for ``source`` (the picture's own size) or ``crop`` (``size`` pixels square)."""
        if framing not in ("source", "crop"):
            raise InputError(f'Unknown framing "{framing}": choose source or crop.')
        self._paster = Paster(portrait) if framing == "source" else None
        self.height, self.width = portrait.source.shape[1:] if self._paster else (size, size)

    def __call__(self, image: Float[Tensor, "3 512 512"]) -> np.ndarray:
        """Return the frame as uint8 [height, width, 3]."""
        if self._paster is not None:
            return self._paster.paste(image)
        return to_bytes(resized(image, self.width))


def resized(image: Float[Tensor, "3 h w"], size: int) -> Float[Tensor, "3 size size"]:
    """Return a square image on another grid, antialiased."""
    if image.shape[-1] == size:
        return image
    shape = (size, size)
    return torch.nn.functional.interpolate(image[None], shape, mode="bicubic", antialias=True, align_corners=False)[0]


def to_bytes(image: Float[Tensor, "3 h w"]) -> np.ndarray:
    """Return an image as uint8 [height, width, 3]."""
    import cv2

    planes = image.clamp(0.0, 1.0).mul_(255.0).add_(0.5).to(torch.uint8)
    return cv2.merge(list(planes.cpu().numpy()))  # several times as fast as a permuted copy


def _credits() -> str:
    used = "; ".join(f"{row.name} ({row.licence})" for row in used_weights())
    return f"Made with MGGTalk {__version__}. Weights: {used}"


def report(job: Job, sequence: AnalyticSequence, written: int, clock: StageClock) -> dict[str, object]:
    """Return what ``--report`` writes."""
    return {
        "output": str(job.output),
        "frames": written,
        "fps": sequence.fps,
        "held_frames": list(sequence.motion.held),
        "gaussians": len(sequence.avatar.colours),
        "seconds": {stage: round(seconds, 4) for stage, seconds in clock.seconds.items()},
        "peak_memory_mb": round(peak_memory_mb(), 1),
        "backend": available_backends()[0] if job.settings.backend == "auto" else job.settings.backend,
        "weights": [{"name": row.name, "licence": row.licence} for row in used_weights()],
    }
