"""Examples for the inpainter: random crops of pairs for the whole, aligned patches for eyes and mouth."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from ..evaluation.regions import EYE_PARTS, MOUTH_PARTS, box
from ..head.model import load_head_model
from ..portrait.warp import to_indices
from ..render.inpaint.guide import FLOW, MIRRORED, DrivenHead, HeadGuide, whole_guide
from ..render.inpaint.networks import CONFIGS
from ..render.inpaint.patches import (
    PLACES,
    Patch,
    Place,
    SourcePatch,
    alignment,
    cut,
    cut_picture,
    cut_source,
    facing,
    feather,
    opening,
)
from .pairs import Pair, PairSet

Example = dict[str, Tensor]
CROP = 256
"""Edge of the part of the crop that one example shows."""
CROPS_PER_PAIR = 2
"""Neighbouring examples of the whole that show parts of one pair: to decode it costs as much as to learn from it."""
_EYE_WEIGHT, _MOUTH_WEIGHT, _HEAD_WEIGHT, _REST_WEIGHT = 3.0, 2.0, 1.0, 0.35
_LIDS_WEIGHT, _LIDS = 1.5, 7
"""What lids and eyes count more than the rest of their patch, and pixels by which their window is widened for it."""
_GUIDES_KEPT = 48
_COLOURS = ("composite", "layer", "source", "truth")
_TURN, _SCALE, _SHIFT = 0.05, 0.04, 0.012
"""Standard deviations of `jittered`: radians, logarithm of the size, and share of the width."""
_SHUT_OR_OPEN = 0.35
"""Cosine to the camera from which a patch is looked at."""


class Examples(Dataset[Example]):
    """An endless row of examples: the n-th depends on the seed and n alone, so that training goes on where it ended.

    People are drawn evenly, then one of their pairs; for the whole two of them, of which the one that is turned
    farther is shown: it has most to mend.
    """

    def __init__(self, pairs: PairSet, part: str, seed: int, crop: int = CROP) -> None:
        self._pairs, self._part, self._seed, self._crop = pairs, part, seed, crop
        self._people = list(pairs.by_identity.values())
        self._kept: dict[tuple[int, int], Example | None] = {}
        self._last: tuple[int, Example] = (-1, {})

    def __len__(self) -> int:
        """Return a length that no training reaches."""
        return 2**40

    def __getitem__(self, number: int) -> Example:
        """Return the n-th example."""
        shared = number // CROPS_PER_PAIR if self._part == "whole" else number
        choice, random = np.random.default_rng((self._seed, 0, shared)), np.random.default_rng((self._seed, 1, number))
        example = None
        while example is None:  # a patch that is turned away
            person = self._people[choice.integers(len(self._people))]
            drawn = [person[choice.integers(len(person))] for _ in range(2 if self._part == "whole" else 1)]
            example = self._make(max(drawn, key=lambda index: self._pairs.turns[index]), choice, random)
        if self._part != "eyes" and random.random() < 0.5:
            example = mirrored(example)
        return recoloured(example, random)

    def _make(self, index: int, choice: np.random.Generator, random: np.random.Generator) -> Example | None:
        if self._part == "whole":
            if index != self._last[0]:
                self._last = (index, jittered(whole_example(self._pairs[index]), choice))
            return cropped(self._last[1], random, self._crop)
        places = [place for place in PLACES if place.part == self._part]
        which = int(choice.integers(len(places)))
        key = (index, which)
        if key not in self._kept:
            self._kept[key] = _packed(patch_example(self._pairs[index], places[which]))
        kept = _unpacked(self._kept[key])
        return None if kept is None else jittered(kept, random)


def whole_example(pair: Pair) -> Example:
    """Return the whole crop of a pair: inputs of `Inpainter`, the truth and the weight of every pixel."""
    render = pair.render.float() / 255.0
    layer, alpha = pair.layer.float() / 255.0, render[3:]
    guide, head = driven_guide(pair)
    return {
        "composite": (render[:3] + (1.0 - alpha) * layer).clamp(0.0, 1.0),
        "alpha": alpha,
        "layer": layer,
        "source": pair.source.float() / 255.0,
        "guide": whole_guide(guide, head, alpha, CONFIGS["whole"].stem),
        "corner": torch.zeros(2),
        "truth": pair.truth.float() / 255.0,
        "weight": pixel_weight(pair),
    }


def driven_guide(pair: Pair) -> tuple[HeadGuide, DrivenHead]:
    """Return the head model of a pair's source, and its state in the render."""
    guide = _guide_of(_Key(pair))
    camera = pair.fit.camera.posed(pair.rotation, pair.translation)
    return guide, guide.driven(pair.beta, pair.gaze, camera)


class _Key:
    """A fit as a key: fits of one source are equal in all their numbers."""

    def __init__(self, pair: Pair) -> None:
        self.fit = pair.fit
        self._name = pair.source_key

    def __hash__(self) -> int:
        return hash(self._name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._name == other._name


@lru_cache(_GUIDES_KEPT)
def _guide_of(key: _Key) -> HeadGuide:
    return HeadGuide(load_head_model(), key.fit)


def pixel_weight(pair: Pair) -> Float[Tensor, "1 512 512"]:
    """Return how much each pixel counts: head more than the rest, eyes and mouth most, nothing beyond the picture."""
    weight = _REST_WEIGHT + _HEAD_WEIGHT * pair.matte.float() / 255.0
    for kinds, extra, margin in ((EYE_PARTS, _EYE_WEIGHT, 0.12), (MOUTH_PARTS, _MOUTH_WEIGHT, 0.12)):
        for points in kinds:
            x0, y0, x1, y1 = box(pair.landmarks, points, margin)
            weight[:, y0:y1, x0:x1] += extra
    return weight * (pair.inside > 127)


def cropped(example: Example, random: np.random.Generator, size: int) -> Example:
    """Return a square part of an example around a random point near the middle; the source stays whole."""
    edge = example["composite"].shape[-1]
    stem = edge // example["guide"].shape[-1]
    place = random.normal((edge - size) / 2.0, 0.18 * edge, 2).clip(0, edge - size)
    x, y = (int(round(value / stem)) * stem for value in place)
    part = dict(example)
    for name in ("composite", "alpha", "layer", "truth", "weight"):
        part[name] = example[name][:, y : y + size, x : x + size].contiguous()
    part["guide"] = example["guide"][:, y // stem : (y + size) // stem, x // stem : (x + size) // stem].contiguous()
    part["corner"] = torch.tensor([float(x), float(y)])
    return part


def mirrored(example: Example) -> Example:
    """Return the example as a mirror shows it."""
    flipped = {name: value.flip(-1) if value.dim() == 3 else value for name, value in example.items()}
    flipped["guide"] = flipped["guide"].clone()
    flipped["guide"][list(MIRRORED)] *= -1.0
    if "corner" in example:
        x, y = example["corner"].tolist()
        flipped["corner"] = torch.tensor([example["source"].shape[-1] - example["composite"].shape[-1] - x, y])
    return flipped


def jittered(example: Example, random: np.random.Generator) -> Example:
    """Return the example turned, scaled and shifted a little, all of its pictures alike: no fit places them so well."""
    height, width = example["composite"].shape[-2:]
    angle, scale = random.normal(0.0, _TURN), float(np.exp(random.normal(0.0, _SCALE)))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([width, height]) / 2.0
    return moved(example, np.column_stack((turn, middle - turn @ middle + random.normal(0.0, _SHIFT * width, 2))))


def moved(example: Example, matrix: np.ndarray) -> Example:
    """Return the example with all of its pictures under the affine map [2,3]; the guide's flow turns with them."""
    changed = dict(example)
    for name in ("composite", "alpha", "layer", "source", "truth", "weight", "guide"):
        if name in example:
            zoom = example[name].shape[-1] / example["composite"].shape[-1]
            changed[name] = _warped(example[name], matrix * [1.0, 1.0, zoom], name)
    flow = torch.einsum("ij,jhw->ihw", torch.from_numpy(matrix[:, :2]).float(), changed["guide"][FLOW])
    changed["guide"] = torch.cat((changed["guide"][: FLOW.start], flow, changed["guide"][FLOW.stop :]))
    return changed


def _warped(picture: Float[Tensor, "c h w"], matrix: np.ndarray, name: str) -> Float[Tensor, "c h w"]:
    """Resample a picture so that it stays sharp, a map so that it keeps its range; weights end at the border."""
    import cv2

    sharp = name in _COLOURS
    warped = cv2.warpAffine(
        picture.permute(1, 2, 0).contiguous().numpy(), to_indices(matrix), (picture.shape[2], picture.shape[1]),
        flags=cv2.INTER_LANCZOS4 if sharp else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT if name == "weight" else cv2.BORDER_REPLICATE,
    )  # fmt: skip
    result = torch.from_numpy(warped.reshape(*warped.shape[:2], -1)).permute(2, 0, 1).contiguous()
    return result.clamp(0.0, 1.0) if sharp else result


def recoloured(example: Example, random: np.random.Generator) -> Example:
    """Return the example in another light: gain, tint, lift and gamma, the same for all of its pictures."""
    gain = float(np.exp(random.normal(0.0, 0.12))) * np.exp(random.normal(0.0, 0.05, 3))
    lift, gamma = float(random.normal(0.0, 0.03)), float(np.exp(random.normal(0.0, 0.12)))
    factor = torch.from_numpy(gain).float().view(3, 1, 1)
    changed = dict(example)
    for name in _COLOURS:
        if name in example:
            changed[name] = (example[name] * factor + lift).clamp(0.0, 1.0).pow(gamma)
    return changed


def patch_example(pair: Pair, place: Place) -> Example | None:
    """Return a patch of a pair: inputs of `PatchRefiner`, the truth and the weights; None where it is turned away."""
    guide, head = driven_guide(pair)
    if facing(place, head) < _SHUT_OR_OPEN or facing(place, guide.source) < _SHUT_OR_OPEN:
        return None
    patch, source, _ = cut_pair(pair, place, guide, head)
    return {
        "composite": patch.composite,
        "source": patch.source,
        "guide": patch.guide,
        "truth": _cut_bytes(pair.truth, patch, place),
        "weight": _patch_weight(place, guide, head, patch, source) * _cut_bytes(pair.inside, patch, place).round(),
    }


def _patch_weight(
    place: Place, guide: HeadGuide, head: DrivenHead, patch: Patch, source: SourcePatch
) -> Float[Tensor, "1 h w"]:
    """Return how much each pixel of a patch counts; of an eye's, what lies between the lids and near them most."""
    weight = 0.1 + torch.from_numpy(feather(place))[None]
    if not place.carried:
        return weight
    between = torch.maximum(opening(place, guide, head, patch.to_patch), source.opening)
    return weight + _LIDS_WEIGHT * functional.max_pool2d(between[None], _LIDS, stride=1, padding=_LIDS // 2)[0]


def cut_pair(
    pair: Pair, place: Place, guide: HeadGuide, head: DrivenHead
) -> tuple[Patch, SourcePatch, Float[np.ndarray, "512 512 3"]]:
    """Return a place of a pair's analytic frame, the same place in its source, and the frame."""
    render = pair.render.permute(1, 2, 0).float() / 255.0
    layer = pair.layer.permute(1, 2, 0).float() / 255.0
    composite = (render[..., :3] + (1.0 - render[..., 3:]) * layer).numpy()
    shown = pair.source.permute(1, 2, 0).float().div(255.0).numpy()
    source = cut_source(place, guide, shown, CONFIGS[place.part].stem)
    return cut(place, guide, head, alignment(place, guide, head), composite, source), source, composite


def _cut_bytes(picture: Tensor, patch: Patch, place: Place) -> Float[Tensor, "c h w"]:
    return cut_picture(picture.permute(1, 2, 0).float().div(255.0).numpy(), patch.to_patch, place)


def _packed(example: Example | None) -> Example | None:
    """Return a patch small enough to keep thousands of them."""
    if example is None:
        return None
    kept = {name: (example[name] * 255.0 + 0.5).to(torch.uint8) for name in ("composite", "source", "truth")}
    return kept | {name: example[name].half() for name in ("guide", "weight")}


def _unpacked(example: Example | None) -> Example | None:
    if example is None:
        return None
    return {name: value.float() / (255.0 if value.dtype == torch.uint8 else 1.0) for name, value in example.items()}
