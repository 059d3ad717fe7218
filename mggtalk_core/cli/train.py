"""``train``: make what the package ships."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import train_gaussians
from .console import progress_bar, say
from .train_audio import add_stage
from .train_inpaint import add_stages
from .train_refine import add_stage as add_refine


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser("train", help="make what the package ships")
    stages = parser.add_subparsers(dest="stage", required=True)
    head = stages.add_parser("head", help="make the head model from ICT-FaceKit's raw data")
    head.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder that holds ict_facekit.npz")
    head.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL.safetensors")
    head.set_defaults(run=run_head)
    _add_landmarks(stages)
    _add_prepare(stages)
    train_gaussians.add_stages(stages)
    add_stages(stages)
    add_stage(stages)
    add_refine(stages)


def run_head(arguments: argparse.Namespace) -> int:
    """Make the head model and say where it is."""
    from ..training.head_model import make_head_model

    make_head_model(arguments.data, arguments.output)
    say(str(arguments.output))
    return 0


def _add_landmarks(stages: argparse._SubParsersAction) -> None:
    landmarks = stages.add_parser("landmarks", help="measure where the landmarks lie on the mean head, and how deep")
    landmarks.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder that holds ict_facekit.npz")
    landmarks.add_argument("--tracks", type=Path, required=True, metavar="DIR", help="folder of clips' tracks")
    landmarks.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where the two lists go")
    landmarks.add_argument("--heads", type=int, default=72, metavar="N", help="heads that are drawn (default: 72)")
    landmarks.set_defaults(run=run_landmarks)


def run_landmarks(arguments: argparse.Namespace) -> int:
    """Measure the landmarks and say where the lists are."""
    from ..training.head_model_measure import measure_landmarks

    with progress_bar("Measuring") as on_step:
        measure_landmarks(arguments.data, arguments.tracks, arguments.output, heads=arguments.heads, on_step=on_step)
    say(str(arguments.output))
    return 0


def _add_prepare(stages: argparse._SubParsersAction) -> None:
    prepare = stages.add_parser("prepare", help="turn clips into the pairs that the other stages learn from")
    prepare.add_argument("clips", type=Path, nargs="*", metavar="CLIP", help="clips, or folders of them")
    prepare.add_argument("--manifest", type=Path, metavar="LIST.csv", help="take clips and identities from a list")
    prepare.add_argument("--split", default="train", help="split of the list (default: train)")
    prepare.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    prepare.add_argument("--tracks", type=Path, metavar="DIR", help="folder of clips' tracks that are there already")
    prepare.add_argument("--sources", type=int, default=3, metavar="N", help="avatars per clip (default: 3)")
    prepare.add_argument("--targets", type=int, default=24, metavar="N", help="targets per avatar (default: 24)")
    prepare.add_argument(
        "--runs", type=int, default=0, metavar="N",
        help="runs of five neighbouring frames, with their sound, per avatar: train inpaint --syncnet learns from them"
        " (default: 0)",
    )  # fmt: skip
    prepare.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: 1)")
    prepare.set_defaults(run=run_prepare)


def run_prepare(arguments: argparse.Namespace) -> int:
    """Make training pairs and say how many there are, and what could not be used."""
    from ..training.prepare import items_of, items_of_manifest, prepare, summary
    from ..training.prepare_clip import PrepareOptions

    items = items_of(arguments.clips)
    if arguments.manifest is not None:
        items += items_of_manifest(arguments.manifest, arguments.split)
    options = PrepareOptions(arguments.sources, arguments.targets, arguments.runs)
    with progress_bar("clips", unit="clip") as on_step:
        table = prepare(items, arguments.output, options, tracks=arguments.tracks, jobs=arguments.jobs, on_step=on_step)
    for row in table.rows:
        if "error" in row:
            say(f"left out: {row['clip']}: {row['error']}")
    for name, value in summary(table).items():
        say(f"{name}: {value}" if name != "rejected" else f"left out: {sum(value.values())}")
    return 0
