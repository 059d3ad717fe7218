"""Reconstruction: portraits rendered again at their own pose and expression."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..media.images import read_image
from ..progress import OnStep, ignore_steps
from .instruments import Instruments, pipeline_instruments
from .metrics import psnr, ssim
from .reports import Sheets, require, write_report
from .sheets import SheetRow, contact_sheet, difference
from .tables import Row, Table

GREY = 0.5
"""The flat background of both pictures."""


def evaluate_portraits(
    portraits: Sequence[str | os.PathLike[str]],
    report: str | os.PathLike[str] | None = None,
    *,
    instruments: Instruments | None = None,
    on_step: OnStep = ignore_steps,
) -> Table:
    """Render every portrait's Gaussians at the source pose and expression and compare; a row per portrait.

    What is compared is the head image ``I_s^h``: the bare Gaussians, before inpainting and paste-back, and the crop cut
    out by its matte, both over flat grey; PSNR in dB and SSIM inside the matte.

    Args:
        portraits: picture files.
        report: JSON file to write, with CSV, Markdown and a contact sheet beside it; None writes nothing.
        instruments: the system under test; this project's pipeline when None.
        on_step: progress over the portraits.

    Raises:
        InputError: nothing is given, or the report cannot be written. A portrait that cannot be used has a row that
            says why.
    """
    require(portraits, "portrait")
    instruments = instruments or pipeline_instruments()
    table, sheets, rows = Table("Reconstruction of portraits"), Sheets(report), []
    for done, portrait in enumerate(portraits):

        def alive(_step: int, _steps: int, done: int = done) -> None:
            on_step(done, len(portraits))

        try:
            row, pictures = _evaluate_portrait(Path(portrait), instruments, alive)
            rows.append(SheetRow(f"{Path(portrait).stem} {row['psnr']:.1f} dB", pictures))
        except InputError as error:
            row = {"portrait": Path(portrait).name, "error": str(error)}
        table.rows.append(row)
        on_step(done + 1, len(portraits))
    if rows:
        sheets.add("portraits", contact_sheet(rows, ("head image", "Gaussians", "difference x4"), 256))
    write_report(table, report, {"psnr": vars(table.mean("psnr"))})
    return table


def _evaluate_portrait(
    path: Path, instruments: Instruments, alive: OnStep
) -> tuple[Row, list[Float[Tensor, "3 256 256"]]]:
    start = time.perf_counter()
    avatar = instruments.build(read_image(path), alive)
    seconds = time.perf_counter() - start
    portrait = avatar.portrait
    truth = portrait.crop * portrait.matte + GREY * (1.0 - portrait.matte)
    image = avatar.at_rest(torch.full((3,), GREY))
    scores = {"psnr": psnr(image, truth, portrait.matte), "ssim": ssim(image, truth, portrait.matte)}
    pictures = [_half(each) for each in (truth, image, difference(image, truth))]
    return {"portrait": path.name, **scores, "seconds": seconds}, pictures


def _half(image: Float[Tensor, "3 512 512"]) -> Float[Tensor, "3 256 256"]:
    return torch.nn.functional.avg_pool2d(image, 2)
