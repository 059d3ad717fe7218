"""Marigold's depth and normals (arXiv 2505.09358), by diffusers' own pipelines."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ..errors import WeightsError
from .network_loading import needs_package, quiet
from .network_options import NetworkOptions, Prediction
from .normals import unit

_log = logging.getLogger(__name__)

WEIGHTS = ("marigold-depth-v1-1", "marigold-normals-v1-1")
"""Rows of the ledger, in the order of `predict_marigold`'s folders."""


@torch.no_grad()
def predict_marigold(
    folders: tuple[Path, Path],
    picture: Float[Tensor, "3 h w"],
    options: NetworkOptions,
    on_denoised: Callable[[int], None],
) -> Prediction:
    """Estimate depth and normals of a picture, one pipeline after the other.

    Args:
        folders: weights of the depth pipeline and of the normals pipeline, in the layout of diffusers.
        picture: square, sRGB in 0..1.
        options: steps, seed, resolution, precision and offloading; ``scene`` means nothing here.
        on_denoised: called with the number of steps done, of twice ``options.steps``; may raise.

    Returns:
        Depth from 0 (near) to 1 (far) and unit normals, at the resolution of the options.

    Raises:
        InputError: the package transformers is not installed.
        WeightsError: weights that are damaged or another pipeline's, in one line.

    """
    needs_package("transformers", "marigold")
    from diffusers import MarigoldDepthPipeline, MarigoldNormalsPipeline

    depth = _run(MarigoldDepthPipeline, folders[0], picture, options, on_denoised)

    def later(done: int) -> None:
        on_denoised(options.steps + done)

    normals = _run(MarigoldNormalsPipeline, folders[1], picture, options, later)
    return Prediction(depth=depth[0], normals=unit(normals))


def _run(
    kind: Any, folder: Path, picture: Tensor, options: NetworkOptions, on_denoised: Callable[[int], None]
) -> Float[Tensor, "c h w"]:
    on_denoised(0)
    pipeline = _load(kind, folder, options)
    count = 0

    def before_step(*_: Any) -> None:
        nonlocal count
        on_denoised(count)
        count += 1

    pipeline.unet.register_forward_pre_hook(before_step)
    # The pipeline would resize in its own precision, which not every device can.
    edge = options.pixels()
    answer = pipeline(
        interpolate(picture[None].float(), (edge, edge), mode="bilinear", antialias=True).clamp(0.0, 1.0),
        num_inference_steps=options.steps,
        processing_resolution=0,
        generator=torch.Generator().manual_seed(options.seed),
        output_type="pt",
    )
    on_denoised(options.steps)
    return answer.prediction[0].float().cpu()


def _load(kind: Any, folder: Path, options: NetworkOptions) -> Any:
    half = any((folder / "unet").glob("*.fp16.safetensors"))
    try:
        with quiet():
            pipeline = kind.from_pretrained(
                str(folder), local_files_only=True, use_safetensors=True, variant="fp16" if half else None
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise WeightsError(f"{folder} cannot be loaded ({reason}): fetch the weights again") from error
    for network in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        nn.Module.to(network, options.dtype())
    pipeline.set_progress_bar_config(disable=True)
    device = options.torch_device()
    if options.offload == "none" or device.type == "cpu":
        return pipeline.to(device)
    if find_spec("accelerate") is None:
        _log.warning("Marigold cannot be offloaded without the package accelerate.")
        return pipeline.to(device)
    offload = (
        pipeline.enable_model_cpu_offload if options.offload == "model" else pipeline.enable_sequential_cpu_offload
    )
    offload(device=device)
    return pipeline
