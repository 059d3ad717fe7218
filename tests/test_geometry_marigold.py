"""Marigold on tiny generated weights, through diffusers' own pipelines."""

import shutil
from dataclasses import replace

import pytest
import torch

from mggtalk_core.errors import InputError, WeightsError
from mggtalk_core.geometry.marigold_provider import WEIGHTS, predict_marigold
from mggtalk_core.geometry.mesh_provider import mesh_estimate
from mggtalk_core.geometry.network_options import NetworkOptions
from mggtalk_core.geometry.network_provider import network_prediction
from mggtalk_core.geometry.reconstruct import reconstruct_surface
from mggtalk_core.weights.policy import Downloads, using_policy
from tests.tiny_networks import hide_package, maps_of, options, write_marigold, write_taught_marigold

SMALL = NetworkOptions(steps=2, resolution=64, seed=3)
OPENGL = torch.tensor([1.0, -1.0, -1.0])[:, None, None]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    write_marigold(folder / WEIGHTS[0], "Depth")
    write_marigold(folder / WEIGHTS[1], "Normals", seed=9)
    return folder


@pytest.fixture(scope="module")
def picture():
    return torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(0))


def predict(place, picture, on_denoised=lambda done: None, **changes):
    return predict_marigold((place / WEIGHTS[0], place / WEIGHTS[1]), picture, replace(SMALL, **changes), on_denoised)


def test_ranges_unit_normals_and_seed(place, picture):
    said, again, other = predict(place, picture), predict(place, picture), predict(place, picture, seed=4)
    assert said.depth.shape == (64, 64) and said.normals.shape == (3, 64, 64)
    assert 0.0 <= said.depth.min() < said.depth.max() <= 1.0
    assert torch.allclose(said.normals.norm(dim=0), torch.ones(64, 64), atol=1e-5)
    assert torch.equal(said.depth, again.depth) and torch.equal(said.normals, again.normals)
    assert (said.depth - other.depth).abs().max() > 1e-3


def test_progress_counts_both_pipelines_and_can_stop_them(place, picture):
    seen = []
    predict(place, picture, seen.append)
    assert seen == [0, 0, 1, 2, 2, 2, 3, 4]

    def stop(done):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(place, picture, stop)


def test_half_precision_files_are_read(place, picture, tmp_path):
    """What is fetched from the hub: the files called fp16."""
    half = shutil.copytree(place, tmp_path / "half")
    for file in list(half.rglob("*.safetensors")):
        file.rename(file.with_suffix(".fp16.safetensors"))
    assert torch.equal(predict(half, picture).depth, predict(place, picture).depth)


def test_a_surface_from_taught_weights(tmp_path, astronaut_head):
    portrait, fit, head = astronaut_head.portrait, astronaut_head.fit, astronaut_head.model
    depth, normals = maps_of(astronaut_head)
    write_taught_marigold(tmp_path / WEIGHTS[0], "Depth", portrait.crop, (2.0 * depth - 1.0).expand(3, -1, -1))
    write_taught_marigold(tmp_path / WEIGHTS[1], "Normals", portrait.crop, normals * OPENGL)
    surface = reconstruct_surface(portrait, fit, head, provider="marigold", networks=options(tmp_path))
    mesh = mesh_estimate(portrait, fit, head)
    # 64 pixels of a head that was learnt roughly: a centimetre over the face.
    assert (surface.depth - mesh.depth)[mesh.sure].abs().mean() < 0.1
    remarks = " ".join(surface.remarks)
    assert surface.provider == "marigold" and "near is dark" in remarks and "OpenGL" in remarks


def test_missing_half_is_one_line(place, tmp_path, astronaut_head):
    shutil.copytree(place / WEIGHTS[0], tmp_path / WEIGHTS[0])
    with pytest.raises(WeightsError, match=WEIGHTS[1]) as caught:
        network_prediction("marigold", astronaut_head.portrait, replace(SMALL, weights=str(tmp_path)))
    assert "\n" not in str(caught.value)


def test_damaged_weights_are_one_line(place, tmp_path, astronaut_head):
    broken = shutil.copytree(place, tmp_path / "broken")
    file = broken / WEIGHTS[0] / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(WeightsError, match="cannot be loaded") as caught:
        network_prediction("marigold", astronaut_head.portrait, replace(SMALL, weights=str(broken)))
    assert "\n" not in str(caught.value)


def test_missing_weights_name_hub_size_and_licence(astronaut_head, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with using_policy(downloads=Downloads.NONE), pytest.raises(WeightsError) as caught:
        network_prediction("marigold", astronaut_head.portrait)
    for words in ("prs-eth/marigold-depth-v1-1", "2.6 GB", "Open RAIL++-M"):
        assert words in str(caught.value)


def test_commercial_safe_refuses_it(astronaut_head, place):
    with using_policy(commercial_safe=True), pytest.raises(WeightsError, match="commercial-safe"):
        network_prediction("marigold", astronaut_head.portrait, replace(SMALL, weights=str(place)))


def test_a_missing_package_is_one_line(astronaut_head, place, monkeypatch):
    hide_package(monkeypatch, "transformers")
    with pytest.raises(InputError, match="pip install transformers"):
        network_prediction("marigold", astronaut_head.portrait, replace(SMALL, weights=str(place)))


def test_half_the_bits_say_nearly_the_same(place, picture, monkeypatch):
    """As on a GPU, but on the CPU: every tensor meets weights of its own precision."""
    full = predict(place, picture)
    monkeypatch.setattr(NetworkOptions, "dtype", lambda self: torch.bfloat16)
    half = predict(place, picture)
    assert half.depth.dtype == torch.float32 and not torch.equal(full.depth, half.depth)
    assert (full.depth - half.depth).abs().mean() < 0.05
    assert (full.normals * half.normals).sum(0).mean() > 0.98
