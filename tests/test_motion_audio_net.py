import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open

from mggtalk_core.errors import WeightsError
from mggtalk_core.media.sound import Sound
from mggtalk_core.motion.audio import motion_from_audio
from mggtalk_core.motion.audio_net import (
    NET_RATE,
    STRIDE,
    MouthNet,
    MouthNetConfig,
    run_net,
    together,
)
from mggtalk_core.motion.audio_net_file import load_mouth_net, read_net, write_net
from mggtalk_core.motion.mel import BANDS, FLOOR, SCALE, log_mel, mel_filters, normalised, voice_level
from mggtalk_core.motion.mouth import PARTING_SPEED, Heard, learned_mouth, parted_gently, with_opening, with_shut_lips
from mggtalk_core.motion.mouth_shapes import CLOSED, OPENING, OUTPUTS, SHAPES, columns, gap_basis, gathered, spread
from mggtalk_core.motion.speech_features import Piece, pieces
from mggtalk_core.motion.speech_trunk import HEARD, POOLED, TRUNK_REACH
from mggtalk_core.weights.policy import using_policy
from tests.motion_samples import syllables

CONFIG = MouthNetConfig(channels=16, outputs=OUTPUTS)
LISTENING = replace(CONFIG, listeners=2)


def random_net(config):
    torch.manual_seed(0)
    net = MouthNet(config).eval().requires_grad_(False)
    if net.trunk is not None:
        for convolution in net.trunk.convolutions:  # deep: the usual start would let nothing through
            torch.nn.init.kaiming_normal_(convolution.weight, 0.2)
        net.trunk.bands.uniform_(0.0, 1.0)
    return net


@pytest.fixture(params=[CONFIG, LISTENING, replace(LISTENING, members=0)], ids=["spectrum", "both", "trunk"])
def net(request):
    return random_net(request.param)


def noise(frames, seed=0):
    return np.random.default_rng(seed).normal(size=(frames, BANDS)).astype(np.float32)


def tone(hertz, seconds=0.5):
    time = np.arange(int(seconds * 16000)) / 16000
    return Piece((0.3 * np.sin(2 * math.pi * hertz * time)).astype(np.float32), 0, int(seconds * 100), 0)


# Spectra


@pytest.mark.parametrize("hertz", [300.0, 1000.0, 4000.0])
def test_a_tone_is_loudest_in_the_band_around_it(hertz):
    spectrum = log_mel(tone(hertz))[10:40].mean(axis=0)
    centres = np.fft.rfftfreq(512, 1 / 16000)[mel_filters().argmax(axis=1)]
    assert centres[spectrum.argmax()] == pytest.approx(hertz, rel=0.08)
    assert spectrum.max() - np.median(spectrum) > 5.0


def test_every_filter_hears_something_and_white_power_is_even():
    filters = mel_filters()
    assert filters.shape == (80, 257)
    assert filters.sum(axis=1).min() > 0.0


def test_louder_sound_has_a_higher_level_and_the_same_normalised_spectrum():
    quiet = np.concatenate([log_mel(piece) for piece in pieces(syllables(3.0))])
    loud = quiet + np.float32(math.log(100.0))  # 20 dB
    assert voice_level(loud) - voice_level(quiet) == pytest.approx(math.log(100.0), abs=1e-4)
    np.testing.assert_allclose(normalised(loud, voice_level(loud)), normalised(quiet, voice_level(quiet)), atol=2e-3)
    assert normalised(quiet, voice_level(quiet)).min() >= FLOOR / SCALE - 1e-5


# The net


@pytest.mark.parametrize("mels", [1, 3, 4, 5, 97, 400])
def test_frames_cover_the_sound(net, mels):
    assert run_net(net, noise(mels)).shape == (2 * math.ceil(mels / STRIDE), len(OUTPUTS))
    assert NET_RATE == 50


def test_chunks_equal_the_whole(net, monkeypatch):
    mel = noise(1234)
    whole = run_net(net, mel)
    monkeypatch.setattr("mggtalk_core.motion.audio_net.CHUNK", 37)
    # The outputs of these weights reach 3; sums of other lengths round differently in the last bit.
    np.testing.assert_allclose(run_net(net, mel), whole, atol=1e-6 * max(3.0, np.abs(whole).max()), rtol=0.0)


def test_a_frame_depends_on_its_reach_and_on_nothing_else(net):
    mel = noise(800)
    changed = mel.copy()
    changed[400:] += 1.0  # step 100, frame 200
    moved = np.abs(run_net(net, changed) - run_net(net, mel)).max(axis=1) > 0.0
    assert moved.argmax() == 200 - 2 * net.config.reach
    assert net.config.reach == 10, "0.4 s of look-ahead"


def test_the_trunk_pools_before_the_activation_what_its_original_pools_after():
    trunk, mel = random_net(LISTENING).trunk, torch.from_numpy(noise(200).T.copy())[None]
    power = torch.exp(3.0 * mel[:, :, 2:].transpose(1, 2)) @ trunk.bands.T
    x, kept = (torch.log10(power) + 7.6)[:, None], []
    for place, convolution in enumerate(trunk.convolutions):
        x = F.leaky_relu(convolution(x), 0.2).clamp_min(-0.4)
        if place in POOLED:
            x = F.max_pool2d(x, POOLED[place])
        if place in (14, 18):
            kept.append(x.transpose(2, 3).flatten(1, 2))
    heard = trunk(mel)
    assert heard.shape == (1, HEARD, 200 // STRIDE - 2 * TRUNK_REACH)
    steps = heard.shape[2]
    twin = torch.cat((kept[0][:, :, 2 : 2 + steps], kept[1]), dim=1)
    np.testing.assert_allclose(heard.numpy(), twin.numpy(), rtol=1e-4, atol=1e-4 * float(twin.abs().max()))


def test_nets_that_hear_differently_are_averaged():
    both = random_net(LISTENING)
    near, far = random_net(CONFIG), random_net(replace(LISTENING, members=0))
    joined = together([near, far])
    assert (joined.config.members, joined.config.listeners) == (1, 2)
    mean = (run_net(near, noise(90)) + 2.0 * run_net(far, noise(90))) / 3.0
    np.testing.assert_allclose(run_net(joined, noise(90)), mean, atol=1e-5 * np.abs(mean).max())
    assert joined.state_dict().keys() == both.state_dict().keys()


def test_files_keep_half_precision_and_the_configuration(net, tmp_path):
    write_net(tmp_path / "net.safetensors", net, {"note": "x"})
    read = read_net(tmp_path / "net.safetensors", net.trunk)
    assert read.config == net.config
    # Half precision has 11 bits: outputs of size 1 move by a few thousandths.
    np.testing.assert_allclose(run_net(read, noise(60)), run_net(net, noise(60)), atol=5e-3)
    (tmp_path / "net.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError):
        read_net(tmp_path / "net.safetensors")


def test_without_the_embedding_the_others_hear_alone(tmp_path):
    net = random_net(LISTENING)
    write_net(tmp_path / "net.safetensors", net, {})
    with safe_open(tmp_path / "net.safetensors", "pt") as file:
        assert not [name for name in file.keys() if "convolution" in name], "weights of others are not shipped"
    alone = read_net(tmp_path / "net.safetensors")
    assert alone.trunk is None and (alone.config.members, alone.config.listeners) == (net.config.members, 0)
    wanted = MouthNet(alone.config).eval()
    wanted.members.load_state_dict(net.members.state_dict())
    np.testing.assert_allclose(run_net(alone, noise(60)), run_net(wanted, noise(60)), atol=5e-3)


def test_an_embedding_that_cannot_be_had_is_said_and_done_without(monkeypatch, caplog):
    def missing():
        raise WeightsError("speech_embedding.tflite is not here")

    monkeypatch.setattr("mggtalk_core.motion.audio_net_file.load_embedding", missing)
    net = load_mouth_net()
    assert net.trunk is None and net.config.members == 2 and len(caplog.records) == 1
    assert "speech_embedding.tflite is not here" in caplog.text


def test_the_packages_net_hears_through_the_embedding():
    net = load_mouth_net()
    assert (net.config.members, net.config.listeners) == (2, 2) and net.trunk.bands.sum() > 0
    assert all(convolution.weight.abs().max() > 0 for convolution in net.trunk.convolutions)


# From what is heard to the mouth


def test_gap_basis_is_that_of_the_evaluation():
    from mggtalk_core.evaluation.audio_curves import lip_opening

    beta = np.random.default_rng(1).uniform(0.0, 0.5, (20, 52))
    rest, basis = gap_basis()
    theirs = lip_opening(torch.from_numpy(beta).float())
    np.testing.assert_allclose(np.maximum(rest + beta @ basis, 0.0), theirs, atol=1e-5)


def test_gathering_undoes_spreading():
    values = np.random.default_rng(2).uniform(size=(5, len(SHAPES)))
    np.testing.assert_allclose(gathered(values @ spread()), values, atol=1e-12)


def test_opening_is_what_was_asked_for():
    rng = np.random.default_rng(3)
    beta = rng.uniform(0.0, 0.3, (200, len(SHAPES))) @ spread()
    wanted = rng.uniform(0.0, 0.3, 200)
    rest, basis = gap_basis()
    result = with_opening(beta, wanted)
    np.testing.assert_allclose(rest + result @ basis, wanted, atol=1e-5)
    assert result.min() >= 0.0
    untouched = columns("mouthPucker") + columns("mouthSmile")
    np.testing.assert_array_equal(result[:, untouched], beta[:, untouched])


def test_shut_lips_leave_no_gap():
    beta = np.random.default_rng(4).uniform(0.0, 0.5, (10, 52))
    rest, basis = gap_basis()
    # What is left is the thrust of the jaw and the frown, which speech does not own; below 0.03 lips count as closed.
    assert (rest + with_shut_lips(beta, np.ones(10)) @ basis).max() < 0.03
    np.testing.assert_array_equal(with_shut_lips(beta, np.zeros(10)), beta)


def heard(opening, log_odds=0.0, activity=1.0, segments=None, seconds=2):
    said = np.zeros((50 * seconds, len(OUTPUTS)))
    said[:, OUTPUTS.index(OPENING)] = opening
    said[:, OUTPUTS.index(CLOSED)] = log_odds
    still = np.full(100 * seconds, 1.0)
    return Heard(still, still * activity, segments, said)


def test_the_opening_that_the_net_hears_is_that_of_the_lips():
    opening = 0.1 + 0.05 * np.sin(np.arange(100) / 8.0)
    rest, basis = gap_basis()
    beta = learned_mouth(heard(opening), 50, 25.0)
    times = np.arange(50) / 25.0
    wanted = np.interp(times, (np.arange(100) + 0.5) / 50.0, opening)
    np.testing.assert_allclose(rest + beta @ basis, wanted, atol=1e-5)


def test_net_phonemes_and_silence_each_shut_the_lips():
    _, basis = gap_basis()
    assert (learned_mouth(heard(0.15, log_odds=5.0), 50, 25.0) @ basis).max() < 1e-3
    closing = learned_mouth(heard(0.15, segments=[("AA", 0, 90), ("M", 90, 102), ("AA", 102, 200)]), 50, 25.0)
    gap = closing @ basis
    assert gap[22:26].min() < 1e-3 < 0.1 < gap[10]
    unlikely = learned_mouth(heard(0.15, log_odds=-4.0, segments=[("M", 90, 102)]), 50, 25.0)
    assert (unlikely @ basis).min() > 0.1, "the net does not believe every phoneme"
    assert np.abs(learned_mouth(heard(0.15, activity=0.0), 50, 25.0)[:, columns("jawOpen")]).max() == 0.0


@pytest.mark.parametrize("fps", [25.0, 30.0, 60.0])
def test_lips_part_no_faster_than_those_of_speakers(fps):
    _, basis = gap_basis()
    frames = round(fps)
    wide = np.zeros((frames, len(SHAPES)))
    wide[frames // 2 :, SHAPES.index("jawOpen")] = 0.5
    beta = wide @ spread()
    gap = parted_gently(beta, fps) @ basis
    assert np.diff(gap).max() <= PARTING_SPEED / fps + 1e-6
    assert gap[-1] == pytest.approx((beta @ basis)[-1]), "in the end they stand as wide as was asked"
    closing = beta[::-1]
    np.testing.assert_array_equal(parted_gently(closing, fps), closing)


# The package's own weights


def mouth_gap(motion):
    rest, basis = gap_basis()
    return np.maximum(rest + motion.beta.double().numpy() @ basis, 0.0)


def test_silence_shuts_the_mouth_within_a_fifth_of_a_second():
    sound = syllables(4.0, on=1.0, off=1.0)
    gap = mouth_gap(motion_from_audio(sound, 25.0, phonemes=False))
    time = np.arange(len(gap)) / 25.0 % 2.0
    settled = (np.arange(len(gap)) > 25) & (time > 0.2) & (time < 0.84)
    assert gap[settled].max() < 0.03, "each second of silence begins with the period"
    assert gap[(time > 1.2) & (time < 1.8)].mean() > 0.02


@pytest.mark.parametrize("seed", [0, 1])
def test_noise_and_hum_leave_the_mouth_shut(seed):
    rng = torch.Generator().manual_seed(seed)
    hiss = 0.1 * torch.randn(1, 48000, generator=rng)
    hum = 0.2 * torch.sin(torch.arange(48000) * (2 * math.pi * 120.0 * (seed + 1) / 16000))[None]
    for samples in (hiss, hum, hum + 0.1 * hiss):
        assert mouth_gap(motion_from_audio(Sound(samples, 16000), phonemes=False)).max() < 0.03


def test_no_learned_and_commercial_safe_leave_the_net_alone():
    sound = syllables(2.0)
    ruled = motion_from_audio(sound, learned=False, phonemes=False)
    with using_policy(commercial_safe=True):
        assert load_mouth_net() is None
        assert torch.equal(motion_from_audio(sound, phonemes=False).beta, ruled.beta)
    assert load_mouth_net() is not None
    assert not torch.equal(motion_from_audio(sound, phonemes=False).beta, ruled.beta)


@pytest.mark.parametrize("fps", [12.0, 25.0, 60.0])
def test_any_rate_of_frames_follows_one_curve(fps):
    sound = syllables(2.0, on=0.3, off=0.3)
    fine = mouth_gap(motion_from_audio(sound, 100.0, phonemes=False))
    coarse = mouth_gap(motion_from_audio(sound, fps, phonemes=False))
    at = np.interp(np.arange(len(coarse)) / fps, np.arange(len(fine)) / 100.0, fine)
    assert np.corrcoef(coarse, at)[0, 1] > 0.97


def test_the_same_sound_gives_the_same_mouth_whatever_its_level():
    sound = syllables(2.0)
    quiet = Sound(sound.samples * 0.05, sound.rate)
    one, two = (mouth_gap(motion_from_audio(each, phonemes=False)) for each in (sound, quiet))
    np.testing.assert_allclose(one, two, atol=0.01)
