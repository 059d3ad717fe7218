"""Between ComfyUI's pictures, masks, sounds and clips and the core's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from comfy.model_management import intermediate_device
from jaxtyping import Float
from torch import Tensor

from ..mggtalk_core.animate import resized
from ..mggtalk_core.errors import InputError
from ..mggtalk_core.media.sound import Sound
from ..mggtalk_core.portrait.portrait import CROP_SIZE


def to_planes(image: Float[Tensor, "b h w c"]) -> Float[Tensor, "b 3 h w"]:
    """Return an IMAGE batch as the core's pictures: float32 on the CPU, grey made colour, alpha flattened over white.

    Raises:
        InputError: no picture at all, or a number of channels that is not 1, 3 or 4.
    """
    if image.dim() != 4 or image.shape[0] == 0 or image.shape[-1] not in (1, 3, 4):
        raise InputError(
            f"The IMAGE has the shape {tuple(image.shape)}; give at least one picture with 1, 3 or 4 channels."
        )
    planes = image.detach().to("cpu", torch.float32).movedim(-1, 1)
    planes = torch.nan_to_num(planes)
    if planes.shape[1] == 4:
        planes = planes[:, :3] * planes[:, 3:] + (1.0 - planes[:, 3:])
    return planes.expand(-1, 3, -1, -1) if planes.shape[1] == 1 else planes


def one_picture(image: Float[Tensor, "b h w c"], index: int = 0) -> Float[Tensor, "3 h w"]:
    """Return one picture of an IMAGE batch.

    Raises:
        InputError: the batch has no such picture.
    """
    if not 0 <= index < len(image):
        raise InputError(f"There is no picture {index}: the IMAGE has {len(image)}, counted from 0.")
    return to_planes(image[index : index + 1])[0]


def to_image(planes: Float[Tensor, "*b 3 h w"]) -> Float[Tensor, "b h w 3"]:
    """Return the core's picture, or a batch of them, as an IMAGE."""
    batch = planes if planes.dim() == 4 else planes[None]
    return batch.detach().movedim(1, -1).to(intermediate_device(), torch.float32).clamp(0.0, 1.0).contiguous()


def to_mask(alpha: Float[Tensor, "*b 1 h w"]) -> Float[Tensor, "b h w"]:
    """Return the core's coverage, or a batch of it, as a MASK."""
    batch = alpha if alpha.dim() == 4 else alpha[None]
    return batch[:, 0].detach().to(intermediate_device(), torch.float32).contiguous()


def mask_planes(mask: Float[Tensor, "*b h w"]) -> Float[Tensor, "b 1 h w"]:
    """Return a MASK (or a single [h,w]) as the core's coverage, on the CPU and in 0..1."""
    batch = mask if mask.dim() == 3 else mask.reshape(-1, *mask.shape[-2:])
    return batch.detach().to("cpu", torch.float32)[:, None].clamp(0.0, 1.0)


def crop_sized(planes: Float[Tensor, "c h w"]) -> Float[Tensor, "c 512 512"]:
    """Return a square picture or mask at the size of the crop; one that has it already is not touched.

    Raises:
        InputError: it is not square.
    """
    if planes.shape[-1] != planes.shape[-2]:
        raise InputError(
            f"A picture or mask is {planes.shape[-1]}x{planes.shape[-2]}: give squares, as Splat Render does."
        )
    return resized(planes, CROP_SIZE).clamp(0.0, 1.0)


def to_sound(audio: dict[str, Any], item: int = 0) -> Sound:
    """Return one item of an AUDIO batch; samples are shared, not copied, where that is possible.

    Raises:
        InputError: no samples, or a shape that is not [batch, channels, time].
    """
    waveform, rate = audio["waveform"], int(audio["sample_rate"])
    if waveform.dim() != 3 or 0 in waveform.shape or rate <= 0:
        raise InputError(
            f"The AUDIO has the shape {tuple(waveform.shape)} at {rate} Hz; give a sound that is not empty."
        )
    return Sound(waveform[item].detach().to("cpu", torch.float32), rate)


class Frames:
    """An IMAGE batch as the uint8 pictures that a tracker reads, converted one at a time."""

    def __init__(self, image: Float[Tensor, "b h w c"]) -> None:
        """Keep the batch; nothing is copied."""
        self._image = image

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._image)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield uint8 [height, width, 3]."""
        for index in range(len(self._image)):
            planes = one_picture(self._image, index)
            yield (planes.clamp(0.0, 1.0) * 255.0).round().byte().permute(1, 2, 0).contiguous().numpy()


@contextmanager
def clip_path(video: Any) -> Iterator[str]:
    """Give a VIDEO as the path of a clip; one that is trimmed or lies in memory is put into a file meanwhile."""
    import tempfile
    from pathlib import Path

    import folder_paths

    source = video.get_stream_source()
    window = video.get_active_trim_window() if hasattr(video, "get_active_trim_window") else (0.0, 0.0)
    if isinstance(source, str) and not any(window):
        yield source
        return
    with tempfile.TemporaryDirectory(dir=folder_paths.get_temp_directory(), prefix="mggtalk_") as folder:
        path = Path(folder) / "clip.mp4"
        if any(window):
            video.save_to(str(path))
        else:
            path.write_bytes(source.getvalue())
        yield str(path)
