"""The inpainter's networks as one file of weights: half precision, with the sizes in the header."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...weights.module_file import filled, read_tensors, write_tensors
from ...weights.resolver import resolve
from .inpainter import Inpainter, PatchRefiner
from .unet import EYES, MOUTH, PAPER, WHOLE, InpaintConfig

WEIGHTS = "inpaint.safetensors"
PARTS = ("whole", "eyes", "mouth")
CONFIGS = {"whole": WHOLE, "eyes": EYES, "mouth": MOUTH, "paper": PAPER}


def build(part: str, config: InpaintConfig | None = None) -> Inpainter | PatchRefiner:
    """Return the network of a part (``whole``, ``eyes`` or ``mouth``), which changes nothing yet."""
    config = config or CONFIGS[part]
    return Inpainter(config) if part == "whole" else PatchRefiner(config)


@dataclass(frozen=True)
class Networks:
    """The networks that are there; a part without one is left as it is."""

    whole: Inpainter | None = None
    eyes: PatchRefiner | None = None
    mouth: PatchRefiner | None = None

    def items(self) -> dict[str, nn.Module]:
        """Return the networks that are there by their part's name."""
        return {part: getattr(self, part) for part in PARTS if getattr(self, part) is not None}


def write_networks(path: str | os.PathLike[str], networks: Networks, notes: Mapping[str, str]) -> None:
    """Write networks in half precision; ``notes`` go into the header beside their sizes."""
    parts = networks.items()
    tensors = {f"{part}.{name}": value for part, net in parts.items() for name, value in net.state_dict().items()}
    write_tensors(path, tensors, {part: asdict(net.config) for part, net in parts.items()}, notes)


def read_networks(path: str | os.PathLike[str]) -> Networks:
    """Read networks, in single precision.

    Raises:
        WeightsError: the file is missing, damaged or of another version.
    """
    sizes, tensors = read_tensors(path)
    return Networks(**{part: filled(path, partial(_sized, part, sizes[part]), _of(part, tensors)) for part in sizes})


def _sized(part: str, sizes: dict[str, Any]) -> nn.Module:
    return build(part, InpaintConfig(**{**sizes, "widths": tuple(sizes["widths"])}))


def _of(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{part}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def load_networks() -> Networks:
    """Return the networks that come with the package; read once per process, noted as used each time.

    Raises:
        WeightsError: the file is missing or damaged, or commercial-safe is on.
    """
    return _read(resolve(WEIGHTS))


@cache
def _read(path: Path) -> Networks:
    return read_networks(path)


def best_precision(device: torch.device | str) -> torch.dtype:
    """Return the number format in which networks run: half where the processor multiplies matrices in it, else single.

    It depends on the machine alone, so that the same machine always gives the same picture. Half precision in vectors
    (AVX-512 BF16) does not pay: without matrix units these networks take 1.4 times as long in it as in single.
    """
    if torch.device(device).type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    has_matrix_units = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return torch.bfloat16 if has_matrix_units() else torch.float32
