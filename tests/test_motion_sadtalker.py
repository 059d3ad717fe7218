import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mggtalk_core.errors import WeightsError
from mggtalk_core.media.sound import Sound
from mggtalk_core.motion import sadtalker_map
from mggtalk_core.motion.audio import motion_from_audio
from mggtalk_core.motion.channels import BLINKS
from mggtalk_core.motion.sadtalker import (
    COLUMNS,
    FPS,
    HOP,
    NAME,
    PREFIX,
    AudioToExpression,
    _chunks,
    expression,
    mel_spectra,
    read_sadtalker,
)
from mggtalk_core.motion.sadtalker_map import MOVED, ExpressionMap, expression_map, motion_from_speech, with_mouth
from mggtalk_core.motion.speech_encoder import load_encoder
from mggtalk_core.weights.policy import Downloads, using_policy
from tests.motion_samples import syllables

SHAPES = {0: (32, 1, 3), 3: (64, 32, 3), 6: (128, 64, 3), 9: (256, 128, 3), 11: (512, 256, 3), 12: (512, 512, 1)}
"""Channels out and in and kernel of the published blocks that change the number of channels."""


def published(seed=0):
    """Weights of the published names and shapes, drawn at random, among others that do not concern us."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    channels = 1
    for block in range(13):
        out, into, kernel = SHAPES.get(block, (channels, channels, 3))
        channels, base = out, f"{PREFIX}audio_encoder.{block}.conv_block"
        tensors[f"{base}.0.weight"] = torch.randn(out, into, kernel, kernel, generator=generator) / (kernel * into**0.5)
        for name in ("0.bias", "1.weight", "1.bias", "1.running_mean"):
            tensors[f"{base}.{name}"] = 0.1 * torch.randn(out, generator=generator) + (name == "1.weight")
        tensors[f"{base}.1.running_var"] = torch.rand(out, generator=generator) + 0.5
        tensors[f"{base}.1.num_batches_tracked"] = torch.tensor(7)
    tensors[f"{PREFIX}mapping1.weight"] = torch.randn(64, 577, generator=generator) / 24.0
    tensors[f"{PREFIX}mapping1.bias"] = torch.randn(64, generator=generator)
    return tensors | {"audio2pose.seq.weight": torch.zeros(3), "face_3drecon.x": torch.zeros(2)}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("sadtalker") / NAME
    save_file(published(), path)
    return path


@pytest.fixture(scope="module")
def net(weights):
    return read_sadtalker(weights)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    load_encoder()  # read once per process: it must not be fetched into the cache whose files are counted
    monkeypatch.setenv("MGGTALK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MGGTALK_MODELS", "")
    return tmp_path / "cache"


def test_the_network_has_the_published_names_and_shapes():
    wanted = {name.removeprefix(PREFIX): value.shape for name, value in published().items() if name.startswith(PREFIX)}
    assert {name: value.shape for name, value in AudioToExpression().state_dict().items()} == wanted
    assert len(wanted) == 13 * 7 + 2


def test_every_tensor_of_the_file_arrives(net):
    tensors = published()
    for name, value in net.state_dict().items():
        assert torch.equal(value.float(), tensors[PREFIX + name].float()), name


def test_a_block_is_convolution_norm_sum_and_relu(net):
    x = torch.randn(2, 32, 5, 4, generator=torch.Generator().manual_seed(1))
    values = {name.removeprefix(f"{PREFIX}audio_encoder.1.conv_block."): v for name, v in published().items()}
    y = torch.nn.functional.conv2d(x, values["0.weight"], values["0.bias"], padding=1)
    spread = (values["1.running_var"] + 1e-5).sqrt()[:, None, None]
    y = (y - values["1.running_mean"][:, None, None]) / spread
    y = y * values["1.weight"][:, None, None] + values["1.bias"][:, None, None]
    torch.testing.assert_close(net.audio_encoder[1](x), torch.relu(y + x), atol=1e-5, rtol=1e-5)


def test_spectra_are_those_of_the_published_recipe():
    librosa = pytest.importorskip("librosa")
    mono = syllables(1.3).samples[0].numpy()
    emphasised = np.append(mono[:1], mono[1:] - 0.97 * mono[:-1]).astype(np.float64)
    power = np.abs(librosa.stft(emphasised, n_fft=800, hop_length=200, win_length=800, pad_mode="constant"))
    mel = librosa.filters.mel(sr=16000, n_fft=800, n_mels=80, fmin=55, fmax=7600) @ power
    wanted = np.clip(8 * ((20 * np.log10(np.maximum(1e-5, mel)) - 20 + 100) / 100) - 4, -4, 4).T
    assert len(wanted) == len(mono) // HOP + 1
    np.testing.assert_allclose(mel_spectra(mono, 0, len(wanted)), wanted, atol=1e-4)
    np.testing.assert_array_equal(mel_spectra(mono, 30, 47), mel_spectra(mono, 0, 60)[30:47])


def test_frames_see_the_published_columns():
    mono = np.random.default_rng(0).normal(0.0, 0.1, 16000 * 6).astype(np.float32)
    whole = mel_spectra(mono, 0, len(mono) // HOP + 1)
    parts = dict(_chunks(mono, 150))
    assert sorted(parts) == [0, 100]
    mels = torch.cat([parts[0], parts[100]])
    for frame in (0, 1, 2, 3, 99, 100, 149):
        start = int(80.0 * ((frame - 2) / 25.0))
        columns = [min(max(column, 0), len(whole) - 1) for column in range(start, start + COLUMNS)]
        np.testing.assert_allclose(mels[frame].numpy(), whole[columns].T, atol=1e-5)


def test_chunks_are_exact_and_runs_are_alike(net):
    sound = syllables(5.0)
    whole = expression(net, sound)
    assert whole.shape == (125, 64)
    assert torch.equal(whole, expression(net, sound))
    later = Sound(sound.samples[:, 2 * 16000 :], 16000)
    torch.testing.assert_close(expression(net, later)[10:], whole[60:], atol=1e-5, rtol=1e-5)


def test_portrait_and_blink_are_inputs(net):
    sound, reference = syllables(1.0), torch.randn(64, generator=torch.Generator().manual_seed(3))
    plain, posed = expression(net, sound), expression(net, sound, reference=reference)
    weights = net.mapping1.weight
    torch.testing.assert_close(posed - plain, (weights[:, 512:576] @ reference).expand(25, -1), atol=1e-4, rtol=1e-4)
    blink = np.linspace(0.0, 1.0, 25)
    shut = expression(net, sound, blink=blink) - plain
    torch.testing.assert_close(shut, torch.from_numpy(blink).float()[:, None] * weights[:, 576], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("seconds", [1e-4, 0.04, 0.3])
def test_short_sounds(net, seconds):
    sound = Sound(torch.zeros(1, max(1, round(16000 * seconds))), 16000)
    assert expression(net, sound).shape == (max(1, math.floor(seconds * FPS + 1e-9)), 64)


def test_the_map_finds_a_linear_truth_and_is_kept(net, cache, monkeypatch):
    mouth = [index for index in MOVED if index not in BLINKS]
    truth = torch.zeros(64, 52)
    truth[:, mouth] = 0.02 * torch.randn(64, len(mouth), generator=torch.Generator().manual_seed(5))

    def ours(sound, fps, **options):
        motion = motion_from_audio(sound, fps, phonemes=False, blink_rate=0.0, **options)
        beta = sadtalker_map._spoken(net, sound, None, None, lambda done, total: None) @ truth
        return replace(motion, beta=torch.cat((beta, beta[-1:]))[: len(motion)])

    monkeypatch.setattr(sadtalker_map, "motion_from_audio", ours)
    monkeypatch.setattr(sadtalker_map, "RIDGE", 1e-7)  # what is exactly linear needs none
    found = expression_map(net)
    assert found.explained > 0.98
    assert float(found.weights[:, [i for i in range(52) if i not in MOVED]].abs().max()) == 0.0
    files = list(cache.iterdir())
    assert len(files) == 1
    monkeypatch.setattr(sadtalker_map, "fit_map", None)  # a second fit would fail
    again = expression_map(net)
    assert torch.equal(again.weights, found.weights)
    assert again.explained == found.explained


def test_other_weights_have_another_map(net):
    other = AudioToExpression().eval()
    assert sadtalker_map._fingerprint(net) != sadtalker_map._fingerprint(other)
    assert sadtalker_map._fingerprint(net) == sadtalker_map._fingerprint(net)


@pytest.mark.parametrize("fps", [25.0, 30.0, 12.5])
def test_the_mouth_comes_from_the_network_and_the_rest_stays(net, fps):
    sound = syllables(2.0)
    known = ExpressionMap(torch.rand(64, 52, generator=torch.Generator().manual_seed(2)), 0.5)
    motion = motion_from_audio(sound, fps, phonemes=False)
    changed = with_mouth(motion, known, net, sound)
    others = [index for index in range(52) if index not in MOVED]
    assert torch.equal(changed.beta[:, others], motion.beta[:, others])
    assert torch.equal(changed.rotation, motion.rotation)
    assert not torch.equal(changed.beta[:, list(MOVED)], motion.beta[:, list(MOVED)])
    assert 0.0 <= float(changed.beta.min())
    assert float(changed.beta.max()) <= 1.0


def test_silence_moves_no_mouth(net):
    sound = Sound(torch.zeros(1, 32000), 16000)
    known = ExpressionMap(torch.rand(64, 52, generator=torch.Generator().manual_seed(2)), 0.5)
    motion = with_mouth(motion_from_audio(sound, blink_rate=0.0), known, net, sound)
    assert float(motion.beta[10:40, list(MOVED)].abs().max()) < 1e-4


def test_the_model_is_chosen(weights, cache):
    sound = syllables(1.0)
    embedded = motion_from_audio(sound, phonemes=False)
    with using_policy(downloads=Downloads.NONE):
        for model in ("auto", "embedded"):
            assert torch.equal(motion_from_speech(sound, model=model, phonemes=False).beta, embedded.beta)
        with pytest.raises(WeightsError, match=NAME) as problem:
            motion_from_speech(sound, model="sadtalker")
        assert "\n" not in str(problem.value)
        named = motion_from_speech(sound, model="sadtalker", path=weights)
    assert not torch.equal(named.beta, embedded.beta)
    with using_policy(downloads=Downloads.NONE, commercial_safe=True), pytest.raises(WeightsError, match="commercial"):
        motion_from_speech(sound, model="sadtalker", path=weights)


def test_files_that_are_something_else_are_refused(tmp_path):
    wrong = tmp_path / NAME
    wrong.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="safetensors"):
        read_sadtalker(wrong)
    tensors = published()
    del tensors[f"{PREFIX}mapping1.weight"]
    save_file(tensors, wrong)
    with pytest.raises(WeightsError, match="as published"):
        read_sadtalker(wrong)
    with pytest.raises(WeightsError, match="no weights at"):
        sadtalker_map.sadtalker_path(tmp_path / "none")
