"""A picture taken apart: crop, matte, torso-background."""

import warnings
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mggtalk_core.errors import InputError, WeightsError
from mggtalk_core.portrait import parsing
from mggtalk_core.portrait.background import torso_background
from mggtalk_core.portrait.face_frame import FaceFrame
from mggtalk_core.portrait.load import load_portrait
from mggtalk_core.portrait.parsing import Label
from mggtalk_core.portrait.portrait import Portrait


@pytest.fixture(scope="module")
def picture() -> Tensor:
    pixels = pytest.importorskip("skimage.data").astronaut()
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255.0


@pytest.fixture(scope="module")
def portrait(picture: Tensor) -> Portrait:
    return load_portrait(picture)


@pytest.fixture(scope="module")
def frame(portrait: Portrait) -> FaceFrame:
    return FaceFrame.from_landmarks(portrait.landmarks.double().numpy())


def _read(path: Path) -> Tensor:
    cv2 = pytest.importorskip("cv2")
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1].copy()
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255.0


def test_shapes_types_and_ranges(portrait: Portrait) -> None:
    assert portrait.crop.shape == (3, 512, 512) and portrait.background.shape == (3, 512, 512)
    assert portrait.matte.shape == (1, 512, 512) and portrait.labels.dtype == torch.uint8
    for image in (portrait.crop, portrait.background, portrait.matte):
        assert image.dtype == torch.float32 and 0.0 <= image.min() and image.max() <= 1.0
    assert portrait.score > 0.99


def test_face_fills_about_half_the_crop_and_is_centred(portrait: Portrait, frame: FaceFrame) -> None:
    assert 0.36 < frame.height / 512 < 0.5
    middle = portrait.landmarks[:, :2].mean(dim=0)
    assert ((middle - 256).abs() < 0.15 * 512).all()


def test_crop_transform_carries_the_source_onto_the_crop(portrait: Portrait) -> None:
    """Sampling the source where the transform says gives the crop, to resampling error, and no shift fits better."""
    from torch.nn.functional import grid_sample

    linear, offset = portrait.crop_transform[:, :2], portrait.crop_transform[:, 2]
    ticks = torch.arange(512) + 0.5
    errors = {}
    for shift in (-0.5, 0.0, 0.5):
        pixels = torch.stack(torch.meshgrid(ticks + shift, ticks, indexing="xy"), dim=-1).reshape(-1, 2)
        places = (pixels - offset) @ torch.linalg.inv(linear).T
        size = torch.tensor([portrait.source.shape[2], portrait.source.shape[1]])
        grid = (2 * places / size - 1).reshape(1, 512, 512, 2)
        sampled = grid_sample(portrait.source[None], grid, mode="bicubic", align_corners=False)[0]
        inside = ((places > 2) & (places < size - 2)).all(dim=-1).reshape(512, 512)
        errors[shift] = float((sampled - portrait.crop).abs().mean(dim=0)[inside].mean())
    assert errors[0.0] < 0.004
    assert errors[0.0] < 0.6 * min(errors[-0.5], errors[0.5])


def test_matte_is_solid_in_the_face_and_empty_far_away(portrait: Portrait, frame: FaceFrame) -> None:
    import cv2

    matte = portrait.matte[0].numpy()
    core = cv2.erode(frame.hull(512), np.ones((31, 31), np.uint8)) > 0
    assert matte[core].min() > 0.99
    u, v = frame.coordinates(512)
    assert matte[(np.abs(u - frame.center) > 1.1) & (v < 0)].max() < 0.01
    assert matte[v > frame.chin + 0.5].max() < 0.01
    hair = (portrait.labels == int(Label.HAIR)).numpy() & (v < frame.chin - 0.2)
    assert matte[hair].mean() > 0.95


def test_neck_fades_out_below_the_jaw(portrait: Portrait, frame: FaceFrame) -> None:
    x = int(frame.to_pixels(np.array([[frame.landmarks[152, 0], 0.0]]))[0, 0])
    column = portrait.matte[0, :, x].numpy()
    chin = int(portrait.landmarks[152, 1])
    assert column[chin - 5] > 0.95
    below = column[chin : chin + int(0.4 * frame.height)]
    assert below[-1] < 0.05 and np.diff(below).max() < 0.02, "falls, without coming back"


def test_layers_add_up_to_the_crop(portrait: Portrait) -> None:
    again = portrait.crop * portrait.matte + portrait.background * (1 - portrait.matte)
    difference = (again - portrait.crop).abs().mean(dim=0)
    assert difference.mean() < 0.004
    assert float(difference.flatten().quantile(0.99)) < 0.08


def test_background_keeps_nothing_of_the_head(portrait: Portrait) -> None:
    """Where the matte is solid and above the chin, the layer is smooth: no eyes, mouth or hair left."""
    chin = int(portrait.landmarks[152, 1])
    head = portrait.matte[0, : chin - 60] > 0.9

    def detail(image: Tensor) -> float:
        rows = image[:, : chin - 60]
        return float((rows[:, 1:, 1:] - rows[:, :-1, :-1]).abs().mean(dim=0)[head[1:, 1:]].mean())

    assert detail(portrait.background) < 0.25 * detail(portrait.crop)


def test_nothing_is_left_hanging_in_the_place_of_the_head(portrait: Portrait, frame: FaceFrame) -> None:
    """A gap in the matte, as between strands, that the picture fills with green: far from the head's edge it goes."""
    parsed = np.zeros((6, 512, 512), np.float32)
    parsed[Label.HAIR], parsed[Label.BACKGROUND] = portrait.matte[0], 1.0 - portrait.matte[0]
    crop, matte = portrait.crop.permute(1, 2, 0).numpy().copy(), portrait.matte[0].numpy().copy()
    gap = np.s_[140:172, 256:288]
    assert matte[gap].min() > 0.95
    crop[gap], matte[gap], parsed[:, *gap] = (0.0, 1.0, 0.0), 0.0, np.eye(6)[Label.BACKGROUND][:, None, None]
    layer = torso_background(crop, matte, parsed, frame, np.ones((512, 512), bool))
    around = layer[120:192, 236:308].reshape(-1, 3)
    assert float(np.abs(layer[156, 272] - np.median(around, axis=0)).max()) < 0.1
    assert float((layer[gap][..., 1] - layer[gap][..., 0]).max()) < 0.3


def test_neck_goes_on_behind_the_chin(portrait: Portrait, frame: FaceFrame) -> None:
    """10 px above the chin, the layer has the colour of the neck below it rather than of the backdrop."""
    x, chin = int(portrait.landmarks[152, 0]), int(portrait.landmarks[152, 1])
    behind = portrait.background[:, chin - 12 : chin - 4, x - 5 : x + 5].mean(dim=(1, 2))
    u, v = frame.coordinates(512)
    skin = (portrait.labels == int(Label.BODY)).numpy() & (np.abs(u - u[chin, x]) < 0.2) & (v < frame.chin + 0.25)
    neck = portrait.crop[:, torch.from_numpy(skin)].mean(dim=1)
    assert (behind - neck).abs().max() < 0.15


def test_same_picture_gives_same_bits(picture: Tensor, portrait: Portrait) -> None:
    again = load_portrait(picture)
    for field in fields(Portrait):
        one, two = getattr(portrait, field.name), getattr(again, field.name)
        assert torch.equal(one, two) if isinstance(one, Tensor) else one == two


def test_sideways_picture_gives_an_upright_crop(picture: Tensor, portrait: Portrait) -> None:
    turned = load_portrait(torch.rot90(picture, 1, (1, 2)))
    # Reading a turned picture moves landmarks by a fraction of a pixel, and the crop along with them.
    assert (turned.landmarks[:, :2] - portrait.landmarks[:, :2]).norm(dim=1).mean() < 4.0
    assert float((turned.crop - portrait.crop).abs().mean()) < 0.05


def test_what_is_beyond_the_picture_is_made_up_softly(picture: Tensor) -> None:
    """The head touches the upper border: the crop goes on above it, and the head ends there within an oval."""
    cut = load_portrait(picture[:, 40:])
    above = int(cut.crop_transform[1, 2])
    assert above > 10, "part of the crop lies above the picture"
    assert torch.isfinite(cut.crop).all()
    assert cut.matte[0, 0].max() < 0.05 or above < 60


def test_errors_say_what_to_do(picture: Tensor) -> None:
    with pytest.raises(InputError, match="No face found.*32 pixels high"):
        load_portrait(torch.full((3, 200, 300), 0.5))
    with pytest.raises(InputError, match="There is no face 3: the picture has 1"):
        load_portrait(picture, face=3)
    with pytest.raises(InputError, match="There is no face -1"):
        load_portrait(picture, face=-1)
    scale = 26 / 100
    small = torch.nn.functional.interpolate(picture[None], scale_factor=scale, mode="area")[0]
    wide = torch.nn.functional.pad(small, (20, 20, 20, 20), value=0.5)
    with pytest.raises(InputError, match="(only|No face).*at least 32"):
        load_portrait(wide)


def test_face_can_be_chosen(shared: Path) -> None:
    picture = _read(shared / "data/portraits/liveportrait_t1.jpg")
    first, third = load_portrait(picture), load_portrait(picture, face=2)
    assert not torch.equal(first.crop_transform, third.crop_transform)
    scale = [float(portrait.crop_transform[0, 0]) for portrait in (first, third)]
    assert scale[0] > 0.5 and scale[1] > 0.5


def test_without_the_parsing_network_it_warns_and_goes_on(
    picture: Tensor, portrait: Portrait, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(path: Path) -> None:
        raise WeightsError("the file is not here: put it there")

    monkeypatch.setattr(parsing, "_load", unavailable)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plain = load_portrait(picture)
    assert any("GrabCut" in str(warning.message) for warning in caught)
    both = torch.minimum(plain.matte, portrait.matte).sum() / torch.maximum(plain.matte, portrait.matte).sum()
    assert both > 0.5, "the outline finds most of the head"
