"""The mouth net as a file: what of it is ours, and how it comes together with the speech embedding, which is not."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

from torch import Tensor

from ..errors import WeightsError
from ..weights.ledger import LEDGER
from ..weights.policy import current_policy
from ..weights.resolver import resolve
from .audio_net import MouthNet, MouthNetConfig
from .speech_embedding import load_embedding
from .speech_trunk import SpeechTrunk

WEIGHTS = "audio_net.safetensors"
_log = logging.getLogger(__name__)


def write_net(path: str | os.PathLike[str], net: MouthNet, notes: dict[str, str]) -> None:
    """Write a net as half precision safetensors, its configuration and ``notes`` in the metadata.

    The convolutions of the trunk, which are not ours, are left out.
    """
    from safetensors.torch import save_file

    tensors = {name: value.half().contiguous() for name, value in net.state_dict().items() if not _is_fetched(name)}
    save_file(tensors, path, {"config": json.dumps(asdict(net.config)), **notes})


def _is_fetched(name: str) -> bool:
    return name.startswith("trunk.convolutions.")


def read_net(path: str | os.PathLike[str], trunk: SpeechTrunk | None = None) -> MouthNet:
    """Read a net, ready to run in single precision.

    Args:
        path: The file.
        trunk: Gives the convolutions that the listeners hear through; without it they are left out.

    Raises:
        WeightsError: the file is missing, damaged or of another kind.
    """
    from safetensors import safe_open

    try:
        with safe_open(os.fspath(path), framework="pt") as file:
            config = json.loads((file.metadata() or {})["config"])
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}
        config |= {name: tuple(config[name]) for name in ("dilations", "listening", "outputs") if name in config}
        net = MouthNet(_heard_by(MouthNetConfig(**config), trunk))
        if net.trunk is None:
            tensors = {name: value for name, value in tensors.items() if name.startswith("members.")}
        else:
            tensors |= {name: v for name, v in _named(trunk).items() if _is_fetched(name)}
        net.load_state_dict(tensors)
    except Exception as problem:  # safetensors raises its own kinds of errors for damaged files
        raise WeightsError(f"the mouth net {os.path.basename(path)} cannot be read: install MGGTalk anew") from problem
    return net.eval().requires_grad_(False)


def _heard_by(config: MouthNetConfig, trunk: SpeechTrunk | None) -> MouthNetConfig:
    return config if trunk is not None else replace(config, listeners=0)


def _named(trunk: SpeechTrunk | None) -> dict[str, Tensor]:
    return {} if trunk is None else {f"trunk.{name}": value for name, value in trunk.state_dict().items()}


def load_mouth_net() -> MouthNet | None:
    """Return the package's own net, or None where only weights that allow commercial use are wanted.

    Where the speech embedding cannot be had, it is left to the nets that do without, and a warning says so.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    row = next((row for row in LEDGER if row.name == WEIGHTS), None)
    if row is None or (current_policy().commercial_safe and not row.commercial_ok):
        return None
    try:
        trunk = load_embedding()
    except WeightsError as problem:
        _log.warning("The mouth follows speech less closely than it could: %s", problem)
        trunk = None
    return _kept(resolve(WEIGHTS), trunk)


@cache
def _kept(path: Path, trunk: SpeechTrunk | None) -> MouthNet:
    return read_net(path, trunk)
