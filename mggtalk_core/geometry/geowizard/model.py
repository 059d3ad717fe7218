"""GeoWizard's networks, loaded from a folder in the layout of diffusers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ...errors import WeightsError
from ..network_loading import load_part, needs_package, on_device, spread_over
from ..network_options import NetworkOptions
from .attention import couple_tasks
from .switcher import CHANNELS

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""What CLIP's pictures are normalised with, where the folder does not say."""


@dataclass(frozen=True)
class GeoWizard:
    """The networks and how to run them."""

    unet: Any
    """``UNet2DConditionModel``: denoises the latents of depth and normals together."""
    vae: Any
    """``AutoencoderKL``: pictures to latents and back."""
    image_encoder: Any
    """``CLIPVisionModelWithProjection``: the picture as the context of cross attention."""
    scheduler: Any
    """``DDIMScheduler``."""
    clip_mean: tuple[float, ...]
    clip_std: tuple[float, ...]
    options: NetworkOptions

    @contextmanager
    def running(self, network: nn.Module) -> Iterator[None]:
        """Have a network on the device while the block runs; others leave it, where offloading is asked for."""
        with on_device(network, self.options):
            yield


def load_geowizard(folder: Path, options: NetworkOptions) -> GeoWizard:
    """Load the weights that lie in ``folder`` (``unet/``, ``vae/``, ``image_encoder/``, ``scheduler/``).

    Raises:
        InputError: the package transformers is not installed.
        WeightsError: a part is missing, damaged or not GeoWizard's, in one line.

    """
    needs_package("transformers", "geowizard")
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPVisionModelWithProjection

    unet = load_part(UNet2DConditionModel, folder, "unet")
    vae = load_part(AutoencoderKL, folder, "vae")
    image_encoder = load_part(CLIPVisionModelWithProjection, folder, "image_encoder")
    scheduler = load_part(DDIMScheduler, folder, "scheduler")
    _check(unet, vae, image_encoder, folder)
    couple_tasks(unet)
    for network in (unet, vae, image_encoder):
        spread_over(network, options)
    mean, std = _clip_normalisation(folder)
    return GeoWizard(unet, vae, image_encoder, scheduler, mean, std, options)


def _check(unet: Any, vae: Any, image_encoder: Any, folder: Path) -> None:
    latents = vae.config.latent_channels
    wrong = {
        "the UNet takes no picture's latent": unet.config.in_channels != 2 * latents,
        "the UNet has no geometry switcher": unet.config.projection_class_embeddings_input_dim != CHANNELS,
        "the UNet does not take the image encoder's embedding": (
            unet.config.cross_attention_dim != image_encoder.config.projection_dim
        ),
    }
    for reason, is_so in wrong.items():
        if is_so:
            raise WeightsError(f"{folder} does not hold GeoWizard: {reason}; fetch lemonaddie/Geowizard again")


def _clip_normalisation(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    path = folder / "feature_extractor" / "preprocessor_config.json"
    if not path.is_file():
        return CLIP_MEAN, CLIP_STD
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return tuple(said.get("image_mean", CLIP_MEAN)), tuple(said.get("image_std", CLIP_STD))
    except (ValueError, AttributeError, TypeError) as error:
        raise WeightsError(f"{path} cannot be read ({error}): fetch the weights again") from error
