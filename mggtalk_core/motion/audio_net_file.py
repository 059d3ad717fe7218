"""The mouth net as a file: what of it is ours, and how it comes together with Whisper's encoder, which is not."""

from __future__ import annotations

import logging
import os
from dataclasses import asdict
from functools import cache
from pathlib import Path

from torch import Tensor

from ..errors import WeightsError
from ..progress import OnStep, ignore_steps
from ..weights.ledger import LEDGER
from ..weights.module_file import filled, read_tensors, write_tensors
from ..weights.policy import current_policy
from ..weights.resolver import resolve
from .audio_net import MouthNet, MouthNetConfig
from .speech_encoder import load_encoder
from .speech_trunk import SpeechTrunk

WEIGHTS = "audio_net.safetensors"
_TRUNK = "trunk."
_OURS = ("bands", "kept.weight", "kept.bias")
"""What of the trunk is not fetched."""
_log = logging.getLogger(__name__)
_told: set[str] = set()


def write_net(path: str | os.PathLike[str], net: MouthNet, notes: dict[str, str]) -> None:
    """Write a net as half precision safetensors, its configuration and ``notes`` in the metadata.

    What of the trunk is not ours is left out.
    """
    fetched = _fetched(net.trunk) if net.trunk is not None else {}
    ours = {name: value for name, value in net.state_dict().items() if name not in fetched}
    write_tensors(path, ours, asdict(net.config), notes)


def _fetched(trunk: SpeechTrunk) -> dict[str, Tensor]:
    return {_TRUNK + name: value for name, value in trunk.state_dict().items() if name not in _OURS}


def read_net(path: str | os.PathLike[str], trunk: SpeechTrunk | None = None) -> MouthNet:
    """Read a net, ready to run in single precision.

    Args:
        path: The file.
        trunk: Gives the layers that the listeners hear through; without it they are left out.

    Raises:
        WeightsError: the file is missing, damaged or of another kind.
    """
    sizes, tensors = read_tensors(path)
    sizes |= {name: tuple(value) for name, value in sizes.items() if isinstance(value, list)}
    if trunk is None:
        sizes["listeners"] = sizes["reader"] = 0
        tensors = {name: value for name, value in tensors.items() if name.startswith("members.")}
    else:
        tensors |= _fetched(trunk)
    return filled(path, lambda: MouthNet(MouthNetConfig(**sizes)), tensors)


def load_mouth_net(on_step: OnStep = ignore_steps) -> MouthNet | None:
    """Return the package's own net, or None where only weights that allow commercial use are wanted.

    Where Whisper's encoder cannot be had, it is left to the nets that do without, and a warning says so once.
    ``on_step`` counts the bytes that are fetched.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    row = next((row for row in LEDGER if row.name == WEIGHTS), None)
    if row is None or (current_policy().commercial_safe and not row.commercial_ok):
        return None
    try:
        trunk = load_encoder(on_step)
    except WeightsError as problem:
        if str(problem) not in _told:
            _told.add(str(problem))
            _log.warning("The mouth follows speech less closely than it could: %s", problem)
        trunk = None
    return _kept(resolve(WEIGHTS), trunk)


@cache
def _kept(path: Path, trunk: SpeechTrunk | None) -> MouthNet:
    return read_net(path, trunk)
