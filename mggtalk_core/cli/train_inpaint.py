"""``train inpaint`` and ``train pack``: the learned inpainter and the file that ships it."""

from __future__ import annotations

import argparse
from pathlib import Path

from .console import progress_bar, say

_PARTS = ("whole", "eyes", "mouth")


def add_stages(stages: argparse._SubParsersAction) -> None:
    """Declare both stages."""
    inpaint = stages.add_parser("inpaint", help="train the inpainter, or the refiner of eyes or mouth")
    inpaint.add_argument("--pairs", type=Path, required=True, metavar="DIR", help="made by train prepare")
    inpaint.add_argument("--val", type=Path, metavar="DIR", help="pairs of other people, to judge by")
    inpaint.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    inpaint.add_argument("--part", default="whole", choices=_PARTS, help="what is trained (default: whole)")
    inpaint.add_argument("--config", choices=("paper",), help="paper: the large network over the whole crop")
    inpaint.add_argument("--start", type=Path, metavar="FILE", help="weights to begin with (default: none)")
    inpaint.add_argument(
        "--syncnet", type=Path, metavar="FILE",
        help="your own weights of SyncNet (syncnet_v2.model, or safetensors with the same names): the mouth learns to"
        " fit the sound, too; needs --part mouth, and pairs made with train prepare --runs",
    )  # fmt: skip
    inpaint.add_argument("--sync-weight", type=float, default=0.1, metavar="W", help="weight of SyncNet's term (0.1)")
    inpaint.add_argument(
        "--critic-from", type=int, metavar="N",
        help="step from which the discriminator learns (default: 6000); it is heard 1000 steps later",
    )  # fmt: skip
    inpaint.add_argument("--steps", type=int, metavar="N", help="end after N steps")
    inpaint.add_argument("--minutes", type=float, metavar="M", help="end after M minutes")
    inpaint.add_argument("--batch", type=int, default=4, metavar="N", help="examples per step (default: 4)")
    inpaint.add_argument(
        "--crop", type=int, default=256, choices=(128, 256, 384, 512), help="edge of the parts of the whole"
    )
    inpaint.add_argument("--rate", type=float, default=1e-3, help="learning rate (default: 0.001)")
    inpaint.add_argument("--precision", default="no", choices=("no", "bf16", "fp16"), help="mixed precision")
    inpaint.add_argument("--workers", type=int, default=0, metavar="N", help="processes that make examples")
    inpaint.add_argument("--seed", type=int, default=0)
    inpaint.add_argument("--judge-minutes", type=float, default=10.0, metavar="M", help="judge every M minutes")
    inpaint.add_argument("--resume", action="store_true", help="go on with the training in the folder")
    inpaint.set_defaults(run=run_inpaint)
    pack = stages.add_parser("pack", help="put trained parts of the inpainter into one file, judged on pairs")
    for part in _PARTS:
        pack.add_argument(
            f"--{part}",
            type=Path,
            nargs="+",
            metavar="WEIGHTS",
            help=f"weights of the part {part}; several are averaged",
        )
    pack.add_argument("--val", type=Path, metavar="DIR", help="pairs of other people, to judge by")
    pack.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.safetensors")
    pack.add_argument("--sheet", type=Path, metavar="FILE.png", help="pictures to look at")
    pack.set_defaults(run=run_pack)


def run_inpaint(arguments: argparse.Namespace) -> int:
    """Train, and say where the weights are."""
    from ..errors import InputError
    from ..training.inpaint import train_inpaint
    from ..training.inpaint_sync import train_synced_mouth
    from ..training.stage import LoopOptions

    if arguments.syncnet is not None and arguments.part != "mouth":
        raise InputError("SyncNet sees lips alone: give --part mouth with --syncnet.")

    names = ("output", "steps", "minutes", "batch", "rate", "precision", "workers", "seed", "judge_minutes", "resume")
    options = LoopOptions(**{name: getattr(arguments, name) for name in names})
    with progress_bar(f"train {arguments.part}", unit="step") as on_step:
        if arguments.syncnet is not None:
            train_synced_mouth(
                arguments.pairs, arguments.val, arguments.syncnet, options, weight=arguments.sync_weight,
                start=arguments.start, on_step=on_step,
            )  # fmt: skip
        else:
            train_inpaint(
                arguments.pairs, arguments.val, arguments.part, options, config=arguments.config, crop=arguments.crop,
                start=arguments.start, critic_from=arguments.critic_from, on_step=on_step,
            )  # fmt: skip
    say(str(arguments.output / "weights.safetensors"))
    return 0


def run_pack(arguments: argparse.Namespace) -> int:
    """Join the parts, and say how good they are together."""
    from ..training.inpaint_pack import pack

    parts = {part: getattr(arguments, part) for part in _PARTS if getattr(arguments, part) is not None}
    for name, value in pack(parts, arguments.output, arguments.val, arguments.sheet).items():
        say(f"{name}: {value:.4f}")
    say(str(arguments.output))
    return 0
