"""Evaluations of a system that is known: one that copies the driver exactly, one that never moves."""

import csv
import json
import math
import pickle
from functools import partial

import numpy as np
import pytest
import torch

from mggtalk_core.errors import InputError
from mggtalk_core.evaluation.clips import Sampling, cropped, inside_frame, to_frame
from mggtalk_core.evaluation.cross import evaluate_cross
from mggtalk_core.evaluation.instruments import Instruments, pipeline_instruments
from mggtalk_core.evaluation.observe import Observed, motion_scores
from mggtalk_core.evaluation.pictures import sample_indices
from mggtalk_core.evaluation.portraits import evaluate_portraits
from mggtalk_core.evaluation.self_reenactment import evaluate_self, summary
from mggtalk_core.media.images import write_image
from mggtalk_core.media.video import VideoWriter
from mggtalk_core.motion.motion import Motion, Rest
from mggtalk_core.pipeline import Settings
from mggtalk_core.portrait.landmarker import Face
from mggtalk_core.portrait.portrait import Portrait

SIZE = 512
FACING = torch.diag(torch.tensor([1.0, -1.0, -1.0]))


def mouth_at(index: int) -> float:
    return 0.5 + 0.4 * math.sin(index)


def picture(opening: float) -> torch.Tensor:
    """A picture whose lower half is as bright as the mouth is open; the upper half is a ramp."""
    image = torch.linspace(0.2, 0.8, SIZE).expand(3, SIZE, SIZE).clone()
    image[:, SIZE // 2 :] = opening
    return image


def look(frame: np.ndarray) -> Face | None:
    """See the mouth of `picture`; no face where the picture is black."""
    opening = float(frame[SIZE * 3 // 4, SIZE // 2].mean()) / 255.0
    if opening < 0.05:
        return None
    landmarks = 100.0 + 300.0 * torch.rand(478, 3, generator=torch.Generator().manual_seed(0))
    landmarks[33, :2], landmarks[263, :2] = torch.tensor([150.0, 200.0]), torch.tensor([350.0, 200.0])
    landmarks[13, :2], landmarks[14, :2] = torch.tensor([250.0, 350.0]), torch.tensor([250.0, 350.0 + 40.0 * opening])
    landmarks[159, :2], landmarks[145, :2] = torch.tensor([200.0, 190.0]), torch.tensor([200.0, 190.0 + 20.0 * opening])
    return Face(landmarks, torch.full((52,), opening), 1.0)


def track(frames, fps, crop, on_step) -> Motion:
    """Put the opening into the first coefficient; turn the head away in the frames from 6 on."""
    openings = []
    for frame in frames:
        face = look(frame)
        openings.append(openings[-1] if face is None else float(face.blendshapes[0]))
    count = len(openings)
    beta = torch.zeros(count, 52)
    beta[:, 0] = torch.tensor(openings)
    rotation = FACING.repeat(count, 1, 1)
    cos, sin = math.cos(0.6), math.sin(0.6)
    rotation[6:] = FACING @ torch.tensor([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])
    rest = Rest(beta[0], torch.zeros(4), rotation[0], torch.zeros(3))
    return Motion(beta, torch.zeros(count, 4), rotation, torch.zeros(count, 3), fps, rest, 0.6, "video")


class Puppet:
    """An avatar that follows its driver by ``gain``: 1 exactly, 0 not at all."""

    def __init__(self, image: torch.Tensor, gain: float) -> None:
        face = look(to_frame(image))
        if face is None:
            raise InputError("No face found.")
        self.gain, self.opening = gain, float(face.blendshapes[0])
        matte = torch.zeros(1, SIZE, SIZE)
        matte[:, 100:500, 100:400] = 1.0
        self.portrait = Portrait(
            source=image, crop=image, crop_transform=torch.eye(3)[:2], matte=matte, background=image,
            labels=torch.zeros(SIZE, SIZE, dtype=torch.uint8), landmarks=face.landmarks,
            blendshapes=face.blendshapes, score=1.0,
        )  # fmt: skip

    def animate(self, motion):
        for change in (motion.beta[:, 0] - motion.beta[0, 0]).tolist():
            yield picture(self.opening + self.gain * change)

    def gaussians(self, motion):
        return iter(())

    def analytic(self, on_step):
        return None

    def at_rest(self, background):
        portrait = self.portrait
        return (portrait.crop + 0.01) * portrait.matte + background[:, None, None] * (1.0 - portrait.matte)


def puppet(gain, image, on_step):
    return Puppet(image, gain)


def watch():
    return look


def matte_of(frame, face):
    matte = torch.zeros(1, SIZE, SIZE)
    matte[:, 200:400, 200:300] = 1.0
    return matte


def instruments(gain: float) -> Instruments:
    """Made of functions that other processes can be sent."""
    return Instruments(build=partial(puppet, gain), track=track, new_tracker=watch, matte=matte_of)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "ein Clip ä.mp4"
    with VideoWriter(path, 25, SIZE, SIZE) as writer:
        for index in range(10):
            writer.write(to_frame(picture(mouth_at(index))))
    return path


def test_perfect_puppet(clip, tmp_path):
    table = evaluate_self([clip], tmp_path / "self.json", instruments=instruments(1.0))
    (row,) = table.rows
    assert (row["first"], row["frames"]) == (0, 10)
    assert row["landmark_frames"] == 5  # frames 1 to 5: frame 0 is the source, from 6 on the head is turned away
    assert row["landmark_error"] < 0.001  # two of 478 points may be off by one level of the codec
    assert row["landmark_error_copy"] > 0.01
    assert row["mouth_correlation"] > 0.999
    assert row["eye_correlation"] > 0.999
    assert row["apd_landmarker"] < 0.1
    assert row["aed_arkit52"] < 0.01
    for region in ("whole", "head", "face"):
        assert row[f"psnr_{region}"] > 40.0 > row[f"psnr_{region}_copy"]
        assert row[f"ssim_{region}"] > 0.98
    report = json.loads((tmp_path / "self.json").read_text(encoding="utf-8"))
    assert report["summary"]["clips better than the copy, psnr_head"] == 1
    assert report["rows"][0]["clip"] == clip.name
    assert len(list(csv.DictReader((tmp_path / "self.csv").open(encoding="utf-8")))) == 1
    assert [path.name for path in (tmp_path / "self_sheets").iterdir()] == [f"{clip.stem}.png"]


def test_a_system_that_never_moves_scores_like_the_copy(clip):
    (row,) = evaluate_self([clip], instruments=instruments(0.0)).rows
    for region in ("whole", "head", "face"):
        # The copy shows the coded frame 0, the puppet a clean one of the same brightness.
        assert row[f"psnr_{region}"] == pytest.approx(row[f"psnr_{region}_copy"], abs=0.2)
    assert row["landmark_error"] == pytest.approx(row["landmark_error_copy"], rel=0.05)
    assert math.isnan(row["mouth_correlation"])
    assert row["jitter"] < 1e-4 < row["jitter_driver"]


def test_every_other_frame_and_a_largest_number(clip):
    (row,) = evaluate_self([clip], instruments=instruments(1.0), every=2, max_frames=7).rows
    assert row["frames"] == 4  # 0, 2, 4, 6
    assert row["landmark_frames"] == 2
    assert row["psnr_whole"] > 40.0
    with pytest.raises(InputError):
        evaluate_self([clip], instruments=instruments(1.0), every=0)


def test_a_clip_starts_with_its_first_face(tmp_path):
    path = tmp_path / "late.mp4"
    with VideoWriter(path, 25, SIZE, SIZE) as writer:
        for index in range(12):
            writer.write(to_frame(picture(0.0 if index < 4 else mouth_at(index))))
    (row,) = evaluate_self([path], instruments=instruments(1.0), max_frames=7).rows
    assert (row["first"], row["frames"]) == (4, 7)
    assert row["psnr_whole"] > 40.0  # each frame is compared with its own truth
    (row,) = evaluate_self([path], instruments=instruments(1.0), max_frames=4).rows
    assert row["error"] == "No face found."


def test_progress_reaches_its_end(clip, tmp_path):
    seen = []
    evaluate_self([clip, clip], instruments=instruments(1.0), every=3, on_step=lambda *step: seen.append(step))
    assert seen[-1] == (28, 28)  # twice ten frames tracked and four scored
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    write_image(tmp_path / "a.png", picture(0.5))
    seen.clear()
    pictures = [tmp_path / "a.png"] * 3
    evaluate_cross(pictures, [clip], instruments=instruments(1.0), on_step=lambda *step: seen.append(step))
    assert seen[-1] == (40, 40)


def test_raising_from_on_step_stops_and_writes_nothing(clip, tmp_path):
    def cancel(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_self([clip], tmp_path / "a.json", instruments=instruments(1.0), on_step=cancel)
    assert not (tmp_path / "a.json").exists()


def test_unusable_clips_have_a_row_that_says_why(clip, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    with VideoWriter(tmp_path / "black.mp4", 25, SIZE, SIZE) as writer:
        writer.write(np.zeros((SIZE, SIZE, 3), np.uint8))
    table = evaluate_self([tmp_path / "broken.mp4", tmp_path / "black.mp4", clip], instruments=instruments(1.0))
    assert "not a clip" in table.rows[0]["error"]
    assert table.rows[1]["error"] == "No face found."
    assert table.mean("psnr_head").n == 1
    assert summary(table)["landmark_error"]["n"] == 1


def test_report_that_cannot_be_written_is_refused_before_the_work(clip, tmp_path):
    def fail(*_args):
        raise AssertionError("work began")

    with pytest.raises(InputError, match="missing"):
        evaluate_self([clip], tmp_path / "missing" / "a.json", instruments=instruments(1.0), on_step=fail)


def test_processes_give_the_same_table(clip, tmp_path):
    other, broken = tmp_path / "kurz.mp4", tmp_path / "broken.mp4"
    with VideoWriter(other, 25, SIZE, SIZE) as writer:
        for index in range(4):
            writer.write(to_frame(picture(mouth_at(index))))
    broken.write_bytes(b"nothing")
    clips, steps = [clip, broken, other], []
    alone = evaluate_self(clips, instruments=instruments(0.5))
    shared = evaluate_self(
        clips, tmp_path / "self.json", instruments=instruments(0.5), jobs=2, on_step=lambda *step: steps.append(step)
    )
    for one, two in zip(alone.rows, shared.rows, strict=True):
        assert {**one, "seconds": 0.0} == pytest.approx({**two, "seconds": 0.0}, nan_ok=True)
    assert steps[-1] == (28, 28)
    assert {path.name for path in (tmp_path / "self_sheets").iterdir()} == {"ein Clip ä.png", "kurz.png"}


def test_the_pipeline_s_instruments_can_be_sent_to_a_process():
    one, two = (pickle.loads(pickle.dumps(pipeline_instruments(Settings(yaw=yaw)))) for yaw in (0.0, 5.0))
    assert one.build.args == (Settings(),) and two.build.args == (Settings(yaw=5.0),)


def test_nothing_to_evaluate_is_refused(clip):
    for work in (
        lambda: evaluate_self([], instruments=instruments(1.0)),
        lambda: evaluate_cross([], [clip], instruments=instruments(1.0)),
        lambda: evaluate_portraits([], instruments=instruments(1.0)),
    ):
        with pytest.raises(InputError, match="was given"):
            work()


def test_cross_reenactment(clip, tmp_path):
    for name, opening in (("eins.png", 0.45), ("zwei.png", 0.55), ("niemand.png", 0.0)):
        write_image(tmp_path / name, picture(opening))
    portraits = [tmp_path / name for name in ("eins.png", "zwei.png", "niemand.png")]
    table = evaluate_cross(portraits, [clip], tmp_path / "cross.json", instruments=instruments(0.9))
    assert [row["portrait"] for row in table.rows] == ["eins.png", "zwei.png", "niemand.png"]
    for row in table.rows[:2]:
        assert row["mouth_correlation"] > 0.999
        assert 0.0 < row["aed_arkit52"] < 0.1  # it follows by nine tenths
    assert table.rows[2]["error"] == "No face found."
    assert {path.stem for path in (tmp_path / "cross_sheets").iterdir()} == {
        f"eins_by_{clip.stem}", f"zwei_by_{clip.stem}",
    }  # fmt: skip


def test_portraits_at_rest(tmp_path):
    write_image(tmp_path / "a.png", picture(0.5))
    table = evaluate_portraits(
        [tmp_path / "a.png", tmp_path / "none.png"], tmp_path / "r.json", instruments=instruments(1.0)
    )
    assert table.rows[0]["psnr"] == pytest.approx(40.0, abs=1e-3)  # off by 0.01 everywhere inside the matte
    assert "No picture" in table.rows[1]["error"]
    assert (tmp_path / "r_sheets" / "portraits.png").is_file()


def test_frames_without_a_face_are_left_out_of_the_motion():
    driven, driver = Observed(), Observed()
    for index in range(12):
        face = look(to_frame(picture(mouth_at(index))))
        driver.add(face)
        driven.add(None if index in (3, 4) else face)
    scores = motion_scores(driven, driver)
    assert scores["unseen"] == 2
    assert scores["mouth_correlation"] == pytest.approx(1.0)
    assert scores["aed_arkit52"] == 0.0
    assert math.isfinite(scores["jitter"])
    empty = motion_scores(Observed(), Observed())
    assert math.isnan(empty["mouth_correlation"])
    assert math.isnan(empty["jitter"])


def test_samples_are_spread_and_leave_out_the_source():
    assert sorted(sample_indices(100)) == [16, 33, 50, 66, 82, 99]
    assert sample_indices(2) == {1}
    assert sample_indices(1) == {0}


def test_crop_of_a_shifted_picture_knows_its_inside():
    transform = torch.tensor([[1.0, 0.0, 100.0], [0.0, 1.0, 0.0]])
    frame = np.full((SIZE, 200, 3), 255, np.uint8)
    frame[:, 50] = 0
    inside = inside_frame(200, SIZE, transform)[0]
    assert inside[:, 100:300].all()
    assert not inside[:, :100].any()
    assert not inside[:, 300:].any()
    assert (cropped(frame, transform)[:, 150] < 10).all()


@pytest.mark.parametrize("values", [{"every": 0}, {"max_frames": 0}])
def test_sampling_refuses_what_is_no_count(values):
    with pytest.raises(InputError):
        Sampling(**values)
