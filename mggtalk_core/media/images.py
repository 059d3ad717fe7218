"""Pictures in and out."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from .atomic import replacing

if TYPE_CHECKING:
    from PIL.Image import Image

SMALLEST_EDGE = 32
"""Pictures with a shorter edge hold no usable face."""


def read_image(path: str | os.PathLike[str]) -> Float[Tensor, "3 height width"]:
    """Read a picture as upright sRGB in 0..1; alpha is flattened over white, of an animation the first frame is taken.

    Raises:
        InputError: no such file, not a picture, truncated, or smaller than `SMALLEST_EDGE` pixels.
    """
    from PIL import Image, UnidentifiedImageError

    if not os.path.isfile(path):
        raise InputError(f"No picture at {path}; check the path.")
    try:
        with Image.open(path) as image:
            _check_size(image, path)
            image.load()
            return _to_tensor(image)
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is not a picture that can be read; give a PNG, JPEG or WebP file.") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} has too many pixels; scale it down first.") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise InputError(f"{path} is damaged or truncated ({_one_line(error)}); save or download it again.") from error


def write_image(path: str | os.PathLike[str], image: Float[Tensor, "channels height width"]) -> None:
    """Write a picture in 0..1 (1 channel grey, 3 RGB, 4 RGBA) in the format of the suffix; whole or not at all.

    Raises:
        InputError: the suffix is unknown, or the file cannot be written.
    """
    from PIL import Image

    suffix = Path(path).suffix.lower()
    if suffix not in Image.registered_extensions():
        raise InputError(f"Cannot write {path}: unknown suffix {suffix!r}; use .png, .jpg or .webp.")
    pixels = (image.detach().clamp(0.0, 1.0) * 255.0 + 0.5).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    picture = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
    options = {"quality": 95} if suffix in (".jpg", ".jpeg", ".webp") else {}
    with replacing(path) as temporary:
        picture.save(temporary, **options)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _check_size(image: Image, path: str | os.PathLike[str]) -> None:
    if min(image.size) < SMALLEST_EDGE:
        width, height = image.size
        raise InputError(f"{path} is only {width}x{height} pixels; give a picture of at least {SMALLEST_EDGE} a side.")


def _to_tensor(image: Image) -> Float[Tensor, "3 height width"]:
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        return _deep_grey(image)
    pixels = np.asarray(_to_srgb(image), dtype=np.float32) / 255.0
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3:]
        pixels = pixels[..., :3] * alpha + (1.0 - alpha)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _deep_grey(image: Image) -> Float[Tensor, "3 height width"]:
    """Scale grey of 16 or 32 bits, or float, to 0..1: Pillow's own conversion would clip it at 255."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float32))
    peak = values.max(initial=0.0)
    if image.mode.startswith("I;16"):
        full = 65535.0
    else:
        full = next((limit for limit in (1.0, 255.0, 65535.0) if peak <= limit), max(peak, 1.0))
    grey = torch.from_numpy(np.clip(values / full, 0.0, 1.0).astype(np.float32))
    return grey.expand(3, -1, -1).contiguous()


def _to_srgb(image: Image) -> Image:
    """Convert any 8-bit mode to RGB or RGBA, through the embedded colour profile where there is one."""
    if image.mode in ("P", "PA", "LA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "RGBA", "CMYK", "L"):
        converted = _through_profile(image, profile)
        if converted is not None:
            return converted
    return image if image.mode in ("RGB", "RGBA") else image.convert("RGB")


def _through_profile(image: Image, profile: bytes) -> Image | None:
    """Convert to sRGB by the embedded profile; None where the profile is broken or of another colour space."""
    from PIL import ImageCms

    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
