"""Command-line options that several subcommands share."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..pipeline import Settings


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the options of `Settings` and of the weights policy."""
    parser.add_argument(
        "--face", type=int, metavar="N", help="which face, counted from the largest (default: the largest)"
    )
    parser.add_argument(
        "--provider", default="mesh", choices=("mesh", "geowizard", "marigold"), help="depth and normals"
    )
    parser.add_argument("--backend", default="auto", help="splat rasteriser: auto, gsplat, numba or reference")
    parser.add_argument("--no-learned", dest="learned", action="store_false", help="use the analytic stages only")
    parser.add_argument(
        "--refine", action=argparse.BooleanOptionalAction, default=True,
        help="correct the fitted head's depth by the learned network (default: yes)",
    )  # fmt: skip
    parser.add_argument("--commercial-safe", action="store_true", help="refuse weights whose licence or data forbid it")
    parser.add_argument(
        "--report", type=Path, metavar="OUT.json", help="write frames, seconds, memory and weights used"
    )


def add_view(parser: argparse.ArgumentParser) -> None:
    """Add the options of how the head follows its driver."""
    parser.add_argument("--torso", default="follow", choices=("hold", "follow"), help="whether the shoulders move too")
    parser.add_argument(
        "--reference", default="first", choices=("first", "neutral", "absolute"), help="what motion is relative to"
    )
    parser.add_argument("--strength", type=float, default=1.0, help="0 keeps the picture still, 1 follows the driver")
    parser.add_argument("--yaw", type=float, default=0.0, metavar="DEG", help="turn the head to its left")
    parser.add_argument("--pitch", type=float, default=0.0, metavar="DEG", help="turn the head upwards")


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Return the settings that the options say; options a subcommand lacks keep their defaults."""
    names = Settings.__dataclass_fields__
    return Settings(**{name: getattr(arguments, name) for name in names if hasattr(arguments, name)})
