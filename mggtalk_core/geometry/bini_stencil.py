"""The equations of bilateral normal integration as a five-point stencil on the bounding box of the mask."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from ..errors import InputError

Intrinsics = tuple[float, float, float, float]
AGREEING = 0.95
"""Share of the slopes that must agree before a prior counts as the answer."""
FLIPPED = "The normals point away from the viewer: flip their sign (nz < 0 faces the camera)."


@dataclass
class Stencil:
    """The unknowns of all cells of the box, row after row, ``n = rows * width``, with a border of one empty cell.

    Thanks to the border the neighbours of cell ``i`` are ``i - 1``, ``i + 1``, ``i - width`` and ``i + width``, without
    a case for the rim. All numbers are float64 and 0 in the cells outside the mask.
    """

    box: tuple[slice, slice]
    inside: Bool[Tensor, "rows width"]
    slope_x: Float[Tensor, "n"]
    """Factor of the derivative along x: nz, or n . ray in perspective."""
    slope_y: Float[Tensor, "n"]
    target_x: Float[Tensor, "n"]
    """What slope times derivative should be: -nx."""
    target_y: Float[Tensor, "n"]
    link_x: Float[Tensor, "n"]
    """1 where the cell and the next one of its row are both inside."""
    link_y: Float[Tensor, "n"]
    """1 where the cell and the one below it are both inside."""
    perspective: bool
    prior: Float[Tensor, "n"]
    prior_weight: Float[Tensor, "n"]
    """In units of the median diagonal; 0 where there is no prior."""
    order: Int[Tensor, "m"]
    """The cells inside, sorted by connected component."""
    sizes: Int[Tensor, "components"]
    anchor: float = 0.0
    """Mean depth of the components that no prior reaches."""

    @cached_property
    def has_prior(self) -> bool:
        """Whether any pixel is drawn to a prior."""
        return bool(self.prior_weight.any())

    @property
    def width(self) -> int:
        """Cells in a row, border included."""
        return self.inside.shape[1]

    @classmethod
    def build(
        cls,
        normals: Float[Tensor, "3 height width"],
        mask: Bool[Tensor, "height width"],
        intrinsics: Intrinsics | None,
        prior: Float[Tensor, "height width"] | None,
        weight: float | Float[Tensor, "height width"],
    ) -> Stencil:
        """Lay out the equations of the pixels in ``mask``, which holds at least one, on the device of the normals."""
        box = _bounding_box(mask)
        inside = pad(mask[box], (1, 1, 1, 1))
        nx, ny, nz = (_cells(normal, box).where(inside, 0.0) for normal in normals)
        slope_x, slope_y = _slopes(nx, ny, nz, inside, intrinsics, box)
        link_x, link_y = torch.zeros_like(nx), torch.zeros_like(ny)
        link_x[:, :-1] = inside[:, :-1] & inside[:, 1:]
        link_y[:-1] = inside[:-1] & inside[1:]
        perspective = intrinsics is not None
        known, values, anchor = _prior(prior, box, inside, perspective)
        if isinstance(weight, Tensor):
            weight = _cells(weight.to(nx.device), box)
        order, sizes = _components(inside)
        maps = (slope_x, slope_y, -nx, -ny, link_x, link_y)
        return cls(
            box, inside, *(each.flatten() for each in maps), perspective,
            values.flatten(), (known.double() * weight).flatten(), order, sizes, anchor,
        )  # fmt: skip

    def unknowns(self, depth: Float[Tensor, "height width"]) -> Float[Tensor, "n"]:
        """Return the unknowns for a depth map: depth itself, or its logarithm in perspective; the anchor for NaN."""
        values = _unknowns(_cells(depth.to(self.prior.device), self.box), self.perspective)
        return values.nan_to_num(nan=self.anchor).where(self.inside, 0.0).flatten()

    def depth(self, z: Float[Tensor, "n"], like: Bool[Tensor, "height width"]) -> Float[Tensor, "height width"]:
        """Return the depth map of the unknowns, NaN outside."""
        depth = torch.full(like.shape, torch.nan, dtype=torch.float64, device=z.device)
        values = (z.exp() if self.perspective else z).view(self.inside.shape)
        depth[self.box] = values.where(self.inside, torch.nan)[1:-1, 1:-1]
        return depth

    def anchored(self, z: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        """Shift every component so that its mean is the prior's, or the anchor where it has no prior."""
        total, component = self._anchors
        pull = self._sums(self.prior_weight * (self.prior - z))
        shift = pull / total.where(total > 0, 1.0)
        if not bool((total > 0).all()):
            shift = torch.where(total > 0, shift, self.anchor - self._sums(z) / self.sizes)
        return z + torch.cat((shift.new_zeros(1), shift))[component]

    @cached_property
    def _anchors(self) -> tuple[Float[Tensor, "components"], Int[Tensor, "n"]]:
        """Weight of the prior in every component, and the component of every cell, from 1; 0 outside."""
        component = torch.zeros_like(self.prior, dtype=torch.int64)
        number = torch.arange(1, len(self.sizes) + 1, device=component.device)
        component[self.order] = number.repeat_interleave(self.sizes, output_size=len(self.order))
        return self._sums(self.prior_weight), component

    def _sums(self, values: Float[Tensor, "n"]) -> Float[Tensor, "components"]:
        return torch.segment_reduce(values[self.order], "sum", lengths=self.sizes)

    def agrees(self, tolerance: float, k: float) -> bool:
        """Return whether the prior knows every pixel and nearly all of its slopes are the normals' own.

        What is compared is slope times derivative and its target, by ``tolerance``. The derivative is the bilateral
        one: central where the surface is smooth (a one-sided one would be off by half of what it bends within a pixel),
        from the continuous side at a jump. Beside jumps few pixels agree with anything: hence `AGREEING`.
        """
        if not bool((self.prior_weight > 0)[self.order].all()):
            return False
        equations, agreeing = 0, 0
        for slope, target, link, far in self.axes():
            behind = link.roll(far)
            forward = slope * (self.prior.roll(-far) - self.prior) * link
            backward = slope * (self.prior - self.prior.roll(far)) * behind
            w = torch.sigmoid(k * (backward.square() - forward.square()))
            # Where one neighbour is missing, the other one's difference is all there is.
            w = torch.where(link == 0, 0.0, torch.where(behind == 0, 1.0, w))
            close = (w * forward + (1 - w) * backward - target).abs() < tolerance
            known = (link + behind) > 0
            equations, agreeing = equations + int(known.sum()), agreeing + int((close & known).sum())
        return agreeing > AGREEING * equations

    def axes(self) -> tuple[tuple[Float[Tensor, "n"], Float[Tensor, "n"], Float[Tensor, "n"], int], ...]:
        """Return slope, target, link and the distance to the next cell, for x and for y."""
        return (
            (self.slope_x, self.target_x, self.link_x, 1),
            (self.slope_y, self.target_y, self.link_y, self.width),
        )


def with_normals(
    mask: Bool[Tensor, "height width"], normals: Float[Tensor, "3 height width"]
) -> Bool[Tensor, "height width"]:
    """Return the mask without the pixels whose normals are not finite."""
    if not mask.any():
        return mask
    box = _bounding_box(mask)
    known = torch.zeros_like(mask)
    known[box] = mask[box] & torch.isfinite(normals[:, *box].sum(0))
    return known


def _bounding_box(mask: Bool[Tensor, "height width"]) -> tuple[slice, slice]:
    rows, columns = (torch.nonzero(mask.any(dim=1 - axis)).squeeze(-1) for axis in (0, 1))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _cells(values: Float[Tensor, "height width"], box: tuple[slice, slice]) -> Float[Tensor, "rows width"]:
    return pad(values[box].double(), (1, 1, 1, 1))


def _unknowns(depth: Float[Tensor, "*shape"], perspective: bool) -> Float[Tensor, "*shape"]:
    return torch.log(depth.where(depth > 0, torch.nan)) if perspective else depth


def _slopes(
    nx: Float[Tensor, "rows width"],
    ny: Float[Tensor, "rows width"],
    nz: Float[Tensor, "rows width"],
    inside: Bool[Tensor, "rows width"],
    intrinsics: Intrinsics | None,
    box: tuple[slice, slice],
) -> tuple[Float[Tensor, "rows width"], Float[Tensor, "rows width"]]:
    """Return the factor of the derivative along x and along y, per cell (eq. 6 and 10 of the paper)."""
    slopes = nz, nz
    if intrinsics is not None:
        focal_x, focal_y, center_x, center_y = intrinsics
        x, y = (torch.arange(count, device=nx.device, dtype=torch.float64) for count in reversed(nx.shape))
        # The first cell is one pixel before the box; pixel centres are at +0.5.
        x, y = x + (box[1].start - 0.5 - center_x), y + (box[0].start - 0.5 - center_y)
        # One lateral term for both axes, as published: exact when the two focal lengths agree.
        lateral = x * nx + y[:, None] * ny
        slopes = lateral + focal_x * nz, lateral + focal_y * nz
    if int((slopes[0] > 0).sum()) > 0.5 * int(inside.sum()):
        raise InputError(FLIPPED)
    return slopes


def _prior(
    prior: Float[Tensor, "height width"] | None,
    box: tuple[slice, slice],
    inside: Bool[Tensor, "rows width"],
    perspective: bool,
) -> tuple[Bool[Tensor, "rows width"], Float[Tensor, "rows width"], float]:
    """Return where the prior is usable, its unknowns (0 elsewhere) and their mean."""
    if prior is None:
        return torch.zeros_like(inside), torch.zeros(inside.shape, dtype=torch.float64, device=inside.device), 0.0
    values = _unknowns(_cells(prior.to(inside.device), box), perspective)
    known = inside & torch.isfinite(values)
    return known, values.where(known, 0.0), float(values[known].mean()) if known.any() else 0.0


def _components(inside: Bool[Tensor, "rows width"]) -> tuple[Int[Tensor, "m"], Int[Tensor, "components"]]:
    """Return the cells inside, one 4-connected component after the other, and how many each has."""
    from scipy.ndimage import label

    found, count = label(inside.cpu().numpy())
    flat = found.ravel()
    order = np.argsort(flat, kind="stable")[np.count_nonzero(flat == 0) :]
    sizes = np.bincount(flat, minlength=count + 1)[1:]
    return torch.from_numpy(order).to(inside.device), torch.from_numpy(sizes).to(inside.device)
