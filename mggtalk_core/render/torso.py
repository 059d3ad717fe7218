"""How the torso-background layer follows the head."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..head.camera import Camera
from ..motion.torso import follow_weight, torso_shift


class Torso:
    """Warps a portrait's torso-background layer smoothly: all the way at the neck, not at all at the crop's border."""

    def __init__(self, layer: Float[Tensor, "3 512 512"], labels: UInt8[Tensor, "512 512"], camera: Camera) -> None:
        """Take `Portrait.background` and `Portrait.labels`, and the camera of the source picture."""
        self._camera = camera.to("cpu")
        self._layer = layer.permute(1, 2, 0).contiguous().cpu().numpy()
        self._weight = follow_weight(labels, self._camera)

    def __call__(self, camera: Camera) -> Float[Tensor, "3 512 512"]:
        """Return the layer for the head pose of ``camera``."""
        import cv2

        across, down = torso_shift(self._camera, camera)
        height, width = self._weight.shape
        # Weighed at the target pixel, though it is the source's that moves so: the weight varies slowly.
        map_x = np.arange(width, dtype=np.float32) - np.float32(across) * self._weight
        map_y = np.arange(height, dtype=np.float32)[:, None] - np.float32(down) * self._weight
        warped = cv2.remap(self._layer, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return torch.from_numpy(np.ascontiguousarray(warped.transpose(2, 0, 1)))
