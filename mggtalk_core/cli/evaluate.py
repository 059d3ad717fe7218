"""``evaluate``: the tables of the paper on the user's clips and portraits."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import InputError
from ..evaluation.audio import RENDERED, AudioOptions, evaluate_audio
from ..evaluation.audio_list import clips_with_sound
from ..evaluation.audio_pictures import POSES
from ..evaluation.audio_summary import summary as audio_summary
from ..evaluation.cross import evaluate_cross
from ..evaluation.instruments import pipeline_instruments
from ..evaluation.manifest import select
from ..evaluation.noise import LEVELS, NoiseOptions, evaluate_noise, levels_table
from ..evaluation.portraits import evaluate_portraits
from ..evaluation.self_reenactment import PICTURES, evaluate_self
from ..evaluation.self_summary import summary, ways_table
from ..evaluation.tables import Row, Table
from .console import progress_bar, say
from .evaluate_ablation import add_ablation
from .evaluate_geometry import add_geometry
from .options import add_settings, settings_of


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser("evaluate", help="measure the system on clips, portraits and known shapes")
    kinds = parser.add_subparsers(dest="kind", required=True)
    one = kinds.add_parser("self", help="each clip drives its own first frame")
    two = kinds.add_parser("cross", help="clips drive portraits of other people")
    three = kinds.add_parser("portraits", help="each portrait rendered at its own pose and expression")
    noise = kinds.add_parser("noise", help="as self, with noise on the expression")
    heard = kinds.add_parser("audio", help="the sound of each clip drives its own first frame")
    for sub in (one, two, noise, heard):
        sub.add_argument("--clips", type=Path, nargs="+", metavar="CLIP")
        sub.add_argument("--max-frames", type=int, metavar="N", help="read at most N frames of a clip")
    for sub in (one, two, noise):
        sub.add_argument("--every", type=int, default=1, metavar="K", help="use every K-th frame")
    for sub in (one, noise):
        sub.add_argument(
            "--pictures", type=int, default=PICTURES, metavar="N",
            help=f"score the pictures of N frames of each clip, spread evenly (default: {PICTURES})",
        )  # fmt: skip
    for sub in (one, heard):
        sub.add_argument("--fid", action="store_true", help="measure FID too, where 2048 frames or more count: slow")
    one.add_argument("--jobs", type=int, default=1, metavar="N", help="clips to measure at once (default: 1)")
    noise.add_argument(
        "--levels", type=float, nargs="+", default=list(LEVELS), metavar="STD",
        help="standard deviations of the noise (default: those of the paper's table 8)",
    )  # fmt: skip
    noise.add_argument("--seed", type=int, default=0, help="seed of the noise (default: 0)")
    heard.add_argument("--pose", default="fixed", choices=POSES, help="hold the first frame's pose, or take the clip's")
    heard.add_argument(
        "--rendered", type=int, default=RENDERED, metavar="N",
        help=f"render and track N frames of each clip, spread evenly; 0 for none (default: {RENDERED})",
    )  # fmt: skip
    heard.add_argument(
        "--syncnet", type=Path, metavar="FILE",
        help="measure LSE-C and LSE-D with your own weights of SyncNet (syncnet_v2.model, or safetensors with the same"
        " names); renders the first N frames on end instead: --rendered 250 or more gives figures worth comparing",
    )  # fmt: skip
    heard.add_argument("--seed", type=int, default=0, help="seed of blinks and of the shuffled sounds (default: 0)")
    for sub in (two, three):
        sub.add_argument("--portraits", type=Path, nargs="+", metavar="IMG")
    kinds_run = {one: run_self, two: run_cross, three: run_portraits, noise: run_noise, heard: run_audio}
    for sub, run in kinds_run.items():
        sub.add_argument("--manifest", type=Path, metavar="LIST.csv", help="take files from a list instead")
        sub.add_argument("--split", default="val", help="split of the list (default: val)")
        sub.add_argument("--limit", type=int, metavar="N", help="at most N clips and N portraits of the list")
        add_settings(sub)
        sub.set_defaults(run=run)
    placed = kinds.add_parser("alignment", help="how far the rendered heads of training pairs are out of place")
    placed.add_argument("--pairs", type=Path, required=True, metavar="DIR", help="what train prepare made")
    placed.add_argument("--report", type=Path, metavar="OUT.json", help="write the table and sheets here")
    placed.set_defaults(run=run_alignment)
    add_geometry(kinds)
    add_ablation(kinds)


def run_self(arguments: argparse.Namespace) -> int:
    """Evaluate self-reenactment."""
    with progress_bar("frames") as on_step:
        table = evaluate_self(
            _files(arguments, "clip"),
            arguments.report,
            every=arguments.every,
            max_frames=arguments.max_frames,
            pictures=arguments.pictures,
            fid=arguments.fid,
            instruments=pipeline_instruments(settings_of(arguments)),
            jobs=arguments.jobs,
            on_step=on_step,
        )
    return _finish(table, summary(table), ways_table(table))


def run_cross(arguments: argparse.Namespace) -> int:
    """Evaluate cross-reenactment."""
    with progress_bar("frames") as on_step:
        table = evaluate_cross(
            _files(arguments, "portrait"),
            _files(arguments, "clip"),
            arguments.report,
            every=arguments.every,
            max_frames=arguments.max_frames,
            instruments=pipeline_instruments(settings_of(arguments)),
            on_step=on_step,
        )
    return _finish(table)


def run_noise(arguments: argparse.Namespace) -> int:
    """Evaluate self-reenactment with noise on the expression."""
    options = NoiseOptions(
        tuple(arguments.levels), arguments.every, arguments.max_frames, arguments.pictures, arguments.seed
    )
    with progress_bar("frames") as on_step:
        table = evaluate_noise(
            _files(arguments, "clip"),
            arguments.report,
            options,
            instruments=pipeline_instruments(settings_of(arguments)),
            on_step=on_step,
        )
    return _finish(table, shown=levels_table(table))


def run_audio(arguments: argparse.Namespace) -> int:
    """Evaluate speech that moves the mouth."""
    clips, offsets = arguments.clips or [], {}
    if arguments.manifest is not None and not clips:
        clips, offsets = clips_with_sound(arguments.manifest, arguments.split)
    options = AudioOptions(
        arguments.pose, arguments.rendered, syncnet=arguments.syncnet, fid=arguments.fid,
        max_frames=arguments.max_frames, seed=arguments.seed, offsets=offsets,
    )  # fmt: skip
    with progress_bar("frames") as on_step:
        table = evaluate_audio(
            clips[: arguments.limit],
            arguments.report,
            options,
            instruments=pipeline_instruments(settings_of(arguments)),
            on_step=on_step,
        )
    return _finish(table, audio_summary(table))


def run_portraits(arguments: argparse.Namespace) -> int:
    """Evaluate the reconstruction of portraits at rest."""
    with progress_bar("portraits", unit="portrait") as on_step:
        table = evaluate_portraits(
            _files(arguments, "portrait"),
            arguments.report,
            instruments=pipeline_instruments(settings_of(arguments)),
            on_step=on_step,
        )
    return _finish(table)


def run_alignment(arguments: argparse.Namespace) -> int:
    """Measure where the rendered heads of training pairs are in the wrong place."""
    from ..training.alignment import evaluate_alignment
    from ..training.pairs import PairSet

    with progress_bar("pairs", unit="pair") as on_step:
        table = evaluate_alignment(PairSet(arguments.pairs), arguments.report, on_step=on_step)
    return _finish(table)


def _files(arguments: argparse.Namespace, kind: str) -> list[Path]:
    """Return the files named on the command line, or those of the list."""
    named = getattr(arguments, kind + "s")
    if named or arguments.manifest is None:
        return named or []
    return select(arguments.manifest, kind, split=arguments.split)[: arguments.limit]


def _finish(table: Table, judged: Row | None = None, shown: Table | None = None) -> int:
    """Say the means, with the number of files behind each, or the table ``shown`` instead; and what was left out.

    Raises:
        InputError: nothing could be used; the report, where one is wanted, says why for every file.
    """
    if all("error" in row for row in table.rows):
        raise InputError(f"None of the {len(table.rows)} could be evaluated: {table.rows[0]['error']}")
    if shown is None:
        for name, mean in table.means().items():
            say(f"{name}: {mean.value:.4g} (n={mean.n})")
    else:
        say(shown.turned().to_markdown())
    for name, value in (judged or {}).items():
        if not isinstance(value, dict):
            say(f"{name}: {value} of {len(table.rows)}")
        elif name not in table.columns or shown is not None:
            say(f"{name}: {value['value']:.4g} (n={value['n']})")
    for row in table.rows:
        if "error" in row:
            say(f"left out: {row['error']}")
    for line in table.settings.get("missing", ()):
        say(f"left out: {line}")
    return 0
