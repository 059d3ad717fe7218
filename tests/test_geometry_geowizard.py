"""GeoWizard on tiny generated weights in the published layout, and the weights' own troubles."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from mggtalk_core.errors import InputError, WeightsError
from mggtalk_core.geometry.geowizard.attention import CrossDomainAttention
from mggtalk_core.geometry.geowizard.denoise import predict_geometry
from mggtalk_core.geometry.geowizard.model import load_geowizard
from mggtalk_core.geometry.geowizard.switcher import SCENES, geometry_switcher
from mggtalk_core.geometry.mesh_provider import mesh_estimate
from mggtalk_core.geometry.network_options import NetworkOptions
from mggtalk_core.geometry.network_provider import network_prediction
from mggtalk_core.geometry.reconstruct import reconstruct_surface
from mggtalk_core.pipeline import Settings, build_head
from mggtalk_core.weights.policy import Downloads, using_policy
from tests.tiny_networks import hide_package, maps_of, options, write_geowizard, write_taught_geowizard

SMALL = NetworkOptions(steps=2, resolution=64, seed=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_geowizard(tmp_path_factory.mktemp("tiny") / "geowizard")


@pytest.fixture(scope="module")
def model(folder):
    return load_geowizard(folder, SMALL)


@pytest.fixture(scope="module")
def picture():
    return torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def taught(tmp_path_factory, astronaut_head):
    portrait = astronaut_head.portrait
    alone = portrait.crop * portrait.matte + 1.0 - portrait.matte
    place = tmp_path_factory.mktemp("taught")
    write_taught_geowizard(place / "geowizard", alone, *maps_of(astronaut_head))
    return place


def predict(model, picture, **changes):
    changed = replace(model, options=replace(model.options, **changes))
    return predict_geometry(changed, picture, lambda done: None)


def test_ranges_and_unit_normals(model, picture):
    said = predict(model, picture)
    assert said.depth.shape == (64, 64) and said.normals.shape == (3, 64, 64)
    assert 0.0 <= said.depth.min() < said.depth.max() <= 1.0
    assert torch.allclose(said.normals.norm(dim=0), torch.ones(64, 64), atol=1e-5)


def test_a_folder_that_is_loaded_again_says_the_same(model, folder, picture):
    first, again = predict(model, picture), predict(load_geowizard(folder, SMALL), picture)
    assert torch.equal(first.depth, again.depth) and torch.equal(first.normals, again.normals)


def test_the_seed_decides(model, picture):
    first, again, other = (predict(model, picture, seed=seed).depth for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert (first - other).abs().max() > 1e-3


@pytest.mark.parametrize("change", [{"steps": 3}, {"scene": "indoor"}, {"scene": "outdoor"}])
def test_steps_and_scene_change_the_answer(model, picture, change):
    assert (predict(model, picture).depth - predict(model, picture, **change).depth).abs().max() > 1e-5


def test_progress_counts_the_steps_and_can_stop_them(model, picture):
    seen = []
    predict_geometry(replace(model, options=replace(SMALL, steps=4)), picture, seen.append)
    assert seen == [0, 0, 1, 2, 3, 4]

    def stop(done):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_geometry(replace(model, options=replace(SMALL, steps=4)), picture, stop)


def test_switcher_numbers():
    numbers = geometry_switcher("object")
    one, zero = torch.tensor(1.0), torch.tensor(0.0)
    depth = [zero.sin(), one.sin(), zero.cos(), one.cos()]
    normals = [one.sin(), zero.sin(), one.cos(), zero.cos()]
    scene = [zero.sin(), zero.sin(), one.sin(), zero.cos(), zero.cos(), one.cos()]
    assert torch.equal(numbers, torch.stack((torch.stack(depth + scene), torch.stack(normals + scene))))
    assert len({tuple(geometry_switcher(name).flatten().tolist()) for name in SCENES}) == len(SCENES)


def attend_plainly(attn, tokens):
    """The plain twin: every token of one task attends to the tokens of both, head by head."""
    half = len(tokens) // 2
    answers = []
    for row, own in enumerate(tokens):
        both = torch.cat((tokens[row % half], tokens[row % half + half]))
        heads = []
        for part in range(attn.heads):
            width = attn.to_q.out_features // attn.heads
            at = slice(part * width, (part + 1) * width)
            query, key, value = attn.to_q(own)[:, at], attn.to_k(both)[:, at], attn.to_v(both)[:, at]
            heads.append(torch.softmax(query @ key.T / width**0.5, dim=1) @ value)
        answers.append(attn.to_out[0](torch.cat(heads, dim=1)))
    return torch.stack(answers)


def test_cross_domain_attention_is_what_it_says(model):
    attn = model.unet.mid_block.attentions[0].transformer_blocks[0].attn1
    tokens = torch.randn(4, 9, attn.to_q.in_features, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        # The same sums in another order, in fp32.
        assert torch.allclose(CrossDomainAttention()(attn, tokens), attend_plainly(attn, tokens), atol=1e-5)


def answers(model, latents):
    with torch.no_grad():
        context = torch.ones(2, 1, model.unet.config.cross_attention_dim)
        task = geometry_switcher("object")
        return model.unet(latents, 500, encoder_hidden_states=context, class_labels=task).sample


def test_depth_and_normals_see_each_other(model, folder):
    from diffusers import UNet2DConditionModel

    latents = torch.randn(2, 8, 16, 16, generator=torch.Generator().manual_seed(2))
    changed = latents.clone()
    changed[1] += 1.0  # the normals' latent
    plain = replace(model, unet=UNet2DConditionModel.from_pretrained(folder / "unet").eval())
    assert (answers(model, latents)[0] - answers(model, changed)[0]).abs().max() > 1e-4
    assert torch.equal(answers(plain, latents)[0], answers(plain, changed)[0])


def test_only_self_attention_is_coupled(model):
    joint = {name for name, kind in model.unet.attn_processors.items() if isinstance(kind, CrossDomainAttention)}
    assert joint == {name for name in model.unet.attn_processors if ".attn1." in name} and joint


def test_the_context_and_its_normalisation_come_from_the_folder(model, folder, picture):
    assert model.clip_mean == (0.4, 0.5, 0.6) and model.clip_std == (0.2, 0.3, 0.4)
    other = replace(model, clip_mean=(0.0, 0.0, 0.0))
    assert (predict(model, picture).depth - predict(other, picture).depth).abs().max() > 1e-6


def test_an_autoencoder_with_the_old_names_of_its_attention_is_understood(folder, tmp_path, model, picture):
    """The published one may have them: diffusers renamed them, and no weight may count as missing."""
    from safetensors.torch import load_file, save_file

    old = shutil.copytree(folder, tmp_path / "geowizard")
    file = old / "vae" / "diffusion_pytorch_model.safetensors"
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = {}
    for name, value in load_file(file).items():
        for new, before in names.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{before}.")
        weights[name] = value
    assert any("proj_attn" in name for name in weights)
    save_file(weights, file, metadata={"format": "pt"})
    assert torch.equal(predict(load_geowizard(old, SMALL), picture).depth, predict(model, picture).depth)


def test_a_surface_from_taught_weights(taught, astronaut_head):
    portrait, fit, head = astronaut_head.portrait, astronaut_head.fit, astronaut_head.model
    calls = []
    surface = reconstruct_surface(
        portrait, fit, head, provider="geowizard", networks=options(taught),
        on_step=lambda done, total: calls.append((done, total)),
    )  # fmt: skip
    mesh = mesh_estimate(portrait, fit, head)
    assert surface.provider == "geowizard" and calls
    # 64 pixels of a head that was learnt roughly: a centimetre over the face.
    assert (surface.depth - mesh.depth)[mesh.sure].abs().mean() < 0.1
    remarks = " ".join(surface.remarks)
    assert "near is dark" in remarks and "camera axes (x right, y down, z forward)" in remarks
    built = build_head(portrait, Settings(provider="geowizard", networks=options(taught)))
    assert torch.equal(built.surface.depth, surface.depth) and built.points.visible_count > 10_000


def test_weights_that_know_nothing_are_noticed(folder, astronaut_head):
    parts = astronaut_head.portrait, astronaut_head.fit, astronaut_head.model
    with pytest.raises(InputError, match="map of geowizard does not resemble the face"):
        reconstruct_surface(*parts, provider="geowizard", networks=replace(SMALL, weights=str(folder)))


def test_cancel_passes_through(folder, astronaut_head):
    def cancel(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        network_prediction("geowizard", astronaut_head.portrait, replace(SMALL, weights=str(folder)), on_step=cancel)


def damage(folder, part):
    if part == "unet 4 channels":
        write = folder / "unet" / "config.json"
        write.write_text(json.dumps(json.loads(write.read_text()) | {"in_channels": 4}))
    elif part == "cut":
        path = folder / "vae" / "diffusion_pytorch_model.safetensors"
        path.write_bytes(path.read_bytes()[:1000])
    elif part == "lacks":
        from safetensors.torch import load_file, save_file

        path = folder / "image_encoder" / "model.safetensors"
        weights = load_file(path)
        save_file({name: value for name, value in weights.items() if "visual_projection" not in name}, path)
    else:
        shutil.rmtree(folder / part)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("unet", "unet/*.safetensors"),
        ("image_encoder", "image_encoder"),
        ("cut", "cannot be loaded"),
        ("lacks", "lacks 1 weights, visual_projection"),
        ("unet 4 channels", "cannot be loaded"),
    ],
)
def test_damaged_weights_are_one_line(folder, tmp_path, astronaut_head, part, words):
    broken = shutil.copytree(folder, tmp_path / "geowizard")
    damage(broken, part)
    with pytest.raises(WeightsError) as caught:
        network_prediction("geowizard", astronaut_head.portrait, replace(SMALL, weights=str(tmp_path)))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_network_without_a_switcher_is_refused(folder, tmp_path):
    broken = shutil.copytree(folder, tmp_path / "geowizard")
    write = broken / "unet" / "config.json"
    said = {"class_embed_type": None, "projection_class_embeddings_input_dim": None}
    write.write_text(json.dumps(json.loads(write.read_text()) | said))
    with pytest.raises(WeightsError, match="no geometry switcher"):
        load_geowizard(broken, SMALL)


def test_missing_weights_name_hub_size_and_licence(astronaut_head, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with using_policy(downloads=Downloads.NONE), pytest.raises(WeightsError) as caught:
        network_prediction("geowizard", astronaut_head.portrait)
    for words in ("lemonaddie/Geowizard", "5.0 GB", "licence unknown", "switched off"):
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_commercial_safe_refuses_any_copy(astronaut_head, folder):
    with using_policy(commercial_safe=True), pytest.raises(WeightsError, match="licence: unknown"):
        network_prediction("geowizard", astronaut_head.portrait, replace(SMALL, weights=str(folder)))


def test_a_missing_package_is_one_line(astronaut_head, folder, monkeypatch):
    hide_package(monkeypatch, "transformers")
    with pytest.raises(InputError, match="pip install transformers"):
        network_prediction("geowizard", astronaut_head.portrait, replace(SMALL, weights=str(folder)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 0}, "1 to 1000"),
        ({"resolution": 32}, "at least 64"),
        ({"scene": "moon"}, "object, indoor, outdoor"),
        ({"precision": "int8"}, "fp16"),
        ({"offload": "disk"}, "sequential"),
    ],
)
def test_settings_that_cannot_be_run(change, words):
    with pytest.raises(InputError, match=words):
        NetworkOptions(**change)


@pytest.mark.parametrize("place", ["not/a/hub/id", "nowhere"])
def test_a_place_that_is_no_place(astronaut_head, place):
    with pytest.raises(WeightsError, match="no folder"):
        network_prediction("geowizard", astronaut_head.portrait, replace(SMALL, weights=place))


def test_half_the_bits_say_nearly_the_same(model, folder, picture, monkeypatch):
    """As on a GPU, but on the CPU: every tensor meets weights of its own precision."""
    full = predict(model, picture)
    monkeypatch.setattr(NetworkOptions, "dtype", lambda self: torch.bfloat16)
    half = predict(load_geowizard(folder, SMALL), picture)
    assert half.depth.dtype == torch.float32 and not torch.equal(full.depth, half.depth)
    assert (full.depth - half.depth).abs().mean() < 0.05
    assert (full.normals * half.normals).sum(0).mean() > 0.98


@pytest.mark.parametrize(
    ("precision", "device", "dtype"),
    [
        ("auto", "cuda", torch.float16),
        ("bf16", "cuda", torch.bfloat16),
        ("fp32", "cuda", torch.float32),
        ("fp16", "cpu", torch.float32),
        ("auto", "cpu", torch.float32),
    ],
)
def test_precision_follows_the_device(precision, device, dtype):
    assert NetworkOptions(precision=precision, device=device).dtype() == dtype
