"""Speech that moves a mouth, scored on a clip whose picture is its loudness."""

import csv
import json
import math

import numpy as np
import pytest
import torch

from mggtalk_core.errors import InputError, WeightsError
from mggtalk_core.evaluation import audio
from mggtalk_core.evaluation.audio import AudioOptions, evaluate_audio
from mggtalk_core.evaluation.audio_curves import constant_curve, energy_curve, lip_opening
from mggtalk_core.evaluation.audio_summary import summary
from mggtalk_core.evaluation.instruments import Instruments
from mggtalk_core.media.sound import Sound
from mggtalk_core.media.video import VideoWriter
from mggtalk_core.motion.motion import Motion, Rest
from mggtalk_core.portrait.landmarker import Face
from mggtalk_core.portrait.portrait import Portrait
from tests.audio_samples import FPS, FRAMES, babble

SIZE = 512
FACING = torch.diag(torch.tensor([1.0, -1.0, -1.0]))


def picture(opening):
    image = torch.linspace(0.2, 0.8, SIZE).expand(3, SIZE, SIZE).clone()
    image[:, SIZE // 2 :] = 0.2 + 3.0 * opening
    return image


def look(frame):
    opening = (float(frame[SIZE * 3 // 4, SIZE // 2].mean()) / 255.0 - 0.2) / 3.0
    landmarks = 100.0 + 300.0 * torch.rand(478, 3, generator=torch.Generator().manual_seed(0))
    landmarks[33, :2], landmarks[263, :2] = torch.tensor([150.0, 200.0]), torch.tensor([350.0, 200.0])
    landmarks[13, :2], landmarks[14, :2] = torch.tensor([250.0, 350.0]), torch.tensor([250.0, 350.0 + 200.0 * opening])
    return Face(landmarks, torch.zeros(52), 1.0)


class Puppet:
    """Opens its mouth as far as the head model would."""

    def __init__(self, image):
        self.portrait = Portrait(
            source=image, crop=image, crop_transform=torch.eye(3)[:2], matte=torch.ones(1, SIZE, SIZE),
            background=image, labels=torch.zeros(SIZE, SIZE, dtype=torch.uint8), landmarks=torch.zeros(478, 3),
            blendshapes=torch.zeros(52), score=1.0,
        )  # fmt: skip

    def animate(self, motion):
        return (picture(min(0.2, float(opening))) for opening in lip_opening(motion.beta))

    def at_rest(self, background):
        return self.portrait.crop


def track(frames, fps, crop, on_step):
    count = sum(1 for _ in frames)
    rest = Rest(torch.zeros(52), torch.zeros(4), FACING, torch.zeros(3))
    pose = FACING.expand(count, 3, 3)
    return Motion(torch.zeros(count, 52), torch.zeros(count, 4), pose, torch.zeros(count, 3), fps, rest, 0.6, "video")


@pytest.fixture
def instruments():
    return Instruments(
        build=lambda image, on_step: Puppet(image),
        track=track,
        new_tracker=lambda: look,
        matte=lambda frame, face: torch.ones(1, SIZE, SIZE),
    )


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two clips; the sound of the second is 0.2 s late."""
    folder, paths = tmp_path_factory.mktemp("clips"), []
    for seed, late in ((1, 0.0), (2, 0.2)):
        opening = babble(seed=seed)
        loud = np.interp(np.arange(int(FRAMES / FPS * 16000)) / 16000 - late, np.arange(FRAMES) / FPS, opening)
        noise = np.random.default_rng(0).normal(0.0, 1.0, len(loud))
        sound = Sound(torch.from_numpy(3e-3 * (np.exp(18.0 * loud) - 1.0) * noise).float()[None], 16000)
        paths.append(folder / f"clip{seed}.mp4")
        with VideoWriter(paths[-1], FPS, SIZE, SIZE, sound, {}) as writer:
            for value in opening:
                writer.write((picture(value).permute(1, 2, 0).numpy() * 255).astype(np.uint8))
    return paths


def loudness(sound, fps, seed):
    return energy_curve(sound, fps)


def test_a_driver_that_follows_the_sound_is_seen_to(clips, instruments, tmp_path):
    report = tmp_path / "report.json"
    options = AudioOptions(rendered=20, drivers={"": loudness, "_constant": constant_curve})
    table = evaluate_audio(clips, report, options, instruments=instruments)
    for row, late in zip(table.rows, (0.0, 0.2), strict=True):
        assert row["correlation"] > 0.8
        assert abs(row["lag"]) <= 1
        assert row["offset"] == pytest.approx(late, abs=0.05)
        assert row["offset_from"] == ("estimated" if late else "none")
        assert math.isnan(row["correlation_constant"])
        assert row["wide_closed"] == 0.0
        assert row["wide_closed_constant"] == 1.0
        assert row["rendered_frames"] == 20
        assert row["mouth_movement"] > 0.02
        assert row["lmd"] >= 0.0
        assert row["psnr_whole"] > 5.0
    content = json.loads(report.read_text(encoding="utf-8"))
    assert "LSE-C" in content["settings"]["missing"][0]
    assert content["summary"]["lag within one frame"]["value"] in (None, 1.0)
    with report.with_suffix(".csv").open(encoding="utf-8") as file:
        assert [row["clip"] for row in csv.DictReader(file)] == ["clip1.mp4", "clip2.mp4"]
    assert sorted(path.name for path in (tmp_path / "report_sheets").iterdir()) == ["clip1.png", "clip2.png"]


@pytest.mark.parametrize("pose", ["fixed", "driven"])
def test_poses_and_known_offsets(clips, instruments, pose):
    options = AudioOptions(pose=pose, rendered=3, offsets={"clip2.mp4": 0.2}, drivers={"": loudness})
    row = evaluate_audio(clips[1:], options=options, instruments=instruments).rows[0]
    assert (row["offset"], row["offset_from"]) == (0.2, "list")
    assert row["correlation"] > 0.8
    assert "shuffles" not in row, "there is no other sound"


def test_nothing_is_rendered_where_nothing_is_wanted(clips, instruments):
    row = evaluate_audio(clips[:1], options=AudioOptions(rendered=0), instruments=instruments).rows[0]
    assert "lmd" not in row
    assert {"correlation", "correlation_energy", "correlation_constant"} <= set(row)


class Levels:
    """Judges in place of SyncNet: lies lips by the level of their pictures, sound by its energy."""

    def lips(self, pictures):
        return pictures.mean(dim=(1, 3, 4)) / 255.0

    def sound(self, coefficients):
        return coefficients[:, 0, 0, ::4] / 20.0


def test_syncnet_judges_the_first_frames_on_end(clips, instruments, monkeypatch):
    monkeypatch.setattr(audio, "read_syncnet", lambda path: Levels())
    options = AudioOptions(rendered=50, syncnet="mine.model", drivers={"": loudness})
    table = evaluate_audio(clips[:1], options=options, instruments=instruments)
    row = table.rows[0]
    assert row["rendered_frames"] == 50 and row["lse_pieces"] == row["lse_pieces_truth"] == 45
    assert all(math.isfinite(row[name]) for name in ("lse_c", "lse_d", "lse_c_truth", "lse_d_truth"))
    assert table.settings["on_end"] and not any("LSE" in line for line in table.settings["missing"])


def test_scores_of_syncnet_need_its_weights(clips, instruments, tmp_path):
    table = evaluate_audio(clips[:1], options=AudioOptions(rendered=2), instruments=instruments)
    assert not [name for name in table.columns if name.startswith("lse")]
    with pytest.raises(WeightsError, match="gone.model"):
        evaluate_audio(clips, options=AudioOptions(syncnet=tmp_path / "gone.model"), instruments=instruments)


class Pool:
    """Keeps what it is given to compare."""

    def __init__(self):
        self.pairs = []

    def add(self, truth, ways):
        self.pairs.append((truth, *ways.values()))

    def results(self, left_out):
        return {"fid": {"value": 12.5, "n": len(self.pairs)}}


def test_pictures_of_all_clips_go_into_one_frechet_distance(clips, instruments, monkeypatch):
    pool, counted = Pool(), []
    monkeypatch.setattr(audio, "fid_pool", lambda frames, left_out: counted.append(frames) or pool)
    options = AudioOptions(rendered=10, fid=True, drivers={"": loudness})
    table = evaluate_audio(clips, options=options, instruments=instruments)
    assert counted == [18] and len(pool.pairs) == 18, "the first frame of a clip is the portrait itself"
    for place, (truth, driven) in enumerate(pool.pairs):
        level = 0.2 + 3.0 * babble(seed=1 + place // 9)[6 * (place % 9 + 1)]
        assert float(truth[:, 400].mean()) == pytest.approx(level, abs=0.02)
        assert torch.equal(driven[:, :256], picture(0.0)[:, :256]), "the rendered one is not the truth"
    assert table.settings["fid"] == {"fid": {"value": 12.5, "n": 18}}
    assert summary(table)["fid"]["n"] == 18


@pytest.mark.parametrize("rendered", [0, 3])
def test_frechet_distances_of_few_frames_are_left_out(clips, instruments, rendered):
    options = AudioOptions(rendered=rendered, fid=True, drivers={"": loudness})
    table = evaluate_audio(clips, options=options, instruments=instruments)
    assert f"fid: {max(0, 2 * (rendered - 1))} frames are too few" in table.settings["missing"][1]
    assert "fid" not in summary(table)


def test_clips_without_sound_have_a_row_that_says_why(tmp_path, clips, instruments):
    path = tmp_path / "mute.mp4"
    with VideoWriter(path, FPS, SIZE, SIZE, None, {}) as writer:
        writer.write(np.full((SIZE, SIZE, 3), 128, np.uint8))
    options = AudioOptions(rendered=0, drivers={"": loudness})
    table = evaluate_audio([path, clips[0]], options=options, instruments=instruments)
    assert "sound" in table.rows[0]["error"]
    assert "correlation" in table.rows[1]


@pytest.mark.parametrize("wrong", [{"pose": "free"}, {"rendered": -1}, {"rendered": 0, "syncnet": "mine.model"}])
def test_options_that_cannot_be_are_refused(wrong):
    with pytest.raises(InputError):
        AudioOptions(**wrong)
