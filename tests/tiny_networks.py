"""GeoWizard and Marigold with few weights, in the layout of the published ones, and a way to teach them one picture."""

import importlib.util
import json
from dataclasses import replace

import torch
from torch.nn.functional import interpolate, unfold

from mggtalk_core.geometry.geowizard.denoise import predict_geometry
from mggtalk_core.geometry.geowizard.model import load_geowizard
from mggtalk_core.geometry.mesh_provider import mesh_estimate
from mggtalk_core.geometry.network_options import NetworkOptions

CONTEXT = 32
"""Channels of the context; 768 or 1024 in the published weights."""
TINY = NetworkOptions(steps=1, resolution=64)
"""What the taught weights are taught at."""
CLIP = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "hidden_act": "quick_gelu", "projection_dim": CONTEXT}  # fmt: skip


def unet(seed, width=32, **options):
    """Return a UNet like the published ones: linear projections, one number of heads per level."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(seed)
    return UNet2DConditionModel(
        in_channels=8, out_channels=4, block_out_channels=(width, 64), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=[2, 4], cross_attention_dim=CONTEXT, use_linear_projection=True, **options,
    )  # fmt: skip


def vae(seed):
    """Return an autoencoder that makes a quarter of the size."""
    from diffusers import AutoencoderKL

    torch.manual_seed(seed)
    network = AutoencoderKL(
        block_out_channels=(128, 32, 32), down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3, layers_per_block=1, latent_channels=4,
    )  # fmt: skip
    with torch.no_grad():  # what random residuals add hides what they are added to
        for name, weight in network.decoder.named_parameters():
            if name.endswith(("conv2.weight", "to_out.0.weight")):
                weight.mul_(0.1)
    return network


def scheduler(one_step):
    """Return the published DDIM schedule, or one whose only step takes the UNet's answer as it is."""
    from diffusers import DDIMScheduler

    how = {"prediction_type": "v_prediction", "set_alpha_to_one": False, "steps_offset": 1}
    if one_step:
        how = {"prediction_type": "sample", "set_alpha_to_one": True, "timestep_spacing": "trailing"}
    return DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, **how)


def write_geowizard(folder, seed=0, width=32, one_step=False):
    """Write random weights with every file that the published repository has."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    switched = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 10}
    unet(seed, width, **switched).save_pretrained(folder / "unet")
    vae(seed + 1).save_pretrained(folder / "vae")
    scheduler(one_step).save_pretrained(folder / "scheduler")
    torch.manual_seed(seed + 2)
    encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(image_size=28, patch_size=14, **CLIP))
    encoder.save_pretrained(folder / "image_encoder")
    (folder / "feature_extractor").mkdir()
    said = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
    (folder / "feature_extractor" / "preprocessor_config.json").write_text(json.dumps(said))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "DepthNormalEstimationPipeline"}))
    return folder


def write_marigold(folder, kind, seed=0, width=32, one_step=False):
    """Write random weights of one of Marigold's pipelines, ``Depth`` or ``Normals``."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    text = folder.parent / "tokens"
    text.mkdir(exist_ok=True)
    letters = ["a", "a</w>", "<|startoftext|>", "<|endoftext|>"]
    (text / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(letters)}))
    (text / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer.from_pretrained(str(text), model_max_length=77)
    torch.manual_seed(seed + 2)
    words = CLIPTextModel(CLIPTextConfig(vocab_size=4, bos_token_id=2, eos_token_id=3, pad_token_id=3, **CLIP))
    parts = {"prediction_type": kind.lower(), "default_denoising_steps": 4, "default_processing_resolution": 768}
    parts |= {"scale_invariant": True, "shift_invariant": True} if kind == "Depth" else {"use_full_z_range": True}
    pipeline = getattr(diffusers, f"Marigold{kind}Pipeline")(
        unet(seed, width), vae(seed + 1), scheduler(one_step), words, tokenizer, **parts
    )
    pipeline.save_pretrained(folder)
    return folder


def write_taught_geowizard(folder, picture, depth, normals):
    """Write weights that answer one picture (at `TINY`) with the given depth 0..1 and normals in camera axes.

    Only the last layers of UNet and decoder are set, by least squares on what reaches them; all before is random.
    """
    write_geowizard(folder, width=128, one_step=True)
    model = load_geowizard(folder, TINY)
    target = torch.stack(((2.0 * depth - 1.0).expand(3, -1, -1), normals))
    _teach(model.unet.conv_out, model.vae, lambda: predict_geometry(model, picture, lambda _: None), target)
    model.unet.save_pretrained(folder / "unet")
    model.vae.save_pretrained(folder / "vae")
    return folder


def write_taught_marigold(folder, kind, picture, target):
    """Write weights of one of Marigold's pipelines that answer one picture (at `TINY`) with a map [3,h,w] in -1..1."""
    import diffusers

    write_marigold(folder, kind, width=128, one_step=True)
    pipeline = getattr(diffusers, f"Marigold{kind}Pipeline").from_pretrained(str(folder))
    pipeline.set_progress_bar_config(disable=True)

    def run():
        small = interpolate(picture[None], (TINY.resolution,) * 2, mode="bilinear", antialias=True)
        pipeline(
            small, num_inference_steps=TINY.steps, processing_resolution=0,
            generator=torch.Generator().manual_seed(TINY.seed), output_type="pt",
        )  # fmt: skip

    _teach(pipeline.unet.conv_out, pipeline.vae, run, target[None])
    pipeline.save_pretrained(folder)
    return folder


def _teach(last_of_unet, autoencoder, run, target):
    """Set the last layers so that ``run`` answers with ``target``; a latent is the map itself, made small."""
    side = TINY.resolution // 4
    small = interpolate(target, (side, side), mode="area")
    latent = torch.cat((small, small.mean(dim=1, keepdim=True)), dim=1)
    _solve(last_of_unet, _inputs(last_of_unet, run), latent * autoencoder.config.scaling_factor)
    last = autoencoder.decoder.conv_out
    _solve(last, _inputs(last, run), interpolate(target, (TINY.resolution,) * 2, mode="area"))


def _inputs(layer, run):
    seen = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    run()
    hook.remove()
    return torch.cat(seen)


@torch.no_grad()
def _solve(layer, inputs, targets):
    """Fit a 3x3 convolution to its inputs [n,c,h,w] and targets [n,o,h,w]."""
    columns = unfold(inputs.double(), 3, padding=1).movedim(1, 2).flatten(0, 1)
    columns = torch.cat((columns, torch.ones_like(columns[:, :1])), dim=1)
    wanted = targets.double().flatten(2).movedim(1, 2).flatten(0, 1)
    normal = columns.T @ columns
    normal.diagonal().add_(1e-6 * float(normal.diagonal().mean()))
    solution = torch.linalg.solve(normal, columns.T @ wanted)
    layer.weight.copy_(solution[:-1].T.reshape(layer.weight.shape))
    layer.bias.copy_(solution[-1])


def hide_package(monkeypatch, package):
    """Let the providers believe that a package is not installed."""
    known = importlib.util.find_spec
    place = "mggtalk_core.geometry.network_loading.find_spec"
    monkeypatch.setattr(place, lambda name: None if name == package else known(name))


def maps_of(head):
    """Return what a head's networks are taught: depth 0..1 and normals in camera axes, flat outside the head."""
    estimate = mesh_estimate(head.portrait, head.fit, head.model)
    inside = estimate.depth[estimate.mask]
    depth = torch.where(estimate.mask, estimate.depth, inside.mean())
    flat = estimate.normals.new_tensor((0.0, 0.0, -1.0))[:, None, None]
    near, far = inside.min(), inside.max()
    return ((depth - near) / (far - near)).clamp(0.0, 1.0), torch.where(estimate.mask, estimate.normals, flat)


def options(folder, **changes):
    """Return the settings that the taught weights are made for, reading them from ``folder``."""
    return replace(TINY, weights=str(folder), **changes)
