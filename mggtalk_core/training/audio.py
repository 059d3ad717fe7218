"""``train audio``: the mouth net, from tracked clips, a captured speaker and synthetic speech."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..motion.audio_net import NET_RATE, MouthNet, MouthNetConfig, together
from ..motion.audio_net_file import write_net
from ..motion.mouth_shapes import OPENING, OUTPUTS
from ..progress import OnStep, ignore_steps
from .audio_augment import GENTLE, LIGHT
from .audio_clips import SpokenClip, fold_of, for_scoring, for_training, gather_clips
from .audio_data import Speech, speech_from_capture
from .audio_heard import HeardExamples
from .audio_lag import UNPROVEN_TRUST, Lag, anchored, estimate_lag
from .audio_reader import fit_reader
from .audio_synthetic import synthetic_speech
from .audio_train import AudioTraining, Material, predict, train_net
from .audio_trunk import load_trunk

MEMBERS, LISTENERS = 2, 2
"""Nets that are averaged in the end, with a reader: the members hear the spectrum, listeners and reader what a trunk
that knows many more voices makes of it, and they err on different clips. Every other one hears voices and rooms that
are changed less: those follow studio speech better, the others speech in the wild."""
LIGHT_DROPOUT = 0.15
LAG_FOLDS = 3
LAG_ROUNDS = 2
SYNTHETIC_SENTENCES = 180

Report = dict[str, Any]


@dataclass(frozen=True)
class AudioOptions:
    """What `train_audio` works on and how."""

    manifest: Path
    """List of the clips, see `read_manifest`."""
    tracks: Path
    """Folder of their tracks; what is missing is tracked."""
    captured: Path | None = None
    """Folder of FACEGOOD-Audio2Face."""
    folds: int = 0
    """Also train and score so many nets, each without a part of the speakers; 0: only the final net."""
    sentences: int = SYNTHETIC_SENTENCES
    """Synthetic sentences; none where Flite is not installed."""
    training: AudioTraining = field(default_factory=AudioTraining)
    checkpoints: Path | None = None
    """Folder for the state of the training, to go on from."""


def train_audio(options: AudioOptions, output: str | os.PathLike[str], *, on_step: OnStep = ignore_steps) -> Report:
    """Train the mouth net, write it to ``output`` and return a report.

    The lags between sound and picture are estimated first, with readers that have not heard the clip; then the nets of
    the folds are trained and scored on the speakers they have not heard, and last the net of all training clips.
    """
    clips, left_out = gather_clips(options.manifest, options.tracks, on_step=on_step)
    others = _other_material(options, on_step)
    others = replace(others, heard=HeardExamples(load_trunk([clip.speech for clip in for_training(clips)])))
    clips, lags = correct_lags(clips, _reader_trainer(others, options.training.net, on_step))
    report: Report = {"left_out": left_out, "lags": {name: asdict(lag) for name, lag in lags.items()}}
    mine, log = for_training(clips), []
    if options.folds:
        report["folds"] = {
            clip.speech.name: opening_scores(net, clip.speech)
            for net, held in leave_out(mine, options.folds, _average_trainer(others, options.training, None, on_step))
            for clip in held
            if clip.real
        }
    net = _average_trainer(others, options.training, options.checkpoints, on_step, log)(mine)
    report["validation"] = {clip.speech.name: opening_scores(net, clip.speech) for clip in for_scoring(clips)}
    report["log"] = log
    write_net(output, net, notes(mine, others))
    return report


Trainer = Callable[[Sequence[SpokenClip]], MouthNet]


def _trainer(
    others: Material, training: AudioTraining, folder: Path | None, on_step: OnStep, log: list | None = None
) -> Trainer:
    """Return a function from clips to a net."""
    checkpoint = None if folder is None else folder / f"audio_{training.seed}.pt"

    def train(clips: Sequence[SpokenClip]) -> MouthNet:
        material = replace(others, clips=[clip.speech for clip in clips])
        return train_net(material, training, checkpoint=checkpoint, log=log, on_step=on_step)

    return train


def _average_trainer(
    others: Material, training: AudioTraining, folder: Path | None, on_step: OnStep, log: list | None = None
) -> Trainer:
    """Return a function from clips to the average of `MEMBERS`, `LISTENERS` and a reader."""
    trainers = [_trainer(others, settings, folder, on_step, log) for settings in members(training)]
    trainers.append(_reader_trainer(others, training.net, on_step))
    return lambda clips: together([train(clips) for train in trainers])


def _reader_trainer(others: Material, net: MouthNetConfig, on_step: OnStep) -> Trainer:
    """Return a function from clips to a reader."""
    return lambda clips: fit_reader([clip.speech for clip in clips], others.heard, net, on_step=on_step)


def members(training: AudioTraining) -> list[AudioTraining]:
    """Return the settings of the nets that are averaged."""
    light = replace(training, augmentation=LIGHT, dropout=LIGHT_DROPOUT)
    listening = replace(training, net=replace(training.net, members=0, listeners=1))
    gentle = replace(listening, augmentation=GENTLE)
    nets = [(training, light)[place % 2] for place in range(MEMBERS)]
    nets += [(listening, gentle)[place % 2] for place in range(LISTENERS)]
    return [replace(net, seed=training.seed + place) for place, net in enumerate(nets)]


def _other_material(options: AudioOptions, on_step: OnStep) -> Material:
    """Return what is learned from besides the clips."""
    folder = options.captured
    names = [] if folder is None else sorted(path.stem for path in folder.glob("*.npz"))
    captured = [speech_from_capture(folder, name) for name in names]
    return Material((), captured, synthetic_speech(options.sentences, options.training.seed, on_step=on_step))


def leave_out(clips: Sequence[SpokenClip], folds: int, train: Trainer) -> list[tuple[MouthNet, list[SpokenClip]]]:
    """Return, for each fold, a net trained without its speakers, and the clips of these."""
    places = [fold_of(clip.speech, folds) for clip in clips]
    return [
        (
            train([clip for clip, place in zip(clips, places, strict=True) if place != fold]),
            [clip for clip, place in zip(clips, places, strict=True) if place == fold],
        )
        for fold in sorted(set(places))
    ]


def correct_lags(clips: Sequence[SpokenClip], train: Trainer) -> tuple[list[SpokenClip], dict[str, Lag]]:
    """Return the clips with their lags, each told by nets of ``train`` that have not learned from its speaker.

    Done `LAG_ROUNDS` times: nets that learn from clips in step hear better, and tell more lags. A clip whose lag is
    not proven is taken to be in step, and counts less in training.
    """
    lags: dict[str, Lag] = {}
    for _ in range(LAG_ROUNDS):
        lags = anchored(_lags_by_others(clips, train))
        clips = [replace(clip, speech=_moved(clip.speech, lags[clip.speech.name])) for clip in clips]
    return list(clips), lags


def _lags_by_others(clips: Sequence[SpokenClip], train: Trainer) -> dict[str, Lag]:
    """Estimate the lag of every clip with the nets that have not learned from its speaker."""
    lags: dict[str, Lag] = {}
    nets = []
    for net, held in leave_out(for_training(clips), LAG_FOLDS, train):
        nets.append(net)
        lags |= {clip.speech.name: estimate_lag(_opening([net], clip.speech), clip.speech) for clip in held}
    for clip in clips:
        if clip.speech.name not in lags:  # in no training clip: all nets may judge it
            lags[clip.speech.name] = estimate_lag(_opening(nets, clip.speech), clip.speech)
    return lags


def _moved(speech: Speech, lag: Lag) -> Speech:
    return replace(speech, lag=lag.seconds, trust=1.0) if lag.proven else replace(speech, lag=0.0, trust=UNPROVEN_TRUST)


def _opening(nets: Sequence[MouthNet], speech: Speech) -> np.ndarray:
    """Return the mean opening that nets hear in a piece of speech, at `NET_RATE`."""
    return np.mean([predict(net, speech)[:, OUTPUTS.index(OPENING)] for net in nets], axis=0).clip(0.0)


def opening_scores(net: MouthNet, speech: Speech) -> dict[str, float]:
    """Return the correlation of the heard opening with the real one at the corrected lag, and the lag that is left."""
    heard = _opening([net], speech)
    still = estimate_lag(heard, speech)
    return {"correlation": correlation_at(heard, speech), "lag": still.seconds - speech.lag, "corrected": speech.lag}


def correlation_at(heard: np.ndarray, speech: Speech) -> float:
    """Return Pearson's correlation of an opening at `NET_RATE` with the real one at the clip's own lag."""
    times = np.arange(len(speech.opening)) / speech.fps + speech.lag
    at = np.interp(times, (np.arange(len(heard)) + 0.5) / NET_RATE, heard)
    return float(np.corrcoef(at, speech.opening)[0, 1]) if at.std() > 0.0 else 0.0


def notes(clips: Sequence[SpokenClip], others: Material) -> dict[str, str]:
    """Return what goes into the file besides the weights."""
    seconds = sum(len(clip.speech.opening) / clip.speech.fps for clip in clips)
    return {
        "clips": f"{len(clips)} clips, {len({clip.speech.speaker for clip in clips})} voices, {seconds:.0f} s",
        "captured": f"{len(others.captured)} recordings",
        "synthetic": f"{len(others.synthetic)} sentences",
    }
