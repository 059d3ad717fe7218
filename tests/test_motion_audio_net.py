import math
from dataclasses import replace

import numpy as np
import pytest
import torch
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
from mggtalk_core.motion.mouth import (
    ARTICULATION,
    PARTING_SPEED,
    Heard,
    learned_mouth,
    parted_gently,
    with_opening,
    with_shut_lips,
)
from mggtalk_core.motion.mouth_shapes import CLOSED, OPENING, OUTPUTS, SHAPES, columns, gap_basis, gathered, spread
from mggtalk_core.motion.speech_encoder import ENCODER, load_encoder
from mggtalk_core.motion.speech_features import Piece, pieces
from mggtalk_core.motion.speech_trunk import HEARD, LAYERS, TRUNK_AHEAD, TRUNK_PAST, WIDTH
from mggtalk_core.weights.policy import Downloads, using_policy
from tests.motion_samples import syllables

CONFIG = MouthNetConfig(channels=16, outputs=OUTPUTS)
LISTENING = replace(CONFIG, listeners=2)


def random_net(config):
    torch.manual_seed(0)
    net = MouthNet(config).eval().requires_grad_(False)
    if net.trunk is not None:
        net.trunk.bands.uniform_(0.0, 1.0)
        net.trunk.places.normal_(0.0, 0.1)
    return net


@pytest.fixture(
    params=[CONFIG, LISTENING, replace(LISTENING, members=0), replace(LISTENING, reader=3)],
    ids=["spectrum", "both", "trunk", "all"],
)
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
    monkeypatch.setattr("mggtalk_core.motion.audio_net.WINDOW", 37)
    whole = run_net(net, mel)
    monkeypatch.setattr("mggtalk_core.motion.audio_net.CHUNK", 37)
    # The outputs of these weights reach 3; sums of other lengths round differently in the last bit.
    np.testing.assert_allclose(run_net(net, mel), whole, atol=1e-6 * max(3.0, np.abs(whole).max()), rtol=0.0)


def test_what_comes_later_changes_nothing_that_was_settled(net, monkeypatch):
    monkeypatch.setattr("mggtalk_core.motion.audio_net.WINDOW", 40)
    monkeypatch.setattr("mggtalk_core.motion.audio_net.CHUNK", 80)
    mel = noise(1200)
    whole, part = run_net(net, mel), run_net(net, mel[:800])
    settled = 2 * (160 if net.trunk is not None else 200 - net.config.ahead)  # the last window hears all of its future
    np.testing.assert_allclose(part[:settled], whole[:settled], atol=1e-6 * max(3.0, np.abs(whole).max()), rtol=0.0)


def test_a_frame_depends_on_its_surroundings_and_on_nothing_else(net, monkeypatch):
    monkeypatch.setattr("mggtalk_core.motion.audio_net.WINDOW", 20)
    mel = noise(800)
    changed = mel.copy()
    changed[400:] += 1.0  # step 100, frame 200
    moved = np.abs(run_net(net, changed) - run_net(net, mel)).max(axis=1) > 0.0
    assert net.config.ahead == 10, "0.4 s of look-ahead"
    # What is heard through the trunk depends on all of its window: that from step 80 reaches to step 110.
    assert moved.argmax() == (160 if net.trunk is not None else 200 - 2 * net.config.ahead)
    changed = mel.copy()
    changed[:400] += 1.0
    still = np.abs(run_net(net, changed) - run_net(net, mel)).max(axis=1) == 0.0
    last = 100 + net.config.past if net.trunk is None else 140  # the window from step 120 begins at step 92
    assert np.flatnonzero(~still).max() == 2 * last - 1


def test_the_trunk_is_whispers_encoder():
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    trunk, tokens = random_net(LISTENING).trunk, 2 * (TRUNK_PAST + 30 + TRUNK_AHEAD)
    sizes = {"d_model": WIDTH, "encoder_layers": LAYERS, "encoder_attention_heads": 6, "encoder_ffn_dim": 4 * WIDTH}
    twin = WhisperEncoder(WhisperConfig(**sizes, max_source_positions=tokens)).eval().requires_grad_(False)
    for ours, theirs in zip(trunk.stem, (twin.conv1, twin.conv2), strict=True):
        theirs.load_state_dict(ours.state_dict())
    twin.embed_positions.weight.copy_(trunk.places[:tokens])
    for ours, theirs in zip(trunk.layers, twin.layers, strict=True):
        theirs.self_attn_layer_norm.load_state_dict(ours.attention_norm.state_dict())
        theirs.final_layer_norm.load_state_dict(ours.mlp_norm.state_dict())
        parts = (theirs.self_attn.q_proj, theirs.self_attn.k_proj, theirs.self_attn.v_proj)
        ours.attention_in.bias[WIDTH : 2 * WIDTH] = 0.0  # Whisper's keys have none
        for part, weight, bias in zip(parts, *(x.chunk(3) for x in ours.attention_in.parameters()), strict=True):
            part.weight.copy_(weight)
            if part.bias is not None:
                part.bias.copy_(bias)
        theirs.self_attn.out_proj.load_state_dict(ours.attention_out.state_dict())
        theirs.fc1.load_state_dict(ours.mlp_in.state_dict())
        theirs.fc2.load_state_dict(ours.mlp_out.state_dict())
    mel = torch.from_numpy(noise(2 * tokens).T.copy())[None]
    power = (trunk.bands @ torch.exp(3.0 * mel) + math.exp(-7.55)).log() - 7.45
    twin.layer_norm = torch.nn.Identity()  # that is above its fourth layer
    wanted = twin((power / math.log(10.0) + 4.0) / 4.0).last_hidden_state
    wanted = wanted[:, 2 * TRUNK_PAST : -2 * TRUNK_AHEAD : 2]
    np.testing.assert_allclose(trunk.tokens(mel).numpy(), wanted.numpy(), atol=1e-4)
    heard = trunk(mel)
    assert heard.shape == (1, HEARD, 30)
    np.testing.assert_allclose(heard[0].T.numpy(), trunk.kept(wanted)[0].numpy(), atol=1e-4)


def test_nets_that_hear_differently_are_averaged():
    both = random_net(LISTENING)
    near, far = random_net(CONFIG), random_net(replace(LISTENING, members=0))
    joined = together([near, far])
    assert (joined.config.members, joined.config.listeners) == (1, 2)
    mean = (run_net(near, noise(90)) + 2.0 * run_net(far, noise(90))) / 3.0
    np.testing.assert_allclose(run_net(joined, noise(90)), mean, atol=1e-5 * np.abs(mean).max())
    assert joined.state_dict().keys() == both.state_dict().keys()
    assert (joined.config.past, joined.config.ahead) == (TRUNK_PAST + 3, 10)


def test_a_reader_counts_as_several_nets_but_not_for_shut_lips():
    near = random_net(CONFIG)
    torch.manual_seed(1)
    reader = MouthNet(replace(CONFIG, members=0, reader=3)).eval().requires_grad_(False)
    reader.trunk.bands.uniform_(0.0, 1.0)
    mel = noise(90)
    one, other, both = (run_net(net, mel) for net in (near, reader, together([near, reader])))
    np.testing.assert_allclose(both[:, :-1], (one + 3.0 * other)[:, :-1] / 4.0, atol=1e-5)
    np.testing.assert_allclose(both[:, -1], one[:, -1], atol=1e-5)
    heard = reader.trunk(torch.from_numpy(np.pad(mel, ((112, 42), (0, 0)), constant_values=FLOOR / SCALE).T)[None])[0]
    weights = reader.reader.sums.weight.view(2, -1, HEARD, 7)  # phase, output, heard, step
    step = 5
    told = torch.einsum("pohs,hs->po", weights, heard[:, step : step + 7]) + reader.reader.sums.bias.view(2, -1)
    np.testing.assert_allclose(other[2 * step : 2 * step + 2, :-1], told.numpy(), atol=1e-4)


def test_files_keep_half_precision_and_the_configuration(net, tmp_path):
    write_net(tmp_path / "net.safetensors", net, {"note": "x"})
    read = read_net(tmp_path / "net.safetensors", net.trunk)
    assert read.config == net.config
    # Half precision has 11 bits: outputs of size 1 move by a few thousandths.
    np.testing.assert_allclose(run_net(read, noise(60)), run_net(net, noise(60)), atol=5e-3)
    (tmp_path / "net.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError):
        read_net(tmp_path / "net.safetensors")


def test_without_the_encoder_the_others_hear_alone(tmp_path):
    net = random_net(replace(LISTENING, reader=1))
    write_net(tmp_path / "net.safetensors", net, {})
    with safe_open(tmp_path / "net.safetensors", "pt") as file:
        trunk = {name for name in file.keys() if name.startswith("trunk.")}
    assert trunk == {"trunk.bands", "trunk.kept.weight", "trunk.kept.bias"}, "weights of others are not shipped"
    alone = read_net(tmp_path / "net.safetensors")
    assert alone.trunk is None and replace(alone.config, listeners=2, reader=1) == net.config
    wanted = MouthNet(alone.config).eval()
    wanted.members.load_state_dict(net.members.state_dict())
    np.testing.assert_allclose(run_net(alone, noise(60)), run_net(wanted, noise(60)), atol=5e-3)


@pytest.fixture
def no_encoder(tmp_path, monkeypatch):
    """Nothing was fetched in this process yet, and nothing can be."""
    from mggtalk_core.motion import audio_net_file, speech_encoder
    from mggtalk_core.weights import resolver
    from mggtalk_core.weights.download import FetchError

    tried = []

    def refuse(source, *rest):
        tried.append(source)
        raise FetchError("the connection is refused")

    monkeypatch.setattr(resolver, "take_member", refuse)
    monkeypatch.setattr(speech_encoder, "_trunks", {})
    monkeypatch.setattr(speech_encoder, "_refused", {})
    monkeypatch.setattr(audio_net_file, "_told", set())
    monkeypatch.setenv("MGGTALK_CACHE", str(tmp_path))
    monkeypatch.setenv("MGGTALK_MODELS", "")
    return tried


def test_an_encoder_that_cannot_be_had_is_asked_for_once_and_done_without(no_encoder, caplog):
    for _ in range(3):
        net = load_mouth_net()
        assert net.trunk is None and net.config.members > 0 == net.config.listeners
    assert len(no_encoder) == 1 == len(caplog.records)
    assert f"{ENCODER} is missing" in caplog.text and "connection is refused" in caplog.text


def test_an_encoder_that_is_put_there_later_is_found(no_encoder, tmp_path):
    with pytest.raises(WeightsError, match="refused"):
        load_encoder()
    (tmp_path / ENCODER).write_bytes(b"not the right bytes")
    with pytest.raises(WeightsError, match="refused"):
        load_encoder()
    (tmp_path / ENCODER).unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mggtalk_core.motion.speech_encoder.resolve", lambda name, **_: tmp_path / name)
        (tmp_path / ENCODER).write_bytes(b"bytes")
        with pytest.raises(WeightsError, match="no model that can be read"):
            load_encoder()
    assert len(no_encoder) == 1


def test_an_encoder_is_asked_for_when_fetching_is_allowed_later(no_encoder):
    with using_policy(downloads=Downloads.NONE), pytest.raises(WeightsError, match="switched off"):
        load_encoder()
    assert not no_encoder
    with pytest.raises(WeightsError, match="refused"):
        load_encoder()
    assert len(no_encoder) == 1


def test_the_packages_net_hears_through_the_encoder():
    net = load_mouth_net()
    assert net.config.members > 0 < net.config.listeners and net.trunk.bands.sum() > 0
    for part in (*net.trunk.stem, *(layer.mlp_out for layer in net.trunk.layers), net.trunk.kept):
        assert part.weight.abs().max() > 0
    assert (net.config.past, net.config.ahead) == (28, 10)


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
    np.testing.assert_allclose(rest + beta @ basis, ARTICULATION * wanted, atol=1e-5)


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
