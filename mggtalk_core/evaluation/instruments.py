"""What an evaluation works with: the system under test, and the means to observe faces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Protocol

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ..motion.motion import Motion
from ..portrait.portrait import Portrait
from ..progress import OnStep
from .scorers import Scorers, find_scorers

if TYPE_CHECKING:
    from ..gaussians.gaussians import Gaussians
    from ..pipeline import Head, Settings
    from ..portrait.landmarker import Face
    from ..portrait.parsing import Parser

Build = Callable[[Float[Tensor, "3 height width"], OnStep], "Avatar"]
"""Make an avatar of a picture."""
Crop = Float[Tensor, "2 3"]
Track = Callable[[Iterable[np.ndarray], float, "Crop | None", OnStep], Motion]
"""Read the motion of a face: uint8 frames [H,W,3], frames per second, the map to the portrait's crop where the clip is
the portrait's own, progress."""
Follow = Callable[[np.ndarray], "Face | None"]
"""Find the face of one person in the next frame, uint8 [H,W,3]."""
FindMatte = Callable[[np.ndarray, "Face"], Float[Tensor, "1 height width"]]
"""Return the soft matte of the head in a frame, uint8 [H,W,3]."""


class Avatar(Protocol):
    """A portrait that can be driven."""

    @property
    def portrait(self) -> Portrait:
        """The portrait it was made of."""
        ...

    def animate(self, motion: Motion) -> Iterator[Float[Tensor, "3 512 512"]]:
        """Yield one finished crop per frame of a driving motion in the driver's terms."""
        ...

    def at_rest(self, background: Float[Tensor, "3"]) -> Float[Tensor, "3 512 512"]:
        """Return the bare Gaussians at the source's pose and expression over a flat background."""
        ...

    def gaussians(self, motion: Motion) -> Iterator[Gaussians]:
        """Yield the Gaussians of every frame of a driving motion; nothing where there are none."""
        ...

    def analytic(self, on_step: OnStep) -> Avatar | None:
        """Return the avatar of the same portrait without anything learned; None where this one is without it."""
        ...


@dataclass(frozen=True)
class Instruments:
    """The functions that an evaluation calls."""

    build: Build
    track: Track
    new_tracker: Callable[[], Follow]
    """Start to follow a face through another clip."""
    matte: FindMatte
    scorers: Callable[[], Scorers] = Scorers
    """Fetch the networks that judge pictures, once per evaluation that needs them."""


class PipelineAvatar:
    """The pipeline as an `Avatar`."""

    def __init__(self, head: Head, settings: Settings) -> None:
        """Take a head that is reconstructed."""
        self._settings, self._head = settings, head

    @property
    def portrait(self) -> Portrait:
        """The portrait it was made of."""
        return self._head.portrait

    def animate(self, motion: Motion) -> Iterator[Float[Tensor, "3 512 512"]]:
        """Yield one finished crop per frame of a driving motion in the driver's terms."""
        from ..pipeline import drive, frames

        sequence = drive(self._head, motion, self._settings)
        for frame in frames(self._head, sequence, self._settings):
            yield frame.image

    def gaussians(self, motion: Motion) -> Iterator[Gaussians]:
        """Yield the Gaussians of every frame of a driving motion in the driver's terms."""
        from ..pipeline import drive

        sequence = drive(self._head, motion, self._settings)
        return (sequence.frame(index) for index in range(len(sequence)))

    def at_rest(self, background: Float[Tensor, "3"]) -> Float[Tensor, "3 512 512"]:
        """Return the bare Gaussians at the source's pose and expression over a flat background."""
        from ..render.rasterize import render

        still = self._head.still
        return render(still.frame(0, still.camera(0)), still.camera(0), background, backend=self._settings.backend).rgb

    def analytic(self, on_step: OnStep) -> PipelineAvatar | None:
        """Return the avatar of the same portrait without anything learned; None where this one is without it."""
        from ..pipeline import build_head

        if not self._settings.learned:
            return None
        plain = replace(self._settings, learned=False)
        return PipelineAvatar(build_head(self.portrait, plain, on_step=on_step), plain)


def pipeline_instruments(settings: Settings | None = None) -> Instruments:
    """Return the instruments that test this project's own pipeline, with its own landmarker and parsing."""
    from ..pipeline import Settings

    chosen = settings or Settings()
    return Instruments(
        build=partial(_build, chosen),
        track=partial(_track, chosen.refines),
        new_tracker=_new_tracker,
        matte=_matte,
        scorers=find_scorers,
    )


def _build(settings: Settings, image: Float[Tensor, "3 height width"], on_step: OnStep) -> PipelineAvatar:
    from ..pipeline import reconstruct

    return PipelineAvatar(reconstruct(image, settings, on_step=on_step), settings)


def _track(refine: bool, frames: Iterable[np.ndarray], fps: float, crop: Crop | None, on_step: OnStep) -> Motion:
    from ..head.model import load_head_model
    from ..motion.video import motion_from_video

    return motion_from_video(frames, load_head_model(), fps=fps, crop_transform=crop, refine=refine, on_step=on_step)


def _new_tracker() -> Follow:
    from ..portrait.landmarker import FaceLandmarker
    from ..portrait.tracker import FaceTracker

    return FaceTracker(FaceLandmarker()).update


def _matte(frame: np.ndarray, face: Face) -> Float[Tensor, "1 height width"]:
    return parsed_matte(_parser(), frame, face)


@cache
def _parser() -> Parser:
    """Return the parser that all of a process's evaluations share."""
    from ..portrait.parsing import Parser

    return Parser()


def parsed_matte(parser: Parser, frame: np.ndarray, face: Face) -> Float[Tensor, "1 height width"]:
    """Return the head matte of a square crop, uint8 [S,S,3], as the portrait's own is made."""
    import torch

    from ..portrait.face_frame import FaceFrame
    from ..portrait.matte import head_matte
    from ..portrait.parsing import resample
    from ..portrait.warp import Region

    size = frame.shape[0]
    landmarks = face.landmarks.double().numpy()
    region = Region(np.full(2, size / 2.0), float(size))
    probabilities = resample(parser.parse(frame, region, landmarks), region, region.to_crop(size), size)
    picture = frame.astype(np.float32) / 255.0
    matte = head_matte(probabilities, picture, FaceFrame.from_landmarks(landmarks), np.ones((size, size), bool))
    return torch.from_numpy(matte)[None]
