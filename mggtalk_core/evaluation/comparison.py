"""Several ways to make the frames of a clip, scored side by side against the clip itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ..motion.motion import Motion
from ..portrait.landmarker import Face
from ..progress import OnStep, ignore_steps
from .baselines import blurred_to
from .clips import inside_frame, to_frame, to_image
from .flicker import StillChange, still_region
from .instruments import Avatar, Follow, Instruments
from .landmarks import landmark_error, yaw_degrees
from .metrics import Image, Mask
from .observe import Observed, motion_scores, opening_errors
from .pictures import Scores, picture_scores
from .regions import face_mask, part_masks
from .scorers import Scorers, identity_scores, perceptual_scores
from .seam import border_bands
from .tables import Row

LARGEST_YAW = 25.0
"""Landmarks are compared where the head is turned by at most this many degrees: beyond it they are guesses."""
OWN = ""
"""Name of the way under test; the names of the others end the names of their scores."""
_OF_THE_DRIVER = ("unseen", "landmark_frames", "mouth_movement", "jitter_driver", "blink_frames")
"""Scores that tell of the clip, or are told once for all ways."""


@dataclass
class Way:
    """One way to make the frames, and what is known of it so far."""

    find: Follow
    observed: Observed = field(default_factory=Observed)
    scores: Scores = field(default_factory=Scores)
    change: StillChange = field(default_factory=StillChange)


@dataclass(frozen=True)
class Blurred:
    """A further way: one way's frames, blurred until they reach another's PSNR in the head."""

    name: str
    of: str
    like: str


class Comparison:
    """Scores frame after frame; frame 0 is the source and no picture of it is scored."""

    def __init__(
        self,
        avatar: Avatar,
        instruments: Instruments,
        scorers: Scorers,
        pictured: set[int],
        blurred: Blurred | None = None,
        on_step: OnStep = ignore_steps,
    ) -> None:
        """Start with no frame; ``pictured`` are the frames whose pictures are scored, and ``on_step`` says we live."""
        source, transform = avatar.portrait.source, avatar.portrait.crop_transform
        self._inside = inside_frame(source.shape[2], source.shape[1], transform)
        self._instruments, self._scorers, self._pictured = instruments, scorers, pictured
        self._find_truth, self._truth, self._change = instruments.new_tracker(), Observed(), StillChange()
        self._ways: dict[str, Way] = {}
        self._before: Face | None = None
        self._blurred, self._on_step = blurred, on_step

    def add(
        self, index: int, frame: np.ndarray, images: Mapping[str, Image], known: Mapping[str, Face | None] | None = None
    ) -> tuple[Face | None, dict[str, Face | None]]:
        """Score one frame and return the face in the truth, and the face in every way's picture.

        Args:
            index: number of the frame.
            frame: uint8 crop of the clip's frame.
            images: what the ways made of it.
            known: faces that need not be found.
        """
        truth, face = to_image(frame), self._find_truth(frame)
        still = still_region(self._before, face, self._inside)
        self._before = face
        self._truth.add(face)
        self._change.add(truth, still)
        faces = dict(known or {})
        for name, image in images.items():
            way = self._ways.setdefault(name, Way(self._instruments.new_tracker()))
            if name not in faces:
                faces[name] = way.find(to_frame(image))
            way.observed.add(faces[name])
            way.change.add(image, still)
        if index in self._pictured and index > 0:
            self._score(frame, face, dict(images), faces)
        return face, faces

    def row(self, motion: Motion) -> Row:
        """Return all scores of the clip in one row, the ways one after the other."""
        row: Row = {}
        for name, scores in self.rows(motion).items():
            if name == OWN:
                row |= scores | {"still_change_truth": self._change.mean, "still_frames": len(self._change)}
            else:
                row |= {f"{key}_{name}": value for key, value in scores.items() if key not in _OF_THE_DRIVER}
        return row

    def rows(self, motion: Motion) -> dict[str, Row]:
        """Return the scores of every way."""
        turned = yaw_degrees(motion.rotation).abs() > LARGEST_YAW
        rows = {}
        for name, way in self._ways.items():
            # A way that was not there in every frame has only its pictures to show.
            whole = len(way.observed) == len(turned)
            frontal = ~turned & self._truth.seen & way.observed.seen if whole else None
            rows[name] = way.scores.means() if frontal is None else self._way_row(way, frontal)
        return rows

    def _way_row(self, way: Way, frontal: Tensor) -> Row:
        frontal[0] = False
        driven, truth = way.observed.landmarks[frontal], self._truth.landmarks[frontal]
        return {
            "landmark_frames": int(frontal.sum()),
            "landmark_error": float(landmark_error(driven, truth).mean()),
            **motion_scores(way.observed, self._truth),
            **opening_errors(way.observed, self._truth),
            "still_change": way.change.mean,
            **way.scores.means(),
        }

    def _score(
        self, frame: np.ndarray, face: Face | None, images: dict[str, Image], faces: dict[str, Face | None]
    ) -> None:
        """Score the pictures of one frame."""
        truth = to_image(frame)
        regions, bands = self._regions(frame, face)
        scores = {}
        for name, image in images.items():
            scores[name] = picture_scores(image, truth, regions, bands)
            self._on_step(0, 1)
        if self._blurred is not None and self._blurred.of in images and "head" in regions:
            name, of = self._blurred.name, self._blurred.of
            target = scores[self._blurred.like]["psnr_head"]
            images[name], faces[name] = blurred_to(images[of], truth, regions["head"], target), faces[of]
            scores[name] = picture_scores(images[name], truth, regions, bands)
        if self._scorers.lpips is not None:
            marks = None if face is None else face.landmarks
            for name, values in perceptual_scores(self._scorers.lpips, images, truth, regions, marks).items():
                scores[name] |= values
        if self._scorers.identity is not None and face is not None:
            for name, value in identity_scores(self._scorers.identity, images, faces, truth, face.landmarks).items():
                scores[name]["identity"] = value
        for name, values in scores.items():
            self._ways.setdefault(name, Way(self._instruments.new_tracker())).scores.append(values)

    def _regions(self, frame: np.ndarray, face: Face | None) -> tuple[dict[str, Mask], dict[str, Mask]]:
        """Return the regions and the bands along the border; nothing beyond the clip's picture is in any of them."""
        regions: dict[str, Float[Tensor, "1 512 512"]] = {"whole": self._inside}
        if face is None:
            return regions, {}
        matte = self._instruments.matte(frame, face)
        regions["head"] = self._inside * matte
        regions["face"] = self._inside * face_mask(face.landmarks, *frame.shape[:2])
        regions |= {name: self._inside * mask for name, mask in part_masks(face.landmarks).items()}
        bands = {name: self._inside * band for name, band in border_bands(matte, face.landmarks).items()}
        return regions, bands
