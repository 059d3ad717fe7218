"""GeoWizard and Marigold in a running ComfyUI, on tiny weights that were taught the portrait."""

from dataclasses import dataclass

import pytest
import torch

from mggtalk_core.geometry.marigold_provider import WEIGHTS
from tests.comfy.fixtures import SAMPLES
from tests.comfy.prompts import node, portrait, with_defaults
from tests.tiny_networks import TINY, maps_of, write_taught_geowizard, write_taught_marigold


@dataclass(frozen=True)
class Known:
    """The parts of a head that the networks are taught from."""

    portrait: object
    fit: object
    model: object


@pytest.fixture(scope="module")
def sitter():
    """The portrait that the server has among its inputs."""
    from mggtalk_core.head.camera import Camera
    from mggtalk_core.head.fit import fit_head
    from mggtalk_core.head.model import load_head_model
    from mggtalk_core.media.images import read_image
    from mggtalk_core.portrait.load import load_portrait

    loaded, model = load_portrait(read_image(SAMPLES / "mggtalk_portrait.jpg")), load_head_model()
    fit = fit_head(model, loaded.landmarks, loaded.blendshapes, Camera.for_crop(512))
    return Known(loaded, fit, model)


@pytest.fixture(scope="module")
def weights(tmp_path_factory, sitter):
    """A folder that holds the weights of both providers."""
    folder, loaded = tmp_path_factory.mktemp("weights"), sitter.portrait
    depth, normals = maps_of(sitter)
    write_taught_geowizard(folder / "geowizard", loaded.crop * loaded.matte + 1.0 - loaded.matte, depth, normals)
    write_taught_marigold(folder / WEIGHTS[0], "Depth", loaded.crop, (2.0 * depth - 1.0).expand(3, -1, -1))
    opengl = normals * torch.tensor([1.0, -1.0, -1.0])[:, None, None]
    write_taught_marigold(folder / WEIGHTS[1], "Normals", loaded.crop, opengl)
    return folder


@pytest.fixture
def run(client, object_info):
    """Run Depth + BINI with some settings and return what happened."""

    def go(provider, **settings):
        surface = node("MGGDepthBINI", portrait=["portrait", 0], provider=provider, **settings)
        prompt = {**portrait(), "surface": surface, "show": node("PreviewImage", images=["surface", 1])}
        return client.run(with_defaults(prompt, object_info))

    return go


@pytest.mark.parametrize("provider", ["geowizard", "marigold"])
def test_a_network_makes_the_surface(run, weights, comfy, provider):
    done = run(provider, weights=str(weights), steps=TINY.steps, resolution=TINY.resolution, seed=TINY.seed)
    assert done.status == "success", done.error
    assert done.files("surface") and done.files("show")
    assert f"Depth map of {provider}: near is dark" in comfy.tail(200)


@pytest.mark.parametrize(
    ("provider", "words"),
    [
        ("geowizard", ("lemonaddie/Geowizard", "5.0 GB", "licence unknown")),
        ("marigold", ("prs-eth/marigold-depth-v1-1", "2.6 GB", "RAIL")),
    ],
)
def test_missing_weights_are_one_line(run, provider, words):
    done = run(provider, download=False)
    assert done.status == "error" and done.error_node == "surface"
    assert all(word in done.error for word in words) and "\n" not in done.error.strip()


def test_a_folder_without_weights_is_one_line(run, tmp_path):
    done = run("geowizard", weights=str(tmp_path))
    assert done.status == "error" and "does not hold geowizard" in done.error
