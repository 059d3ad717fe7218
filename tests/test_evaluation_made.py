"""Mean absolute depth error, objects in DiLiGenT's layout, and the benchmark that uses them."""

import numpy as np
import pytest
import torch

from mggtalk_core.errors import InputError
from mggtalk_core.evaluation import speed_bini
from mggtalk_core.evaluation.made import mean_absolute_depth_error, measured_objects


def test_made_takes_the_scale_or_the_offset_from_the_truth():
    truth = torch.tensor([[10.0, 20.0, 30.0, 0.0]])
    mask = torch.ones(1, 4, dtype=torch.bool)
    assert mean_absolute_depth_error(truth * 0.1, truth, mask, perspective=True) < 1e-5
    assert mean_absolute_depth_error(truth - 7.0, truth, mask, perspective=False) == 0.0
    # Median of the differences is -1, so the errors left are 0, 3 and 0.
    found = torch.tensor([[11.0, 24.0, 31.0, torch.nan]])
    assert mean_absolute_depth_error(found, truth, mask, perspective=False) == pytest.approx(1.0)


def test_made_needs_a_common_pixel():
    empty = torch.full((2, 2), torch.nan)
    with pytest.raises(InputError, match="No pixel"):
        mean_absolute_depth_error(empty, torch.ones(2, 2), torch.ones(2, 2, dtype=torch.bool), perspective=True)


def written(folder, name="ball"):
    import cv2

    (folder / name).mkdir()
    normals = np.zeros((4, 5, 3), np.uint16)
    normals[..., 2] = 65535  # red: x
    cv2.imwrite(str(folder / name / "normal_map.png"), normals)
    cv2.imwrite(str(folder / name / "mask.png"), np.full((4, 5), 255, np.uint8))
    np.savetxt(folder / name / "K.txt", [[7.0, 0, 2], [0, 8.0, 1], [0, 0, 1]])
    np.savez(folder / name / "depth_gt.npz", depth_gt=np.full((4, 5), 3.0, np.float32))
    return folder / name


def test_objects_are_read_in_our_axes(tmp_path):
    written(tmp_path)
    (item,) = measured_objects(tmp_path)
    # Black is -1: x to the right stays, y up and z to the viewer turn round.
    assert item.name == "ball" and item.normals[:, 2, 3].tolist() == [1.0, 1.0, 1.0]
    assert item.intrinsics == (7.0, 8.0, 2.5, 1.5) and bool(item.mask.all()) and float(item.depth[0, 0]) == 3.0


@pytest.mark.parametrize(("name", "message"), [("K.txt", "lacks K.txt"), ("mask.png", "lacks mask.png")])
def test_missing_files_are_named(tmp_path, name, message):
    (written(tmp_path) / name).unlink()
    with pytest.raises(InputError, match=message):
        list(measured_objects(tmp_path))


def test_broken_files_are_named(tmp_path):
    (written(tmp_path) / "depth_gt.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match="cannot be read"):
        list(measured_objects(tmp_path))
    with pytest.raises(InputError, match="holds no object"):
        list(measured_objects(tmp_path / "ball"))


def test_benchmark_compares_the_solvers_on_a_ball(monkeypatch):
    monkeypatch.setattr(speed_bini, "SIZE", 64)
    calls = []
    result = speed_bini.benchmark_bini(on_step=lambda done, total: calls.append((done, total)))
    (row,) = result["objects"]
    assert row["float64_made"] == row["twin_made"] and row["float64_iterations"] == row["twin_iterations"]
    # A thousandth of the ball, which is 100 high, at 64 pixels across.
    assert row["float32_made"] < 0.1
    assert row["float64_energy"] == pytest.approx(row["twin_energy"], abs=0.002)
    assert calls[-1] == (1, 1)
    assert result["sum"]["twin_seconds"] == pytest.approx(row["twin_seconds"])
