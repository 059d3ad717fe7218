"""GeoWizard's joint denoising: a picture in, depth and normals out (GeoWizard 3.2, eq. 3 to 5)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from ..network_options import Prediction
from ..normals import unit
from .model import GeoWizard
from .switcher import geometry_switcher


@torch.no_grad()
def predict_geometry(
    model: GeoWizard, picture: Float[Tensor, "3 h w"], on_denoised: Callable[[int], None]
) -> Prediction:
    """Estimate depth and normals of a picture.

    Args:
        model: the networks; its options give steps, seed, resolution and scene.
        picture: square, sRGB in 0..1.
        on_denoised: called with the number of steps done before each step and at the end; may raise.

    Returns:
        Depth from 0 (near) to 1 (far) and unit normals, at the resolution of the options.

    """
    edge = model.options.pixels()
    pixels = interpolate(picture[None].float(), (edge, edge), mode="bilinear", antialias=True).clamp(0.0, 1.0)
    on_denoised(0)
    latent = _encode(model, pixels)
    context = _image_embedding(model, picture)
    both = _denoise(model, latent, context, on_denoised)
    depth, normals = _decode(model, both).chunk(2)
    on_denoised(model.options.steps)
    return Prediction(depth=(0.5 + 0.5 * depth[0].mean(dim=0).clamp(-1.0, 1.0)), normals=unit(normals[0]))


def _to_device(model: GeoWizard, values: Tensor) -> Tensor:
    return values.to(model.options.torch_device(), model.options.dtype())


def _encode(model: GeoWizard, pixels: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "1 c hl wl"]:
    """Return the picture's latent: the mean of what the autoencoder says."""
    with model.running(model.vae):
        mean = model.vae.encode(_to_device(model, 2.0 * pixels - 1.0)).latent_dist.mode()
    return mean * model.vae.config.scaling_factor


def _image_embedding(model: GeoWizard, picture: Float[Tensor, "3 h w"]) -> Float[Tensor, "1 1 d"]:
    """Return CLIP's embedding of the whole picture, the one token of the context."""
    edge = model.image_encoder.config.image_size
    small = interpolate(picture[None].float(), (edge, edge), mode="bicubic", antialias=True)
    mean, std = (small.new_tensor(values)[:, None, None] for values in (model.clip_mean, model.clip_std))
    with model.running(model.image_encoder):
        return model.image_encoder(_to_device(model, (small - mean) / std)).image_embeds[:, None]


def _denoise(
    model: GeoWizard,
    latent: Float[Tensor, "1 c h w"],
    context: Float[Tensor, "1 1 d"],
    on_denoised: Callable[[int], None],
) -> Float[Tensor, "2 c h w"]:
    """Denoise the latents of depth and normals, both from the same noise, by DDIM."""
    options = model.options
    generator = torch.Generator().manual_seed(options.seed)
    # Drawn on the CPU, so that a seed means the same everywhere.
    noise = torch.randn(latent.shape, generator=generator)
    geometry = _to_device(model, noise).repeat(2, 1, 1, 1)
    image, context = latent.repeat(2, 1, 1, 1), context.repeat(2, 1, 1)
    task = _to_device(model, geometry_switcher(options.scene))
    model.scheduler.set_timesteps(options.steps, device=geometry.device)
    with model.running(model.unet):
        for done, time in enumerate(model.scheduler.timesteps):
            on_denoised(done)
            seen = torch.cat((image, geometry), dim=1)
            guess = model.unet(seen, time, encoder_hidden_states=context, class_labels=task).sample
            geometry = model.scheduler.step(guess, time, geometry).prev_sample
    return geometry


def _decode(model: GeoWizard, latents: Float[Tensor, "2 c hl wl"]) -> Float[Tensor, "2 3 h w"]:
    with model.running(model.vae):
        pictures = [model.vae.decode(latent[None] / model.vae.config.scaling_factor).sample for latent in latents]
    return torch.cat(pictures).float().cpu()
