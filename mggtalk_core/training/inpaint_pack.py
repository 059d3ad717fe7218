"""Trained parts of the inpainter as one file, judged together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn

from ..errors import InputError
from ..media.images import write_image
from ..render.inpaint.networks import Networks, read_networks, write_networks
from .inpaint_judge import WholeJudge
from .pairs import PairSet


def pack(
    parts: Mapping[str, Sequence[Path]], output: Path, val: Path | None = None, sheet: Path | None = None
) -> dict[str, float]:
    """Write the networks of several trainings into one file and return figures on the pairs ``val``.

    Where several files are given for a part, their weights are averaged, each counting as often as it is named:
    trainings that began alike often do better so than each of them (Wortsman et al. 2022).

    Raises:
        InputError: no part is given, or a file does not hold the part that it is given for, or holds it in other sizes
            than the first.
        WeightsError: a file cannot be read.
    """
    if not parts:
        raise InputError("Nothing to pack: give the weights of whole, eyes or mouth.")
    found = {part: mean_network([part_of(path, part) for path in paths]) for part, paths in parts.items()}
    steps = {part: "+".join(_steps(path, part) for path in paths) for part, paths in parts.items()}
    write_networks(output, Networks(**found), {"steps": json.dumps(steps, sort_keys=True)})
    if val is None:
        return {}
    figures, picture = WholeJudge(PairSet(val), read_networks(output))(None)
    if sheet is not None:
        write_image(sheet, picture)
    return figures


def part_of(path: Path, part: str) -> nn.Module:
    """Return the network of one part from a file.

    Raises:
        InputError: the file does not hold that part.
        WeightsError: it cannot be read.
    """
    network = getattr(read_networks(path), part)
    if network is None:
        raise InputError(f"{path} does not hold the part {part}; give the weights of that training.")
    return network


def mean_network(networks: Sequence[nn.Module]) -> nn.Module:
    """Return the first network with the mean of all weights; raises InputError where sizes differ."""
    if any(network.config != networks[0].config for network in networks):
        raise InputError("Networks of different sizes cannot be averaged; give trainings of one configuration.")
    states = [network.state_dict() for network in networks]
    mean = {name: torch.stack([state[name] for state in states]).mean(dim=0) for name in states[0]}
    networks[0].load_state_dict(mean)
    return networks[0]


def _steps(path: Path, part: str) -> str:
    """Return how long a part was trained, by its training's own file or by one that was packed."""
    with safe_open(path, "pt") as file:
        told = json.loads((file.metadata() or {}).get("steps", "null"))
    return str(told[part] if isinstance(told, dict) else told or "?")
