"""The benchmark of the rasterisers: its numbers are there, make sense, and become a picture."""

import numpy as np
import pytest
from PIL import Image

from mggtalk_core.errors import InputError
from mggtalk_core.render import speed, speed_compare
from mggtalk_core.render.speed_plot import plot_speed


@pytest.fixture(scope="module")
def result():
    patch = pytest.MonkeyPatch()
    patch.setattr(speed, "_USUAL", 3000)
    patch.setattr(speed_compare, "against_gsplat_torch", lambda repeats: {"ratio": 1.0})
    patch.setattr(speed_compare, "against_reference", lambda repeats: {"ratio": 1.0})
    timed = speed.benchmark_render((1000, 20_000), (64, 256), (0.5, 4.0), repeats=3)
    patch.undo()
    return timed


def test_more_work_takes_longer(result):
    def cpu(sweep):
        return [
            row["forward"]["cpu_ms"] + row["backward"]["cpu_ms"] for row in result["numba"] if row["sweep"] == sweep
        ]

    for sweep in ("gaussians", "splat size"):
        times = cpu(sweep)
        assert len(times) == 2 and times[0] < times[1]


def test_calibration_errors_memory_and_backends_are_reported(result):
    assert result["calibration"]["cpu_ms"] > 0 and result["peak_memory_mb"] > 10
    assert result["largest_error_to_reference"] < 1 / 255
    assert result["backends"].split(", ")[0] in ("numba", "gsplat", "warp")
    assert result["video"]["one_worker_fps"] > 0


def test_the_plot_shows_both_curves(result, tmp_path):
    plot_speed(tmp_path / "speed.png", result)
    pixels = np.asarray(Image.open(tmp_path / "speed.png").convert("RGB")).reshape(-1, 3)
    for color in ((31, 119, 180), (214, 92, 28)):
        assert (pixels == color).all(axis=1).sum() > 300


def test_a_comfyui_that_cannot_run_is_refused_in_one_line(tmp_path):
    with pytest.raises(InputError) as refused:
        speed_compare.against_render_splat(tmp_path, count=10)
    assert "\n" not in str(refused.value) and str(tmp_path) in str(refused.value)


def test_against_the_reference_is_a_ratio_of_times():
    row = speed_compare.against_reference(1, count=50, size=16)
    assert row["ratio"] == pytest.approx(row["reference_ms"] / row["numba_ms"], rel=0.2)
