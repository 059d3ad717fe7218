"""The loss of the Gaussian stage (paper 3.3, eq. 7): absolute difference, structure and perception of head images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

from ..evaluation.perceptual import Lpips
from .losses import weighted_l1

WINDOW, SPREAD = 11, 1.5
"""Edge and standard deviation of the window of SSIM, pixels."""


@dataclass(frozen=True)
class HeadLoss:
    """Weights of eq. 7."""

    perceptual: float = 0.01
    """``lambda_p``, on the coarse and the dense render."""
    ssim: float = 0.2
    """``lambda_ssim``, on the dense render."""

    def __call__(
        self,
        coarse: Float[Tensor, "b 3 h w"],
        dense: Float[Tensor, "b 3 h w"],
        truth: Float[Tensor, "b 3 h w"],
        weight: Float[Tensor, "b 1 h w"],
        lpips: Lpips | None,
    ) -> dict[str, Tensor]:
        """Return the weighted terms.

        Args:
            coarse: ``I_c^h``, the render before densification.
            dense: ``I_tgt^h``, the render after it.
            truth: ``I_GT^h``, the true frame under its own matte.
            weight: how much each pixel counts.
            lpips: the perceptual distance; None leaves it out.
        """
        terms = {
            "coarse": weighted_l1(coarse, truth, weight),
            "dense": weighted_l1(dense, truth, weight),
            "ssim": self.ssim * ssim_loss(dense, truth, weight),
        }
        if lpips is not None and self.perceptual > 0.0:
            distance = lpips(coarse, truth, weight) + lpips(dense, truth, weight)
            terms["perceptual"] = self.perceptual * distance.mean()
        return terms


def ssim_loss(
    image: Float[Tensor, "b c h w"], truth: Float[Tensor, "b c h w"], weight: Float[Tensor, "b 1 h w"]
) -> Float[Tensor, ""]:
    """Return one minus the structural similarity (Wang et al. 2004), windows weighted by the pixel in their middle."""
    half = WINDOW // 2
    middle = weight[..., half:-half, half:-half]
    with torch.autocast(image.device.type, enabled=False):  # small differences of squares
        similarity = ssim_map(image.float(), truth.float()).mean(dim=1, keepdim=True)
    return 1.0 - (similarity * middle).sum() / middle.sum().clamp(min=1e-6)


def ssim_map(image: Float[Tensor, "b c h w"], truth: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h-10 w-10"]:
    """Return the structural similarity of every window that lies inside; K1 = .01, K2 = .03, values in 0..1."""
    maps = torch.cat((image, truth, image * image, truth * truth, image * truth), dim=1)
    mean_x, mean_y, xx, yy, xy = _blurred(maps).chunk(5, dim=1)
    c1, c2 = 0.01**2, 0.03**2
    structure = (2.0 * mean_x * mean_y + c1) * (2.0 * (xy - mean_x * mean_y) + c2)
    return structure / ((mean_x**2 + mean_y**2 + c1) * (xx - mean_x**2 + yy - mean_y**2 + c2))


def _blurred(image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h-10 w-10"]:
    """Return weighted means over the window, rows and columns in turn."""
    away = torch.arange(WINDOW, dtype=image.dtype, device=image.device) - WINDOW // 2
    kernel = torch.exp(-0.5 * (away / SPREAD) ** 2)
    kernel = (kernel / kernel.sum()).expand(image.shape[1], 1, 1, -1)
    across = conv2d(image, kernel, groups=image.shape[1])
    return conv2d(across, kernel.transpose(2, 3), groups=image.shape[1])


def at_size(picture: Float[Tensor, "b c h w"], size: int) -> Float[Tensor, "b c size size"]:
    """Return a picture made smaller by averaging; ``size`` divides its edge."""
    return avg_pool2d(picture, picture.shape[-1] // size) if size < picture.shape[-1] else picture
