"""``train prepare``: which frames, what is refused, what is resumed, and pairs that lie on each other."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mggtalk_core.errors import InputError
from mggtalk_core.evaluation.landmarks import eye_distance, eye_opening, mouth_opening
from mggtalk_core.evaluation.metrics import psnr
from mggtalk_core.evaluation.syncnet_sound import samples_of
from mggtalk_core.media.audio import read_sound
from mggtalk_core.media.sound import Sound
from mggtalk_core.media.video_writer import VideoWriter
from mggtalk_core.processes import in_processes
from mggtalk_core.training.pairs import PairSet
from mggtalk_core.training.prepare import identities_first, items_of, items_of_manifest, prepare, summary
from mggtalk_core.training.prepare_clip import ClipItem, PrepareOptions
from mggtalk_core.training.prepare_runs import AROUND, run_sound
from mggtalk_core.training.prepare_select import (
    LEAST_FRAMES,
    choose_sources,
    choose_targets,
    frame_features,
    longest_take,
    usable_frames,
)
from mggtalk_core.training.tracks import read_track, track_clip, track_file, write_track
from tests.cli_samples import call
from tests.training_samples import moving_clip, track_of

FRAMES = 40


def bump(at, width=2):
    """A curve that rises to 1 at a frame and is 0 away from it."""
    frames = torch.arange(FRAMES)
    return (1.0 - (frames - at).abs() / width).clamp(min=0.0)


@pytest.fixture(scope="module")
def lively():
    """A head that turns around frame 30, opens its mouth at 10 and shuts its eyes at 20."""
    return track_of(
        25.0 * bump(30, 4), jawOpen=0.8 * bump(10), eyeBlinkLeft=bump(20), eyeBlinkRight=bump(20)
    )  # fmt: skip


def test_sources_are_the_first_frame_and_the_extremes(lively):
    usable = torch.arange(FRAMES)
    assert choose_sources(lively, usable, 4) == [0, 30, 10, 20]
    assert choose_sources(lively, usable, 2) == [0, 30]
    assert choose_sources(lively, usable[3:], 1) == [3]


def test_a_short_clip_has_fewer_sources(lively):
    assert choose_sources(lively, torch.arange(3), 5)[0] == 0
    assert len(choose_sources(lively, torch.arange(3), 5)) == 2  # 0 and 2: nothing beside one that is taken


def test_targets_hold_the_extremes_and_no_source(lively):
    usable = torch.arange(FRAMES)
    sources = [0, 32]
    targets = choose_targets(lively, usable, sources, 6)
    every = sum(targets, [])
    assert [len(frames) for frames in targets] == [6, 6] and all(frames == sorted(frames) for frames in targets)
    assert len(set(every)) == 12 and not set(every) & set(sources)
    assert {10, 20, 30} <= set(every)
    assert min(every) < 8 and max(every) > 34  # and what lies between


def test_targets_of_a_short_clip_are_shared(lively):
    targets = choose_targets(lively, torch.arange(14), [0, 10], 10)
    assert [len(frames) for frames in targets] == [10, 10]
    assert all(not {0, 10} & set(frames) for frames in targets)


def test_features_tell_a_turn_a_blink_and_an_open_mouth_apart(lively):
    features = frame_features(lively)
    still = features[0]
    assert torch.allclose(features[5], still, atol=1e-5)
    for frame in (10, 20, 30):
        assert float((features[frame] - still).norm()) > 0.8, frame
    assert float(mouth_opening(lively.landmarks)[10]) > 0.2 > float(mouth_opening(lively.landmarks)[0])
    assert float(eye_opening(lively.landmarks)[20]) < 0.05 < float(eye_opening(lively.landmarks)[0])
    # A turn of 25 degrees counts 2.5 units, up to what it changes of the openings as they are seen.
    assert float((features[30] - still).norm()) == pytest.approx(2.5, abs=0.1)


def test_a_cut_leaves_the_longest_take(lively):
    landmarks = lively.landmarks.clone()
    landmarks[25:, :, 0] += float(eye_distance(landmarks[0]))
    take = longest_take(landmarks)
    assert take[:25].all() and not take[25:].any()
    assert longest_take(lively.landmarks).all()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: {"crop_transform": 4.0 * t.crop_transform}, "too small a face"),
        (lambda t: {"seen": torch.arange(FRAMES) < 5}, "no face"),
        (lambda t: {"residual": torch.full((FRAMES,), 20.0)}, "misaligned"),
        (lambda t: {"landmarks": t.landmarks + 500.0 * (torch.arange(FRAMES) % 4 == 0)[:, None, None]}, "cut"),
    ],
)
def test_tracks_that_teach_nothing_are_refused(lively, change, reason):
    with pytest.raises(InputError, match=f"^{reason}"):
        usable_frames(replace(lively, **change(lively)))


def test_few_frames_are_refused_and_enough_are_taken():
    with pytest.raises(InputError, match="^too few frames"):
        usable_frames(track_of(torch.zeros(LEAST_FRAMES - 1)))
    assert usable_frames(track_of(torch.zeros(LEAST_FRAMES))).tolist() == list(range(LEAST_FRAMES))


def test_many_identities_come_first():
    items = [ClipItem(name, who) for name, who in (("1", "a"), ("2", "a"), ("3", "b"), ("4", "a"), ("5", "c"))]
    assert [item.path for item in identities_first(items)] == ["1", "3", "5", "2", "4"]


def test_clips_of_folders_and_lists(tmp_path):
    for name in ("b.mp4", "a.MOV", "deep/c.webm", "note.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [item.identity for item in items_of([tmp_path])] == ["a", "b", "c"]
    with pytest.raises(InputError, match=r"b\.mp4"):
        items_of([tmp_path, tmp_path / "b.mp4"])
    with pytest.raises(InputError, match="No clip"):
        items_of([tmp_path / "deep" / "none"] if (tmp_path / "deep" / "none").mkdir() else [tmp_path / "deep/none"])
    rows = ["path,kind,split,origin,one_face,identity,licence_class", "b.mp4,clip,train,real,yes,ann,C"]
    rows += ["c.mp4,clip,val,real,yes,bob,A", "d.mp4,portrait,train,real,yes,eve,A"]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    assert items_of_manifest(tmp_path / "list.csv", "train") == [ClipItem(tmp_path / "b.mp4", "ann", "C")]


def double(item, on_step):
    on_step(0, 1)
    if item == 13:
        raise InputError("thirteen")
    return 2 * item


@pytest.mark.parametrize("jobs", [1, 2])
def test_work_is_spread_and_its_errors_come_back(jobs):
    steps, done = [], []
    with pytest.raises(InputError, match="thirteen"):
        for item, result in in_processes(double, [1, 2, 3, 13], jobs, lambda: steps.append(1)):
            done.append((item, result))
    assert steps
    assert set(done) <= {(1, 2), (2, 4), (3, 6)} and (jobs > 1 or len(done) == 3)


SHIFTS = [
    (round(10.0 - 10.0 * math.cos(math.tau * k / 30)), round(5.0 * math.sin(math.tau * k / 60))) for k in range(18)
]
"""A window that moves over a still picture: everything in it moves the other way, by whole pixels."""
OPTIONS = PrepareOptions(sources=1, targets=4, runs=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory, astronaut):
    """Pairs of a clip in which a portrait moves but does not change, and of a clip without a face."""
    folder = tmp_path_factory.mktemp("prepare")
    noise = 0.2 * torch.randn(1, 48000, generator=torch.Generator().manual_seed(0))
    moving_clip(folder / "moving.mp4", astronaut, SHIFTS, sound=Sound(noise, 48000))
    with VideoWriter(folder / "empty.mp4", 25.0, 96, 96) as writer:
        for _ in range(3):
            writer.write(np.full((96, 96, 3), 128, np.uint8))
    write_track(track_file(folder, folder / "moving.mp4"), track_clip(folder / "moving.mp4"))
    items = [ClipItem(folder / "empty.mp4", "nobody"), ClipItem(folder / "moving.mp4", "astronaut", "A")]
    return folder, items, prepare(items, folder / "pairs", OPTIONS, tracks=folder)


def crop_scale(folder, pair):
    """Pixels of the pair's crop per pixel of the clip, by the distance of the eyes in both."""
    track = read_track(track_file(folder, "moving.mp4"))
    scale = float(torch.linalg.det(track.crop_transform[:, :2])) ** 0.5
    return scale * float(eye_distance(pair.source_landmarks) / eye_distance(track.landmarks[0]))


def test_renders_lie_on_the_truth(made):
    folder, _, _ = made
    pairs = PairSet(folder / "pairs")
    frames = pairs.shards[0].frames
    assert len(pairs) == 4 and pairs.shards[0].info.source_frame == 0 and 0 not in frames
    distances = {frame: math.hypot(SHIFTS[frame][0], SHIFTS[frame][1]) for frame in frames}
    assert max(distances.values()) > 15.0
    for frame, pair in zip(frames, pairs, strict=True):
        colour, alpha, truth = (part.float() / 255.0 for part in (pair.render[:3], pair.render[3:], pair.truth))
        weight = (pair.matte.float() / 255.0) * (pair.inside > 0) * (alpha > 0.98)
        driven = psnr(colour + (1.0 - alpha) * pair.layer.float() / 255.0, truth, weight)
        # A head that only moves is drawn anew up to splats, H.264 and half a pixel of smoothing: 26 to 35 dB were seen.
        assert driven > 24.0, frame
        assert psnr(pair.source.float() / 255.0, truth, weight) < driven - 4.0, frame
        apart = (pair.landmarks - pair.source_landmarks)[:, :2].mean(dim=0)
        wanted = -crop_scale(folder, pair) * torch.tensor(SHIFTS[frame], dtype=torch.float32)
        assert torch.allclose(apart, wanted, atol=2.0), frame
        assert pair.matte.float().mean() > 20 and (pair.inside > 0).float().mean() > 0.5


def test_a_still_target_is_driven_by_nothing(made):
    folder, _, _ = made
    pairs = PairSet(folder / "pairs")
    for frame, pair in zip(pairs.shards[0].frames, pairs, strict=True):
        assert float((pair.beta - pair.fit.beta_s).abs().max()) < 0.15
        turned = pair.rotation @ pair.fit.camera.rotation.T
        assert float((turned - torch.eye(3)).abs().max()) < 0.03
        moved = (pair.translation - pair.fit.camera.translation)[:2] * 1400.0 / pair.translation[2]
        wanted = -torch.tensor(SHIFTS[frame], dtype=torch.float32) * crop_scale(folder, pair)
        assert torch.allclose(moved, wanted, atol=3.0), frame


def test_a_run_is_five_renders_with_their_sound(made):
    folder, _, table = made
    pairs = PairSet(folder / "pairs")
    assert pairs.runs == [(0, 0)] and len(pairs) == 4
    (frames,), run = pairs.shards[0].runs, pairs.run(0, 0)
    assert frames == tuple(range(frames[0], frames[0] + 5)) and 0 not in frames
    expected = run_sound(samples_of(read_sound(folder / "moving.mp4")), frames[0])
    torch.testing.assert_close(run.sound, expected, rtol=0.0, atol=0.0, equal_nan=True)
    assert expected[:, 4 * AROUND : 4 * AROUND + 20].isfinite().all()
    for frame, pair, box in zip(frames, run.pairs, run.boxes, strict=True):
        apart = (pair.landmarks - run.pairs[0].landmarks)[:, :2].mean(dim=0)
        shift = np.subtract(SHIFTS[frames[0]], SHIFTS[frame]).astype(np.float32)
        assert torch.allclose(apart, crop_scale(folder, pair) * torch.from_numpy(shift), atol=2.0), frame
        middle = (pair.landmarks[:468, :2].amin(dim=0) + pair.landmarks[:468, :2].amax(dim=0)) / 2.0
        assert float((box[:2] - middle).norm()) < 0.2 * float(box[2])  # the median of half a second around
    assert {row["clip"]: row for row in table.rows}["moving.mp4"]["runs"] == summary(table)["runs"] == 1


def test_the_report_says_what_was_left_out_and_why(made):
    folder, _, table = made
    rows = {row["clip"]: row for row in table.rows}
    assert "face" in rows["empty.mp4"]["error"].lower()
    assert (rows["moving.mp4"]["pairs"], rows["moving.mp4"]["licence_class"]) == (4, "A")
    told = json.loads((folder / "pairs" / "report.json").read_text())
    assert told["summary"]["pairs"] == 4 and sum(told["summary"]["rejected"].values()) == 1
    assert summary(table)["identities"] == 1
    assert (folder / "pairs" / "report.md").is_file()


def test_a_second_run_does_nothing_and_a_lost_shard_comes_back_the_same(made, monkeypatch):
    folder, items, _ = made
    shard = next((folder / "pairs").glob("*.safetensors"))
    before, content = shard.stat().st_mtime_ns, shard.read_bytes()
    steps = []
    prepare(items, folder / "pairs", OPTIONS, tracks=folder, on_step=lambda done, total: steps.append(done))
    assert steps == [] and shard.stat().st_mtime_ns == before
    (folder / "pairs" / "clips" / "moving.mp4.json").unlink()
    prepare(items, folder / "pairs", OPTIONS, tracks=folder)
    assert shard.stat().st_mtime_ns == before  # the shard itself was whole: only its record was lost
    shard.unlink()
    (folder / "pairs" / "clips" / "moving.mp4.json").unlink()
    prepare(items, folder / "pairs", OPTIONS, tracks=folder)
    assert shard.read_bytes() == content


def test_nothing_to_prepare_is_refused(tmp_path, capfd):
    with pytest.raises(InputError, match="No clip"):
        prepare([], tmp_path)
    with pytest.raises(InputError, match="at least 1"):
        PrepareOptions(sources=0)
    outcome = call(capfd, "train", "prepare", "-o", tmp_path / "pairs")
    assert outcome.status == 2 and len(outcome.lines) == 1
