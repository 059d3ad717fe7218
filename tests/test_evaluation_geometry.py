"""Errors on known shapes are what they were made to be, and the command measures what it is given."""

import json

import numpy as np
import pytest
import torch

from mggtalk_core.__main__ import main
from mggtalk_core.errors import InputError
from mggtalk_core.evaluation.geometry import evaluate_geometry
from mggtalk_core.evaluation.geometry_figures import SIZE, draw_points
from mggtalk_core.evaluation.geometry_heads import imagined_maps, means_by, true_plane
from mggtalk_core.evaluation.geometry_samples import evaluate_samples
from mggtalk_core.evaluation.known_shapes import Similarity, map_errors, other_side_errors, truth_on_crop
from mggtalk_core.evaluation.tables import Table
from mggtalk_core.geometry.points import HeadPoints
from mggtalk_core.head.model import load_head_model
from mggtalk_core.motion.rotations import axis_rotation
from mggtalk_core.portrait.portrait import Portrait
from mggtalk_core.studio.paint import FaceChart
from mggtalk_core.studio.rendered_heads import HeadStudio
from mggtalk_core.studio.source_head import read_source

FLIP = torch.tensor([-1.0, 1.0, 1.0])
SAME = Similarity(1.0, torch.eye(3), torch.zeros(3))


@pytest.fixture(scope="module")
def truth(shared):
    """A head turned by 30 degrees, on a crop that shows its whole picture."""
    studio = HeadStudio(read_source(shared / "data" / "ict_facekit"), FaceChart(load_head_model()))
    head = studio.draw(7, yaw=30.0, neutral=True)
    nothing = torch.zeros(3, 512, 512)
    to_crop = torch.tensor([[0.8, 0.0, 0.0], [0.0, 0.8, 0.0]])
    portrait = Portrait(
        head.image, nothing, to_crop, nothing[:1], nothing, torch.zeros(512, 512, dtype=torch.uint8),
        torch.zeros(478, 3), torch.zeros(52), 1.0,
    )  # fmt: skip
    return truth_on_crop(head, portrait)


def cloud(visible, mirrored):
    """Visible and mirrored points, and nothing else."""
    n, m = len(visible), len(mirrored)
    labels = torch.cat((torch.full((n,), 0), torch.full((m,), 1))).to(torch.uint8)
    none = torch.full((n + m,), -1)
    return HeadPoints(
        torch.cat((visible, mirrored)), labels, torch.zeros(n, 2, dtype=torch.long), torch.zeros(m, dtype=torch.long),
        none, torch.zeros(n + m, 3), None,
    )  # fmt: skip


def test_the_truth_has_no_error(truth):
    row, laid = map_errors(truth, truth.depth > 0, truth.position_map, truth.normals)
    # Half a degree is what the arc cosine of single precision makes of a cosine of 1.
    assert max(row[name] for name in row if not name.startswith("normal")) < 1e-3
    assert row["normal_face"] < 0.05 and laid.scale == pytest.approx(1.0, abs=1e-5)


def test_a_similarity_is_removed_and_its_inverse_is_found(truth):
    turn = axis_rotation(1, torch.tensor(0.1))
    moved = torch.einsum("dc,chw->dhw", turn, 1.2 * truth.position_map) + torch.tensor([0.1, -0.2, 0.3])[:, None, None]
    row, laid = map_errors(truth, truth.depth > 0, moved, truth.normals)
    assert row["point_head"] < 1e-3 and laid.scale == pytest.approx(1 / 1.2, abs=1e-5)
    plane = true_plane(laid)
    middle = torch.stack((torch.zeros(5), torch.linspace(-1, 1, 5), torch.linspace(0.5, -1, 5)), dim=1)
    on_it = 1.2 * middle @ turn.T + torch.tensor([0.1, -0.2, 0.3])
    assert torch.allclose(on_it @ plane.normal, torch.tensor(plane.offset), atol=1e-4)


def test_a_millimetre_is_a_millimetre(truth):
    """One side of the face moved out and the other in, by turns: no similarity takes that away."""
    towards = truth.head.camera.rotation[2]
    checks = (torch.arange(512)[:, None] // 8 + torch.arange(512) // 8) % 2 * 2.0 - 1.0
    moved = truth.position_map + 0.01 * checks * towards[:, None, None]
    row, _ = map_errors(truth, truth.depth > 0, moved, truth.normals)
    for name in ("point_face", "depth_face", "point_head", "depth_head"):
        assert row[name] == pytest.approx(1.0, abs=0.02), name
    turned = torch.einsum("dc,chw->dhw", axis_rotation(2, torch.tensor(np.deg2rad(5.0)).float()), truth.normals)
    row, _ = map_errors(truth, truth.depth > 0, truth.position_map, turned)
    expected = torch.rad2deg((turned * truth.normals).sum(0).clamp(-1, 1).acos())[truth.face].mean()
    assert row["normal_face"] == pytest.approx(float(expected), abs=0.01) and 0.5 < row["normal_face"] < 5.0


def test_the_true_other_side_covers_everything_and_nothing_covers_little(truth):
    visible = truth.position_map[:, truth.depth > 0].T[::2]
    whole = other_side_errors(truth, cloud(visible, visible * FLIP), SAME, voxel=0.03)
    assert whole["covered_face"] > 99.9 and whole["covered_head"] > 99.9
    # The head is not quite symmetric, or its mirror image would lie on it.
    assert whole["distance"] < 2.0 and whole["duplicates"] > 0
    assert whole["seen_face"] > 99.9 and whole["seen_head"] > 99.9
    none = other_side_errors(truth, cloud(visible, visible[:0]), SAME, voxel=0.03)
    assert none["covered_face"] < 50.0 and none["seen_face"] > 99.5
    assert none["duplicates"] == 0 and "distance" not in none


def test_duplicates_are_counted_by_the_voxel():
    visible = torch.tensor([[0.01, 0.01, 0.01], [0.31, 0.01, 0.01]])
    mirrored = torch.tensor([[0.02, 0.02, 0.02], [0.04, 0.01, 0.01], [0.32, 0.01, 0.02]])
    from mggtalk_core.evaluation.known_shapes import _shared_voxels

    assert _shared_voxels(visible, mirrored, 0.03) == 2


def test_imagined_maps_repeat_and_err_as_they_say(truth):
    depth, normals = imagined_maps(truth, 3)
    again = imagined_maps(truth, 3)
    known = truth.depth > 0
    assert torch.equal(depth[known], again[0][known]) and torch.equal(normals[:, known], again[1][:, known])
    assert depth[~known].isnan().all() and normals[:, ~known].isnan().all()
    x = torch.stack((truth.depth[known], torch.ones_like(truth.depth[known])), dim=1).double()
    line = torch.linalg.lstsq(x, depth[known].double()[:, None]).solution
    left = ((depth[known].double() - (x @ line)[:, 0]) / line[0]).std()
    assert 0.01 < float(left) < 0.06
    angle = torch.rad2deg((normals * truth.normals).sum(0)[known].clamp(-1, 1).acos()).mean()
    assert 3.0 < float(angle) < 9.0


def test_means_are_taken_group_by_group():
    table = Table(
        "t", rows=[{"p": "a", "head": 0, "e": 1.0}, {"p": "b", "head": 0, "e": 5.0}, {"p": "a", "head": 1, "e": 3.0}]
    )
    assert means_by(table, ("p",)).rows == [{"p": "a", "n": 2, "e": 2.0}, {"p": "b", "n": 1, "e": 5.0}]


def test_the_nearest_point_is_drawn_over_the_others():
    points = torch.tensor([[0.003, -0.103, 0.2], [0.003, -0.103, -1.4], [0.503, -0.103, -0.5]])
    red, green, blue = torch.eye(3)
    picture = draw_points(points, torch.stack((red, green, blue)), 0.0)
    assert torch.equal(picture[:, SIZE // 2, SIZE // 2], red)
    assert int((picture != 1.0).any(0).sum()) == 2
    behind = draw_points(points, torch.stack((red, green, blue)), 180.0)
    assert (behind == green[:, None, None]).all(0).any() and not (behind == red[:, None, None]).all(0).any()


def ball_sample(folder, size=96):
    """Depth and normals of a ball, the normals with all signs turned round and the depth at another scale."""
    y, x = np.meshgrid(*(np.linspace(-0.7, 0.7, size),) * 2, indexing="ij")
    z = np.sqrt(1.0 - np.clip(x * x + y * y, 0.0, 0.98))
    normals = np.stack((x, y, -z), axis=-1)
    np.savez(folder / "ball.npz", depth=(0.5 - 0.3 * z).astype(np.float32), normal=(-normals).astype(np.float16))


def test_predicted_maps_that_agree_are_integrated_to_each_other(tmp_path):
    ball_sample(tmp_path)
    table, sheets = evaluate_samples(tmp_path)
    assert len(table.rows) == 4 and [name for name, _ in sheets] == ["ball"]
    for row in table.rows:
        assert row["explained"] > 98.0 and row["normal"] < 1.0, row


def test_the_command_measures_one_head_and_one_object(shared, tmp_path, capsys):
    objects = tmp_path / "objects"
    objects.mkdir()
    (objects / "cow").symlink_to(shared / "data" / "diligent" / "cow")
    ball_sample(tmp_path)
    report = tmp_path / "out.json"
    heads = str(shared / "data" / "ict_facekit")
    words = ["--heads", heads, "--count", "1", "--objects", str(objects), "--samples", str(tmp_path)]
    assert main(["evaluate", "geometry", *words, "--report", str(report)]) == 0
    said, tables = capsys.readouterr().out, json.loads(report.read_text())
    assert "made_float32" in said and "imagined both" in said and "ball" in said
    cow = tables["objects"]["rows"][0]
    # The reference's error on this object is 0.06 mm; float32 loses nothing of it.
    assert cow["made_float64"] < 0.1 and abs(cow["loss"]) < 1.0
    stages = {(row["provider"], row["stage"]): row for row in tables["stages"]["rows"]}
    assert len(stages) == 23
    # A head that the refinement was not trained on, and the landmark network's own errors.
    assert stages["mesh", "P_f"]["depth_face"] < 0.9 * stages["mesh", "P_c"]["depth_face"]
    for provider in ("mesh", "imagined depth", "imagined normals", "imagined both"):
        before, after = stages[provider, "estimate"], stages[provider, "P_c"]
        for name in ("point_face", "point_head", "normal_face"):
            assert after[name] < 1.01 * before[name], (provider, name)
        assert stages[provider, "mirrored"]["duplicates"] == 0
    kept = [stages["true maps", stage] for stage in ("estimate", "P_c")]
    assert kept[1]["point_head"] == pytest.approx(kept[0]["point_head"], rel=1e-4)
    assert (tmp_path / "out_stages.csv").is_file() and (tmp_path / "out_sheets" / "sample_ball.png").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Nothing to measure"),
        (["--objects", "."], "holds no object"),
        (["--heads", "."], "ict_facekit.npz"),
        (["--samples", "."], "holds no sample"),
        (["--heads", ".", "--count", "0"], "0 heads"),
    ],
)
def test_folders_that_hold_nothing(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "geometry", *words]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and "\n" not in error.splitlines()[-1] and "Traceback" not in error


def test_samples_that_are_broken(tmp_path):
    np.savez(tmp_path / "a.npz", depth=np.zeros((4, 4)))
    with pytest.raises(InputError, match="must hold depth and normal"):
        evaluate_geometry(None, samples=tmp_path)
    np.savez(tmp_path / "a.npz", depth=np.zeros((4, 4)), normal=np.zeros((4, 5, 3)))
    with pytest.raises(InputError, match="depth's size"):
        evaluate_geometry(None, samples=tmp_path)
