"""Ablations of the Gaussian stage: what is trained, what is scored, and what the tables say."""

import json
import math
from dataclasses import replace

import pytest
import torch

from mggtalk_core.cli.evaluate_ablation import VARIANTS as NAMED
from mggtalk_core.errors import InputError
from mggtalk_core.evaluation.metrics import psnr
from mggtalk_core.evaluation.tables import Table
from mggtalk_core.evaluation.variance import parameter_variance
from mggtalk_core.gaussians.gaussians import Gaussians
from mggtalk_core.gaussians.networks.config import EMBEDDED
from mggtalk_core.geometry.points import Label
from mggtalk_core.portrait.portrait import CROP_SIZE
from mggtalk_core.training import ablation
from mggtalk_core.training.ablation import VARIANTS, AblationOptions, evaluate_ablation
from mggtalk_core.training.ablation_tables import FULL, PAPER, differences_table
from mggtalk_core.training.gaussian_data import Scenes
from mggtalk_core.training.gaussian_judge import Judges, over_layer, score_sources
from tests.inpaint_samples import pair_of, scene
from tests.test_training_gaussians import Shards, builder


@pytest.fixture(scope="module")
def sitting():
    return scene(12.0, jawOpen=0.4)


@pytest.fixture(scope="module")
def pairs(sitting):
    pair = pair_of(sitting, shift=0)
    return Shards([pair, replace(pair, clip="other")])


@pytest.fixture(scope="module")
def build(sitting):
    return builder(sitting)


def cloud(count, generator, label=Label.MIRRORED):
    values = {name: torch.rand(count, *rest, generator=generator) for name, rest in SHAPES.items()}
    values["quats"] = torch.nn.functional.normalize(values["quats"], dim=1)
    return Gaussians(**values, labels=torch.full((count,), int(label), dtype=torch.uint8))


SHAPES = {"means": (3,), "quats": (4,), "scales": (3,), "opacities": (), "sh": (4, 3)}


def test_the_command_names_every_variant():
    assert tuple(VARIANTS) == NAMED and set(PAPER) < set(VARIANTS)
    assert [name for name in VARIANTS if name in PAPER] == list(PAPER)


def test_options_are_checked():
    for wrong in ({"variants": ("full", "without-luck")}, {"variants": ("without-densify",)}, {"seeds": ()}):
        with pytest.raises(InputError):
            AblationOptions(**wrong)


def test_a_source_is_scored_against_its_truth(pairs, build):
    scenes = Scenes(pairs, EMBEDDED, CROP_SIZE, None, build)
    (row, shown), _ = score_sources(scenes, None, Judges(), spread=True)
    pair, image = pairs[0], shown.images[1]
    assert torch.equal(image, over_layer(scenes, scenes.head(0, torch.device("cpu"))[0].analytic, 0))
    matte = pair.matte.float() / 255.0 * (pair.inside > 127)
    assert row["psnr_head"] == pytest.approx(psnr(image, pair.truth.float() / 255.0, matte), abs=1e-4)
    assert row["targets"] == 1 and "lpips_head" not in row and "spread_scale" not in row  # one frame varies in nothing


def test_the_variance_of_a_label_leaves_out_what_never_shows():
    random = torch.Generator().manual_seed(0)
    frames = [cloud(40, random) for _ in range(3)]
    for frame in frames:
        frame.labels[20:] = int(Label.VISIBLE)
        frame.opacities[:10] = 0.0
    part = [Gaussians(**{name: getattr(frame, name)[10:20] for name in (*SHAPES, "labels")}) for frame in frames]
    found, wanted = parameter_variance(frames, Label.MIRRORED), parameter_variance(part)
    assert found.keys() == wanted.keys()
    assert all(found[name] == pytest.approx(wanted[name], rel=1e-5) for name in wanted)
    assert parameter_variance(frames, Label.CHILD) == {}


def rows_of(variant, seed, values):
    return [{"variant": variant, "seed": seed, "clip": str(k), "psnr_head": value} for k, value in enumerate(values)]


def test_differences_are_taken_seed_by_seed():
    table = Table("t", {})
    for name, seed, values in (
        (FULL, None, (20.0, 22.0)), (FULL, 0, (24.0, 26.0)), (FULL, 1, (25.0, 29.0)),
        ("without-densify", None, (19.0, 21.0)), ("without-densify", 0, (23.0, 26.0)),
        ("without-densify", 1, (24.0, 27.0)),
    ):  # fmt: skip
        table.rows += rows_of(name, seed, values)
    full, bare = differences_table(table).rows
    assert (full["psnr_head"], full["psnr_head_seeds"], full["psnr_head_start"]) == (26.0, 1.0, 21.0)
    assert (full["clips"], full["seeds"]) == (2, 2) and "psnr_head_change" not in full
    assert (bare["psnr_head_change"], bare["psnr_head_change_seeds"]) == (-1.0, 0.5)
    assert bare["psnr_head_worse"] == 2 and bare["psnr_head_paper"] == pytest.approx(30.32 - 32.40)
    assert bare["as_paper"].startswith("psnr_head yes")
    for row in table.rows:
        if row["variant"] == "without-densify" and row["seed"] == 0:
            row["psnr_head"] += 2.0
    assert differences_table(table).rows[1]["as_paper"].startswith("psnr_head unclear")


def test_an_ablation_is_trained_once_and_goes_on(tmp_path, pairs, build, monkeypatch):
    monkeypatch.setattr(ablation, "PairSet", lambda folder: pairs)
    monkeypatch.setattr("mggtalk_core.training.gaussians.PairSet", lambda folder: pairs)
    names = (FULL, "without-densify", "without-pointcloud-input")
    options = AblationOptions(names, (0,), steps=1, window=64, perceptual=0.0, per_clip=1)
    how = {"judges": Judges(), "build": build}
    counted = []
    first = evaluate_ablation("p", "v", tmp_path, options, on_step=lambda *step: counted.append(step), **how)
    assert counted[-1] == (3, 3)
    assert [row["variant"] for row in first.rows] == [name for name in names for _ in range(4)]
    starts = [
        [row["psnr_head"] for row in first.rows if row["variant"] == name and row["seed"] is None] for name in names
    ]
    assert starts[0] == starts[2] != starts[1] and all(math.isfinite(value) for value in sum(starts, []))
    written = json.loads((tmp_path / "ablation_differences.json").read_text())["rows"]
    assert [row["variant"] for row in written] == list(names)
    assert (tmp_path / "ablation_sheets" / "full_0.png").is_file()

    def never(*arguments, **others):
        raise AssertionError("trained twice")

    monkeypatch.setattr(ablation, "train_gaussians", never)
    assert evaluate_ablation("p", "v", tmp_path, options, **how).rows == first.rows
    with pytest.raises(InputError, match="other options"):
        evaluate_ablation("p", "v", tmp_path, replace(options, steps=2), **how)
