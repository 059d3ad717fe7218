"""From SadTalker's 64 coefficients to the 52 blendshapes: approximate, fitted on the machine of whoever has both.

The two bases were never published together, so there is no exact map. Over speech that comes with this package,
SadTalker's network and this project's own motion say what they do; ridge regression from the one to the other takes
what they have in common. The sound's part alone is mapped: what the network gives for silence is taken away first.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError, WeightsError
from ..media.atomic import replacing
from ..media.audio import read_sound
from ..media.samples import SPEECH
from ..media.sound import Sound
from ..portrait.blendshapes import BLENDSHAPES
from ..progress import OnStep, ignore_steps
from ..weights.ledger import LEDGER
from ..weights.policy import Downloads, cache_folder, using_policy
from ..weights.resolver import check_licence, resolve
from .audio import motion_from_audio
from .blinks import RATE
from .channels import BLINKS
from .motion import Motion
from .sadtalker import COEFFICIENTS, FPS, NAME, AudioToExpression, expression, read_sadtalker

MODELS = ("auto", "embedded", "sadtalker")
"""What moves the mouth: SadTalker where its file is found and the embedded one elsewhere; or one of the two."""
RIDGE = 0.01
"""Strength of the ridge over the mean variance of the coefficients."""
MOVED = tuple(index for index, name in enumerate(BLENDSHAPES) if name.startswith(("jaw", "mouth")) or index in BLINKS)
"""Blendshapes that the map reaches: jaw, mouth and lids."""
_VERSION = 1


@dataclass(frozen=True)
class ExpressionMap:
    """``beta = coefficients @ weights``, for coefficients without their part for silence."""

    weights: Float[Tensor, "64 52"]
    explained: float
    """Share of the variance of our own mouth over the sample that the map reaches."""


def sadtalker_path(path: str | os.PathLike[str] | None = None) -> Path:
    """Return the file of SadTalker's weights: ``path``, or wherever the resolver finds or fetches it.

    Raises:
        WeightsError: it is not there, or the licence policy refuses it.
    """
    if path is None:
        return resolve(NAME)
    check_licence(NAME)
    if not Path(path).is_file():
        raise WeightsError(f"there are no weights at {path}: give the path of {NAME}")
    return Path(path)


def has_sadtalker() -> bool:
    """Return whether SadTalker's weights are on this machine and may be used; nothing is fetched."""
    try:
        with using_policy(downloads=Downloads.NONE):
            resolve(NAME)
    except WeightsError:
        return False
    return True


def motion_from_speech(
    sound: Sound,
    fps: float = 25.0,
    seed: int = 0,
    *,
    model: str = "auto",
    path: str | os.PathLike[str] | None = None,
    reference: Float[Tensor, "64"] | None = None,
    learned: bool = True,
    phonemes: bool = True,
    blink_rate: float = RATE,
    head_motion: float = 1.0,
    look: float = 0.0,
    on_step: OnStep = ignore_steps,
) -> Motion:
    """Return the motion for a sound, as `motion_from_audio`, with the mouth that ``model`` (one of `MODELS`) gives it.

    ``path``: SadTalker's file, where the model folders do not hold it. ``reference``: the portrait's coefficients in
    SadTalker's own basis; a neutral face by default. ``learned``: False leaves the embedded net, and with ``auto``
    SadTalker too, out. Head, eyes, brows and the moments of blinks are this project's in either case.

    Raises:
        WeightsError: SadTalker is asked for and is not there, or cannot be read.
        InputError: see `motion_from_audio`.
    """
    options = {"phonemes": phonemes, "blink_rate": blink_rate, "head_motion": head_motion, "look": look}
    options["learned"] = learned
    wanted = model == "sadtalker" or (model == "auto" and learned and (path is not None or has_sadtalker()))
    if not wanted:
        return motion_from_audio(sound, fps, seed, **options, on_step=on_step)
    net = read_sadtalker(sadtalker_path(path))
    known = expression_map(net)
    motion = motion_from_audio(sound, fps, seed, **(options | {"phonemes": False}), on_step=on_step)
    return with_mouth(motion, known, net, sound, reference, on_step)


def with_mouth(
    motion: Motion,
    known: ExpressionMap,
    net: AudioToExpression,
    sound: Sound,
    reference: Float[Tensor, "64"] | None = None,
    on_step: OnStep = ignore_steps,
) -> Motion:
    """Return a motion with jaw, mouth and lids by SadTalker's network, at the motion's own frame rate."""
    times = np.arange(len(motion)) / motion.fps
    frames = np.arange(max(1, round(len(motion) / motion.fps * FPS))) / FPS
    blink = np.interp(frames, times, motion.beta[:, BLINKS[0]].numpy())
    found = _spoken(net, sound, reference, blink, on_step) @ known.weights
    beta, rows = motion.beta.clone(), np.arange(len(found)) / FPS
    for column in MOVED:
        beta[:, column] = torch.from_numpy(np.interp(times, rows, found[:, column].numpy())).float()
    beta[:, list(MOVED)] = beta[:, list(MOVED)].clamp(0.0, 1.0)
    return replace(motion, beta=beta)


def _spoken(
    net: AudioToExpression, sound: Sound, reference: Tensor | None, blink: np.ndarray | None, on_step: OnStep
) -> Float[Tensor, "T 64"]:
    """Return the coefficients without those for silence."""
    silence = expression(net, Sound(torch.zeros(1, 16000), 16000), reference=reference)[12]
    return expression(net, sound, reference=reference, blink=blink, on_step=on_step) - silence


def expression_map(net: AudioToExpression) -> ExpressionMap:
    """Return the map for a network, from the cache folder or fitted now (a few seconds) and kept there."""
    from safetensors import SafetensorError, safe_open

    file = cache_folder() / f"sadtalker_map_{_fingerprint(net)}.safetensors"
    try:
        with safe_open(os.fspath(file), framework="pt") as content:
            return ExpressionMap(content.get_tensor("weights"), float(content.metadata()["explained"]))
    except (OSError, SafetensorError):
        found = fit_map(net)
    _keep(file, found)
    return found


def fit_map(net: AudioToExpression) -> ExpressionMap:
    """Fit the map over the sample of speech that comes with the package."""
    sound = read_sound(SPEECH)
    ours = motion_from_audio(sound, float(FPS), head_motion=0.0).beta.double()
    theirs = _spoken(net, sound, None, ours[:, BLINKS[0]].numpy(), ignore_steps).double()
    count = min(len(ours), len(theirs))
    x, y = theirs[:count], torch.zeros(count, len(BLENDSHAPES), dtype=torch.float64)
    y[:, list(MOVED)] = ours[:count][:, list(MOVED)]
    square = x.T @ x
    ridge = RIDGE * square.diagonal().mean().clamp_min(1e-12) * torch.eye(COEFFICIENTS, dtype=torch.float64)
    weights = torch.linalg.solve(square + ridge, x.T @ y)
    spread = (y - y.mean(dim=0)).square().sum()
    return ExpressionMap(weights.float(), float(1.0 - (y - x @ weights).square().sum() / spread))


def _keep(file: Path, found: ExpressionMap) -> None:
    """Write the map; a cache folder that cannot be written only costs time."""
    from safetensors.torch import save_file

    metadata = {"explained": repr(found.explained), "note": "approximate: fitted by ridge regression"}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as temporary:
            save_file({"weights": found.weights.contiguous()}, temporary, metadata)
    except (OSError, InputError):
        return


def _fingerprint(net: AudioToExpression) -> str:
    """Return what the map depends on: the network, our own weights, and how it is fitted."""
    digest = hashlib.sha256(f"{_VERSION} {RIDGE}".encode())
    for row in LEDGER:
        digest.update((row.sha256 or "").encode() if row.bundled else b"")
    for value in net.state_dict().values():
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()[:16]
