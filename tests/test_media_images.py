"""Pictures of every kind come in upright, flat and in 0..1; what cannot be used says so in one line."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from mggtalk_core.errors import InputError
from mggtalk_core.media.images import read_image, write_image


def gradient(height: int = 48, width: int = 64) -> np.ndarray:
    """A picture in which every corner is another colour, so that turns and flips show."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 255 * x / (width - 1), 255 * y / (height - 1)
    return np.stack((red, green, 255 - red), axis=-1).astype(np.uint8)


def as_uint8(image: torch.Tensor) -> np.ndarray:
    return (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def test_png_comes_in_exactly(tmp_path):
    Image.fromarray(gradient()).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.dtype == torch.float32
    assert np.array_equal(as_uint8(image), gradient())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone(tmp_path, orientation):
    turn = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]  # the turn a camera would have applied
    stored = Image.fromarray(gradient())
    stored = stored if turn is None else stored.transpose(Image.Transpose(turn))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(as_uint8(read_image(tmp_path / "a.png")), gradient())


def test_alpha_is_flattened_over_white(tmp_path):
    pixels = np.dstack((gradient(), np.full((48, 64), 128, np.uint8)))
    pixels[:, :10, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    alpha = 128 / 255
    expected = torch.from_numpy(gradient().transpose(2, 0, 1) / 255.0).float() * alpha + 1 - alpha
    assert torch.equal(image[:, :, :10], torch.ones(3, 48, 10))
    assert torch.allclose(image[:, :, 10:], expected[:, :, 10:], atol=1e-6)


def test_palette_with_transparency(tmp_path):
    pixels = np.zeros((40, 40), np.uint8)
    pixels[:20] = 1
    picture = Image.fromarray(pixels).convert("P")
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.save(tmp_path / "a.png", transparency=0)
    image = as_uint8(read_image(tmp_path / "a.png"))
    assert (image[0, 0] == (200, 100, 50)).all()
    assert (image[30, 0] == 255).all()


def test_grey_and_one_bit(tmp_path):
    grey = gradient()[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey > 100).save(tmp_path / "bit.png")
    assert np.array_equal(as_uint8(read_image(tmp_path / "grey.png")), np.dstack([grey] * 3))
    assert np.array_equal(as_uint8(read_image(tmp_path / "bit.png"))[..., 1], (grey > 100) * np.uint8(255))


def test_sixteen_bit_grey_keeps_its_depth(tmp_path):
    values = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert torch.allclose(image[1], torch.from_numpy(values / 65535.0).float(), atol=1e-6)


def test_sixteen_bit_colour(tmp_path):
    cv2 = pytest.importorskip("cv2")
    values = (gradient().astype(np.uint16) * 257)[..., ::-1]
    cv2.imwrite(str(tmp_path / "a.png"), values)
    assert np.array_equal(as_uint8(read_image(tmp_path / "a.png")), gradient())


def test_float_tiff(tmp_path):
    Image.fromarray(np.full((40, 40), 0.25, np.float32)).save(tmp_path / "a.tiff")
    assert torch.allclose(read_image(tmp_path / "a.tiff"), torch.tensor(0.25))


def test_cmyk_jpeg(tmp_path):
    Image.fromarray(gradient()).convert("CMYK").save(tmp_path / "a.jpg", quality=100)
    difference = as_uint8(read_image(tmp_path / "a.jpg")).astype(int) - gradient()
    assert np.abs(difference).mean() < 3.0  # JPEG loses a little


def test_colour_profile_is_applied(tmp_path):
    """A profile that is sRGB itself changes nothing; a broken one is ignored."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(gradient()).save(tmp_path / "srgb.png", icc_profile=profile)
    Image.fromarray(gradient()).save(tmp_path / "broken.png", icc_profile=b"nonsense")
    assert np.abs(as_uint8(read_image(tmp_path / "srgb.png")).astype(int) - gradient()).max() <= 1
    assert np.array_equal(as_uint8(read_image(tmp_path / "broken.png")), gradient())


def test_animation_gives_its_first_frame(tmp_path):
    first, second = Image.new("RGB", (40, 40), "red"), Image.new("RGB", (40, 40), "blue")
    for name in ("a.gif", "a.webp", "a.png"):
        first.save(tmp_path / name, save_all=True, append_images=[second], lossless=True)
        assert (as_uint8(read_image(tmp_path / name))[5, 5] == (255, 0, 0)).all(), name


def test_odd_sizes_and_difficult_names(tmp_path):
    folder = tmp_path / "Gesichter von Zoë 顔"
    folder.mkdir()
    write_image(folder / "ein Bild.png", torch.rand(3, 37, 53))
    assert read_image(folder / "ein Bild.png").shape == (3, 37, 53)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_written_pictures_come_back(tmp_path, channels):
    image = torch.rand(channels, 40, 50, generator=torch.Generator().manual_seed(0))
    if channels == 4:
        image[3] = 1.0
    write_image(tmp_path / "a.png", image)
    expected = image[:3].expand(3, -1, -1)
    assert (read_image(tmp_path / "a.png") - expected).abs().max() <= 0.5 / 255 + 1e-6
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "not a picture"),
        (b"just text", "not a picture"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "not a picture|damaged"),
        (None, "No picture"),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path, content, word):
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=word) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_truncated_picture_is_refused(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError) as caught:
        read_image(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [(1, 1), (31, 400), (400, 8)])
def test_tiny_picture_is_refused(tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=f"{size[0]}x{size[1]}"):
        read_image(tmp_path / "a.png")


def test_folder_is_no_picture(tmp_path):
    with pytest.raises(InputError, match="No picture"):
        read_image(tmp_path)


@pytest.mark.parametrize("target", ["missing/a.png", "a.unknown", "folder.png"])
def test_unwritable_target_is_refused_and_leaves_nothing(tmp_path, target):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError) as caught:
        write_image(tmp_path / target, torch.rand(3, 40, 40))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]
