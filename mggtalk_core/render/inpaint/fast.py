"""The networks at work on the CPU, with what surrounds them compiled: the same pictures in half the time.

`Inpainter.forward` and `PatchRefiner.forward` are the plain twins, used in training and on CUDA devices.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .guide import FLOW, FLOW_SCALE
from .inpainter import Inpainter, PatchRefiner, cell_of, surroundings_coarse
from .patches import Patch
from .unet import Correction, veil_coarse

_EVERYWHERE = np.ones((1, 1, 1), np.float32)
_HERE = (0, 0)
_scratch = threading.local()
"""Large arrays of each thread: fresh memory costs more than what is written into it."""


def whole_change(
    network: Inpainter,
    composite: Float[np.ndarray, "h w 3"],
    alpha: Float[Tensor, "1 h w"],
    layer: Float[Tensor, "3 h w"],
    source: Float[np.ndarray, "height width 3"],
    guide: Float[Tensor, "12 h2 w2"],
    corner: tuple[int, int],
) -> Float[np.ndarray, "h w 3"]:
    """Return what the network adds to the composite; ``corner`` (x, y) is its place in the source; see `Inpainter`.

    The array is the thread's own: the next call in the same thread overwrites it.
    """
    from .kernels import assemble, correct

    near, share = (_to_rows(coarse(alpha[None])) for coarse in (veil_coarse, surroundings_coarse))
    height, width = alpha.shape[1:]
    half, flow = network.unet.stem.weight.dtype == torch.bfloat16, guide[FLOW]
    bits = _buffer("pictures", (height, width * 10), np.uint16 if half else np.uint32)
    composite, behind = np.ascontiguousarray(composite), layer.contiguous().numpy()
    assemble(composite, alpha[0].contiguous().numpy(), behind, source, corner, _to_rows(flow[None]), near, bits)
    pictures = torch.from_numpy(bits).view(torch.bfloat16 if half else torch.float32)
    scaled = torch.cat((guide[: FLOW.start], flow * FLOW_SCALE, guide[FLOW.stop :]))
    pictures, cell = pictures.view(1, height, width, 10).permute(0, 3, 1, 2), cell_of(corner, network.config.stem)
    correction = network.unet.corrected(pictures, scaled[None], cell)
    correction.flow[:, 2:] += flow
    change = _buffer("change", composite.shape, np.float32)
    correct(composite, source, corner, behind, near, share, *_maps(correction), change)
    return change


def patch_changes(network: PatchRefiner, patches: Sequence[Patch]) -> list[Float[np.ndarray, "h w 3"]]:
    """Return what a network adds to each of some patches of one size; see `PatchRefiner`."""
    from .kernels import correct

    inputs = ([getattr(patch, name) for patch in patches] for name in ("composite", "source", "guide"))
    composite, source, guide = (torch.stack(each) for each in inputs)
    correction = network.unet((composite, source), guide)
    other, changes = source if network.config.mixes else composite, []
    for i in range(len(patches)):
        here, there = _to_rows(composite[i : i + 1]), _to_rows(other[i : i + 1])
        parts = Correction(*(part[i : i + 1] for part in (correction.flow, correction.blend, correction.residual)))
        changes.append(np.empty_like(here))
        correct(here, there, _HERE, source[i].numpy(), _EVERYWHERE, _EVERYWHERE, *_maps(parts), changes[-1])
    return changes


def _buffer(name: str, shape: tuple[int, ...], kind: type[np.generic]) -> np.ndarray:
    """Return an array of this thread with anything in it."""
    held, size = getattr(_scratch, name, None), math.prod(shape)
    if held is None or held.size < size or held.dtype != kind:
        held = np.empty(size, kind)
        setattr(_scratch, name, held)
    return held[:size].reshape(shape)


def _maps(correction: Correction) -> tuple[np.ndarray, np.ndarray]:
    return _to_rows(correction.flow), _to_rows(torch.cat((correction.blend, correction.residual), dim=1))


def _to_rows(values: Float[Tensor, "1 c h w"]) -> Float[np.ndarray, "h w c"]:
    return values[0].permute(1, 2, 0).contiguous().numpy()
