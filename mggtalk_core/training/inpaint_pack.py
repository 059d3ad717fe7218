"""Trained parts of the inpainter as one file, judged together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open

from ..errors import InputError
from ..media.images import write_image
from ..render.inpaint.networks import Networks, read_networks, write_networks
from .inpaint_judge import WholeJudge
from .pairs import PairSet


def pack(
    parts: Mapping[str, Path], output: Path, val: Path | None = None, sheet: Path | None = None
) -> dict[str, float]:
    """Write the networks of several trainings into one file and return figures on the pairs ``val``.

    Raises:
        InputError: no part is given, or a file does not hold the part that it is given for.
        WeightsError: a file cannot be read.
    """
    if not parts:
        raise InputError("Nothing to pack: give the weights of whole, eyes or mouth.")
    found, steps = {}, {}
    for part, path in parts.items():
        network = getattr(read_networks(path), part)
        if network is None:
            raise InputError(f"{path} does not hold the part {part}; give the weights of that training.")
        with safe_open(path, "pt") as file:
            steps[part] = (file.metadata() or {}).get("steps", "?")
        found[part] = network
    write_networks(output, Networks(**found), {"steps": json.dumps(steps, sort_keys=True)})
    if val is None:
        return {}
    figures, picture = WholeJudge(PairSet(val), read_networks(output))(None)
    if sheet is not None:
        write_image(sheet, picture)
    return figures
