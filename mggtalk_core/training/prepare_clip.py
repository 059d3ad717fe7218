"""The training pairs of one clip: avatars of some of its frames, driven to others."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..evaluation.clips import cropped, inside_frame, to_image
from ..evaluation.instruments import parsed_matte
from ..evaluation.landmarks import eye_distance
from ..gaussians.predict import AnalyticSequence
from ..media.video import VideoReader
from ..motion.motion import Motion, Rest
from ..motion.timing import take
from ..motion.video import SMOOTHING, motion_from_sightings, to_crop
from ..motion.watch import Sightings
from ..parallel import one_thread
from ..pipeline import Head, Settings, build_head, drive, fitted_head
from ..portrait.landmarker import Face, FaceLandmarker
from ..portrait.load import load_portrait
from ..portrait.parsing import Parser
from ..portrait.portrait import Portrait
from ..portrait.warp import invert
from ..progress import OnStep, ignore_steps
from ..render.pinholes import fill_pinholes
from ..render.rasterize import render
from .prepare_runs import Wanted, run_boxes, spoken_runs
from .prepare_select import LARGEST_RESIDUAL, choose_sources, choose_targets, usable_frames
from .shards import Shard, ShardInfo, ShardRun, ShardSource, ShardTarget, to_bytes, write_shard
from .tracks import ClipTrack

ANOTHER_FACE = 0.15
"""Two readings of one face lie closer than this share of the eye distance, in the mean over the landmarks."""
RIVAL = 0.6
"""A second face of at least this share of the first's size makes it unclear who is meant."""

SETTINGS = Settings(reference="first")
"""Pairs show what the inpainter is to mend: the frame as it comes out of all the stages before."""


@dataclass(frozen=True)
class ClipItem:
    """A clip to make pairs of."""

    path: Path
    identity: str
    licence_class: str = ""


@dataclass(frozen=True)
class PrepareOptions:
    """How many pairs a clip gives."""

    sources: int = 3
    """Avatars of a clip."""
    targets: int = 24
    """Frames that each of them is driven to."""
    runs: int = 0
    """Runs of five neighbouring frames, with their sound, that each of them is driven to as well."""

    def __post_init__(self) -> None:
        """Refuse what is no count."""
        if self.sources < 1 or self.targets < 1:
            raise InputError("Pairs need at least 1 source and 1 target of each clip.")
        if self.runs < 0:
            raise InputError("Runs are counted from 0.")


def shard_path(folder: Path, item: ClipItem, source: int) -> Path:
    """Return where the pairs of one source frame are kept."""
    return folder / f"{item.path.name}.{source:05d}.safetensors"


@one_thread()
def prepare_clip(
    item: ClipItem, track: ClipTrack, folder: Path, options: PrepareOptions, *, on_step: OnStep = ignore_steps
) -> dict[str, object]:
    """Write the shards of one clip that are not there yet; return what the report says of them.

    Args:
        item: the clip.
        track: its face in every frame.
        folder: where the shards go.
        options: numbers of sources, targets and runs.
        on_step: counts avatars and targets.

    Raises:
        InputError: the clip cannot be used, in one line that begins with the reason.
    """
    usable = usable_frames(track)
    sources = choose_sources(track, usable, options.sources)
    targets = choose_targets(track, usable, sources, options.targets)
    runs = spoken_runs(item.path, track, usable, sources, options.runs)
    missing = {
        source: Wanted(frames, spoken)
        for source, frames, spoken in zip(sources, targets, runs, strict=True)
        if not _is_done(shard_path(folder, item, source), Wanted(frames, spoken))
    }
    studio = _Studio(item, track, sum(len(each.frames) + len(each.beside) + 1 for each in missing.values()), on_step)
    rejected = studio.make(missing, folder)
    made = [Shard.open(shard_path(folder, item, source)) for source in sources if source not in rejected]
    if not made:
        raise InputError(next(iter(rejected.values())))
    return {
        "frames": len(track),
        "usable": len(usable),
        "sources": len(made),
        "pairs": sum(len(shard) for shard in made),
        **({"runs": sum(len(shard.runs) for shard in made)} if options.runs else {}),
        "megabytes": sum(os.path.getsize(shard.path) for shard in made) / 1e6,
        "sources_rejected": "; ".join(f"frame {source}: {reason}" for source, reason in rejected.items()),
    }


def _is_done(path: Path, wanted: Wanted) -> bool:
    if not path.is_file():
        return False
    shard = Shard.open(path)
    return shard.frames == tuple(wanted.frames) and shard.runs == tuple(run.frames for run in wanted.runs)


@dataclass(frozen=True)
class _Sitter:
    """An avatar of one source frame, driven by the motion around its targets."""

    frame: int
    head: Head
    sequence: AnalyticSequence
    places: dict[int, int]
    """Place in the sequence of every target frame."""
    landmarks: Float[Tensor, "T 478 3"]
    """Of the whole clip, in the crop of this source."""


class _Studio:
    """Makes the pairs of one clip in two passes over it: avatars first, then targets as they come."""

    def __init__(self, item: ClipItem, track: ClipTrack, total: int, on_step: OnStep) -> None:
        self._item, self._track = item, track
        self._reader, self._parser = VideoReader(item.path), Parser()
        self._done, self._total, self._on_step = 0, total, on_step
        to_clip = torch.from_numpy(invert(track.crop_transform.double().numpy()))
        self._seen = Sightings(to_crop(track.landmarks.double(), to_clip), track.blendshapes, track.seen)

    def make(self, wanted: dict[int, Wanted], folder: Path) -> dict[int, str]:
        """Write one shard per source; return the sources that had to be left out, with the reason."""
        sitters, rejected = [], {}
        for frame, image in self._frames(set(wanted)):
            try:
                targets = sorted(wanted[frame].frames + wanted[frame].beside)
                sitters.append(self._sitter(frame, image, targets))
            except InputError as error:
                rejected[frame] = str(error)
            self._step()
        shown: dict[int, dict[int, ShardTarget]] = {sitter.frame: {} for sitter in sitters}
        for frame, image in self._frames({target for sitter in sitters for target in sitter.places}):
            for sitter in sitters:
                if frame in sitter.places:
                    shown[sitter.frame][frame] = self._target(sitter, frame, image)
                    self._step()
        for sitter in sitters:
            self._write(sitter, shown[sitter.frame], wanted[sitter.frame], folder)
        return rejected

    def _write(self, sitter: _Sitter, targets: dict[int, ShardTarget], wanted: Wanted, folder: Path) -> None:
        info = ShardInfo(self._item.path.name, self._item.identity, sitter.frame, self._item.licence_class)
        fps, seen = self._track.fps, self._track.seen
        runs = [
            ShardRun(run.frames, run.sound, run_boxes(sitter.landmarks, seen, run.start, fps)) for run in wanted.runs
        ]
        alone, beside = ([targets[frame] for frame in frames] for frames in (wanted.frames, wanted.beside))
        path = shard_path(folder, self._item, sitter.frame)
        write_shard(path, info, _shard_source(sitter.head, self._reader), alone, beside, runs)

    def _step(self) -> None:
        self._done += 1
        self._alive()

    def _alive(self, done: int = 0, total: int = 0) -> None:
        self._on_step(self._done, self._total)

    def _frames(self, wanted: set[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the wanted frames, ascending; the clip is not read beyond the last."""
        last = max(wanted, default=-1)
        for frame, image in enumerate(self._reader if wanted else ()):
            self._alive()
            if frame in wanted:
                yield frame, image
            if frame == last:
                return

    def _sitter(self, frame: int, image: np.ndarray, targets: list[int]) -> _Sitter:
        """Build the avatar of a source frame as the pipeline does, and drive it from that frame on."""
        _refuse_rivals(image)
        portrait = load_portrait(to_image(image), on_step=self._alive)
        landmarks = to_crop(self._seen.landmarks, portrait.crop_transform).float()
        _refuse_stranger(portrait, landmarks[frame])
        head = build_head(portrait, SETTINGS, on_step=self._alive)
        _refuse_misfit(head)
        motion, frames = self._motion_around(portrait, [frame, *targets])
        place = {number: index for index, number in enumerate(frames)}
        start = Rest(*(getattr(motion, name)[place[frame]] for name in ("beta", "gaze", "rotation", "translation")))
        driving = take(replace(motion, start=start), torch.tensor([place[target] for target in targets]))
        sequence = drive(head, driving, SETTINGS)
        return _Sitter(frame, head, sequence, {target: index for index, target in enumerate(targets)}, landmarks)

    def _motion_around(self, portrait: Portrait, chosen: Sequence[int]) -> tuple[Motion, list[int]]:
        """Track the head in the source's own crop, in the chosen frames and those that smoothing needs beside them."""
        margin = math.ceil(3.0 * SMOOTHING * self._track.fps) + 1
        near = torch.zeros(len(self._track), dtype=torch.bool)
        for frame in chosen:
            near[max(frame - margin, 0) : frame + margin + 1] = True
        frames = near.nonzero()[:, 0]
        seen = Sightings(*(part[frames] for part in (self._seen.landmarks, self._seen.blendshapes, self._seen.found)))
        motion = motion_from_sightings(
            seen, self._track.fps, crop_transform=portrait.crop_transform, refine=SETTINGS.refines, on_step=self._alive
        )
        return motion, frames.tolist()

    def _target(self, sitter: _Sitter, frame: int, image: np.ndarray) -> ShardTarget:
        """Render the avatar as it is driven in a frame, beside the frame itself in the source's crop."""
        index, motion = sitter.places[frame], sitter.sequence.motion
        truth = cropped(image, sitter.head.portrait.crop_transform)
        landmarks = sitter.landmarks[frame]
        matte = parsed_matte(self._parser, truth, Face(landmarks, self._seen.blendshapes[frame], 1.0))
        with torch.inference_mode():
            camera = sitter.sequence.camera(index)
            rendering = render(sitter.sequence.frame(index, camera), camera)
            picture = torch.cat(fill_pinholes(rendering))
        return ShardTarget(
            frame=frame, render=to_bytes(picture), truth=torch.from_numpy(truth).permute(2, 0, 1),
            matte=to_bytes(matte), landmarks=landmarks, beta=motion.beta[index], gaze=motion.gaze[index],
            rotation=motion.rotation[index], translation=motion.translation[index],
        )  # fmt: skip


def _shard_source(head: Head, reader: VideoReader) -> ShardSource:
    portrait = head.portrait
    coarse = fitted_head(portrait, head.model, refine=False)
    inside = inside_frame(reader.width, reader.height, portrait.crop_transform)
    return ShardSource(
        to_bytes(portrait.crop), to_bytes(portrait.background), to_bytes(portrait.matte), portrait.labels[None],
        to_bytes(inside), portrait.landmarks, head.fit, coarse.offsets,
    )  # fmt: skip


def _refuse_rivals(image: np.ndarray) -> None:
    faces = FaceLandmarker().detect(image, upright=True)
    if len(faces) > 1 and faces[1].size > RIVAL * faces[0].size:
        raise InputError(f"several faces: {len(faces)} are seen")


def _refuse_stranger(portrait: Portrait, landmarks: Float[Tensor, "478 3"]) -> None:
    """Refuse a portrait of somebody else than the one who is tracked."""
    apart = (portrait.landmarks[:, :2] - landmarks[:, :2]).norm(dim=-1).mean() / eye_distance(landmarks)
    if float(apart) > ANOTHER_FACE:
        raise InputError("several faces: the largest is not the one that the track follows")


def _refuse_misfit(head: Head) -> None:
    miss = head.fit.residual / float(eye_distance(head.portrait.landmarks))
    if miss > LARGEST_RESIDUAL:
        raise InputError(f"misaligned: the head misses the landmarks by {miss:.1%} of the eye distance")
