"""The motion of whole clips, tracked once and kept: what every stage of training learns from."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import InputError
from ..head.camera import Camera
from ..head.model import load_head_model
from ..head.track import track_head
from ..media.atomic import replacing
from ..media.video import VideoReader
from ..motion.timing import check_fps
from ..motion.video import driver_crop, to_crop
from ..motion.watch import watch
from ..portrait.portrait import CROP_SIZE
from ..processes import in_processes
from ..progress import OnStep, ignore_steps
from ..record import Record

PROCESSES = 2
"""Clips that are tracked at once at most."""
LEAST_SEEN = 0.6
"""A clip that shows its face in a smaller share of its frames is not used."""
LARGEST_RESIDUAL = 12.0
"""Pixels of the crop, median over the frames: a head that fits worse than this was not a face, or is far turned."""
REJECTED = "rejected.json"


@dataclass(frozen=True)
class ClipTrack(Record):
    """One face through all ``T`` frames of a clip, in one crop that stands still; nothing is smoothed."""

    landmarks: Float[Tensor, "T 478 3"]
    """In pixels of the crop; frames without the face hold what lies between their neighbours."""
    blendshapes: Float[Tensor, "T 52"]
    """Raw output of the blendshape network."""
    beta: Float[Tensor, "T 52"]
    """Expression of the fitted head model."""
    gaze: Float[Tensor, "T 4"]
    """Eyeball rotation in radians."""
    rotation: Float[Tensor, "T 3 3"]
    """Canonical to camera."""
    translation: Float[Tensor, "T 3"]
    """In units of 10 cm."""
    residual: Float[Tensor, "T"]
    """Mean distance between fitted and seen landmarks in pixels of the crop."""
    identity: Float[Tensor, "K"]
    """Identity of the head model, one for the clip."""
    seen: Bool[Tensor, "T"]
    """Frames in which the face was really found."""
    crop_transform: Float[Tensor, "2 3"]
    """From pixels of the clip to those of the crop."""
    fps: float

    def __len__(self) -> int:
        """Return the number of frames."""
        return self.beta.shape[0]


@dataclass(frozen=True)
class TrackReport:
    """What came of tracking many clips."""

    tracks: dict[Path, Path]
    """File of the track of each clip that can be used."""
    rejected: dict[Path, str]
    """Why the others cannot."""


def track_clip(path: str | os.PathLike[str], *, on_step: OnStep = ignore_steps) -> ClipTrack:
    """Return the motion of the largest face of a clip, every frame, in the locked crop of its first sighting.

    Raises:
        InputError: the clip cannot be read, or shows its face too rarely or too unclearly to learn from.
    """
    reader = VideoReader(path)
    fps, count = check_fps(reader.fps), reader.frame_count
    seen = watch(reader, count, on_step=lambda done, total: on_step(done, 2 * total))
    transform = driver_crop(seen)
    landmarks = to_crop(seen.landmarks, transform)
    _check_sightings(path, seen.found)
    head = track_head(
        load_head_model(), landmarks, seen.blendshapes, Camera.for_crop(CROP_SIZE), fps,
        on_step=lambda done, total: on_step(total + done, 2 * total),
    )  # fmt: skip
    if float(head.residual.median()) > LARGEST_RESIDUAL:
        raise InputError(f"{path}: the head does not fit what is seen; leave this clip out.")
    return ClipTrack(
        landmarks=landmarks.float(), blendshapes=seen.blendshapes.float(), beta=head.beta, gaze=head.gaze,
        rotation=head.rotation, translation=head.translation, residual=head.residual, identity=head.identity,
        seen=seen.found, crop_transform=transform, fps=fps,
    )  # fmt: skip


def write_track(path: str | os.PathLike[str], track: ClipTrack, source: str | os.PathLike[str] | None = None) -> None:
    """Write a track as safetensors; name, size and time of the ``source`` clip go into its metadata."""
    from safetensors.torch import save_file

    fields = {field.name: getattr(track, field.name) for field in dataclasses.fields(track)}
    metadata = {"fps": repr(fields.pop("fps")), **({} if source is None else _stamp(source))}
    with replacing(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in fields.items()}, temporary, metadata)


def read_track(path: str | os.PathLike[str]) -> ClipTrack:
    """Read a track.

    Raises:
        InputError: no such file, or not a track.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(path), framework="pt") as file:
            metadata, fields = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}
        return ClipTrack(**fields, fps=float(metadata["fps"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not the track of a clip; track the clip again.") from error


def track_file(folder: str | os.PathLike[str], clip: str | os.PathLike[str]) -> Path:
    """Return where `track_all` keeps the track of a clip."""
    return Path(folder) / f"{Path(clip).name}.safetensors"


def track_all(
    clips: Iterable[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    *,
    processes: int = PROCESSES,
    on_step: OnStep = ignore_steps,
) -> TrackReport:
    """Track many clips into a folder, one file each; clips done before (same size and time) are not done again.

    ``on_step`` counts clips and is called at least twice a second; raising from it stops the work, and a later call
    goes on from there. Clips that cannot be used are listed with the reason in the folder's ``rejected.json`` too.
    """
    wanted, folder = [Path(clip) for clip in clips], Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    refusals = _read_refusals(folder)
    rejected = {clip: refusals[clip.name]["reason"] for clip in wanted if _same(refusals.get(clip.name), clip)}
    todo = [clip for clip in wanted if clip not in rejected and not _is_tracked(clip, folder)]
    left = set(todo)

    def alive() -> None:
        on_step(len(wanted) - len(left), len(wanted))

    for clip, reason in in_processes(partial(_track_to_file, folder), todo, min(processes, PROCESSES), alive):
        left.discard(clip)
        if reason is not None:
            rejected[clip] = reason
            refusals[clip.name] = {"reason": reason, **_stamp(clip)}
            with replacing(folder / REJECTED) as temporary:
                temporary.write_text(json.dumps(refusals, indent=2) + "\n", encoding="utf-8")
    return TrackReport({clip: track_file(folder, clip) for clip in wanted if clip not in rejected}, rejected)


def _track_to_file(folder: Path, clip: Path, on_step: OnStep) -> str | None:
    """Track one clip; return why it cannot be used, if so."""
    if _is_tracked(clip, folder):  # by another run since this one began
        return None
    try:
        write_track(track_file(folder, clip), track_clip(clip, on_step=on_step), clip)
    except InputError as error:
        return str(error)
    return None


def _check_sightings(path: str | os.PathLike[str], found: Bool[Tensor, "T"]) -> None:
    share = float(found.float().mean())
    if share < LEAST_SEEN:
        raise InputError(f"{path} shows its face in {share:.0%} of its frames; at least {LEAST_SEEN:.0%} are needed.")


def _stamp(clip: str | os.PathLike[str]) -> dict[str, str]:
    state = os.stat(clip)
    return {"clip": Path(clip).name, "size": str(state.st_size), "mtime_ns": str(state.st_mtime_ns)}


def _same(known: dict[str, str] | None, clip: Path) -> bool:
    return known is not None and clip.is_file() and _stamp(clip).items() <= known.items()


def _is_tracked(clip: Path, folder: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(track_file(folder, clip), framework="pt") as file:
            return _same(file.metadata(), clip)
    except (OSError, SafetensorError):
        return False


def _read_refusals(folder: Path) -> dict[str, dict[str, str]]:
    try:
        return json.loads((folder / REJECTED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
