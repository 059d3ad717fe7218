"""The network of the inpainter: pictures and a guide in, two flows, a blend and a residual out (paper D.5).

The picture is never painted anew. It is moved a little, mixed with what the source shows, and corrected, at its own
resolution: so its sharpness is kept, and a network that has learned nothing changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ...residual import Block, blocks, start

_FIRST_SHARE = 0.3
"""What a residual block adds before it has learned how much it should."""


@dataclass(frozen=True)
class InpaintConfig:
    """Sizes of a `UNet`."""

    pictures: int
    """Channels of the pictures, at full resolution."""
    guides: int
    """Channels of the guide, at 1/``stem``."""
    stem: int = 4
    """The body works at 1/``stem`` of the resolution."""
    widths: tuple[int, ...] = (24, 40, 64, 96, 128)
    """Features at each level, each half the resolution of the one before."""
    blocks: int = 1
    """Residual blocks at each level, on the way down and on the way up."""
    fine: int = 8
    """Features of the head that makes residual and blend."""
    fine_stem: int = 2
    """That head works at 1/``fine_stem`` of the resolution."""
    reach: float = 24.0
    """The flows move by less than this many pixels."""
    mixes: bool = True
    """Whether what the source shows may be mixed in. A patch's network sees it in any case."""


WHOLE = InpaintConfig(pictures=10, guides=12)
EYES = InpaintConfig(pictures=6, guides=15, stem=2, widths=(32, 48, 64, 96), fine=16, fine_stem=1, reach=12.0)
MOUTH = InpaintConfig(
    pictures=6, guides=15, stem=2, widths=(24, 40, 64, 96, 96), fine=16, fine_stem=1, reach=12.0, mixes=False
)
"""An open mouth shows what a closed one does not have: mixed in, the source's chin shone through it."""
PAPER = InpaintConfig(pictures=10, guides=12, stem=2, widths=(64, 128, 256, 512, 512), blocks=2, fine=32)
"""For 512x512 pictures and a large GPU; the paper gives the resolution and the adversarial loss, not the widths."""


@dataclass(frozen=True)
class Correction:
    """What the network says about a picture; all zero for a network that has learned nothing."""

    flow: Float[Tensor, "b 4 h w"]
    """Pixels by which the composite (first two channels: x, y) and the source picture (last two) are looked up."""
    blend: Float[Tensor, "b 1 h2 w2"]
    """Share of the source picture, -1..1."""
    residual: Float[Tensor, "b 3 h2 w2"]


@dataclass(frozen=True)
class Veil:
    """Keeps the source's own head out of the places that the driven head has left: there the layer stays."""

    layer: Float[Tensor, "b 3 h w"]
    near: Float[Tensor, "b 1 h w"]
    """1 on the driven head and close to it, 0 away from it."""

    @classmethod
    def of(cls, layer: Float[Tensor, "b 3 h w"], alpha: Float[Tensor, "b 1 h w"]) -> Veil:
        """Return the veil around a head's coverage ``alpha``: it falls within a dozen pixels."""
        return cls(layer, enlarged(veil_coarse(alpha), *alpha.shape[-2:]))

    def __call__(self, shown: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """Return what may be seen of a look-up in the source."""
        return torch.lerp(self.layer, shown, self.near)


def veil_coarse(alpha: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h/4 w/4"]:
    """Return how near the driven head is, on a coarse grid; see `Veil`."""
    coarse = functional.max_pool2d(functional.avg_pool2d(alpha, 4), 3, stride=1, padding=1)
    return functional.avg_pool2d(coarse, 3, stride=1, padding=1, count_include_pad=False)


class UNet(nn.Module):
    """A U-shaped network without normalisation: a crop and the whole picture give the same answer."""

    def __init__(self, config: InpaintConfig) -> None:
        super().__init__()
        widths, self.config = config.widths, config
        self.stem = nn.Conv2d(config.pictures, widths[0], config.stem, stride=config.stem)
        self.guide = nn.Conv2d(config.guides, widths[0], 1)
        steps = list(zip(widths[:-1], widths[1:], strict=True))
        self.shrink = nn.ModuleList(nn.Conv2d(wide, deep, 3, stride=2, padding=1) for wide, deep in steps)
        self.down = nn.ModuleList(blocks(deep, config.blocks, _FIRST_SHARE) for _, deep in steps)
        self.grow = nn.ModuleList(nn.Conv2d(deep, wide, 1) for wide, deep in steps)
        self.up = nn.ModuleList(blocks(wide, config.blocks, _FIRST_SHARE) for wide, _ in steps)
        self.flow = nn.Conv2d(widths[0], 4, 3, padding=1)
        step = config.fine_stem
        self.fine_stem = nn.Conv2d(config.pictures, config.fine, step + 2, stride=step, padding=1)
        self.fine_in = nn.Conv2d(widths[0], config.fine, 1)
        self.fine_mix = nn.Conv2d(2 * config.fine, config.fine, 3, padding=1)
        self.fine_out = nn.Conv2d(config.fine, 4, 3, padding=1)
        start(self)
        for module in (self.flow, self.fine_out):  # no correction at all, at first
            nn.init.zeros_(module.weight)

    def forward(
        self,
        pictures: Sequence[Float[Tensor, "b _ height width"]],
        guide: Float[Tensor, "b g h w"],
        cell: tuple[int, int] = (0, 0),
    ) -> Correction:
        """Return the correction; height and width are multiples of 4 `InpaintConfig.stem`; see `corrected`."""
        kind = self.stem.weight.dtype
        return self.corrected(torch.cat([picture.to(kind) for picture in pictures], dim=1) - 0.5, guide, cell)

    def corrected(
        self,
        pictures: Float[Tensor, "b p height width"],
        guide: Float[Tensor, "b g h w"],
        cell: tuple[int, int] = (0, 0),
    ) -> Correction:
        """Return the correction; ``pictures`` are stacked, with 0 in the middle of their range.

        ``cell`` is the pixel (x, y) of the guide in a larger picture that comes first here. Coarse levels then lie as
        they lie on the larger picture, so that one window after another tells the same of the same place.
        """
        kind = self.stem.weight.dtype  # half precision where the processor knows it
        pictures, guide = pictures.to(kind), guide.to(kind)
        x = self.stem(pictures) + self.guide(guide)  # [B, w0, H/stem, W/stem]
        skips = []
        for level, (shrink, block) in enumerate(zip(self.shrink, self.down, strict=True)):
            before = tuple(place >> level & 1 for place in cell)  # a coarse pixel begins that much before the window
            skips.append((x, before))
            x = functional.relu(x)
            x = block(shrink(functional.pad(x, (before[0], 0, before[1], 0)) if any(before) else x))
        for grow, block, (skip, before) in zip(reversed(self.grow), reversed(self.up), reversed(skips), strict=True):
            x = functional.interpolate(grow(x), scale_factor=2.0, mode="nearest")
            x = block(x[..., before[1] :, before[0] :][..., : skip.shape[-2], : skip.shape[-1]] + skip)
        return self._heads(functional.relu(x), pictures)

    def _heads(self, x: Float[Tensor, "b w0 h w"], pictures: Float[Tensor, "b p height width"]) -> Correction:
        config = self.config
        flow = config.reach * torch.tanh(self.flow(x).float() * (4.0 / config.reach))
        coarse = functional.interpolate(self.fine_in(x), scale_factor=config.stem / config.fine_stem, mode="bilinear")
        detail = torch.cat((coarse, self.fine_stem(pictures)[..., : coarse.shape[-2], : coarse.shape[-1]]), dim=1)
        mixed = self.fine_mix(functional.relu(detail, inplace=True))
        fine = self.fine_out(functional.relu(mixed, inplace=True)).float()
        return Correction(flow, torch.tanh(fine[:, :1]), fine[:, 1:])


def look_up(
    picture: Float[Tensor, "b 3 height width"],
    flow: Float[Tensor, "b 2 h w"],
    corner: Float[Tensor, "b 2"] | None = None,
) -> Float[Tensor, "b 3 h w"]:
    """Return the picture at ``pixel + corner + flow``, bilinear, the border repeated; no corner is (0, 0).

    A flow of zero gives the picture itself, bit for bit, when its edges are powers of two.
    """
    (height, width), (rows, columns) = picture.shape[-2:], flow.shape[-2:]
    scale = flow.new_tensor([2.0 / width, 2.0 / height]).view(1, 2, 1, 1)
    place = torch.addcmul(_places(rows, columns, height, width, flow.device), flow, scale)
    if corner is not None:
        place = place + corner[..., None, None] * scale
    return functional.grid_sample(
        picture, place.permute(0, 2, 3, 1), mode="bilinear", padding_mode="border", align_corners=False
    )


@lru_cache(8)
def _places(
    rows: int, columns: int, height: int, width: int, device: torch.device
) -> Float[Tensor, "1 2 rows columns"]:
    """Return x and y of every pixel's centre, over a picture of ``height`` x ``width`` that is -1..1."""
    with torch.inference_mode(False):  # training, too, may use what a render has left here
        x, y = torch.arange(columns, device=device) + 0.5, torch.arange(rows, device=device) + 0.5
        return torch.stack(torch.meshgrid(x * (2.0 / width) - 1.0, y * (2.0 / height) - 1.0, indexing="xy"))[None]


def enlarged(values: Float[Tensor, "b c h w"], height: int, width: int) -> Float[Tensor, "b c height width"]:
    """Return a map on a finer grid; bilinear, because a shuffle of channels into pixels leaves stripes."""
    if values.shape[-2:] == (height, width):
        return values
    return functional.interpolate(values, size=(height, width), mode="bilinear", align_corners=False)


def apply_correction(
    correction: Correction,
    composite: Float[Tensor, "b 3 h w"],
    source: Float[Tensor, "b 3 height width"],
    base: Float[Tensor, "b 2 h2 w2"],
    corner: Float[Tensor, "b 2"] | None = None,
    veil: Veil | None = None,
) -> Float[Tensor, "b 3 h w"]:
    """Return the corrected picture, not clamped.

    ``base`` is the flow in pixels at which ``source`` already fits the composite, on the grid of the correction's;
    ``corner`` is the place of the composite in the source (0 unless it is a crop), ``veil`` says where the source
    must not be seen.
    """
    height, width = composite.shape[-2:]
    flow = enlarged(torch.cat((correction.flow[:, :2], correction.flow[:, 2:] + base), dim=1), height, width)
    moved = look_up(composite, flow[:, :2])
    shown = look_up(source, flow[:, 2:], corner)
    if veil is not None:
        shown = veil(shown)
    blend, residual = enlarged(torch.cat((correction.blend, correction.residual), 1), height, width).split((1, 3), 1)
    return moved + blend * (shown - moved) + residual


def memory_bytes(config: InpaintConfig, height: int, width: int, batch: int = 1) -> int:
    """Return the bytes that a training step needs at least, by calculation.

    Weights, gradients, EMA and Adam's two moments, and every intermediate result twice (kept, and its gradient), all
    in 32 bits.
    """
    with torch.device("meta"):
        net = UNet(config)
    sizes: list[int] = []
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, Block)):
            module.register_forward_hook(lambda module, inputs, output: sizes.append(output.numel()))
    pictures = torch.empty(batch, config.pictures, height, width, device="meta")
    net([pictures], torch.empty(batch, config.guides, height // config.stem, width // config.stem, device="meta"))
    weights = sum(weight.numel() for weight in net.parameters())
    # Each convolution is followed by at most one activation of the same size.
    return 4 * (5 * weights + 2 * 2 * sum(sizes) + 2 * math.prod(pictures.shape))
