"""Training pairs: one source picture driven to one frame of its own clip, beside that frame."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

from jaxtyping import Float, UInt8
from torch import Tensor

from ..errors import InputError
from ..head.head_fit import HeadFit
from ..record import Record
from ..render.torso import Torso
from .shards import Shard, ShardSource, to_bytes

SOURCES_KEPT = 64
"""How many decoded sources (2 MB each) are kept, so that a pair costs little more than its own pictures."""


@dataclass(frozen=True)
class Pair(Record):
    """One source picture driven to one target frame; all pictures in the source's locked crop, sRGB bytes."""

    source: UInt8[Tensor, "3 512 512"]
    """The source's crop ``I_s``."""
    background: UInt8[Tensor, "3 512 512"]
    """The source's torso-background layer ``I_s^bg``."""
    source_matte: UInt8[Tensor, "1 512 512"]
    labels: UInt8[Tensor, "1 512 512"]
    """Of the source, see `Portrait`."""
    layer: UInt8[Tensor, "3 512 512"]
    """The same behind the driven head: neck and shoulders have followed it, see `Torso`."""
    source_landmarks: Float[Tensor, "478 3"]
    fit: HeadFit
    """The head that was fitted to the source, refined."""
    coarse: HeadFit
    """The same before refinement."""
    render: UInt8[Tensor, "4 512 512"]
    """The driven head before inpainting, premultiplied RGBA after `fill_pinholes`: what `Compositor` blends."""
    truth: UInt8[Tensor, "3 512 512"]
    """The target frame ``I_d``, warped into the source's crop."""
    matte: UInt8[Tensor, "1 512 512"]
    """The truth's head matte."""
    inside: UInt8[Tensor, "1 512 512"]
    """255 where the clip's picture covers the crop, 0 beyond its border."""
    landmarks: Float[Tensor, "478 3"]
    """The truth's, in pixels of the crop."""
    beta: Float[Tensor, "52"]
    """Driven expression that the render shows, after retargeting."""
    gaze: Float[Tensor, "4"]
    rotation: Float[Tensor, "3 3"]
    translation: Float[Tensor, "3"]
    identity: str
    clip: str

    @property
    def source_key(self) -> tuple[str, bytes, bytes]:
        """What pairs of one source have in common, to remember by what is made of it."""
        return self.clip, self.fit.identity.numpy().tobytes(), self.fit.beta_s.numpy().tobytes()


@dataclass(frozen=True)
class SpokenRun(Record):
    """Five pairs of one source whose targets follow each other 25 times a second, and their sound."""

    pairs: tuple[Pair, ...]
    sound: Float[Tensor, "13 columns"]
    """See `prepare_runs.run_sound`."""
    boxes: Float[Tensor, "5 3"]
    """See `ShardRun`."""


class PairSet(Sequence[Pair]):
    """All pairs of the shards in a folder, in the order of their names; pictures are decoded when asked for.

    It can be sent to other processes. Shards that are added to the folder later are not seen.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Read the headers of all shards.

        Raises:
            InputError: the folder holds no shard, or one of another version.
        """
        paths = sorted(Path(folder).glob("*.safetensors"))
        if not paths:
            raise InputError(f"No training pairs in {folder}; make some with train prepare.")
        self.shards = [Shard.open(path) for path in paths]
        self._places = [(number, target) for number, shard in enumerate(self.shards) for target in range(len(shard))]
        self._source = lru_cache(SOURCES_KEPT)(self._read_source)

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._places)

    def __getitem__(self, index: int) -> Pair:
        """Decode one pair."""
        return self._pair(*self._places[index])

    @property
    def runs(self) -> list[tuple[int, int]]:
        """Shard and number there of every run that was prepared."""
        return [(number, run) for number, shard in enumerate(self.shards) for run in range(len(shard.runs))]

    def run(self, number: int, run: int) -> SpokenRun:
        """Decode one of `runs`."""
        shard = self.shards[number]
        kept = shard.run(run)
        return SpokenRun(tuple(self._pair(number, place) for place in shard.places(run)), kept.sound, kept.boxes)

    def _pair(self, number: int, place: int) -> Pair:
        (source, torso), target = self._source(number), self.shards[number].target(place)
        info, camera = self.shards[number].info, source.fit.camera.posed(target.rotation, target.translation)
        return Pair(
            source=source.image, background=source.background, source_matte=source.matte, labels=source.labels,
            layer=to_bytes(torso(camera)), source_landmarks=source.landmarks, fit=source.fit,
            coarse=replace(source.fit, offsets=source.coarse), render=target.render, truth=target.truth,
            matte=target.matte, inside=source.inside, landmarks=target.landmarks, beta=target.beta, gaze=target.gaze,
            rotation=target.rotation, translation=target.translation, identity=info.identity, clip=info.clip,
        )  # fmt: skip

    def __iter__(self) -> Iterator[Pair]:
        """Yield all pairs in order."""
        return (self[index] for index in range(len(self)))

    def __getstate__(self) -> dict[str, object]:
        """Leave out the decoded sources."""
        return {"shards": self.shards, "_places": self._places}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Start again without decoded sources."""
        self.__dict__.update(state)
        self._source = lru_cache(SOURCES_KEPT)(self._read_source)

    @cached_property
    def turns(self) -> list[float]:
        """How far the head of every pair is turned from the source's view, in radians."""
        return [turn for shard in self.shards for turn in shard.turns()]

    @property
    def by_identity(self) -> dict[str, list[int]]:
        """Indices of the pairs of every identity, identities sorted: for sampling that is fair to persons."""
        return self._grouped([shard.info.identity for shard in self.shards])

    @property
    def by_clip(self) -> dict[str, list[int]]:
        """Indices of the pairs of every clip, clips sorted."""
        return self._grouped([shard.info.clip for shard in self.shards])

    def _grouped(self, names: list[str]) -> dict[str, list[int]]:
        groups: dict[str, list[int]] = {name: [] for name in sorted(set(names))}
        for index, (number, _) in enumerate(self._places):
            groups[names[number]].append(index)
        return groups

    def _read_source(self, number: int) -> tuple[ShardSource, Torso]:
        source = self.shards[number].source()
        return source, Torso(source.background.float() / 255.0, source.labels[0], source.fit.camera)
