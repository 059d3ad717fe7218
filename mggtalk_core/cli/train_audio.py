"""``train audio``: the net that hears what the mouth does."""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from .console import progress_bar, say, write_json


def add_stage(stages: argparse._SubParsersAction) -> None:
    """Declare the stage."""
    audio = stages.add_parser("audio", help="make the mouth net from clips with sound")
    audio.add_argument("--manifest", type=Path, required=True, metavar="LIST.csv", help="list of the clips")
    audio.add_argument("--tracks", type=Path, required=True, metavar="DIR", help="tracks of the clips, made if missing")
    audio.add_argument("--captured", type=Path, metavar="DIR", help="folder of FACEGOOD-Audio2Face's recordings")
    audio.add_argument("-o", "--output", type=Path, required=True, metavar="NET.safetensors")
    audio.add_argument("--steps", type=int, metavar="N", help="steps of training")
    audio.add_argument("--seed", type=int, default=0, metavar="N")
    audio.add_argument("--folds", type=int, default=0, metavar="N", help="also score N nets on voices they never heard")
    audio.add_argument("--checkpoints", type=Path, metavar="DIR", help="keep the state here, and go on from it")
    audio.add_argument("--report", type=Path, metavar="OUT.json")
    audio.set_defaults(run=run_audio)


def run_audio(arguments: argparse.Namespace) -> int:
    """Train, write the net and say how well it hears."""
    from ..training.audio import AudioOptions, train_audio
    from ..training.audio_train import AudioTraining

    steps = {} if arguments.steps is None else {"steps": arguments.steps}
    options = AudioOptions(
        arguments.manifest, arguments.tracks, arguments.captured, folds=arguments.folds,
        training=AudioTraining(seed=arguments.seed, **steps), checkpoints=arguments.checkpoints,
    )  # fmt: skip
    with progress_bar("training", unit="step") as on_step:
        report = train_audio(options, arguments.output, on_step=on_step)
    write_json(arguments.report, report)
    for name in ("folds", "validation"):
        scores = [score["correlation"] for score in report.get(name, {}).values()]
        if scores:
            say(f"{name}: correlation of the opening {statistics.mean(scores):.3f} (n = {len(scores)})")
    say(str(arguments.output))
    return 0
