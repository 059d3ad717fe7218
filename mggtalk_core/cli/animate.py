"""``animate``: a portrait and its drivers become a clip."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from ..animate import Job, animate
from ..errors import InputError
from ..media.atomic import check_outputs
from ..motion.sadtalker_map import MODELS
from ..weights.policy import using_policy
from .console import progress_bar, say, write_json
from .options import add_settings, add_view, settings_of

RANGES = {
    "fps": (1.0, 240.0),
    "size": (64, 4096),
    "max_frames": (1, math.inf),
    "face": (0, math.inf),
    "strength": (0.0, 4.0),
    "yaw": (-90.0, 90.0),
    "pitch": (-90.0, 90.0),
    "seed": (0, 2**32 - 1),
    "look": (0.0, 1.0),
}
"""What the options may be; beyond it a head comes apart, or there is no picture at all."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser("animate", help="turn a portrait into a talking video")
    parser.add_argument("--portrait", type=Path, required=True, metavar="IMG")
    parser.add_argument("--audio", type=Path, metavar="SOUND", help="speech that moves the mouth")
    parser.add_argument("--video", type=Path, metavar="CLIP", help="a clip of a face to follow")
    parser.add_argument("--motion", type=Path, metavar="FILE", help="Live Link Face CSV or MGGTalk JSON")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.mp4")
    parser.add_argument("--fps", type=float, default=25.0, help="frame rate when only sound drives (default: 25)")
    parser.add_argument("--size", type=int, default=512, help="edge of the picture with --framing crop (default: 512)")
    parser.add_argument("--framing", default="source", choices=("source", "crop"), help="whole picture or head crop")
    parser.add_argument("--max-frames", type=int, metavar="N", help="stop after N frames")
    parser.add_argument("--seed", type=int, default=0, help="seed of blinks and head motion (default: 0)")
    parser.add_argument(
        "--audio-model", default="auto", choices=MODELS,
        help="what moves the mouth to sound (default: SadTalker where its weights are, embedded elsewhere)",
    )  # fmt: skip
    parser.add_argument("--sadtalker", type=Path, metavar="FILE", help="SadTalker_V0.0.2_256.safetensors")
    parser.add_argument("--look", type=float, default=0.0, help="1 locks the eyes on the camera, 0 lets them wander")
    add_view(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Animate and say where the clip is."""
    job = job_of(arguments)
    with using_policy(commercial_safe=arguments.commercial_safe), progress_bar("animate", unit="step") as on_step:
        result = animate(job, on_step)
    write_json(arguments.report, result)
    seconds = "  ".join(f"{stage} {value:.2f}" for stage, value in result["seconds"].items())
    say(f"{result['frames']} frames at {result['fps']:g} per second; seconds: {seconds}")
    say(str(arguments.output))
    return 0


def job_of(arguments: argparse.Namespace) -> Job:
    """Return the job that the options describe, after the checks that cost nothing."""
    for name, (low, high) in RANGES.items():
        value = getattr(arguments, name)
        if value is not None and not low <= value <= high:  # no comparison with NaN holds
            usable = f"give at least {low:g}" if high == math.inf else f"choose between {low:g} and {high:g}"
            raise InputError(f"--{name.replace('_', '-')} {value:g} is not usable: {usable}.")
    if arguments.output.suffix.lower() != ".mp4":
        raise InputError(f"Cannot write {arguments.output}: the name must end in .mp4.")
    inputs = (arguments.portrait, arguments.audio, arguments.video, arguments.motion)
    check_outputs((arguments.output, arguments.report), inputs)
    names = ("portrait", "output", "audio", "video", "motion", "fps", "size", "framing", "seed", "max_frames")
    names += ("audio_model", "sadtalker", "look")
    return Job(**{name: getattr(arguments, name) for name in names}, settings=settings_of(arguments))
