"""Eyes and mouth cut out upright and at one size, and put back (the aligned patches of the finer refiners)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...portrait.warp import Region, apply, to_indices
from ...smoothstep import smoothstep
from .carry import carried
from .guide import SOURCE_CHANNELS, DrivenHead, HeadGuide


@dataclass(frozen=True)
class Place:
    """A part of the face that has a patch of its own."""

    part: str
    """The network that refines it: ``eyes`` or ``mouth``."""
    corners: tuple[int, int]
    """Landmarks at its two ends."""
    size: tuple[int, int]
    """Height and width of the patch."""
    span: float
    """How much of the patch's width the corners take on a face at rest."""
    mirrored: bool
    """The right eye is shown as a left one, so that one network does for both."""
    outward: tuple[float, float, float]
    """Where it looks, canonical: it is refined only while it is turned towards the camera."""
    lift: float = 0.0
    """How far the corners' middle lies above the patch's centre, over the patch's height."""
    inward: float = 0.0
    """How far it lies nearer to the nose than the patch's centre, over the patch's width."""
    roundness: float = 2.0
    """Exponent of the outline within which the refinement counts: 2 is an ellipse, more comes close to the patch."""
    full: float = 0.62
    """Part of the patch, from its centre outwards, in which the refinement counts in full."""
    watched: tuple[int, ...] = ()
    """Landmarks that must move for the place to be refined: what the source shows needs no mending. None: always."""
    carried: bool = False
    """Whether the network sees the source bent to the driven contours, not as it is."""

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.size[1] / self.size[0]

    @property
    def aside(self) -> float:
        """How far the patch's centre lies to the subject's left of the corners' middle, over the patch's width."""
        return -self.inward if self.mirrored else self.inward


_EYE = {"lift": -0.196, "inward": 0.086, "roundness": 8.0, "full": 0.75, "carried": True}
LEFT_EYE = Place("eyes", (362, 263), (80, 96), 0.40, False, (0.4, 0.0, 0.92), **_EYE)
RIGHT_EYE = Place("eyes", (133, 33), (80, 96), 0.40, True, (-0.4, 0.0, 0.92), **_EYE)
_AROUND_LIPS = (61, 291, 0, 17, 13, 14, 37, 267, 84, 314, 78, 308, 164, 18, 200, 152)
MOUTH = Place("mouth", (61, 291), (128, 128), 0.5, False, (0.0, 0.0, 1.0), lift=0.06, watched=_AROUND_LIPS)
PLACES = (LEFT_EYE, RIGHT_EYE, MOUTH)

_FACING = (0.25, 0.5)
"""Cosine to the camera from which a patch is refined at all, and in full."""
_MOVED = (0.005, 0.02)
"""Mean movement of a place's landmarks over its patch's width from which it is refined at all, and in full."""
_MARGIN = 1.3
"""Landmarks count as near within so many times the patch's size."""
_RIMS = 3
"""Width in pixels of the patch of the window by which the opening of an eye is widened."""
_LIDS, _LIDS_EDGE = 13, 2.25
"""The same for the lids, and the softness of their edge."""
_SUNKEN = 0.03
"""Units of 10 cm by which eyeballs lie farther back in the guide of an eye."""
_STEPS = 4
"""Binary places of a pixel to which contours are drawn."""


@dataclass(frozen=True)
class Patch:
    """One place of one frame, ready for the network: float32, sRGB in 0..1."""

    composite: Float[Tensor, "3 h w"]
    source: Float[Tensor, "3 h w"]
    """The same place in the source; where that is `carried`, bent to the driven contours, without what lids cover."""
    guide: Float[Tensor, "15 h2 w2"]
    to_patch: np.ndarray
    """Affine map [2,3] from crop pixels to the patch's."""
    lids: Float[np.ndarray, "h w"] | None
    """Of an eye: 1 on the lids and between them, driven or in the source, 0 beyond, softly; of other places None."""


def alignment(place: Place, guide: HeadGuide, head: DrivenHead) -> np.ndarray:
    """Return the affine map [2,3] from crop pixels to the patch's pixels, in continuous coordinates.

    The scale follows the head's distance and its own width at rest, the angle its roll: neither changes when the face
    moves or turns away.
    """
    middle = head.landmarks.numpy()[list(place.corners)].astype(np.float64).mean(axis=0)
    height, width = place.size
    pixels = rest_width(place, guide) * head.camera.focal / float(middle[2])
    up_x, up_y = head.camera.rotation[:2, 1].double().tolist()
    angle, edge = math.atan2(up_x, -up_y), pixels / place.span
    down, aside = place.lift * edge / place.aspect, place.aside * edge
    across = np.array([math.cos(angle), math.sin(angle)])
    center = middle[:2] + aside * across + down * np.array([-across[1], across[0]])
    square = Region(center, edge, angle).to_crop(width, flip=place.mirrored)
    return square - np.array([[0.0, 0.0, 0.0], [0.0, 0.0, (width - height) / 2.0]])


def rest_width(place: Place, guide: HeadGuide) -> float:
    """Return the distance of the corners on this person's face at rest, in units of 10 cm."""
    first, second = guide.rest_landmarks[list(place.corners)]
    return float((first - second).norm())


def facing(place: Place, head: DrivenHead) -> float:
    """Return how far a place is turned to the camera: 0 not enough to be refined, 1 fully."""
    outward = torch.tensor(place.outward) / math.hypot(*place.outward)
    return float(smoothstep(np.float64(-float(head.camera.rotation[2].cpu() @ outward)), *_FACING))


def moved(place: Place, head: DrivenHead, to_patch: np.ndarray, source: SourcePatch) -> float:
    """Return how far a place has changed from what the source shows: 0 not enough to be refined, 1 fully."""
    if not place.watched:
        return 1.0
    now = apply(to_patch, _pixels(head, place.watched))
    return float(smoothstep(np.linalg.norm(now - source.watched, axis=1).mean() / place.size[1], *_MOVED))


def share_of(place: Place, head: DrivenHead, to_patch: np.ndarray, source: SourcePatch) -> float:
    """Return how much the refinement of a place counts in a frame: 0 where it is not refined at all, 1 in full."""
    return source.facing * facing(place, head) * moved(place, head, to_patch, source)


def cut(
    place: Place,
    guide: HeadGuide,
    head: DrivenHead,
    to_patch: np.ndarray,
    composite: np.ndarray,
    source: SourcePatch,
) -> Patch:
    """Cut a place out of a frame, float32 [512,512,3], by the place's `alignment` there."""
    maps = _maps(place, guide, head, to_patch, source.to_patch, source.stem)
    picture, shown, lids = cut_picture(composite, to_patch, place), source.picture, None
    if place.carried:
        layers = torch.cat((shown, source.opening))
        layers = carried(layers, source.contours, apply(to_patch, _pixels(head, source.near)))
        window = opening(place, guide, head, to_patch)
        # An open eye that the lids now cover would shine through them: there the source has nothing to tell.
        shown = torch.lerp(layers[:3], picture, (layers[3:] - window).clamp(min=0.0))
        lids = lids_of(torch.maximum(window, source.opening))
    return Patch(picture, shown, torch.cat((maps, source.guide)), to_patch, lids)


def opening(place: Place, guide: HeadGuide, head: DrivenHead, to_patch: np.ndarray) -> Float[Tensor, "1 h w"]:
    """Return 1 between the lids of an eye and on their rims, 0 elsewhere in its patch, with a soft edge."""
    import cv2

    loop = guide.model.eyelid_right if place.mirrored else guide.model.eyelid_left
    contour = apply(to_patch, head.vertices[loop.long(), :2].double().numpy()) - 0.5  # as OpenCV counts
    steps = np.round(contour * 2.0**_STEPS).astype(np.int32)
    between = cv2.fillPoly(np.zeros(place.size, np.float32), [steps], 1.0, shift=_STEPS)
    rims = cv2.dilate(between, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_RIMS, _RIMS)))
    return torch.from_numpy(cv2.GaussianBlur(rims, (0, 0), 0.75))[None]


def lids_of(window: Float[Tensor, "1 h w"]) -> Float[np.ndarray, "h w"]:
    """Return 1 on the lids around an eye's `opening` and within, 0 elsewhere, with a soft edge."""
    import cv2

    lids = cv2.dilate(window[0].numpy(), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_LIDS, _LIDS)))
    return cv2.GaussianBlur(lids, (0, 0), _LIDS_EDGE)


def near(place: Place, guide: HeadGuide) -> list[int]:
    """Return the landmarks that lie in a place's patch, or a little beside it, on the mean head."""
    first, second = guide.mean_landmarks[list(place.corners)]
    width = float((first - second).norm()) / place.span
    center = (first + second) / 2.0 + width * torch.tensor([place.aside, -place.lift / place.aspect, 0.0])
    reach = width * _MARGIN / 2.0
    offset = (guide.mean_landmarks - center).abs()
    return ((offset[:, 0] < reach) & (offset[:, 1] < reach / place.aspect)).nonzero()[:, 0].tolist()


@dataclass(frozen=True)
class SourcePatch:
    """The same place in the source: found once per portrait."""

    picture: Float[Tensor, "3 h w"]
    guide: Float[Tensor, "3 h2 w2"]
    opening: Float[Tensor, "1 h w"]
    """Of an eye whose picture is bent, see `opening`; else 0."""
    to_patch: np.ndarray
    stem: int
    """Pixels of the patch along one of the guide."""
    near: list[int]
    """Landmarks in the patch or close to it, of a place whose picture is bent; of others none."""
    contours: Float[np.ndarray, "n 2"]
    """Where in the patch they lie."""
    watched: Float[np.ndarray, "w 2"]
    """Where in the patch the place's watched landmarks lie."""
    facing: float
    """See `facing`: nothing can be learned from a place that the source hardly shows."""


def cut_source(place: Place, guide: HeadGuide, source: np.ndarray, stem: int) -> SourcePatch:
    """Cut a place out of the source's crop, float32 [512,512,3]; ``stem``: see `SourcePatch`."""
    head = guide.source
    matrix = alignment(place, guide, head)
    points = near(place, guide) if place.carried else []
    return SourcePatch(
        picture=cut_picture(source, matrix, place),
        guide=_maps(place, guide, head, matrix, matrix, stem)[list(SOURCE_CHANNELS)],
        opening=opening(place, guide, head, matrix) if place.carried else torch.zeros(1, *place.size),
        to_patch=matrix,
        stem=stem,
        near=points,
        contours=apply(matrix, _pixels(head, points)),
        watched=apply(matrix, _pixels(head, place.watched)),
        facing=facing(place, head),
    )


def _pixels(head: DrivenHead, landmarks: Sequence[int]) -> Float[np.ndarray, "n 2"]:
    return head.landmarks[list(landmarks), :2].double().numpy()


def cut_picture(picture: np.ndarray, to_patch: np.ndarray, place: Place) -> Float[Tensor, "c h w"]:
    """Resample a picture, float32 [512,512,C], into a patch; bicubic, the border repeated."""
    import cv2

    height, width = place.size
    matrix, flags = to_indices(to_patch), cv2.INTER_CUBIC
    patch = cv2.warpAffine(picture, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return torch.from_numpy(patch.reshape(height, width, -1).clip(0.0, 1.0)).permute(2, 0, 1).contiguous()


def _maps(
    place: Place, guide: HeadGuide, head: DrivenHead, matrix: np.ndarray, source: np.ndarray, stem: int
) -> Float[Tensor, "12 h2 w2"]:
    origin = guide.mean_landmarks[list(place.corners)].mean(dim=0)
    half = float((guide.mean_landmarks[list(place.corners)] - origin)[0].norm())
    size = (place.size[0] // stem, place.size[1] // stem)
    to_grid, source_to_grid = (torch.from_numpy(each / stem).float() for each in (matrix, source))
    extent, sunken = -half if place.mirrored else half, _SUNKEN if place.part == "eyes" else 0.0
    return guide.maps(head, size, to_grid, source_to_grid, origin, extent, sunken=sunken)


@cache
def feather(place: Place) -> Float[np.ndarray, "h w"]:
    """Return how much the refinement counts at each pixel of a patch: 1 inside an ellipse, 0 at the border."""
    height, width = place.size
    x = (np.arange(width, dtype=np.float32) + 0.5) / width * 2.0 - 1.0
    y = (np.arange(height, dtype=np.float32) + 0.5) / height * 2.0 - 1.0
    radius = (np.abs(x) ** place.roundness + (np.abs(y) ** place.roundness)[:, None]) ** (1.0 / place.roundness)
    return smoothstep(1.0 - radius, 0.0, 1.0 - place.full).astype(np.float32)
