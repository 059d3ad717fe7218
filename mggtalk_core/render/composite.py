"""The rendered head over the torso-background layer (paper D.5, before the learned inpainter)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..head.camera import Camera
from ..portrait.portrait import Portrait
from ..record import Record
from .pinholes import fill_pinholes
from .rendering import Rendering
from .torso import Torso


@dataclass(frozen=True)
class Layers(Record):
    """What a finished frame is made of."""

    rgb: Float[Tensor, "3 512 512"]
    """The head, premultiplied, without pinholes."""
    alpha: Float[Tensor, "1 512 512"]
    layer: Float[Tensor, "3 512 512"]
    """Torso and background behind it."""

    def flat(self) -> Float[Tensor, "3 512 512"]:
        """Return the head over the layer."""
        return torch.addcmul(self.rgb, 1.0 - self.alpha, self.layer).clamp_(0.0, 1.0)


class Compositor:
    """Puts rendered heads over one portrait's torso-background layer; may be called from several threads at once.

    ``torso="hold"`` keeps the layer as it is; ``"follow"`` lets neck and shoulders go along with the head. The neck's
    seam is soft because the head's own alpha fades out below the jaw.
    """

    def __init__(self, portrait: Portrait, camera: Camera | None, *, torso: str = "hold") -> None:
        """Prepare the layer; ``camera`` is that of the source picture, which ``hold`` needs not know.

        Raises InputError for another ``torso``, or for ``follow`` without cameras.
        """
        if torso not in ("hold", "follow"):
            raise InputError(f'Unknown torso mode "{torso}": choose hold or follow.')
        if torso == "follow" and camera is None:
            raise InputError("torso = follow needs the head's movement: connect the gaussians, or choose hold.")
        self._layer = portrait.background
        self._torso = Torso(portrait.background, portrait.labels, camera) if torso == "follow" else None

    def __call__(self, rendering: Rendering, camera: Camera | None) -> Float[Tensor, "3 512 512"]:
        """Return the finished crop of one frame; ``camera`` is the frame's, ``rendering`` is over nothing."""
        return self.layers(rendering, camera).flat()

    def layers(self, rendering: Rendering, camera: Camera | None) -> Layers:
        """Return what the crop of one frame is made of; see `__call__`."""
        layer = self._layer if self._torso is None else self._torso(camera)
        rgb, alpha = fill_pinholes(rendering)
        return Layers(rgb, alpha, layer.to(rgb))
