"""How good the inpainter is on people it was not trained on, beside plain ways to win the same figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..evaluation.baselines import blurred_to
from ..evaluation.metrics import gradient_energy, psnr
from ..evaluation.perceptual import Lpips
from ..evaluation.regions import EYES, MOUTH, close_up, face_box, face_mask, part_masks
from ..evaluation.sheets import SheetRow, contact_sheet
from ..head.model import load_head_model
from ..render.inpaint.networks import Networks
from ..render.inpaint.patches import PLACES, feather
from ..render.inpaint.refine import Refiner
from .inpaint_data import Example, patch_example
from .pairs import Pair, PairSet

PER_CLIP = 3
"""Pairs of every clip that are judged, spread evenly."""
ROWS = 8
"""Pairs on a sheet."""
Picture = Float[Tensor, "3 512 512"]


def chosen(pairs: PairSet, per_clip: int = PER_CLIP) -> list[int]:
    """Return some pairs of every clip, spread evenly over them."""
    return [
        indices[int(place)]
        for indices in pairs.by_clip.values()
        for place in np.linspace(0, len(indices) - 1, min(per_clip, len(indices)))
    ]


def composite_of(pair: Pair) -> Picture:
    """Return the analytic frame of a pair: the head over the torso-background."""
    render, layer = pair.render.float() / 255.0, pair.layer.float() / 255.0
    return (render[:3] + (1.0 - render[3:]) * layer).clamp(0.0, 1.0)


def refined(networks: Networks, pair: Pair) -> Picture:
    """Return the frame of a pair after the networks."""
    source, matte = pair.source.float() / 255.0, pair.source_matte.float() / 255.0
    refiner = Refiner(networks, source, pair.fit, load_head_model(), matte=matte)
    camera = pair.fit.camera.posed(pair.rotation, pair.translation)
    alpha, layer = pair.render[3:].float() / 255.0, pair.layer.float() / 255.0
    return refiner(composite_of(pair), alpha, layer, pair.beta, pair.gaze, camera)


class Scorer:
    """Scores pictures against the truth of a pair by region."""

    @cached_property
    def lpips(self) -> Lpips:
        """The perceptual distance, read when first needed."""
        return Lpips()

    @torch.no_grad()
    def __call__(self, image: Picture, pair: Pair) -> dict[str, float]:
        """Return PSNR by region, LPIPS of the crop and of the face, and the sharpness of the head over the truth's."""
        truth, regions = pair.truth.float() / 255.0, regions_of(pair)
        scores = {f"{name}_psnr": psnr(image, truth, mask) for name, mask in regions.items()}
        x0, y0, x1, y1 = face_box(pair.landmarks)
        scores["lpips"] = float(self.lpips(image[None], truth[None], regions["whole"][None]))
        scores["face_lpips"] = float(self.lpips(image[None, :, y0:y1, x0:x1], truth[None, :, y0:y1, x0:x1]))
        scores["sharpness"] = gradient_energy(image, regions["head"]) / gradient_energy(truth, regions["head"])
        return scores


def regions_of(pair: Pair) -> dict[str, Float[Tensor, "1 512 512"]]:
    """Return the regions that are scored; none reaches beyond the clip's picture."""
    inside = (pair.inside > 127).float()
    regions = {"whole": inside, "head": inside * pair.matte.float() / 255.0}
    regions["face"] = inside * face_mask(pair.landmarks, 512, 512)
    return regions | {name: inside * mask for name, mask in part_masks(pair.landmarks).items()}


class WholeJudge:
    """Judges frames: learned, analytic, a copy of the source, half of each, and the analytic one blurred."""

    def __init__(self, pairs: PairSet, rest: Networks | None = None) -> None:
        """Take some pairs of every clip; ``rest`` are networks that stay as they are while one is trained."""
        self._pairs, self._indices, self._rest = pairs, chosen(pairs), rest or Networks()
        self._scorer, self._plain = Scorer(), {}

    def __call__(self, network: nn.Module | None) -> tuple[dict[str, float], Float[Tensor, "3 h w"]]:
        """Return the mean figures of every way, and a sheet."""
        networks = self._rest if network is None else Networks(network, self._rest.eyes, self._rest.mouth)
        scores: dict[str, list[dict[str, float]]] = {}
        rows, every = [], max(1, len(self._indices) // ROWS)
        for place, index in enumerate(self._indices):
            pair = self._pairs[index]
            learned = refined(networks, pair)
            for way, figures in self._ways(index, pair, learned):
                scores.setdefault(way, []).append(figures)
            if place % every == 0:
                rows += sheet_rows(pair, learned)
        return averaged(scores), contact_sheet(rows, ("source", "analytic", "learned", "truth"), 256)

    def _ways(self, index: int, pair: Pair, learned: Picture) -> Iterator[tuple[str, dict[str, float]]]:
        figures = self._scorer(learned, pair)
        yield "learned", figures
        analytic, source = composite_of(pair), pair.source.float() / 255.0
        if index not in self._plain:
            ways = {"analytic": analytic, "copy": source, "ghost": (analytic + source) / 2.0}
            self._plain[index] = {name: self._scorer(image, pair) for name, image in ways.items()}
        yield from self._plain[index].items()
        truth, mask = pair.truth.float() / 255.0, regions_of(pair)["head"]
        yield "blurred", self._scorer(blurred_to(analytic, truth, mask, figures["head_psnr"]), pair)


def averaged(scores: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """Return the means, named by way and figure; figures that do not exist for a pair are left out."""
    return {
        f"{way} {name}": float(np.nanmean([figures[name] for figures in rows]))
        for way, rows in scores.items()
        for name in rows[0]
    }


def sheet_rows(pair: Pair, learned: Picture) -> list[SheetRow]:
    """Return a pair's pictures: whole, eyes, mouth."""
    images: Sequence[Picture] = (
        pair.source.float() / 255.0, composite_of(pair), learned, pair.truth.float() / 255.0,
    )  # fmt: skip
    marks = (pair.source_landmarks, pair.landmarks, pair.landmarks, pair.landmarks)

    def close(points: tuple[int, ...]) -> list[Tensor]:
        return [close_up(image, mark, points, 256) for image, mark in zip(images, marks, strict=True)]

    return [
        SheetRow(pair.clip, images),
        SheetRow("eyes", close(EYES)),
        SheetRow("mouth", close(MOUTH)),
    ]


class PatchJudge:
    """Judges aligned patches: learned and analytic."""

    def __init__(self, pairs: PairSet, part: str, per_clip: int = 2 * PER_CLIP) -> None:
        places = [place for place in PLACES if place.part == part]
        made = (patch_example(pairs[index], place) for index in chosen(pairs, per_clip) for place in places)
        self._examples: list[Example] = [example for example in made if example is not None]
        self._mask = torch.from_numpy(feather(places[0])[None] > 0.5).float()
        self._lpips: Callable[..., Tensor] = Lpips()

    @torch.no_grad()
    def __call__(self, network: nn.Module) -> tuple[dict[str, float], Float[Tensor, "3 h w"]]:
        """Return the mean figures inside the feather, and a sheet."""
        scores: dict[str, list[dict[str, float]]] = {"learned": [], "analytic": []}
        rows, every = [], max(1, len(self._examples) // (3 * ROWS))
        device = next(network.parameters()).device
        for place, example in enumerate(self._examples):
            inputs = (example[name][None].to(device) for name in ("composite", "source", "guide"))
            learned = network(*inputs)[0].clamp(0.0, 1.0).cpu()
            scores["learned"].append(self._scores(learned, example))
            scores["analytic"].append(self._scores(example["composite"], example))
            if place % every == 0:
                images = (example["source"], example["composite"], learned, example["truth"])
                rows.append(SheetRow(str(place), images))
        return averaged(scores), contact_sheet(rows, ("source", "analytic", "learned", "truth"), 256)

    def _scores(self, image: Float[Tensor, "3 h w"], example: Example) -> dict[str, float]:
        truth = example["truth"]
        sharpness = patch_sharpness(image, self._mask) / patch_sharpness(truth, self._mask)
        distance = float(self._lpips(image[None], truth[None], self._mask[None]))
        return {"psnr": psnr(image, truth, self._mask), "lpips": distance, "sharpness": sharpness}


def patch_sharpness(image: Float[Tensor, "3 h w"], mask: Float[Tensor, "1 h w"]) -> float:
    """Return `gradient_energy` of a patch."""
    return gradient_energy(image, mask)
