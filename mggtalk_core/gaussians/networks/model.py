"""The networks of the Gaussian stage together: from an avatar and one expression to offsets (paper 3.2, eq. 4 to 6)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...record import Record
from ...weights.module_file import read_module, write_module
from ..avatar import Avatar
from ..gaussians import Gaussians
from .cells import Cells
from .config import GaussianConfig, Switches
from .decoder import GaussianDecoder
from .densify import CHILD, Densifier
from .encoder import IdentityEncoder
from .mirrored import MirroredDecoder
from .offsets import WIDTHS, Parts, apply_offsets, parameters, reflect

WEIGHTS = "gaussians.safetensors"


@dataclass(frozen=True)
class HeadImage(Record):
    """The head image ``I_s^h``."""

    crop: Float[Tensor, "3 512 512"]
    matte: Float[Tensor, "1 512 512"]


@dataclass(frozen=True)
class DrivenHead(Record):
    """One avatar in one expression, as the analytic form has it."""

    avatar: Avatar
    cells: Cells
    analytic: Gaussians
    """All of its Gaussians: points, then children."""
    betas: Float[Tensor, "104"]
    """``beta_d`` and ``beta_s``."""
    rows: Int[Tensor, "k"] | None = None
    """Points that are drawn, in order; None: all. Training on a part of the picture needs no others."""

    @property
    def parents(self) -> Int[Tensor, "p"] | slice:
        """Rows of the visible and mirrored Gaussians that are drawn."""
        seen = self.avatar.seen_count
        return slice(0, seen) if self.rows is None else self.rows[self.rows < seen]

    @property
    def interior(self) -> Int[Tensor, "i"] | slice:
        """Rows of the Gaussians on the head model that are drawn."""
        seen, count = self.avatar.seen_count, len(self.avatar.points.positions)
        return slice(seen, count) if self.rows is None else self.rows[self.rows >= seen]

    @property
    def children(self) -> Int[Tensor, "p"] | slice:
        """Rows of the children of `parents`."""
        count = len(self.avatar.points.positions)
        return slice(count, None) if self.rows is None else self.parents + count


@dataclass(frozen=True)
class Children:
    """How children differ from where they start; what their parents have learned is in it."""

    places: Float[Tensor, "seen 3"]
    """By how many of its parent's largest standard deviations each is moved, canonical axes."""
    colours: Float[Tensor, "seen 12"]
    odds: Float[Tensor, "seen 1"]


@dataclass(frozen=True)
class Offsets:
    """What the networks say about the visible and the mirrored Gaussians."""

    parents: Parts
    children: Children | None
    """None without densification."""


class GaussianNetworks(nn.Module):
    """``F``, ``D_gs``, ``D_gs^s`` and the densification; with untrained weights all offsets are zero."""

    def __init__(self, config: GaussianConfig) -> None:
        super().__init__()
        self.config, switches = config, config.switches
        self.encoder = IdentityEncoder(config)
        self.decoder = GaussianDecoder(config)
        has_own = switches.symmetry and switches.symmetric_decoder
        self.mirrored = MirroredDecoder(config) if has_own else None
        self.densifier = Densifier(config) if switches.densify else None

    def encode(self, image: HeadImage) -> Float[Tensor, "1 f h w"]:
        """Return the identity encoding ``F``: the same in all frames of an avatar."""
        return self.encoder(image.crop[None], image.matte[None])

    def forward(self, heads: Sequence[DrivenHead], images: Sequence[HeadImage]) -> list[Offsets]:
        """Return the offsets of several heads; one call a step, so that processes can share their gradients."""
        return [self.offsets(self.encode(image), head) for head, image in zip(heads, images, strict=True)]

    def offsets(self, features: Float[Tensor, "1 f h w"], head: DrivenHead) -> Offsets:
        """Return the offsets of one driven head whose picture has been encoded."""
        cells, betas = head.cells, head.betas[None]
        rows = torch.stack((cells.visible, cells.mirrored))
        driven, rest = (
            torch.stack([cells.picture(points, each) for each in rows])[None]
            for points in (head.analytic.means, head.avatar.points.positions)
        )  # [1, 2, 3, H, W]
        halves = self.decoder.halves
        maps = self.decoder(features, driven[:, :halves], rest[:, :halves], betas)[0].float()  # [halves, 20, H, W]
        if self.mirrored is None:
            return self._spread(head, features, maps[0], maps[-1], follows=False)
        reflected = self._reflected(head, maps[0])
        mirrored = self.mirrored(features, driven[:, 1], rest[:, 1], betas, reflected[None])[0].float()  # [20, H, W]
        return self._spread(head, features, maps[0], mirrored, follows=self.config.switches.gaussians_in_symmetric)

    def _reflected(self, head: DrivenHead, offsets: Float[Tensor, "20 h w"]) -> Float[Tensor, "20 h w"]:
        """Return the reflected parameters of ``G_d`` in the cells of the mirrored points."""
        cells, twins = head.cells, head.cells.twins.clamp(min=0)
        standing = apply_offsets(taken(head.analytic, twins), cells.at_twins(offsets).split(WIDTHS, dim=-1))
        there = (cells.twins >= 0)[:, None]
        return (reflect(parameters(standing), head.avatar.mirror) * there).T.unflatten(1, (cells.grid, cells.grid))

    def _spread(
        self,
        head: DrivenHead,
        features: Float[Tensor, "1 f h w"],
        visible: Float[Tensor, "20 h w"],
        mirrored: Float[Tensor, "20 h w"],
        follows: bool,
    ) -> Offsets:
        """Carry maps over to the points, and let every point have its child's share of them."""
        if follows:  # s^s = s + D_s^s: what D_gs has added to s is reflected with it
            mirrored = mirrored + reflect(visible.flatten(1).T, head.avatar.mirror).T.view_as(visible)
        both = torch.stack((visible, mirrored))  # [2, 20, H, W]
        if self.densifier is None:
            return Offsets(head.cells.spread(both, WIDTHS, head.parents), None)
        places, more = self.densifier(features.expand(2, -1, -1, -1), both)
        known = torch.cat((both, places.float(), both[:, -more.shape[1] :] + more.float()), dim=1)  # [2, 36, H, W]
        said = head.cells.spread(known, (*WIDTHS, *CHILD), head.parents)
        return Offsets(said[:4], Children(*said[4:]))


def taken(gaussians: Gaussians, rows: Tensor | slice) -> Gaussians:
    """Return some of the Gaussians."""
    names = ("means", "quats", "scales", "opacities", "sh", "labels")
    return replace(gaussians, **{name: getattr(gaussians, name)[rows] for name in names})


def write_gaussians(path: str | os.PathLike[str], networks: GaussianNetworks, notes: Mapping[str, str]) -> None:
    """Write the weights with their sizes and switches."""
    write_module(path, networks, asdict(networks.config), notes)


def read_gaussians(path: str | os.PathLike[str]) -> GaussianNetworks:
    """Read weights; raises `WeightsError` where they are damaged or of another version."""
    return read_module(path, _build)


def _build(sizes: dict[str, Any]) -> GaussianNetworks:
    widths = {name: tuple(sizes[name]) for name in ("encoder", "decoder")}
    return GaussianNetworks(GaussianConfig(**{**sizes, **widths, "switches": Switches(**sizes["switches"])}))
