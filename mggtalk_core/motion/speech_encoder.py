"""Whisper's encoder: what the trunk of the mouth net is, fetched like all weights that are not ours."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ..errors import WeightsError
from ..progress import OnStep, ignore_steps
from ..weights.ctranslate import read_arrays
from ..weights.policy import Downloads, current_policy, using_policy
from ..weights.resolver import resolve
from .speech_trunk import LAYERS, SpeechTrunk

ENCODER = "whisper_tiny_en.bin"
_PARTS = {
    "attention_norm": "self_attention/layer_norm",
    "attention_in": "self_attention/linear_0",
    "attention_out": "self_attention/linear_1",
    "mlp_norm": "ffn/layer_norm",
    "mlp_in": "ffn/linear_0",
    "mlp_out": "ffn/linear_1",
}
_trunks: dict[str, SpeechTrunk] = {}
_refused: dict[str, str] = {}


def load_encoder(on_step: OnStep = ignore_steps) -> SpeechTrunk:
    """Return a trunk with the encoder's layers; its bands and what it keeps, which are ours, are left as they are.

    It is read once per process, and where fetching it has failed, that is not tried again: only the folders are
    looked into. ``on_step`` counts bytes.

    Raises:
        WeightsError: the encoder is not at hand and cannot be fetched, or is another one.
    """
    if ENCODER in _trunks:
        return _trunks[ENCODER]
    try:
        with using_policy(downloads=Downloads.NONE if ENCODER in _refused else None):
            path = resolve(ENCODER, on_step=on_step)
    except WeightsError as problem:
        if current_policy().downloads is Downloads.ALL and not current_policy().commercial_safe:
            raise WeightsError(_refused.setdefault(ENCODER, str(problem))) from problem
        raise
    _trunks[ENCODER] = trunk = _filled(read_arrays(path, "encoder/"))
    return trunk


def _filled(arrays: dict[str, np.ndarray]) -> SpeechTrunk:
    trunk = SpeechTrunk()
    try:
        for place, convolution in enumerate(trunk.stem, start=1):
            _copy(arrays, f"conv{place}", convolution)
        for place in range(LAYERS):
            for ours, theirs in _PARTS.items():
                _copy(arrays, f"layer_{place}/{theirs}", getattr(trunk.layers[place], ours))
        trunk.places.copy_(torch.from_numpy(arrays["position_encodings/encodings"].astype(np.float32)))
    except (KeyError, RuntimeError) as problem:
        raise WeightsError(f"{ENCODER} is not Whisper's smallest; remove it and fetch it again.") from problem
    return trunk.eval().requires_grad_(False)


@torch.no_grad()
def _copy(arrays: dict[str, np.ndarray], name: str, part: nn.Module) -> None:
    names = ("gamma", "beta") if isinstance(part, nn.LayerNorm) else ("weight", "bias")
    for parameter, kind in zip((part.weight, part.bias), names, strict=True):
        parameter.copy_(torch.from_numpy(arrays[f"{name}/{kind}"].astype(np.float32)))
