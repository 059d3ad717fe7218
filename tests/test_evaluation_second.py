"""Ways side by side, and noise on the expression, with systems that are known."""

import csv
import json
import math

import numpy as np
import pytest
import torch

from mggtalk_core.errors import InputError
from mggtalk_core.evaluation.clips import to_frame
from mggtalk_core.evaluation.instruments import Instruments
from mggtalk_core.evaluation.noise import LEVELS, NoiseOptions, evaluate_noise, levels_table, noisy
from mggtalk_core.evaluation.scorers import Scorers
from mggtalk_core.evaluation.self_reenactment import evaluate_self
from mggtalk_core.evaluation.self_summary import summary, ways_table
from mggtalk_core.evaluation.tables import Table
from mggtalk_core.media.video import VideoWriter
from mggtalk_core.motion.motion import Motion, Rest
from mggtalk_core.portrait.landmarker import Face
from mggtalk_core.portrait.portrait import Portrait

SIZE = 512
FACING = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
MARKS = 100.0 + 300.0 * torch.rand(478, 3, generator=torch.Generator().manual_seed(0))
GRAIN = 0.1 * (torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) - 0.5)


def opening_at(index):
    return 0.5 + 0.4 * math.sin(index)


def picture(opening):
    """A grainy picture whose lower half is as bright as the mouth is open."""
    image = torch.full((3, SIZE, SIZE), 0.5)
    image[:, SIZE // 2 :] = opening
    return (image + GRAIN).clamp(0.0, 1.0)


def look(frame):
    """See the mouth of `picture`."""
    opening = float(frame[SIZE * 3 // 4 :].mean()) / 255.0
    landmarks = MARKS.clone()
    landmarks[33, :2], landmarks[263, :2] = torch.tensor([150.0, 200.0]), torch.tensor([350.0, 200.0])
    landmarks[13, :2], landmarks[14, :2] = torch.tensor([250.0, 350.0]), torch.tensor([250.0, 350.0 + 40.0 * opening])
    landmarks[159, :2], landmarks[145, :2] = torch.tensor([200.0, 190.0]), torch.tensor([200.0, 190.0 + 20.0 * opening])
    landmarks[386, :2], landmarks[374, :2] = torch.tensor([300.0, 190.0]), torch.tensor([300.0, 190.0 + 20.0 * opening])
    return Face(landmarks, torch.full((52,), opening), 1.0)


def track(frames, fps, crop, on_step):
    openings = torch.tensor([float(look(frame).blendshapes[0]) for frame in frames])
    count = len(openings)
    beta = torch.zeros(count, 52)
    beta[:, 0] = openings
    rotation = FACING.repeat(count, 1, 1)
    rest = Rest(beta[0], torch.zeros(4), rotation[0], torch.zeros(3))
    return Motion(beta, torch.zeros(count, 4), rotation, torch.zeros(count, 3), fps, rest, 0.6, "video")


class Puppet:
    """An avatar that follows its driver by ``gain``, and has a plainer self that follows by ``plain``."""

    def __init__(self, image, gain, plain=None):
        face = look(to_frame(image))
        self.gain, self.plain, self.opening = gain, plain, float(face.blendshapes[0])
        self.portrait = Portrait(
            source=image, crop=image, crop_transform=torch.eye(3)[:2], matte=torch.ones(1, SIZE, SIZE),
            background=image, labels=torch.zeros(SIZE, SIZE, dtype=torch.uint8), landmarks=face.landmarks,
            blendshapes=face.blendshapes, score=1.0,
        )  # fmt: skip

    def animate(self, motion):
        for change in (motion.beta[:, 0] - motion.beta[0, 0]).tolist():
            yield picture(self.opening + self.gain * change)

    def gaussians(self, motion):
        return iter(())

    def analytic(self, on_step):
        return None if self.plain is None else Puppet(self.portrait.crop, self.plain)


class SomeIdentity:
    """A recogniser that tells people by the brightness of the picture's lower half."""

    def embedding(self, image, landmarks):
        angle = image[:, SIZE // 2 :].mean()
        return torch.stack((torch.cos(angle), torch.sin(angle)))


def instruments(gain, plain=None, scorers=Scorers):
    matte = torch.zeros(1, SIZE, SIZE)
    matte[:, 150:450, 150:350] = 1.0
    return Instruments(
        build=lambda image, on_step: Puppet(image, gain, plain),
        track=track,
        new_tracker=lambda: look,
        matte=lambda frame, face: matte,
        scorers=scorers,
    )


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    with VideoWriter(path, 25, SIZE, SIZE) as writer:
        for index in range(5):
            writer.write(to_frame(picture(opening_at(index))))
    return path


@pytest.fixture(scope="module")
def learned(clip, tmp_path_factory):
    report = tmp_path_factory.mktemp("report") / "self.json"
    scorers = Scorers(identity=SomeIdentity(), left_out=("lpips: nobody has it",))
    return evaluate_self([clip], report, instruments=instruments(1.0, 0.8, lambda: scorers)), report


def test_ways_are_told_apart(learned):
    (row,) = learned[0].rows
    # The better a way follows, the better it scores: all, four fifths, half of them, nothing.
    for name in ("psnr_head", "psnr_whole", "psnr_mouth"):
        assert row[name] > row[f"{name}_analytic"] > row[f"{name}_ghost"] > row[f"{name}_copy"]
    for name in ("landmark_error", "eye_error", "mouth_error", "aed_arkit52"):
        assert row[name] < row[f"{name}_analytic"] < row[f"{name}_ghost"] < row[f"{name}_copy"]
    assert row["identity"] > row["identity_analytic"] > row["identity_copy"]
    assert row["identity"] == pytest.approx(1.0, abs=1e-3)
    # The codec has taken some of the grain from the truth and so from the ghost's half; the puppets have all of it.
    assert row["sharpness_head"] == pytest.approx(row["sharpness_head_analytic"], rel=0.05)
    assert row["sharpness_head_ghost"] < row["sharpness_head"]
    assert row["sharpness_head_copy"] == pytest.approx(1.0, abs=0.1)
    assert row["sharpness_head_blurred"] <= row["sharpness_head_analytic"]
    assert row["eye_correlation"] > 0.99
    assert "lpips_head" not in row
    assert "mouth_correlation_blurred" not in row  # no video of it is made
    # Openings swing by 0.4 sin: the eyes' error is a tenth of a twentieth of the driver's own way for gain 0.8.
    swings = np.abs([opening_at(index) - opening_at(0) for index in range(5)]).mean()
    assert row["eye_error_analytic"] == pytest.approx(100.0 * 0.2 * swings * 20.0 / 200.0, rel=0.1)


def test_the_report_has_a_table_of_ways(learned):
    table, report = learned
    ways = json.loads(report.with_name("self_ways.json").read_text(encoding="utf-8"))
    assert [row["way"] for row in ways["rows"]] == ["driven", "analytic", "copy", "ghost", "blurred", "truth"]
    assert ways["rows"][1]["psnr_head"] == pytest.approx(table.rows[0]["psnr_head_analytic"])
    assert len(list(csv.DictReader(report.with_name("self_ways.csv").open(encoding="utf-8")))) == 6
    assert "mean" not in report.with_name("self_ways.md").read_text(encoding="utf-8")
    written = json.loads(report.read_text(encoding="utf-8"))
    assert written["settings"]["missing"] == ["lpips: nobody has it"]
    assert written["summary"]["clips better than the analytic, psnr_head"] == 1
    assert report.with_name("self_sheets").joinpath("clip.png").is_file()


def test_a_system_with_nothing_learned_has_no_analytic_twin(clip):
    for plain in (None, 1.0):  # it says so, or its pictures are the same
        table = evaluate_self([clip], max_frames=3, instruments=instruments(1.0, plain))
        assert not [name for name in table.columns if name.endswith(("_analytic", "_blurred"))]
        assert [row["way"] for row in ways_table(table).rows] == ["driven", "copy", "ghost", "truth"]


def test_frechet_distances_of_few_frames_are_left_out(clip):
    table = evaluate_self([clip], fid=True, max_frames=2, instruments=instruments(1.0))
    assert "fid: 2 frames are too few" in table.settings["missing"][0]
    assert "fid" not in summary(table)


def test_blinks_and_moving_heads_are_counted():
    names = ("eye_correlation", "blink_frames", "landmark_error_copy", "psnr_whole", "psnr_whole_copy")
    values = ((0.9, 2, 12.0, 2.0, 1.0), (0.8, 1, 11.0, 0.5, 1.0), (0.1, 0, 1.0, 3.0, 1.0))
    rows = [*(dict(zip(names, row, strict=True)) for row in values), {"error": "No face found."}]
    told = summary(Table("", {}, rows))
    assert told["eye_correlation where eyes blink"] == {"value": pytest.approx(0.85), "n": 2}
    assert told["lowest eye_correlation where eyes blink"]["value"] == 0.8
    assert told["clips whose head moves, psnr_whole better than the copy"] == {"value": 0.5, "n": 2}
    assert told["clips better than the copy, psnr_whole"] == 2


def test_noise_at_level_zero_is_the_plain_run(clip, tmp_path):
    table = evaluate_noise([clip], tmp_path / "noise.json", NoiseOptions(seed=3), instruments=instruments(1.0))
    assert [row["noise"] for row in table.rows] == list(LEVELS)
    (plain,) = evaluate_self([clip], instruments=instruments(1.0)).rows
    compared = set(table.rows[0]) & set(plain) - {"seconds"}
    assert {"psnr_head", "psnr_eyes", "landmark_error", "aed_arkit52", "mouth_correlation", "ssim_face"} <= compared
    for name in compared:
        assert table.rows[0][name] == plain[name] or math.isnan(plain[name])
    for before, after in zip(table.rows, table.rows[1:], strict=False):
        assert after["psnr_head"] < before["psnr_head"]
        assert after["landmark_error"] > before["landmark_error"]
    levels = json.loads((tmp_path / "noise_levels.json").read_text(encoding="utf-8"))
    assert [row["noise"] for row in levels["rows"]] == list(LEVELS)
    assert levels["rows"][2]["psnr_head"] == pytest.approx(table.rows[2]["psnr_head"])
    assert levels_table(table).rows[0]["clips"] == 1


def test_noise_is_seeded_scaled_and_spares_the_source():
    motion = track([to_frame(picture(opening_at(index))) for index in range(3)], 25.0, None, None)
    one, again, twice, other = (noisy(motion, level, seed) for level, seed in ((0.1, 1), (0.1, 1), (0.2, 1), (0.1, 2)))
    assert torch.equal(one.beta, again.beta)
    assert not torch.equal(one.beta, other.beta)
    assert torch.equal(one.beta[0], motion.beta[0])
    assert torch.allclose(twice.beta - motion.beta, 2.0 * (one.beta - motion.beta), atol=1e-6)
    assert float((one.beta - motion.beta)[1:].std()) == pytest.approx(0.1, rel=0.2)
    assert torch.equal(noisy(motion, 0.0, 1).beta, motion.beta)


@pytest.mark.parametrize("levels", [(), (-0.1,), (0.1, 0.1)])
def test_levels_that_are_none_are_refused(levels):
    with pytest.raises(InputError, match="levels"):
        NoiseOptions(levels)


def test_a_table_turns():
    table = Table("t", {}, [{"way": "a", "x": 1.0}, {"way": "b", "x": 2.0, "y": 3.0}], averaged=False)
    assert table.turned().rows == [{"way": "x", "a": 1.0, "b": 2.0}, {"way": "y", "a": None, "b": 3.0}]
