"""The learned deformation: what the head model misses when the expression changes (paper D.2, eq. 9).

Both forms say how far points of the head model move beyond what the model says; the cloud ``[P_f; P_f^s]``, which is
bound to it, follows. The residual form is ``trunk(points) . branch(beta_d, beta_s)``: the trunk runs once per avatar, a
frame costs one small product, and nothing moves where ``beta_d = beta_s``. The plain form is the MLP of eq. 9.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import InputError
from ..head.model import HeadModel
from ..portrait.blendshapes import BLENDSHAPE_INDEX, BLENDSHAPES
from ..weights.module_file import read_module, write_module

WEIGHTS = "deform.safetensors"
EXPRESSIONS = len(BLENDSHAPES)
UNIT = 0.1
"""Displacements are told in centimetres, so that weights of usual size make displacements of usual size."""
Displacement = Callable[[Float[Tensor, "52"], Float[Tensor, "52"]], Float[Tensor, "n 3"]]
"""``(beta_d, beta_s) -> displacement`` of the points that it was made for, units of 10 cm."""


@dataclass(frozen=True)
class DeformConfig:
    """Sizes of a deformation network."""

    form: str
    """``residual`` or ``plain``."""
    width: int
    layers: int
    """Hidden layers."""
    rank: int = 0
    """Directions in which a point can move beyond the model; residual form."""
    waves: int = 0
    """Frequencies, each twice the one before, at which a place is told; residual form."""

    def __post_init__(self) -> None:
        """Refuse an unknown form."""
        if self.form not in ("residual", "plain"):
            raise InputError(f'Unknown form of deformation "{self.form}": choose residual or plain.')


EMBEDDED = DeformConfig("residual", width=96, layers=3, rank=16, waves=6)
PAPER = DeformConfig("plain", width=256, layers=6)
CONFIGS = {"embedded": EMBEDDED, "paper": PAPER}


class ResidualDeform(nn.Module):
    """``trunk(points) . branch(beta_d, beta_s)``, zero at ``beta_d = beta_s`` by construction."""

    def __init__(self, config: DeformConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = _mlp(2 * 3 * (1 + 2 * config.waves), 3 * config.rank, config)
        self.branch = _mlp(2 * EXPRESSIONS, config.rank, config)
        _silence(self.trunk)

    def basis(self, points: Float[Tensor, "*b n 3"], places: Float[Tensor, "n 3"]) -> Float[Tensor, "*b n 3 k"]:
        """Return the directions of every point: what is the same in all frames of an avatar."""
        where = torch.cat((self._waves(points), self._waves(places).expand(*points.shape[:-1], -1)), dim=-1)
        return self.trunk(where).unflatten(-1, (3, self.config.rank))  # [*B, N, 3, K]

    def coefficients(self, beta_d: Float[Tensor, "*b 52"], beta_s: Float[Tensor, "*b 52"]) -> Float[Tensor, "*b k"]:
        """Return how far to go in each direction."""
        return self._branch(beta_d, beta_s) - self._branch(beta_s, beta_s)

    def forward(
        self,
        points: Float[Tensor, "*b n 3"],
        places: Float[Tensor, "n 3"],
        beta_d: Float[Tensor, "*b 52"],
        beta_s: Float[Tensor, "*b 52"],
    ) -> Float[Tensor, "*b n 3"]:
        """Return displacements in units of 10 cm.

        Args:
            points: canonical positions at the source expression.
            places: where these points lie on the mean head, see `places_on_head`.
            beta_d: driving expression.
            beta_s: source expression.
        """
        steps = self.coefficients(beta_d, beta_s)[..., None, :, None]  # [*B, 1, K, 1]
        return UNIT * (self.basis(points, places) @ steps)[..., 0]  # [*B, N, 3]

    def on(self, points: Float[Tensor, "n 3"], places: Float[Tensor, "n 3"]) -> Displacement:
        """Return the displacement of these points by expression; the trunk runs now."""
        basis = UNIT * self.basis(points, places).flatten(0, 1)  # [N * 3, K]
        return lambda beta_d, beta_s: (basis @ self.coefficients(beta_d, beta_s)).view(-1, 3)

    def _branch(self, beta_d: Float[Tensor, "*b 52"], beta_s: Float[Tensor, "*b 52"]) -> Float[Tensor, "*b k"]:
        return self.branch(torch.cat((beta_d, beta_s), dim=-1))

    def _waves(self, points: Float[Tensor, "*b n 3"]) -> Float[Tensor, "*b n c"]:
        """Return coordinates with their sines and cosines: an MLP alone is too smooth for lips and lids."""
        octaves = math.pi * 2.0 ** torch.arange(self.config.waves, device=points.device)
        angles = (points[..., None] * octaves).flatten(-2)  # [*B, N, 3 * waves]
        return torch.cat((points, angles.sin(), angles.cos()), dim=-1)


class PlainDeform(nn.Module):
    """``MLP(points, beta_d, beta_s)``: eq. 9 as it stands, added to what the model says."""

    def __init__(self, config: DeformConfig) -> None:
        super().__init__()
        self.config = config
        self.mlp = _mlp(3 + 2 * EXPRESSIONS, 3, config)
        _silence(self.mlp)

    def forward(
        self,
        points: Float[Tensor, "*b n 3"],
        places: Float[Tensor, "n 3"],
        beta_d: Float[Tensor, "*b 52"],
        beta_s: Float[Tensor, "*b 52"],
    ) -> Float[Tensor, "*b n 3"]:
        """Return displacements in units of 10 cm; ``places`` are for the other form."""
        betas = torch.cat((beta_d, beta_s), dim=-1)[..., None, :].expand(*points.shape[:-1], -1)
        return UNIT * self.mlp(torch.cat((points, betas), dim=-1))  # [*B, N, 3]

    def on(self, points: Float[Tensor, "n 3"], places: Float[Tensor, "n 3"]) -> Displacement:
        """Return the displacement of these points by expression."""
        return lambda beta_d, beta_s: self(points, places, beta_d, beta_s)


DeformNet = ResidualDeform | PlainDeform


def build_deform(config: DeformConfig) -> DeformNet:
    """Return a network that moves nothing yet."""
    return ResidualDeform(config) if config.form == "residual" else PlainDeform(config)


def places_on_head(model: HeadModel) -> Float[Tensor, "v 3"]:
    """Return where every vertex lies on the mean head with its jaw open: upper and lower lip are far apart there."""
    return model.mean + model.expression_basis[BLENDSHAPE_INDEX["jawOpen"]]


def write_deform(path: str | os.PathLike[str], network: DeformNet, notes: Mapping[str, str]) -> None:
    """Write the weights with their sizes."""
    write_module(path, network, asdict(network.config), notes)


def read_deform(path: str | os.PathLike[str]) -> DeformNet:
    """Read weights; raises `WeightsError` where they are damaged or of another version."""
    return read_module(path, lambda sizes: build_deform(DeformConfig(**sizes)))


def _mlp(inputs: int, outputs: int, config: DeformConfig) -> nn.Sequential:
    widths = [inputs] + [config.width] * config.layers
    layers: list[nn.Module] = []
    for before, after in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Linear(before, after), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))


def _silence(mlp: nn.Sequential) -> None:
    """Let an MLP say nothing before it has learned."""
    nn.init.zeros_(mlp[-1].weight)
    nn.init.zeros_(mlp[-1].bias)
