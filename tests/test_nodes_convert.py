"""Pictures, masks, sounds and clips on their way between ComfyUI and the core."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mggtalk_core.media.sound import Sound
from mggtalk_core.media.video import VideoReader, VideoWriter
from tests.comfy_double import Clip


def part(nodes, name):
    return sys.modules[nodes["MGGDeform"].__module__.rsplit(".", 1)[0] + "." + name]


@pytest.fixture(scope="module")
def convert(nodes):
    return part(nodes, "convert")


@pytest.fixture(scope="module")
def input_error(convert):
    return convert.InputError


def test_pictures_go_there_and_back(convert):
    image = torch.rand(3, 7, 5, 3)
    assert torch.equal(convert.to_image(convert.to_planes(image)), image)
    assert torch.equal(convert.one_picture(image, 2), image[2].movedim(-1, 0))


def test_alpha_is_laid_over_white_and_grey_becomes_colour(convert):
    image = torch.tensor([0.2, 0.4, 0.6, 0.5]).expand(1, 2, 2, 4)
    assert torch.allclose(convert.to_planes(image)[0, :, 0, 0], torch.tensor([0.6, 0.7, 0.8]))
    assert convert.to_planes(torch.full((2, 3, 4, 1), 0.3)).shape == (2, 3, 3, 4)


def test_half_precision_and_broken_values_become_usable(convert):
    image = torch.tensor([0.25, float("nan"), float("inf")]).half().expand(1, 2, 2, 3)
    planes = convert.to_planes(image)
    assert planes.dtype == torch.float32 and bool(torch.isfinite(planes).all()) and planes[0, 0, 0, 0] == 0.25


@pytest.mark.parametrize("shape", [(0, 4, 4, 3), (1, 4, 4, 2), (4, 4, 3)])
def test_unusable_pictures_are_refused(convert, input_error, shape):
    with pytest.raises(input_error, match="at least one picture"):
        convert.to_planes(torch.zeros(shape))


def test_a_missing_picture_is_named(convert, input_error):
    with pytest.raises(input_error, match="There is no picture 2: the IMAGE has 2"):
        convert.one_picture(torch.zeros(2, 4, 4, 3), 2)


def test_masks_of_any_rank_become_planes(convert):
    mask = torch.rand(5, 6)
    assert torch.equal(convert.mask_planes(mask)[0, 0], mask)
    assert convert.mask_planes(torch.rand(3, 5, 6) * 3.0).amax() == 1.0
    assert torch.equal(convert.to_mask(convert.mask_planes(mask[None])), mask[None])


def test_sound_shares_its_samples(convert):
    waveform = torch.randn(2, 2, 100)
    sound = convert.to_sound({"waveform": waveform, "sample_rate": 22050}, 1)
    assert torch.equal(sound.samples, waveform[1]) and sound.rate == 22050
    assert sound.samples.data_ptr() == waveform[1].data_ptr()


@pytest.mark.parametrize("shape", [(1, 1, 0), (0, 1, 9), (9,)])
def test_empty_sound_is_refused(convert, input_error, shape):
    with pytest.raises(input_error, match="not empty"):
        convert.to_sound({"waveform": torch.zeros(shape), "sample_rate": 16000})


def test_frames_are_the_bytes_of_the_pictures(convert):
    bytes_ = torch.randint(0, 256, (2, 4, 6, 3), dtype=torch.uint8)
    frames = convert.Frames(bytes_.float() / 255.0)
    assert len(frames) == 2
    assert all(np.array_equal(frame, wanted) for frame, wanted in zip(frames, bytes_.numpy(), strict=True))


@pytest.fixture
def clip(tmp_path):
    with VideoWriter(tmp_path / "clip.mp4", 25.0, 32, 16, Sound(torch.zeros(1, 4000), 16000)) as writer:
        for level in (0, 80, 160):
            writer.write(np.full((16, 32, 3), level, np.uint8))
    return tmp_path / "clip.mp4"


class Trimmed(Clip):
    """A VIDEO of which only a part is meant; it saves that part."""

    def get_active_trim_window(self):
        return 0.04, 0.04

    def save_to(self, path):
        Path(path).write_bytes(Path(self.file).read_bytes())


def test_a_clip_on_disk_is_read_where_it_lies(convert, clip):
    with convert.clip_path(Clip(str(clip))) as path:
        assert path == str(clip)


@pytest.mark.parametrize("kind", ["memory", "trimmed"])
def test_other_clips_lie_in_a_file_meanwhile(convert, clip, kind):
    video = Trimmed(str(clip)) if kind == "trimmed" else Clip(io.BytesIO(clip.read_bytes()))
    with convert.clip_path(video) as path:
        assert path != str(clip) and VideoReader(path).frame_count == 3
    assert not Path(path).exists()


def test_normal_maps_of_both_styles_mean_the_same(nodes):
    maps = part(nodes, "maps")
    normal = torch.nn.functional.normalize(torch.tensor([0.3, -0.4, -0.8]), dim=0)
    colour = 0.5 + 0.5 * normal * torch.tensor([1.0, -1.0, -1.0])
    opengl = colour[:, None, None].expand(3, 2, 2)
    directx = torch.stack((opengl[0], 1.0 - opengl[1], opengl[2]))
    for picture, style in ((opengl, "opengl"), (opengl, "auto"), (directx, "directx")):
        assert torch.allclose(maps.normals_of_picture(picture, style)[:, 0, 0], normal, atol=1e-6)
    assert bool(maps.normals_of_picture(torch.zeros(3, 2, 2), "opengl").isnan().all())


def test_our_own_maps_can_be_handed_back_in(nodes, portrait):
    """Depth and normals that the node gives lead to the surface they came from."""
    run = nodes["MGGDepthBINI"].execute
    surface, depth, normals = run(portrait=portrait, provider="mesh").result
    again = run(portrait=portrait, provider="given", depth=depth, normals=normals).result[0]
    both = surface.mask & again.mask
    face = both & (surface.triangle >= 0)
    assert again.provider == "given" and both.sum() > 0.95 * surface.mask.sum()
    assert (again.depth - surface.depth)[face].abs().median() < 0.05


def test_geometries_of_other_nodes_are_read(nodes, portrait):
    maps = part(nodes, "maps")
    surface = nodes["MGGDepthBINI"].execute(portrait=portrait, provider="mesh").result[0]
    depth = torch.where(surface.mask, surface.depth, torch.full_like(surface.depth, torch.inf))
    moge = {"depth": depth[None], "normal": surface.normals.movedim(0, -1)[None]}
    found = maps.given_maps(portrait, None, None, "opengl", moge, None)
    assert torch.equal(found.depth[surface.mask], surface.depth[surface.mask])
    assert bool(found.depth[~surface.mask].isnan().all()) and torch.equal(found.normals, surface.normals)
    found = maps.given_maps(portrait, None, None, "opengl", None, {"depth": depth[None]})
    assert found.normals is None and torch.equal(found.depth[surface.mask], surface.depth[surface.mask])
    again = nodes["MGGDepthBINI"].execute(portrait=portrait, provider="mesh", moge_geometry=moge).result[0]
    face = surface.mask & (surface.triangle >= 0)
    assert again.provider == "given" and (again.depth - surface.depth)[face].abs().median() < 0.03


@pytest.mark.parametrize("kind", ["alpha", "half", "second of a batch", "odd"])
def test_every_kind_of_picture_loads(nodes, picture, portrait, kind):
    image = {
        "alpha": torch.cat((picture, torch.ones_like(picture[..., :1])), dim=-1),
        "half": picture.half(),
        "second of a batch": torch.cat((torch.zeros_like(picture), picture)),
        "odd": picture[:, :501, :511],
    }[kind]
    result = nodes["MGGLoadPortrait"].execute(image=image, face=0, picture=1 if kind.startswith("second") else 0).result
    loaded, crop, mask = result
    assert crop.shape == (1, 512, 512, 3) and mask.shape == (1, 512, 512) and crop.dtype == torch.float32
    # The same face in the same place, whatever it came in.
    seen, wanted = (torch.linalg.inv(one.crop_transform[:, :2]) for one in (loaded, portrait))
    where = [
        (one.landmarks[:, :2] - one.crop_transform[:, 2]) @ inverse.T
        for one, inverse in ((loaded, seen), (portrait, wanted))
    ]
    assert (where[0] - where[1]).norm(dim=-1).mean() < 1.5


def test_what_is_noticed_about_maps_is_said_on_the_node(nodes, portrait, monkeypatch):
    run, said = nodes["MGGDepthBINI"].execute, []
    monkeypatch.setattr(part(nodes, "geometry"), "say", lambda text, cls: said.append(text))
    _, depth, normals = run(portrait=portrait, provider="mesh").result
    assert said == []
    run(portrait=portrait, provider="given", depth=depth)
    upside_down = torch.stack((normals[..., 0], 1.0 - normals[..., 1], normals[..., 2]), dim=-1)
    run(portrait=portrait, provider="given", normals=upside_down, normal_style="opengl")
    run(portrait=portrait, provider="given", normals=upside_down, normal_style="auto")
    assert "near is bright" in said[0]
    assert "its y points against" in said[1]
    assert said[2].startswith("Normal map: ") and "against" not in said[2]


def test_settings_of_the_networks_reach_them(nodes, portrait, monkeypatch):
    seen = []
    geometry = part(nodes, "geometry")
    known = geometry.surface_of
    monkeypatch.setattr(geometry, "surface_of", lambda *a, **named: seen.append(named) or known(portrait, "mesh"))
    chosen = {"steps": 3, "seed": 7, "scene": "indoor", "resolution": 128, "precision": "bf16", "offload": "model"}
    nodes["MGGDepthBINI"].execute(
        portrait=portrait, provider="geowizard", weights="somewhere", prior_weight=2.0, download=False, **chosen
    )
    options = seen[0]["networks"]
    assert {name: getattr(options, name) for name in chosen} == chosen
    assert (options.weights, options.device, seen[0]["prior_weight"]) == ("somewhere", "cpu", 2.0)
