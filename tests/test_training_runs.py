"""Runs of five frames with their sound: which are taken, what is heard and seen in them, how they are kept."""

import wave
from dataclasses import replace

import numpy as np
import pytest
import torch

from mggtalk_core.errors import InputError
from mggtalk_core.evaluation.lip_sync import LipReader, face_box, sound_pieces
from mggtalk_core.evaluation.syncnet_sound import samples_of, speech_coefficients
from mggtalk_core.media.sound import Sound
from mggtalk_core.portrait.landmarker import Face
from mggtalk_core.training.inpaint_runs import as_seen, heard, pieces_of, real_squares
from mggtalk_core.training.pairs import PairSet
from mggtalk_core.training.prepare_clip import PrepareOptions
from mggtalk_core.training.prepare_runs import AROUND, COLUMNS, frames_of, run_boxes, run_sound, spoken_runs
from mggtalk_core.training.shards import Shard, ShardInfo, ShardRun, write_shard
from tests.cli_samples import call
from tests.inpaint_samples import pair_of, scene
from tests.spoken_samples import SpokenRun
from tests.training_samples import random_shard, random_source, random_target, track_of

FRAMES = 60
NOISE = np.round(3000.0 * np.random.default_rng(0).standard_normal(16000 * 3))


def write_sound(path, samples, rate=16000):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def talking(fps=25.0):
    """A mouth that moves from frame 16 to 46 alone."""
    frames = torch.arange(FRAMES)
    moving = (frames >= 16) & (frames <= 46)
    return track_of(torch.zeros(FRAMES), fps, jawOpen=0.3 * torch.sin(frames * 0.9) ** 2 * moving)


# Which


@pytest.mark.parametrize(
    ("fps", "expected"),
    [(25.0, (7, 8, 9, 10, 11)), (50.0, (14, 16, 18, 20, 22)), (30.0, (8, 10, 11, 12, 13)), (12.5, (4, 4, 5, 5, 6))],
)
def test_frames_follow_each_other_25_times_a_second(fps, expected):
    assert frames_of(7, fps) == expected


def test_runs_are_of_moving_lips_in_usable_frames_and_hold_no_source(tmp_path):
    path, usable = write_sound(tmp_path / "a.wav", NOISE), torch.arange(4, FRAMES)
    runs = spoken_runs(path, talking(), usable, [0, 30], 3)
    assert [len(each) for each in runs] == [3, 3]
    starts = [run.start for each in runs for run in each]
    assert len(set(starts)) == 6 and all(each == sorted(each, key=lambda run: run.start) for each in runs)
    for run in runs[0] + runs[1]:
        assert run.frames == tuple(range(run.start, run.start + 5))
        assert not {0, 30} & set(run.frames) and min(run.frames) >= 4 and max(run.frames) < FRAMES
        assert 16 - 4 <= run.start <= 46
    expected = run_sound(NOISE, runs[1][0].start)
    torch.testing.assert_close(runs[1][0].sound, expected, rtol=0.0, atol=0.0, equal_nan=True)


def test_sources_of_a_short_clip_share_its_runs(tmp_path):
    path = write_sound(tmp_path / "a.wav", NOISE)
    runs = spoken_runs(path, talking(), torch.arange(20, 30), [0, 1], 4)
    # Six places from 20 to 25, of which the livelier half remains.
    assert [run.start for run in runs[0]] == [run.start for run in runs[1]] and len(runs[0]) == 3


def test_what_is_not_heard_or_too_slow_has_no_runs(tmp_path):
    usable, none = torch.arange(FRAMES), [[]]
    short = write_sound(tmp_path / "short.wav", NOISE[: 16000 // 5])
    assert spoken_runs(short, talking(), usable, [50], 3) == none
    assert spoken_runs(write_sound(tmp_path / "silent.wav", 0 * NOISE), talking(), usable, [50], 3) == none
    assert spoken_runs(tmp_path / "gone.wav", talking(), usable, [50], 3) == none
    heard_well = write_sound(tmp_path / "well.wav", NOISE)
    assert spoken_runs(heard_well, talking(12.5), usable, [50], 3) == none
    assert spoken_runs(heard_well, talking(), usable, [50], 0) == none


# What is heard and seen


@pytest.mark.parametrize("start", [0, 3, 40, 66])
def test_the_sound_of_a_run_is_that_of_the_whole_clip_there(start):
    whole = torch.from_numpy(speech_coefficients(NOISE)).float()[:, : (len(NOISE) - 400) // 160 + 1]
    padded = torch.nn.functional.pad(whole, (4 * AROUND, COLUMNS), value=torch.nan)
    expected = padded[:, 4 * start : 4 * start + COLUMNS]
    torch.testing.assert_close(run_sound(NOISE, start), expected, rtol=1e-6, atol=1e-5, equal_nan=True)


def test_the_piece_in_the_middle_is_the_one_that_is_measured():
    class Columns:
        def sound(self, coefficients):
            return coefficients.flatten(1)

    sound = Sound(torch.from_numpy(NOISE / 32768.0).float()[None], 16000)
    measured = sound_pieces(Columns(), sound, 3.0)
    pieces = pieces_of(run_sound(samples_of(sound), 20))
    torch.testing.assert_close(pieces[AROUND].flatten(), measured[20], rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(pieces[AROUND + 7].flatten(), measured[27], rtol=1e-6, atol=1e-5)
    # Three seconds hold 298 windows of 25 ms, and these 70 pieces of 20; one begins every 4.
    assert heard(pieces).nonzero()[:, 0].tolist() == list(range(AROUND - 20, AROUND - 20 + 70))


@pytest.mark.parametrize("fps", [25.0, 30.0])
def test_a_run_shows_the_network_what_is_measured(fps):
    """Real frames of a run, against `LipReader` over the whole clip."""

    class Pictures:
        def lips(self, pictures):
            return pictures.flatten(1)

    random = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (20, 3, 512, 512), generator=random, dtype=torch.uint8)
    landmarks = 200.0 + 20.0 * torch.rand(20, 1, 3, generator=random) + 120.0 * torch.rand(20, 478, 3, generator=random)
    seen = torch.ones(20, dtype=torch.bool)
    seen[9] = False
    reader = LipReader(Pictures(), fps)
    for index in range(20):
        face = Face(landmarks[index], torch.zeros(52), 1.0) if seen[index] else None
        reader.add(pictures[index].permute(1, 2, 0).contiguous().numpy(), face)
    boxes = run_boxes(landmarks, seen, 4, fps)
    pair = pair_of(scene(0.0))
    frames = [replace(pair, truth=pictures[frame]) for frame in frames_of(4, fps)]
    shown = as_seen(real_squares(SpokenRun(tuple(frames), torch.zeros(13, COLUMNS), boxes)))
    torch.testing.assert_close(shown.flatten(), reader.pieces()[4], rtol=1e-6, atol=1e-4)
    assert face_box(landmarks[9])[0] != pytest.approx(float(boxes[0, 0]))


# How they are kept


def shard_with_runs(path):
    info, targets = ShardInfo("clip.mp4", "ann", 7, "B"), [random_target(frame) for frame in (2, 6)]
    beside = [random_target(frame) for frame in (3, 4, 5, 7)]
    sound = torch.rand(2, 13, COLUMNS, generator=torch.Generator().manual_seed(0))
    sound[0, :, :5] = torch.nan
    boxes = torch.arange(30.0).view(2, 5, 3)
    runs = [ShardRun((2, 3, 4, 5, 6), sound[0], boxes[0]), ShardRun((3, 4, 5, 6, 7), sound[1], boxes[1])]
    write_shard(path, info, random_source(), targets, beside, runs)
    return sound, boxes


def test_runs_come_back_and_add_no_pairs(tmp_path):
    sound, boxes = shard_with_runs(tmp_path / "a.safetensors")
    random_shard(tmp_path, "b", "bob", targets=2)
    pairs = PairSet(tmp_path)
    assert len(pairs) == 4 and pairs.by_identity == {"ann": [0, 1], "bob": [2, 3]}
    assert pairs.runs == [(0, 0), (0, 1)]
    for number in range(2):
        run = pairs.run(0, number)
        torch.testing.assert_close(run.sound, sound[number], rtol=0.0, atol=0.0, equal_nan=True)
        assert torch.equal(run.boxes, boxes[number])
        for pair, frame in zip(run.pairs, range(2 + number, 7 + number), strict=True):
            assert torch.equal(pair.render, random_target(frame).render)
            assert torch.equal(pair.landmarks, random_target(frame).landmarks)
    assert torch.equal(pairs[1].render, random_target(6).render)


def test_a_shard_without_runs_is_written_as_before(tmp_path):
    from safetensors import safe_open

    path = random_shard(tmp_path, "b", "bob", targets=2)
    with safe_open(path, "pt") as file:
        assert set(file.metadata()) == {
            "version", "frames", "clip", "identity", "source_frame", "licence_class"
        }  # fmt: skip
        assert not [name for name in file.keys() if name.startswith("run")]
    shard = Shard.open(path)
    assert (shard.beside, shard.runs) == ((), ()) and PairSet(tmp_path).runs == []


def test_less_than_no_runs_is_refused(tmp_path, capfd):
    with pytest.raises(InputError, match="counted from 0"):
        PrepareOptions(runs=-1)
    outcome = call(capfd, "train", "prepare", tmp_path, "-o", tmp_path / "pairs", "--runs", "-1")
    assert outcome.status == 2 and len(outcome.lines) == 1
