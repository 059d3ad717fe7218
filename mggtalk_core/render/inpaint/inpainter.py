"""The networks with their inputs put together: over the whole crop, and over a patch."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from .guide import FLOW, FLOW_SCALE
from .unet import InpaintConfig, UNet, Veil, apply_correction, enlarged, look_up

_CELL = 8
"""Pixels over which coverage is averaged to tell what lies near the head."""
_NEAR, _SOFT = 4, 1
"""Such cells around the head that are near it, and over which that fades out to either side."""
_STEP = 32
"""Windows begin and end at multiples of so many pixels: coarser than the guide's, since a coarse feature of which the
window shows a part only is another."""


class Inpainter(nn.Module):
    """Mends the composite of the whole crop: rim, neck, what the source did not show, what lies a little off."""

    def __init__(self, config: InpaintConfig) -> None:
        super().__init__()
        self.config, self.unet = config, UNet(config)

    def forward(
        self,
        composite: Float[Tensor, "b 3 h w"],
        alpha: Float[Tensor, "b 1 h w"],
        layer: Float[Tensor, "b 3 h w"],
        source: Float[Tensor, "b 3 height width"],
        guide: Float[Tensor, "b 12 h2 w2"],
        corner: Float[Tensor, "b 2"] | None = None,
        cell: tuple[int, int] = (0, 0),
    ) -> Float[Tensor, "b 3 h w"]:
        """Return the mended picture, not clamped.

        ``guide`` is that of `whole_guide`, its flow in pixels; ``corner`` (x, y) is where the composite lies in the
        source's crop; None where the whole of it is looked at; for ``cell`` see `UNet.corrected`.
        """
        veil = Veil.of(layer, alpha)
        shown = veil(look_up(source, enlarged(guide[:, FLOW], *composite.shape[-2:]), corner))
        scaled = torch.cat((guide[:, : FLOW.start], guide[:, FLOW] * FLOW_SCALE, guide[:, FLOW.stop :]), dim=1)
        correction = self.unet((composite, alpha, layer, shown), scaled, cell)
        mended = apply_correction(correction, composite, source, guide[:, FLOW], corner, veil)
        return torch.lerp(composite, mended, surroundings(alpha))


def surroundings(alpha: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
    """Return where a frame may be mended: 1 up to 24 pixels from the head, 0 from 52 pixels on.

    Beyond, the frame is the picture itself: whatever changed there would only flicker.
    """
    return enlarged(surroundings_coarse(alpha), *alpha.shape[-2:])


def surroundings_coarse(alpha: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h/8 w/8"]:
    """Return `surroundings` on a coarse grid."""
    coarse = functional.max_pool2d(functional.avg_pool2d(alpha, _CELL), 2 * _NEAR + 1, stride=1, padding=_NEAR)
    return functional.avg_pool2d(coarse, 2 * _SOFT + 1, stride=1, padding=_SOFT, count_include_pad=False)


def mended_window(alpha: Float[Tensor, "1 h w"]) -> tuple[slice, slice] | None:
    """Return rows and columns outside which a frame is not mended; None if nowhere.

    The network need not look beyond: it tells the same of the window as of the whole to a fraction of a grey level.
    """
    reach, slices = _NEAR + _SOFT + 1, []  # one cell more, into which what is enlarged fades out
    for axis, size in ((1, alpha.shape[1]), (0, alpha.shape[2])):
        places = alpha[0].amax(dim=axis).nonzero()[:, 0]
        if len(places) == 0:
            return None
        low, high = _CELL * (int(places[0]) // _CELL - reach), _CELL * (int(places[-1]) // _CELL + 1 + reach)
        slices.append(slice(max(low // _STEP * _STEP, 0), min(-(-high // _STEP) * _STEP, size)))
    return slices[0], slices[1]


def cell_of(corner: tuple[int, int], stem: int) -> tuple[int, int]:
    """Return the pixel of the guide, at 1/``stem``, that a window begins with."""
    return corner[0] // stem, corner[1] // stem


class PatchRefiner(nn.Module):
    """Refines one aligned patch from the same patch of the source and the contours of both."""

    def __init__(self, config: InpaintConfig) -> None:
        super().__init__()
        self.config, self.unet = config, UNet(config)

    def forward(
        self,
        composite: Float[Tensor, "b 3 h w"],
        source: Float[Tensor, "b 3 h w"],
        guide: Float[Tensor, "b 15 h2 w2"],
    ) -> Float[Tensor, "b 3 h w"]:
        """Return the refined patch, not clamped."""
        correction = self.unet((composite, source), guide)
        other = source if self.config.mixes else composite
        return apply_correction(correction, composite, other, torch.zeros_like(correction.flow[:, :2]))
