"""The providers that are networks: find the weights, run them, and bring what they say onto the crop's pixels."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import InputError
from ..portrait.portrait import Portrait
from ..progress import OnStep, ignore_steps
from ..weights.ledger import find_weight
from ..weights.patience import Work, run_patiently
from ..weights.resolver import check_licence, resolve, resolve_at
from . import marigold_provider
from .network_loading import needs_package
from .network_options import NetworkOptions, Prediction
from .normals import unit

WEIGHTS = {"geowizard": ("geowizard",), "marigold": marigold_provider.WEIGHTS}
"""Rows of the ledger that each provider needs."""
NETWORKS = tuple(WEIGHTS)
WORKING_BYTES = 3e9
"""What the autoencoder's largest layer takes at 768 pixels, with a margin."""
BLANK = 1.0
"""White: what a cut-out head lies on."""


class _Stopped(Exception):
    """Ends the networks' thread."""


def network_prediction(
    provider: str, portrait: Portrait, options: NetworkOptions | None = None, *, on_step: OnStep = ignore_steps
) -> Prediction:
    """Estimate depth and normals of a portrait's crop by a diffusion network.

    Args:
        provider: ``geowizard`` (the paper's) or ``marigold``.
        portrait: whose crop.
        options: how the networks run, and where their weights are.
        on_step: bytes fetched, then denoising steps; several calls a second.

    Raises:
        InputError: a package is missing, or the GPU's memory is too small.
        WeightsError: the weights are missing, damaged, or refused because commercial-safe is on.

    """
    options = options or NetworkOptions()
    for name in WEIGHTS[provider]:
        check_licence(name)
    for package in ("diffusers", "transformers"):
        needs_package(package, provider)
    folders = [_folder(name, index, options, on_step) for index, name in enumerate(WEIGHTS[provider])]
    picture = _picture(provider, portrait, options)

    def work(shared: Work) -> Prediction:
        def on_denoised(done: int) -> None:
            shared.done = done
            if shared.stopped:
                raise _Stopped

        return _run(provider, folders, picture, options, on_denoised)

    # The layers of a large network take longer than progress may be silent, so they work on a thread of their own.
    return _on_crop(run_patiently(work, options.steps * len(folders), on_step), portrait.crop.shape[-1])


def needed_bytes(provider: str, options: NetworkOptions) -> int:
    """Return how much memory of the GPU a provider takes, roughly: its weights, and the largest layer at work."""
    largest = max(find_weight(name).size or 0 for name in WEIGHTS[provider])
    stored = 4 if provider == "geowizard" else 2  # bytes a number takes in the files
    weights = largest * options.dtype().itemsize / stored
    kept = {"none": 1.0, "model": 0.7, "sequential": 0.0}[options.offload]
    return int(kept * weights + WORKING_BYTES * (options.pixels() / 768) ** 2)


def _folder(name: str, index: int, options: NetworkOptions, on_step: OnStep) -> Path:
    place = options.weights.strip()
    if not place:
        return resolve(name, on_step=on_step)
    if not Path(place).expanduser().is_dir():
        places = [part.strip() for part in place.split(",")]
        place = places[min(index, len(places) - 1)]
    return resolve_at(name, place, on_step=on_step)


def _picture(provider: str, portrait: Portrait, options: NetworkOptions) -> Float[Tensor, "3 512 512"]:
    """Return what the network sees: the crop, or the head alone (the paper's ``I_s^h``)."""
    if provider == "geowizard" and options.scene == "object":
        return portrait.crop * portrait.matte + BLANK * (1.0 - portrait.matte)
    return portrait.crop


def _run(
    provider: str,
    folders: list[Path],
    picture: Float[Tensor, "3 512 512"],
    options: NetworkOptions,
    on_denoised: Callable[[int], None],
) -> Prediction:
    try:
        if provider == "marigold":
            return marigold_provider.predict_marigold((folders[0], folders[1]), picture, options, on_denoised)
        from .geowizard.denoise import predict_geometry
        from .geowizard.model import load_geowizard

        return predict_geometry(load_geowizard(folders[0], options), picture, on_denoised)
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"Provider {provider!r} does not fit into the GPU's memory at {options.pixels()} pixels: offload it, lower "
            "the resolution, or use 'mesh'."
        ) from error
    finally:
        # Gigabytes that nobody will ask for again before the next portrait.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _on_crop(prediction: Prediction, size: int) -> Prediction:
    """Return the maps at the crop's size."""
    stack = torch.cat((prediction.depth[None], prediction.normals))[None]
    maps = interpolate(stack, (size, size), mode="bilinear", antialias=True)[0]
    return Prediction(depth=maps[0], normals=unit(maps[1:]))
