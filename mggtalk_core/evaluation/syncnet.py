"""SyncNet, which tells whether lips and sound belong together (Chung & Zisserman 2016), with the user's own weights.

Two branches see a fifth of a second each, one the sound, the other five pictures of the face at 25 a second, and lay
both into one space of 1024 dimensions, where what belongs together lies close. Names of the weights, order of the
layers and the scale of the input are those of the published ``syncnet_v2.model``.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from pickle import UnpicklingError

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import WeightsError

NAME = "syncnet_v2.model"
FRAMES, EDGE = 5, 224
"""Pictures that are seen at once, and their edge in pixels."""
STEPS, COEFFICIENTS = 20, 13
"""Columns and rows of the sound that belongs to so many pictures: a hundred columns a second."""
EMBEDDING = 1024

SOUND: tuple[tuple[int, int, tuple[int, int], int, tuple[tuple[int, int], tuple[int, int]] | None], ...] = (
    (1, 64, (3, 3), 1, ((1, 1), (1, 1))), (64, 192, (3, 3), 1, ((3, 3), (1, 2))),
    (192, 384, (3, 3), 1, None), (384, 256, (3, 3), 1, None), (256, 256, (3, 3), 1, ((3, 3), (2, 2))),
    (256, 512, (5, 4), 0, None),
)  # fmt: skip
"""Channels in and out, kernel, padding; kernel and stride of the pooling that follows."""
LIPS: tuple[tuple[int, int, tuple[int, int], int, int, int | None], ...] = (
    (3, 96, (5, 7), 2, 0, 0), (96, 256, (1, 5), 2, 1, 1), (256, 256, (1, 3), 1, 1, None),
    (256, 256, (1, 3), 1, 1, None), (256, 256, (1, 3), 1, 1, 0), (256, 512, (1, 6), 1, 0, None),
)  # fmt: skip
"""Channels in and out, kernel in time and space, stride and padding in space; padding of the pooling that follows."""


class SyncNet(nn.Module):
    """Both branches; the names of their parts are those of the published file."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud, self.netfcaud = _sound_branch(), _head()
        self.netcnnlip, self.netfclip = _lip_branch(), _head()

    def sound(self, coefficients: Float[Tensor, "n 1 13 20"]) -> Float[Tensor, "n 1024"]:
        """Return where pieces of sound lie; see `speech_coefficients` for what they are."""
        return self.netfcaud(self.netcnnaud(coefficients).flatten(1))

    def lips(self, pictures: Float[Tensor, "n 3 5 224 224"]) -> Float[Tensor, "n 1024"]:
        """Return where pieces of picture lie: faces in 0..255, blue first, as the network was taught."""
        return self.netfclip(self.netcnnlip(pictures).flatten(1))


def _sound_branch() -> nn.Sequential:
    layers: list[nn.Module] = []
    for into, out, kernel, padding, pool in SOUND:
        layers += [nn.Conv2d(into, out, kernel, padding=padding), nn.BatchNorm2d(out), nn.ReLU()]
        layers += [] if pool is None else [nn.MaxPool2d(*pool)]
    return nn.Sequential(*layers)


def _lip_branch() -> nn.Sequential:
    layers: list[nn.Module] = []
    for into, out, (depth, edge), stride, padding, pool in LIPS:
        shape = {"kernel_size": (depth, edge, edge), "stride": (1, stride, stride), "padding": (0, padding, padding)}
        layers += [nn.Conv3d(into, out, **shape), nn.BatchNorm3d(out), nn.ReLU()]
        layers += [] if pool is None else [nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, pool, pool))]
    return nn.Sequential(*layers)


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, EMBEDDING))


def read_syncnet(path: str | os.PathLike[str]) -> SyncNet:
    """Read the network from the user's own file: PyTorch's pickle, nothing of which is run, or safetensors.

    Raises:
        WeightsError: the file is missing or damaged, or holds another network.
    """
    path, network = Path(path), SyncNet()
    tensors = _tensors(path)
    counters = {name: value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")}
    try:
        network.load_state_dict({**counters, **tensors})
    except RuntimeError as error:
        raise WeightsError(f"{path} does not hold SyncNet as it was published: give {NAME}") from error
    return network.eval().requires_grad_(False)


def _tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        data = path.read_bytes()
        if path.suffix == ".safetensors":
            return load(data)
        return _pickled(data)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: give the path of SyncNet's own weights, {NAME}") from error
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(f"{path} is not a readable file of weights: fetch {NAME} again") from error


def _pickled(data: bytes) -> dict[str, Tensor]:
    """Read PyTorch's own file, old or new, as tensors alone: nothing else that a pickle may hold is made."""
    tensors = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ValueError("it is no dictionary of tensors")
    return tensors
