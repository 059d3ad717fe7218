"""SyncNet's weights, what it sees and hears, and LSE-C and LSE-D where the answer is known."""

import math
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mggtalk_core.errors import WeightsError
from mggtalk_core.evaluation.lip_sync import (
    BLANK,
    LEAST_PIECES,
    REACH,
    LipReader,
    SyncWatch,
    face_box,
    face_square,
    lip_sync,
    sound_pieces,
)
from mggtalk_core.evaluation.syncnet import SyncNet, read_syncnet
from mggtalk_core.evaluation.syncnet_sound import samples_of, speech_coefficients
from mggtalk_core.media.sound import Sound
from mggtalk_core.portrait.landmarker import Face

LAYOUT = {
    "netcnnaud.0": (64, 1, 3, 3), "netcnnaud.4": (192, 64, 3, 3), "netcnnaud.8": (384, 192, 3, 3),
    "netcnnaud.11": (256, 384, 3, 3), "netcnnaud.14": (256, 256, 3, 3), "netcnnaud.18": (512, 256, 5, 4),
    "netcnnlip.0": (96, 3, 5, 7, 7), "netcnnlip.4": (256, 96, 1, 5, 5), "netcnnlip.8": (256, 256, 1, 3, 3),
    "netcnnlip.11": (256, 256, 1, 3, 3), "netcnnlip.14": (256, 256, 1, 3, 3), "netcnnlip.18": (512, 256, 1, 6, 6),
    "netfcaud.0": (512, 512), "netfcaud.3": (1024, 512), "netfclip.0": (512, 512), "netfclip.3": (1024, 512),
}  # fmt: skip
"""Names of the published layers with weights, each followed by a normalisation but the last of a branch."""


def published():
    """Weights that are named and shaped as the published ones, of an age that did not count batches."""
    draw, weights = torch.Generator().manual_seed(0), {}
    for name, shape in LAYOUT.items():
        spread = math.prod(shape[1:]) ** -0.5
        weights[name + ".weight"] = spread * torch.randn(shape, generator=draw)
        weights[name + ".bias"] = 0.1 * torch.randn(shape[:1], generator=draw)
        branch, place = name.split(".")
        if shape[0] == 1024:
            continue
        for part, low in (("weight", 0.5), ("bias", -0.5), ("running_mean", -0.5), ("running_var", 0.5)):
            weights[f"{branch}.{int(place) + 1}.{part}"] = low + torch.rand(shape[0], generator=draw)
    return weights


@pytest.fixture(scope="module")
def weights():
    return published()


COEFFICIENTS = (
    (18.7494, 4.8112, 13.3886, 2.9515, -6.93, -18.9106, -24.5764, -25.2302, -18.8406, -10.348, -0.5358, 8.2833, 13.661),
    (17.609, 1.4361, -.0305, -15.7965, -18.953, -20.3481, -21.9834, -16.5545, 9.6989, .6674, 11.5004, 10.7856, 1.5625),
)  # fmt: skip

# The file


@pytest.mark.parametrize("kind", ["old", "new", "safetensors"])
def test_every_layout_of_file_gives_the_published_network(tmp_path, weights, kind):
    path = tmp_path / ("syncnet.safetensors" if kind == "safetensors" else "syncnet_v2.model")
    if kind == "safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=kind == "new")
    network = read_syncnet(path)
    kept = {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    assert kept.keys() == weights.keys()
    assert all(torch.equal(kept[name], weights[name]) for name in kept)
    assert not network.training


def test_both_branches_end_in_the_same_space_and_are_deterministic(tmp_path, weights):
    torch.save(weights, tmp_path / "syncnet_v2.model")
    network = read_syncnet(tmp_path / "syncnet_v2.model")
    draw = torch.Generator().manual_seed(1)
    pictures, sound = 255 * torch.rand(1, 3, 5, 224, 224, generator=draw), torch.randn(2, 1, 13, 20, generator=draw)
    lips, heard = network.lips(pictures), network.sound(sound)
    assert lips.shape == (1, 1024) and heard.shape == (2, 1024)
    assert torch.equal(lips, network.lips(pictures))
    torch.testing.assert_close(network.sound(sound[1:]), heard[1:])
    assert not torch.equal(network.lips(pictures.flip(1)), lips), "blue first is not red first"


class Trap:
    """Makes a folder when it is unpickled by someone who trusts it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_in_a_pickle_is_run(tmp_path):
    for number, new in enumerate((False, True)):
        path = tmp_path / f"trap{number}.model"
        torch.save({"netcnnaud.0.weight": Trap(tmp_path / "made")}, path, _use_new_zipfile_serialization=new)
        with pytest.raises(WeightsError, match="not a readable file"):
            read_syncnet(path)
    assert not (tmp_path / "made").exists()


def test_what_is_no_syncnet_is_refused_in_one_line(tmp_path, weights):
    other = {name: value for name, value in weights.items() if name != "netfclip.3.bias"}
    torch.save(other, tmp_path / "other.model")
    torch.save(torch.zeros(3), tmp_path / "tensor.model")
    torch.save(weights, tmp_path / "whole.model", _use_new_zipfile_serialization=False)
    content = (tmp_path / "whole.model").read_bytes()
    (tmp_path / "cut.model").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.model").write_bytes(b"")
    (tmp_path / "plain.model").write_bytes(pickle.dumps({"a": 1}, protocol=2))
    (tmp_path / "noise.safetensors").write_bytes(b"noise")
    files = ("other.model", "tensor.model", "cut.model", "empty.model", "plain.model", "noise.safetensors")
    for name in (*files, "gone.model"):
        with pytest.raises(WeightsError, match="syncnet_v2.model") as caught:
            read_syncnet(tmp_path / name)
        assert "\n" not in str(caught.value)


# The sound


def test_coefficients_are_those_the_network_was_taught_on():
    """Recorded from python_speech_features 0.6, which SyncNet's own code calls with its defaults."""
    seconds = np.arange(1000) / 16000
    sweep = 8000 * np.sin(2 * np.pi * (300 + 2000 * seconds) * seconds)
    samples = np.round(sweep + 1000 * np.sign(np.sin(2 * np.pi * 150 * seconds)))
    samples[700:] = 0
    found = speech_coefficients(samples)
    assert found.shape == (13, 5)
    np.testing.assert_allclose(found[:, [0, 4]].T, COEFFICIENTS, atol=1e-4)


def test_sound_is_heard_in_whole_numbers_at_its_own_level():
    sound = Sound(torch.tensor([[0.5, -1.0, 1.0, 1e-6]]), 16000)
    assert samples_of(sound).tolist() == [16384.0, -32768.0, 32767.0, 0.0]


# The scores


def plain_scores(lips, sound):
    means = []
    for offset in range(-REACH, REACH + 1):
        each = []
        for index, place in enumerate(lips):
            there = index + offset
            other = sound[there] if 0 <= there < len(sound) else torch.zeros_like(place)
            each.append(float((place - other + 1e-6).norm()))
        means.append(sum(each) / len(each))
    return sorted(means)[REACH] - min(means), min(means), means.index(min(means)) - REACH


@pytest.mark.parametrize("late", [-15, -4, 0, 3, 12])
def test_a_planted_offset_is_found_and_scored_as_by_a_plain_loop(late):
    draw = torch.Generator().manual_seed(late + 20)
    whole = torch.randn(130, 8, generator=draw)
    sound, lips = whole[20:100], whole[20 + late : 100 + late] + 0.1 * torch.randn(80, 8, generator=draw)
    found = lip_sync(lips, sound)
    assert found.late == late
    assert found == pytest.approx(plain_scores(lips, sound), abs=1e-4)
    assert found.confidence > 0.5


def test_lips_that_fit_nothing_have_no_confidence():
    found = lip_sync(torch.zeros(60, 4), torch.ones(60, 4))
    # Where an offset leaves no sound there are zeros, and these lips are at no distance from them.
    assert found.distance == pytest.approx(2.0 * 45 / 60, abs=1e-4)
    assert lip_sync(torch.ones(60, 4), torch.zeros(60, 4)).confidence == pytest.approx(0.0, abs=1e-5)


# The pictures


def face(x=20.0, y=30.0, half=8.0):
    landmarks = torch.zeros(478, 3) + torch.tensor([x, y, 0.0])
    landmarks[0, 1], landmarks[1, 1], landmarks[470] = y - half, y + half, 999.0
    return Face(landmarks, torch.zeros(52), 1.0)


def frame(value):
    return np.full((64, 64, 3), value, np.uint8)


class Colours:
    """A network that lies each piece where its five pictures' mean levels say, and sound where its energy does."""

    def lips(self, pictures):
        return pictures.mean(dim=(1, 3, 4))

    def sound(self, coefficients):
        return coefficients[:, 0, 0, ::4]


def test_a_face_is_cut_out_with_more_below_than_above():
    assert face_box(face().landmarks).tolist() == [20.0, 30.0, 8.0]
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[22:44, 9:31] = (10, 20, 30)  # 2 x 8 x 1.4 = 22 pixels: from 20 - 11.2 and from 30 - 8
    square = face_square(picture, np.array([20.0, 30.0, 8.0]))
    assert square.shape == (224, 224, 3)
    assert (square == (10, 20, 30)).all()
    beyond = face_square(frame(200), np.array([0.0, 30.0, 8.0]))
    assert (beyond[:, :100] == BLANK).all() and (beyond[:, 124:] == 200).all()
    assert (face_square(frame(200), np.array([500.0, 30.0, 8.0])) == BLANK).all()


@pytest.mark.parametrize("fps", [25.0, 50.0, 12.5, 30.0])
def test_pieces_are_five_pictures_in_order_at_25_a_second(fps):
    reader = LipReader(Colours(), fps)
    for index in range(40):
        reader.add(frame(index), face())
    shown = [math.floor(place * fps / 25.0 + 0.5) for place in range(1000)]
    shown = [index for index in shown if index < 40]
    expected = [shown[start : start + 5] for start in range(len(shown) - 4)]
    assert reader.pieces().tolist() == expected


@pytest.mark.parametrize("frames", [3, 6, 9])
def test_short_runs_are_not_lost_at_the_end(frames):
    reader = LipReader(Colours(), 25.0)
    for index in range(frames):
        reader.add(frame(index), face())
    pieces = reader.pieces()
    assert (0 if pieces is None else len(pieces)) == max(0, frames - 4)


def test_a_face_that_is_missed_is_taken_to_be_where_it_was():
    reader = LipReader(Colours(), 25.0)
    for index in range(30):
        reader.add(frame(index), None if 5 <= index < 10 else face(x=60.0 if index == 20 else 20.0))
    assert reader.pieces().tolist() == [list(range(start, start + 5)) for start in range(26)]


def test_a_face_that_is_gone_is_not_scored():
    watch = SyncWatch(Colours(), 25.0)
    for index in range(60):
        watch.add((frame(index), None if index > 20 else face()), (frame(index), face()))
    row = watch.row(Sound(torch.rand(1, 16000 * 3), 16000))
    assert math.isnan(row["lse_c"]) and math.isnan(row["lse_late"]) and row["lse_pieces"] == 0
    assert row["lse_d_truth"] > 0.0 and row["lse_pieces_truth"] == 55


def test_pieces_of_sound_are_a_fifth_of_a_second_25_times_a_second():
    class Columns:
        def sound(self, coefficients):
            seen.append(coefficients)
            return coefficients.flatten(1)

    seen, sound = [], Sound(torch.randn(1, 40000, generator=torch.Generator().manual_seed(0)) * 0.1, 16000)
    assert len(sound_pieces(Columns(), sound, 2.0)) == 45
    whole = torch.from_numpy(speech_coefficients(samples_of(sound)[:32000])).float()
    assert torch.equal(torch.cat(seen)[3, 0], whole[:, 12:32])
    assert len(sound_pieces(Columns(), sound, 0.2)) == 0


def test_sound_that_comes_three_frames_late_is_found_in_picture_and_sound():
    """The level of the pictures is the logarithm of the sound's energy, three frames before."""
    energy = np.convolve(np.random.default_rng(0).uniform(0.0, 1.0, 110), np.ones(3) / 3.0, "valid")
    samples = np.repeat(np.exp(2.0 * energy), 640) * np.random.default_rng(1).choice([-1.0, 1.0], 108 * 640) * 0.01
    sound = Sound(torch.from_numpy(samples).float()[None], 16000)
    heard = sound_pieces(Colours(), sound, 100 / 25.0)

    class Levels(Colours):
        def lips(self, pictures):
            return pictures.mean(dim=(1, 3, 4)) / 10.0

    watch = SyncWatch(Levels(), 25.0)
    level = heard[:, 0]
    for index in range(95):
        early, right = (int(10.0 * level[min(index + late, len(level) - 1)]) for late in (3, 0))
        watch.add((frame(early), face()), (frame(right), face()))
    row = watch.row(sound)
    assert (row["lse_late"], row["lse_late_truth"]) == (3, 0)
    assert row["lse_pieces"] == row["lse_pieces_truth"] == 90 >= LEAST_PIECES
    assert row["lse_c"] > 0.0 and row["lse_d"] > row["lse_d_truth"] > 0.0


def test_runs_too_short_to_judge_are_not_scored():
    watch = SyncWatch(Colours(), 25.0)
    for index in range(LEAST_PIECES + 4):
        watch.add((frame(index), face()), (frame(index), face()))
    row = watch.row(Sound(torch.rand(1, 32000), 16000))
    assert row["lse_pieces"] == LEAST_PIECES - 1 and math.isnan(row["lse_c"]) and math.isnan(row["lse_d_truth"])


def test_the_network_has_the_published_names():
    names = {name for name in SyncNet().state_dict() if not name.endswith("num_batches_tracked")}
    assert names == set(published())
