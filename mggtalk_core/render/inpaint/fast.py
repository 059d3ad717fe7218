"""The networks at work on the CPU, with what surrounds them compiled: the same pictures in half the time.

`Inpainter.forward` and `PatchRefiner.forward` are the plain twins, used in training and on CUDA devices.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from .guide import FLOW, FLOW_SCALE
from .inpainter import Inpainter, PatchRefiner, surroundings_coarse
from .unet import Correction, veil_coarse

_EVERYWHERE = np.ones((1, 1, 1), np.float32)


def whole_change(
    network: Inpainter,
    composite: Float[np.ndarray, "h w 3"],
    alpha: Float[Tensor, "1 h w"],
    layer: Float[np.ndarray, "h w 3"],
    source: Float[np.ndarray, "h w 3"],
    guide: Float[Tensor, "12 h2 w2"],
) -> Float[np.ndarray, "h w 3"]:
    """Return what a network of the whole crop adds to the composite; see `Inpainter`."""
    from .kernels import assemble, correct

    near, share = (_to_rows(coarse(alpha[None])) for coarse in (veil_coarse, surroundings_coarse))
    pictures = np.empty((*alpha.shape[1:], 10), np.float32)
    flow = guide[FLOW]
    assemble(composite, alpha[0].numpy(), layer, source, _to_rows(flow[None]), near, pictures)
    scaled = torch.cat((guide[: FLOW.start], flow * FLOW_SCALE, guide[FLOW.stop :]))
    correction = network.unet.corrected(torch.from_numpy(pictures).permute(2, 0, 1)[None], scaled[None])
    correction.flow[:, 2:] += flow
    change = np.empty_like(composite)
    correct(composite, source, layer, near, share, *_maps(correction), change)
    return change


def patch_change(
    network: PatchRefiner,
    composite: Float[Tensor, "3 h w"],
    source: Float[Tensor, "3 h w"],
    guide: Float[Tensor, "15 h2 w2"],
) -> Float[np.ndarray, "h w 3"]:
    """Return what a network adds to a patch; see `PatchRefiner`."""
    from .kernels import correct

    correction = network.unet((composite[None], source[None]), guide[None])
    here, there = _to_rows(composite[None]), _to_rows(source[None])
    change = np.empty_like(here)
    correct(here, there, there, _EVERYWHERE, _EVERYWHERE, *_maps(correction), change)
    return change


def _maps(correction: Correction) -> tuple[np.ndarray, np.ndarray]:
    return _to_rows(correction.flow), _to_rows(torch.cat((correction.blend, correction.residual), dim=1))


def _to_rows(values: Float[Tensor, "1 c h w"]) -> Float[np.ndarray, "h w c"]:
    return values[0].permute(1, 2, 0).contiguous().numpy()
