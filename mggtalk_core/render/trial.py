"""A trial render: the only proof that a rasteriser works on this machine's GPU."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

from ..gaussians.gaussians import Gaussians
from ..head.camera import Camera
from .rendering import Rendering
from .synthetic import head_scene

_log = logging.getLogger(__name__)


def renders_on_gpu(draw: Callable[[Gaussians, Camera], Rendering], name: str) -> bool:
    """Tell whether ``draw`` gives a sound picture of a small scene on CUDA; a failure is logged under ``name``."""
    try:
        with torch.no_grad():
            trial = draw(head_scene(200).to("cuda"), Camera.for_crop(64))
        return bool(torch.isfinite(trial.rgb).all() and trial.alpha.max() > 0)
    except Exception as error:  # noqa: BLE001 - a failed build or an old driver raises anything
        _log.info("%s cannot render here: %s", name, error)
        return False
