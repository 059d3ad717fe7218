"""Sizes of the networks of the Gaussian stage, and the switches of the paper's ablations."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...errors import InputError
from ...portrait.portrait import CROP_SIZE


@dataclass(frozen=True)
class Switches:
    """What the method has; the paper's Table 3 and section 4.4.3 take one thing away at a time."""

    refinement: bool = True
    """The coarse geometry is refined (eq. 2)."""
    symmetry: bool = True
    """Mirrored points fill what the picture does not show (eq. 3)."""
    voxel_filter: bool = True
    """Mirrored points that overlap or hide visible ones are dropped (D.1)."""
    pointcloud_input: bool = True
    """The decoders see the driven points; without, the two expressions in their place (4.4.2)."""
    symmetric_decoder: bool = True
    """Mirrored Gaussians have a decoder of their own (eq. 5); without, one network makes all of them."""
    gaussians_in_symmetric: bool = True
    """That decoder starts from the Gaussians of the visible half (eq. 10)."""
    densify: bool = True
    """Every Gaussian has a child (eq. 6)."""
    symmetry_in: str = "dsgr"
    """Where points are mirrored: ``dsgr``, before they are driven, or ``sgp``, after, in every frame (4.4.3)."""

    def __post_init__(self) -> None:
        """Refuse what is no place."""
        if self.symmetry_in not in ("dsgr", "sgp"):
            raise InputError(f'Symmetry is placed in dsgr or sgp, not in "{self.symmetry_in}".')

    @property
    def geometry(self) -> tuple[bool, bool, bool, str]:
        """What decides on the points themselves: switches that agree in it share an avatar."""
        return self.refinement, self.symmetry, self.voxel_filter, self.symmetry_in


ABLATIONS: dict[str, Switches] = {
    "refinement": Switches(refinement=False),
    "symmetry": Switches(symmetry=False),
    "voxel-filter": Switches(voxel_filter=False),
    "pointcloud-input": Switches(pointcloud_input=False),
    "symmetric-decoder": Switches(symmetric_decoder=False),
    "gaussians-in-symmetric": Switches(gaussians_in_symmetric=False),
    "densify": Switches(densify=False),
}
"""The rows of Table 3, in its order, by what is left out."""


@dataclass(frozen=True)
class GaussianConfig:
    """Sizes of `GaussianNetworks`."""

    cell: int
    """Edge in pixels of the crop of a cell of the grid that the networks work on; 1 is the paper's."""
    features: int
    """Channels of the identity encoding ``F``."""
    encoder: tuple[int, ...]
    """Features at each level of the encoder."""
    decoder: tuple[int, ...]
    """The same of ``D_gs``, whose levels halve the grid."""
    blocks: int
    """Residual blocks at each level, on the way down and on the way up."""
    mirrored: int
    """Features of each of the four networks of ``D_gs^s``."""
    mirrored_blocks: int
    densify: int
    """Features of the network that places the children."""
    displacement: bool
    """``D_gs`` also sees how far every point has moved: for small networks, which would have to learn the face."""
    switches: Switches = Switches()

    @property
    def grid(self) -> int:
        """Edge of the grid in cells."""
        return CROP_SIZE // self.cell

    def with_switches(self, switches: Switches) -> GaussianConfig:
        """Return the same sizes with other switches."""
        return replace(self, switches=switches)


EMBEDDED = GaussianConfig(
    cell=8, features=16, encoder=(32, 48, 64), decoder=(24, 48, 64), blocks=1, mirrored=8, mirrored_blocks=1,
    densify=16, displacement=True,
)  # fmt: skip
"""Real time on two cores: the grid has 64x64 cells, between which offsets are interpolated."""
PAPER = GaussianConfig(
    cell=1, features=32, encoder=(32, 64, 128, 256, 256), decoder=(64, 128, 256, 512, 512), blocks=2, mirrored=64,
    mirrored_blocks=2, densify=64, displacement=False,
)  # fmt: skip
"""A cell per pixel, as in the paper, which gives no widths; these train within 24 GB."""
CONFIGS = {"embedded": EMBEDDED, "paper": PAPER}
