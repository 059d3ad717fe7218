"""The learned inpainter at work: one refiner per portrait, called for every frame."""

from __future__ import annotations

import copy
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...head.camera import Camera
from ...head.head_fit import HeadFit
from ...head.model import HeadModel
from ...portrait.portrait import Portrait
from ...smoothstep import smoothstep
from ...weights.policy import current_policy
from ..composite import Layers
from .bounds import NEAR, bounded, bounded_beside, led_astray, solid_cells, with_grain
from .fast import patch_changes, whole_change
from .guide import FLOW, DrivenHead, HeadGuide, whole_guide
from .inpainter import cell_of, mended_window
from .interior import kept_dark
from .narrow import narrowed, vector_lanes
from .networks import Networks, best_precision, load_networks
from .pasting import paste
from .patches import PLACES, Patch, Place, SourcePatch, alignment, cut, cut_source, share_of

_BORDER = 24.0
"""Pixels over which the change dies out towards the border."""


def refiner_for(
    portrait: Portrait, fit: HeadFit, model: HeadModel, device: torch.device | str = "cpu"
) -> Refiner | None:
    """Return the refiner of a portrait with the weights that ship; None where commercial-safe refuses them.

    It works on ``device`` if that is a CUDA device, else on the CPU. Raises WeightsError if the file is damaged.
    """
    if current_policy().commercial_safe:
        return None
    device = device if torch.device(device).type == "cuda" else "cpu"
    return Refiner(load_networks(), portrait.crop, fit, model, matte=portrait.matte, device=device)


def finished(
    layers: Layers, refiner: Refiner | None, beta: Float[Tensor, "52"], gaze: Float[Tensor, "4"], camera: Camera
) -> Float[Tensor, "3 512 512"]:
    """Return a frame put together, and mended where there is a refiner; for the rest see `Refiner`."""
    image = layers.flat()
    return image if refiner is None else refiner(image, layers.alpha, layers.layer, beta, gaze, camera)


class Refiner:
    """Mends the frames of one portrait; may be called from several threads at once.

    The whole crop, both eyes and the mouth are each seen as the analytic stages left them. What the eyes' and the
    mouth's networks change there replaces what the whole's does.
    """

    def __init__(
        self,
        networks: Networks,
        source: Float[Tensor, "3 512 512"],
        fit: HeadFit,
        model: HeadModel,
        *,
        matte: Float[Tensor, "1 512 512"] | None = None,
        device: torch.device | str = "cpu",
        precision: torch.dtype | None = None,
        plain: bool = False,
    ) -> None:
        """Prepare what does not change from frame to frame; ``source`` and ``matte`` are the portrait's crop and matte.

        Without ``matte`` what the source shows beside its head may end up on the driven one. ``precision`` is the
        machine's best when None; ``plain`` does without compiled loops, as CUDA devices do.
        """
        self._device, self._precision = torch.device(device), precision or best_precision(device)
        self._fast = self._device.type == "cpu" and not plain
        self._guide = HeadGuide(model.to("cpu"), fit.to("cpu"))
        self._networks = {part: self._ready(network) for part, network in networks.items().items()}
        self._source = source[None].float().to(self._device)
        self._picture = picture = _to_numpy(source)
        self._solid = None if matte is None else solid_cells(matte[0].float().cpu().numpy())
        self._places: dict[str, list[tuple[Place, SourcePatch]]] = {}
        for place in PLACES:
            if place.part in self._networks:
                stem = self._networks[place.part].config.stem
                cutting = place, cut_source(place, self._guide, picture, stem)
                self._places.setdefault(place.part, []).append(cutting)

    def _ready(self, network: nn.Module) -> nn.Module:
        ready = copy.deepcopy(network).eval().requires_grad_(False)
        ready = ready.to(self._device, self._precision, memory_format=torch.channels_last)
        return narrowed(ready, vector_lanes()) if self._fast else ready

    def __call__(
        self,
        composite: Float[Tensor, "3 512 512"],
        alpha: Float[Tensor, "1 512 512"],
        layer: Float[Tensor, "3 512 512"],
        beta: Float[Tensor, "52"],
        gaze: Float[Tensor, "4"],
        camera: Camera,
    ) -> Float[Tensor, "3 512 512"]:
        """Return the mended frame, 0..1, where ``composite`` is.

        Args:
            composite: The head over the layer.
            alpha: The head's coverage.
            layer: The torso-background of this frame.
            beta: Driven expression ``beta_d``.
            gaze: Driven gaze.
            camera: The frame's camera, which carries the head's pose.
        """
        head = self._guide.driven(beta.cpu(), gaze.cpu(), camera.to("cpu"))
        with torch.inference_mode():
            picture, cover = _to_numpy(composite), alpha.detach().float().cpu()
            change = self._mended(composite, picture, cover, layer, head)
            self._refine("mouth", head, picture, cover[0].numpy(), change)
            change = with_grain(change)
            self._refine("eyes", head, picture, cover[0].numpy(), change)
        return self._finished(picture, change).to(composite)

    def _mended(
        self, composite: Tensor, picture: Float[np.ndarray, "512 512 3"], cover: Tensor, layer: Tensor, head: DrivenHead
    ) -> Float[np.ndarray, "512 512 3"]:
        """Return what the whole's network changes, within bounds; ``picture`` is the composite once more."""
        network, change = self._networks.get("whole"), np.zeros_like(picture)
        window = None if network is None else mended_window(cover)
        if window is None:
            return change
        guide, stem = whole_guide(self._guide, head, cover, network.config.stem), network.config.stem
        seen = guide[:, *(slice(part.start // stem, part.stop // stem) for part in window)]
        corner, pictures = (window[1].start, window[0].start), [each[:, *window] for each in (composite, cover, layer)]
        if self._fast:
            before, behind = picture[window], pictures[2].detach().float().cpu()
            change[window] = whole_change(network, before, pictures[1], behind, self._picture, seen, corner)
        else:
            inputs = (*pictures, self._source[0], seen, torch.tensor(corner))
            mended = network(*(each[None].float().to(self._device) for each in inputs), cell_of(corner, stem))
            change[window] = _to_numpy(mended[0]) - picture[window]
        return self._bounded(change, cover[0].numpy(), guide[FLOW].numpy(), head)

    def _bounded(
        self,
        change: Float[np.ndarray, "512 512 3"],
        cover: Float[np.ndarray, "512 512"],
        flow: Float[np.ndarray, "2 h w"],
        head: DrivenHead,
    ) -> Float[np.ndarray, "512 512 3"]:
        turn = float(head.camera.turned_from(self._guide.source.camera))
        known = self._solid is not None and turn > NEAR
        return bounded(change, cover, turn, led_astray(cover, self._solid, flow, turn) if known else None)

    def _refine(
        self,
        part: str,
        head: DrivenHead,
        picture: Float[np.ndarray, "512 512 3"],
        cover: Float[np.ndarray, "512 512"],
        change: Float[np.ndarray, "512 512 3"],
    ) -> None:
        """Refine the places of one part that are seen and have moved, putting their changes into ``change``."""
        seen: list[tuple[Place, Patch, float]] = []
        for place, source in self._places.get(part, ()):
            to_patch = alignment(place, self._guide, head)
            share = share_of(place, head, to_patch, source)
            if share > 0.0:
                seen.append((place, cut(place, self._guide, head, to_patch, picture, source), share))
        if not seen:
            return
        network, patches = self._networks[part], [patch for _, patch, _ in seen]
        deltas = patch_changes(network, patches) if self._fast else self._plain_changes(network, patches)
        for (place, patch, share), delta in zip(seen, deltas, strict=True):
            held = (
                kept_dark(delta, patch.guide, patch.composite)
                if patch.lids is None
                else bounded_beside(delta, patch.lids)
            )
            paste(change, place, patch.to_patch, held, share, cover)

    def _plain_changes(self, network: nn.Module, patches: list[Patch]) -> list[Float[np.ndarray, "h w 3"]]:
        inputs = ([getattr(patch, name) for patch in patches] for name in ("composite", "source", "guide"))
        refined = network(*(torch.stack(each).to(self._device) for each in inputs)).cpu()
        return [_to_numpy(after - patch.composite) for after, patch in zip(refined, patches, strict=True)]

    def _finished(
        self, picture: Float[np.ndarray, "512 512 3"], change: Float[np.ndarray, "512 512 3"]
    ) -> Float[Tensor, "3 512 512"]:
        if not self._fast:
            changed = picture + change * border_window(change.shape[0])
            return torch.from_numpy(changed.clip(0.0, 1.0)).permute(2, 0, 1)
        from .kernels import finish

        image = np.empty((3, *picture.shape[:2]), np.float32)
        finish(picture, change, border_ramp(change.shape[0]), image)
        return torch.from_numpy(image)


@cache
def border_window(size: int) -> Float[np.ndarray, "size size 1"]:
    """Return 1 inside and 0 at the crop's border, where it must meet the picture around it."""
    ramp = border_ramp(size)
    return np.minimum(ramp, ramp[:, None])[..., None]


@cache
def border_ramp(size: int) -> Float[np.ndarray, "size"]:
    """Return `border_window` along a line through the middle."""
    place = np.arange(size, dtype=np.float32) + 0.5
    return smoothstep(np.minimum(place, size - place), 1.0, 1.0 + _BORDER)


def _to_numpy(image: Float[Tensor, "3 h w"]) -> Float[np.ndarray, "h w 3"]:
    import cv2

    return cv2.merge(list(image.detach().float().cpu().numpy()))  # several times as fast as a permuted copy
