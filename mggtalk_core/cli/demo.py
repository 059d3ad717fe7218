"""``demo``: a portrait talks, with nothing prepared by the user."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ..animate import Job, prepare, report, write_clip
from ..clock import StageClock
from ..errors import InputError
from ..evaluation.gallery import GALLERY, gallery
from ..evaluation.sheets import SheetRow, contact_sheet
from ..media.atomic import check_outputs
from ..media.images import write_image
from ..media.samples import SPEECH, sample_portrait
from ..media.video import VideoReader
from ..pipeline import Head, drive
from .console import progress_bar, say, write_json

SAMPLES = len(GALLERY)


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser("demo", help="make a talking video and a contact sheet")
    parser.add_argument("--portrait", type=Path, metavar="IMG", help="default: scikit-image's astronaut")
    parser.add_argument("--audio", type=Path, default=SPEECH, metavar="SOUND", help="default: the bundled speech")
    parser.add_argument("-o", "--output", type=Path, default=Path("out"), metavar="DIR", help="default: out")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Make the clip, the contact sheet and the report."""
    folder: Path = arguments.output
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot make the folder {folder}: {error.strerror}; choose another with -o.") from error
    check_outputs(
        (folder / name for name in ("demo.mp4", "demo.json", "demo.png")), (arguments.portrait, arguments.audio)
    )
    portrait = arguments.portrait or sample_portrait(folder)
    job = Job(portrait, folder / "demo.mp4", audio=arguments.audio)
    clock = StageClock()
    say("Reading the portrait and the sound; weights are fetched on the first run.")
    with progress_bar("demo", unit="step") as on_step:
        head, motion = prepare(job, clock, on_step)
        sequence = drive(head, motion, job.settings)
        written = write_clip(job, head, sequence, clock, on_step)
    result = report(job, sequence, written, clock)
    write_json(folder / "demo.json", result)
    write_image(folder / "demo.png", demo_sheet(head, job.output))
    say("seconds: " + "  ".join(f"{stage} {seconds:.2f}" for stage, seconds in clock.seconds.items()))
    say(f"contact sheet: {folder / 'demo.png'}")
    say(f"video: {job.output} ({written} frames)")
    return 0


def demo_sheet(head: Head, clip: Path) -> Float[Tensor, "3 height width"]:
    """Return a sheet of the head in telling poses and of frames of the finished clip."""
    with VideoReader(clip) as reader:
        wanted = {round((index + 0.5) * len(reader) / SAMPLES) for index in range(SAMPLES)}
        sampled = [
            torch.from_numpy(frame.copy()).permute(2, 0, 1).float() / 255.0
            for index, frame in enumerate(reader)
            if index in wanted
        ]
    rows = [SheetRow("poses", [head.portrait.crop, *gallery(head)]), SheetRow("clip", [head.portrait.source, *sampled])]
    return contact_sheet(rows, ["source", *(pose.caption for pose in GALLERY)], cell=256)
