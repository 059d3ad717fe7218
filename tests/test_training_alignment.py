"""Flow from a rendered head to the truth: known misplacements are found, by region, and their worth is told."""

import json

import pytest
import torch

from mggtalk_core.evaluation.landmarks import eye_distance
from mggtalk_core.training.alignment import (
    REGIONS,
    alignment_scores,
    evaluate_alignment,
    head_regions,
    misplacement,
    moved_by,
    optical_flow,
    rigid_part,
)
from mggtalk_core.training.pairs import PairSet
from mggtalk_core.training.shards import ShardInfo, ShardSource, ShardTarget, write_shard

SHIFT = (5, -3)


def shifted(image, shift=SHIFT):
    """Move a picture by whole pixels (x, y)."""
    return torch.roll(image, (shift[1], shift[0]), dims=(-2, -1))


def to_bytes(image):
    return (image.clamp(0.0, 1.0) * 255.0 + 0.5).to(torch.uint8)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory, astronaut_head):
    """Two pairs: the render is the truth in its place, and the truth moved by `SHIFT`."""
    folder = tmp_path_factory.mktemp("pairs")
    portrait, fit = astronaut_head.portrait, astronaut_head.fit
    full = torch.ones(1, 512, 512)
    source = ShardSource(
        to_bytes(portrait.crop), to_bytes(portrait.background), to_bytes(portrait.matte), portrait.labels[None],
        to_bytes(full), portrait.landmarks, fit, fit.offsets,
    )  # fmt: skip
    targets = [
        ShardTarget(
            frame, to_bytes(torch.cat((shifted(portrait.crop, shift), full))), to_bytes(portrait.crop),
            to_bytes(portrait.matte), portrait.landmarks, fit.beta_s, fit.gaze, fit.camera.rotation,
            fit.camera.translation,
        )
        for frame, shift in enumerate([(0, 0), SHIFT])
    ]  # fmt: skip
    write_shard(folder / "a.safetensors", ShardInfo("astronaut", "her", 0), source, targets)
    return PairSet(folder)


def test_flow_finds_a_known_shift(astronaut):
    flow = optical_flow(astronaut, shifted(astronaut))[:, 100:300, 150:350]
    assert torch.allclose(flow.flatten(1).median(dim=1).values, torch.tensor(SHIFT, dtype=torch.float32), atol=0.1)


def test_moving_by_a_constant_flow_undoes_a_shift(astronaut):
    flow = torch.tensor(SHIFT, dtype=torch.float32)[:, None, None].expand(2, 512, 512)
    back = moved_by(shifted(astronaut), flow)
    assert torch.allclose(back[:, 20:-20, 20:-20], astronaut[:, 20:-20, 20:-20], atol=1e-6)


def test_the_rigid_part_of_a_similarity_is_all_of_it_and_of_a_stretch_only_its_turn():
    y, x = torch.meshgrid(torch.arange(64.0) - 31.5, torch.arange(64.0) - 31.5, indexing="ij")
    mask = torch.ones(64, 64, dtype=torch.bool)
    similar = torch.stack((0.02 * x - 0.05 * y + 1.0, 0.05 * x + 0.02 * y - 2.0))
    assert rigid_part(similar, mask) == pytest.approx(float(similar.norm(dim=0).mean()), rel=1e-5)
    assert rigid_part(torch.stack((0.1 * x, -0.1 * y)), mask) == pytest.approx(0.0, abs=1e-5)


def test_regions_lie_apart_and_where_they_should(astronaut_head):
    portrait = astronaut_head.portrait
    regions = head_regions(portrait.landmarks, portrait.matte[0])
    assert tuple(regions) == REGIONS
    assert int(torch.stack(list(regions.values())).sum(dim=0).max()) == 1
    middles = {name: mask.nonzero().double().mean(dim=0)[0] for name, mask in regions.items()}
    assert middles["hair"] < middles["eyes"] < middles["mouth"] < middles["neck"]
    for name, points in (("eyes", (159, 386)), ("mouth", (13, 17)), ("face", (4, 205))):
        for x, y in portrait.landmarks[list(points), :2].long().tolist():
            assert regions[name][y, x], name


def test_a_head_in_its_place_has_no_flow_and_a_moved_one_has_its_shift(pairs):
    still, moved = (alignment_scores(misplacement(pair), pair.landmarks) for pair in pairs)
    percent = 100.0 * (SHIFT[0] ** 2 + SHIFT[1] ** 2) ** 0.5 / float(eye_distance(pairs[1].landmarks))
    for name in ("eyes", "mouth", "face", "hair"):
        assert still[f"flow_{name}"] < 0.1
        assert moved[f"flow_{name}"] == pytest.approx(percent, rel=0.15), name
    assert moved["rigid"] == pytest.approx(percent, rel=0.05)
    assert still["rigid"] < 0.1
    assert moved["psnr_head_moved"] > moved["psnr_head"] + 8.0
    assert moved["gain_hair"] > moved["gain_mouth"] > 0.0


def test_the_report_has_a_row_per_clip(pairs, tmp_path):
    table = evaluate_alignment(pairs, tmp_path / "out.json")
    assert [(row["clip"], row["pairs"]) for row in table.rows] == [("astronaut", 2)]
    assert json.loads((tmp_path / "out.json").read_text())["summary"]["psnr_head"]["n"] == 1
    assert (tmp_path / "out_sheets" / "astronaut.png").is_file()
