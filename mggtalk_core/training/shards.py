"""Shards: the pairs of one source as one file, pictures encoded, everything else float32."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..errors import InputError
from ..head.camera import Camera
from ..head.head_fit import HeadFit
from ..media.atomic import replacing
from ..record import Record
from ..weights.tensor_file import packed

VERSION = "2"
_JPEG_QUALITY = 98
"""Photographs lose 0.5 of a squared grey level; renders and masks lose nothing."""
_STATES = ("landmarks", "beta", "gaze", "rotation", "translation")


@dataclass(frozen=True)
class ShardInfo:
    """Where the pairs of a shard come from."""

    clip: str
    """Name of the clip."""
    identity: str
    """Who is seen: pairs of one identity never lie on both sides of a split."""
    source_frame: int
    """Index in the clip of the frame that the avatar was built from."""
    licence_class: str = ""
    """Licence class of the clip, where its list tells one."""


@dataclass(frozen=True)
class ShardSource(Record):
    """The source picture of a shard, in its own crop; see `Pair`."""

    image: UInt8[Tensor, "3 512 512"]
    background: UInt8[Tensor, "3 512 512"]
    matte: UInt8[Tensor, "1 512 512"]
    labels: UInt8[Tensor, "1 512 512"]
    inside: UInt8[Tensor, "1 512 512"]
    landmarks: Float[Tensor, "478 3"]
    fit: HeadFit
    coarse: Float[Tensor, "vertices 3"]
    """Offsets of the fit before it was refined."""


@dataclass(frozen=True)
class ShardTarget(Record):
    """One target frame of a shard, in the source's crop; see `Pair`."""

    frame: int
    """Index in the clip."""
    render: UInt8[Tensor, "4 512 512"]
    truth: UInt8[Tensor, "3 512 512"]
    matte: UInt8[Tensor, "1 512 512"]
    landmarks: Float[Tensor, "478 3"]
    beta: Float[Tensor, "52"]
    gaze: Float[Tensor, "4"]
    rotation: Float[Tensor, "3 3"]
    translation: Float[Tensor, "3"]


@dataclass(frozen=True)
class ShardRun(Record):
    """Five neighbouring targets of a shard and their sound; see `prepare_runs.Run`."""

    frames: tuple[int, ...]
    """Index in the clip of each."""
    sound: Float[Tensor, "13 columns"]
    """See `prepare_runs.run_sound`."""
    boxes: Float[Tensor, "5 3"]
    """Centre (x, y) of the face's box in each frame, and half its longer edge, in pixels of the crop."""


@dataclass(frozen=True)
class Shard:
    """A shard on disk: its header is known, its tensors are read when asked for."""

    path: Path
    info: ShardInfo
    frames: tuple[int, ...]
    """Index in the clip of every target that makes a pair."""
    beside: tuple[int, ...] = ()
    """Index in the clip of the targets, after those, that only a run needs."""
    runs: tuple[tuple[int, ...], ...] = ()
    """Index in the clip of each frame of every run."""

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Shard:
        """Read the header.

        Raises:
            InputError: not a shard, damaged, or written by another version.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                header = file.metadata() or {}
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path} is damaged; remove it and run train prepare again.") from error
        if header.get("version") != VERSION:
            raise InputError(f"{path} is no shard of this version; remove it and run train prepare again.")
        info = ShardInfo(header["clip"], header["identity"], int(header["source_frame"]), header["licence_class"])
        runs = tuple(_numbers(run) for run in header.get("runs", "").split(";") if run)
        return cls(Path(path), info, _numbers(header["frames"]), _numbers(header.get("beside", "")), runs)

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.frames)

    def source(self) -> ShardSource:
        """Decode the source."""
        names = ("source", "background", "source_matte", "labels", "inside", "source_landmarks")
        fit_names = ("identity", "beta_s", "gaze", "world_to_camera", "offsets", "numbers")
        with self._file() as file:
            *pictures, landmarks = (file.get_tensor(name) for name in names)
            fit = [file.get_tensor(f"fit.{name}") for name in fit_names]
            coarse = file.get_tensor("coarse_offsets")
        identity, beta_s, gaze, pose, offsets, (focal, width, height, residual) = *fit[:-1], fit[-1].tolist()
        camera = Camera(pose, focal, int(width), int(height))
        head = HeadFit(identity, beta_s, gaze, camera, offsets, residual)
        return ShardSource(*map(decode, pictures), landmarks, head, coarse)

    def target(self, place: int) -> ShardTarget:
        """Decode the target at ``place`` of `frames` and `beside`."""
        with self._file() as file:
            pictures = {name: decode(file.get_tensor(f"{name}.{place:04d}")) for name in ("render", "truth", "matte")}
            states = {name: file.get_slice(name)[place] for name in _STATES}
        return ShardTarget(frame=(self.frames + self.beside)[place], **pictures, **states)

    def turns(self) -> list[float]:
        """Return how far the head of every pair is turned from the source's view, in radians."""
        with self._file() as file:
            source, driven = file.get_tensor("fit.world_to_camera")[2, :3], file.get_tensor("rotation")
        return torch.cosine_similarity(driven[: len(self), 2], source, dim=1).clamp(-1.0, 1.0).acos().tolist()

    def run(self, number: int) -> ShardRun:
        """Read the run at ``number`` of `runs`."""
        with self._file() as file:
            sound, boxes = (file.get_slice(name)[number] for name in ("run_sound", "run_boxes"))
        return ShardRun(self.runs[number], sound, boxes)

    def places(self, number: int) -> list[int]:
        """Return where a run's targets are, as `target` counts."""
        stored = self.frames + self.beside
        return [stored.index(frame) for frame in self.runs[number]]

    def _file(self):  # noqa: ANN202
        from safetensors import safe_open

        return safe_open(self.path, "pt")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split())


def write_shard(
    path: str | os.PathLike[str],
    info: ShardInfo,
    source: ShardSource,
    targets: Sequence[ShardTarget],
    beside: Sequence[ShardTarget] = (),
    runs: Sequence[ShardRun] = (),
) -> None:
    """Write a shard, whole or not at all; ``beside`` are targets that only ``runs`` need.

    Raises:
        InputError: there is no target, or the file cannot be written.
    """
    if not targets:
        raise InputError(f"Nothing to write into {path}: the source has no target.")
    tensors, stored = _source_tensors(source) | _run_tensors(runs), [*targets, *beside]
    for place, target in enumerate(stored):
        tensors[f"render.{place:04d}"] = encode_exactly(target.render)
        tensors[f"truth.{place:04d}"] = encode_photograph(target.truth)
        tensors[f"matte.{place:04d}"] = encode_exactly(target.matte)
    for name in _STATES:
        tensors[name] = torch.stack([getattr(target, name).float() for target in stored])
    header = {name: str(value) for name, value in dataclasses.asdict(info).items()}
    header |= {"version": VERSION, "frames": " ".join(str(target.frame) for target in targets)}
    if runs:
        header["beside"] = " ".join(str(target.frame) for target in beside)
        header["runs"] = ";".join(" ".join(map(str, run.frames)) for run in runs)
    with replacing(path) as temporary:
        temporary.write_bytes(packed(tensors, header))


def _run_tensors(runs: Sequence[ShardRun]) -> dict[str, Tensor]:
    if not runs:
        return {}
    return {f"run_{name}": torch.stack([getattr(run, name).float() for run in runs]) for name in ("sound", "boxes")}


def _source_tensors(source: ShardSource) -> dict[str, Tensor]:
    fit, camera = source.fit, source.fit.camera
    numbers = [camera.focal, camera.width, camera.height, fit.residual]
    return {
        "source": encode_photograph(source.image),
        "background": encode_photograph(source.background),
        "source_matte": encode_exactly(source.matte),
        "labels": encode_exactly(source.labels),
        "inside": encode_exactly(source.inside),
        "source_landmarks": source.landmarks.float(),
        "fit.identity": fit.identity.float(),
        "fit.beta_s": fit.beta_s.float(),
        "fit.gaze": fit.gaze.float(),
        "fit.world_to_camera": camera.world_to_camera.float(),
        "fit.offsets": fit.offsets.float().contiguous(),
        "fit.numbers": torch.tensor(numbers, dtype=torch.float64),
        "coarse_offsets": source.coarse.float().contiguous().clone(),
    }


def to_bytes(picture: Float[Tensor, "c h w"]) -> UInt8[Tensor, "c h w"]:
    """Return a picture in 0..1 as shards keep it; what lies beyond is cut off."""
    return (picture.clamp(0.0, 1.0) * 255.0 + 0.5).to(torch.uint8)


def encode_exactly(picture: UInt8[Tensor, "c h w"]) -> UInt8[Tensor, "n"]:
    """Encode a picture of 1, 3 or 4 channels as PNG, which loses nothing."""
    import cv2

    return _encoded(picture, ".png", [cv2.IMWRITE_PNG_COMPRESSION, 1])


def encode_photograph(picture: UInt8[Tensor, "3 h w"]) -> UInt8[Tensor, "n"]:
    """Encode a picture as JPEG of high quality with all of its colour."""
    import cv2

    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return _encoded(picture, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY, *sampling])


def decode(encoded: UInt8[Tensor, "n"]) -> UInt8[Tensor, "c h w"]:
    """Decode what `encode_exactly` or `encode_photograph` made: 1 channel grey, 3 RGB or 4 RGBA."""
    import cv2

    pixels = _swapped(cv2.imdecode(encoded.numpy(), cv2.IMREAD_UNCHANGED))
    return torch.from_numpy(np.stack(cv2.split(pixels)))


def _encoded(picture: UInt8[Tensor, "c h w"], suffix: str, options: list[int]) -> UInt8[Tensor, "n"]:
    import cv2

    pixels = _swapped(np.ascontiguousarray(picture.permute(1, 2, 0).cpu().numpy()))
    return torch.from_numpy(cv2.imencode(suffix, pixels, options)[1].reshape(-1))


def _swapped(pixels: np.ndarray) -> np.ndarray:
    """Swap red and blue, which OpenCV keeps the other way round."""
    import cv2

    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return pixels
    return cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR)
