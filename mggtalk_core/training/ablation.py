"""The paper's ablations: the Gaussian stage trained alike with one thing left out at a time (table 3 and 4.4.3)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..evaluation.reports import Sheets
from ..evaluation.sheets import SheetRow, contact_sheet
from ..evaluation.tables import Row, Table
from ..gaussians.networks.config import ABLATIONS, CONFIGS, Switches
from ..gaussians.networks.model import GaussianNetworks, read_gaussians
from ..media.atomic import replacing
from ..portrait.portrait import CROP_SIZE
from ..progress import OnStep, ignore_steps
from .ablation_tables import FULL, differences_table
from .gaussian_data import Scenes
from .gaussian_judge import PER_CLIP, Judges, find_judges, score_sources
from .gaussians import train_gaussians
from .pairs import PairSet
from .sitters import BuildAvatar, KeptAvatars
from .stage import LoopOptions

VARIANTS = {
    FULL: Switches(),
    **{f"without-{name}": switches for name, switches in ABLATIONS.items()},
    "symmetry-in-sgp": Switches(symmetry_in="sgp"),
}
"""The rows of table 3, and the other placement of symmetry (4.4.3)."""
SPREAD = (FULL, "symmetry-in-sgp")
"""Variants whose parameters' variance is measured, which takes as long as the other scores: those of 4.4.3."""
KEPT = 160
"""Avatars in memory, 45 MB each: most variants share theirs."""


@dataclass(frozen=True)
class AblationOptions:
    """What is trained, how long, and what is scored."""

    variants: tuple[str, ...] = tuple(VARIANTS)
    seeds: tuple[int, ...] = (0, 1)
    steps: int = 300
    rate: float = 1e-3
    window: int = 192
    """Edge of the part of the picture that is compared in a step."""
    perceptual: float = 0.05
    config: str = "embedded"
    per_clip: int = PER_CLIP

    def __post_init__(self) -> None:
        """Refuse what is no variant; that of the whole method is what the others are compared with."""
        unknown = set(self.variants) - set(VARIANTS)
        if unknown:
            raise InputError(f'Unknown variant "{min(unknown)}": choose among {", ".join(VARIANTS)}.')
        if FULL not in self.variants or not self.seeds:
            raise InputError(f"Give at least one seed, and {FULL} among the variants: the others are compared with it.")


def evaluate_ablation(
    pairs: str | os.PathLike[str],
    val: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    options: AblationOptions | None = None,
    *,
    judges: Judges | None = None,
    build: BuildAvatar | None = None,
    on_step: OnStep = ignore_steps,
) -> Table:
    """Train every variant with every seed, alike but for what is left out, and score it on people it has not seen.

    A row per variant, seed and clip: see `score_sources`; without a seed it is the untrained start, which is the
    analytic form. Everything goes into ``folder``: a folder per training, ``ablation.json`` with CSV and Markdown, the
    differences from the whole method (``ablation_differences``), and contact sheets. What is there is not done again;
    trainings that were cut off go on.

    Args:
        pairs: folder of pairs to learn from.
        val: folder of pairs of other people.
        folder: where the results go.
        options: see `AblationOptions`.
        judges: what looks at the pictures; those of `find_judges` when None.
        build: makes avatars; as the pipeline does when None.
        on_step: counts steps of training over all variants.

    Raises:
        InputError: no pairs, or the folder holds an ablation with other options.
    """
    options, folder = options or AblationOptions(), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _agree(folder / "options.json", options)
    study = _Study(Path(pairs), PairSet(val), folder, options, judges or find_judges(), KeptAvatars(KEPT, build))
    table = Table("Ablations of the Gaussian stage", asdict(options), averaged=False)
    for rows in study.run(on_step):
        table.rows += rows
        table.rows.sort(key=lambda row: options.variants.index(row["variant"]))
        table.write(folder / "ablation.json")
        differences_table(table).write(folder / "ablation_differences.json")
    return table


def _agree(path: Path, options: AblationOptions) -> None:
    """Note how the trainings of a folder are made; raise `InputError` if they were made otherwise."""
    wanted = json.loads(json.dumps({name: value for name, value in asdict(options).items() if name in _SAME}))
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != wanted:
        raise InputError(f"{path.parent} holds an ablation with other options: give them again, or another folder.")
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(wanted), encoding="utf-8")


_SAME = ("steps", "rate", "window", "perceptual", "config", "per_clip")
"""Options that must not change between the trainings of one folder."""


@dataclass(frozen=True)
class _Study:
    pairs: Path
    val: PairSet
    folder: Path
    options: AblationOptions
    judges: Judges
    build: KeptAvatars

    def run(self, on_step: OnStep) -> Iterator[list[Row]]:
        """Yield the rows of every start and of every training, all variants of one seed after the other."""
        options, done = self.options, 0
        total = options.steps * len(options.seeds) * len(options.variants)
        # Those with the same geometry follow each other, for they share avatars.
        ordered = sorted(options.variants, key=lambda name: VARIANTS[name].geometry != VARIANTS[FULL].geometry)
        for name in ordered:
            yield self._scored(name, None)
            on_step(0, total)
        for seed in options.seeds:
            for name in ordered:
                before = done

                def counted(step: int, _: int, before: int = before) -> None:
                    on_step(before + step, total)

                self._train(name, seed, counted)
                yield self._scored(name, seed)
                done += options.steps

    def _place(self, name: str, seed: int | None) -> Path:
        return self.folder / (f"{name}_start" if seed is None else f"{name}_{seed}")

    def _train(self, name: str, seed: int, on_step: OnStep) -> None:
        options, place = self.options, self._place(name, seed)
        if (place / "scores.json").exists():
            return
        loop = LoopOptions(place, steps=options.steps, batch=1, rate=options.rate, seed=seed, resume=True)
        train_gaussians(
            self.pairs, None, loop, config=options.config, switches=VARIANTS[name], window=options.window,
            perceptual=options.perceptual, build=self.build, on_step=on_step,
        )  # fmt: skip

    def _scored(self, name: str, seed: int | None) -> list[Row]:
        """Return the rows of one training, which are made only once."""
        place = self._place(_same_start(name) if seed is None else name, seed)
        path = place / "scores.json"
        if not path.exists():
            place.mkdir(exist_ok=True)
            config = CONFIGS[self.options.config].with_switches(VARIANTS[name])
            network = GaussianNetworks(config) if seed is None else read_gaussians(place / "weights.safetensors")
            scenes = Scenes(self.val, config, CROP_SIZE, None, self.build)
            found = list(score_sources(scenes, network.eval(), self.judges, self.options.per_clip, name in SPREAD))
            Sheets(self.folder / "ablation.json").add(place.name, _sheet([shown for _, shown in found], place.name))
            with replacing(path) as temporary:
                temporary.write_text(json.dumps([row for row, _ in found]), encoding="utf-8")
        rows = json.loads(path.read_text(encoding="utf-8"))
        return [{"variant": name, "seed": seed, **row} for row in rows]


def _same_start(name: str) -> str:
    """Return the first of the variants whose untrained networks make the same pictures."""

    def seen(each: str) -> tuple[object, ...]:
        return VARIANTS[each].geometry, VARIANTS[each].densify

    return next(each for each in VARIANTS if seen(each) == seen(name))


def _sheet(rows: list[SheetRow], title: str) -> Float[Tensor, "3 height width"]:
    return contact_sheet(rows, ("source", "driven", "truth"), title=title)
