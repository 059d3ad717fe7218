"""Sound of any container, rate, depth and number of channels comes in as float samples in -1..1."""

import struct
import wave
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mggtalk_core.errors import InputError
from mggtalk_core.media import audio
from mggtalk_core.media.audio import read_sound, resample, to_mono
from mggtalk_core.media.polyphase import polyphase, tap_by_tap
from mggtalk_core.media.sound import Sound


def sine(seconds: float, rate: int, channels: int = 1, pitch: float = 440.0) -> np.ndarray:
    """Every channel is quieter than the one before it."""
    time = np.arange(round(seconds * rate)) / rate
    return np.stack([0.5 * 0.7**channel * np.sin(2 * np.pi * pitch * time) for channel in range(channels)])


def write_wave(path, samples: np.ndarray, rate: int, bits: int) -> None:
    scaled = np.round(samples.T * (2 ** (bits - 1) - 1)).astype(np.int64)
    scaled = scaled + 128 if bits == 8 else scaled  # 8 bits are unsigned
    little = np.ascontiguousarray(scaled, "<i8").view(np.uint8).reshape(*scaled.shape, 8)[..., : bits // 8]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[0])
        file.setsampwidth(bits // 8)
        file.setframerate(rate)
        file.writeframes(little.tobytes())


def write_float_wave(path, samples: np.ndarray, rate: int) -> None:
    data = samples.T.astype("<f4").tobytes()
    channels = samples.shape[0]
    form = struct.pack("<HHIIHH", 3, channels, rate, rate * channels * 4 % 2**32, channels * 4, 32)
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)


def encode(path, codec: str, samples: np.ndarray, rate: int, layout: str, sample_format: str = "fltp") -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        stream.format = sample_format
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples, np.float32), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
@pytest.mark.parametrize("rate", [8000, 44100])
def test_integer_depths(tmp_path, bits, rate):
    samples = sine(0.25, rate, channels=2)
    write_wave(tmp_path / "Stimme von Zoë.wav", samples, rate, bits)
    sound = read_sound(tmp_path / "Stimme von Zoë.wav")
    assert (sound.rate, sound.samples.shape) == (rate, (2, rate // 4))
    # One step of the depth, and for 8 bits the asymmetry of 127 and 128.
    assert np.abs(sound.samples.numpy() - samples).max() < 2.5 / 2 ** (bits - 1) + 1e-6


def test_float_samples_come_in_exactly(tmp_path):
    samples = sine(0.1, 22050).astype(np.float32)
    write_float_wave(tmp_path / "a.wav", samples, 22050)
    assert np.array_equal(read_sound(tmp_path / "a.wav").samples.numpy(), samples)


def test_samples_that_are_not_finite_are_counted_and_silenced(tmp_path):
    samples = sine(0.1, 16000).astype(np.float32)
    samples[0, 100:110], samples[0, 200] = np.nan, np.inf
    write_float_wave(tmp_path / "a.wav", samples, 16000)
    with pytest.warns(UserWarning, match="11 samples"):
        sound = read_sound(tmp_path / "a.wav")
    assert np.array_equal(sound.samples.numpy(), np.nan_to_num(samples, posinf=0.0))


def test_five_channels_and_one(tmp_path):
    samples = sine(0.5, 48000, channels=6)
    encode(tmp_path / "a.flac", "flac", samples, 48000, "5.1", "s32")
    sound = read_sound(tmp_path / "a.flac")
    assert sound.samples.shape[0] == 6
    assert np.abs(sound.samples.numpy()[:, :24000] - samples).max() < 1e-4
    mono = to_mono(sound)
    assert torch.allclose(mono.samples[0], sound.samples.mean(dim=0))
    assert to_mono(mono) is mono


@pytest.mark.parametrize(("name", "codec"), [("a.mp3", "mp3"), ("a.m4a", "aac"), ("a.ogg", "libopus")])
def test_lossy_codecs_keep_time_and_level(tmp_path, name, codec):
    samples = np.zeros((1, 48000))
    samples[0, 24000:] = sine(0.5, 48000)[0]
    encode(tmp_path / name, codec, samples, 48000, "mono")
    heard = read_sound(tmp_path / name).samples[0]
    onset = int((heard.abs() > 0.1).nonzero()[0])
    assert onset == pytest.approx(24000, abs=300)  # a codec rings a little before an onset
    level = float(heard[30000:40000].square().mean().sqrt())
    assert level == pytest.approx(0.5 / np.sqrt(2), rel=0.07)  # MP3's encoder scales by 0.95


def test_forty_milliseconds(tmp_path):
    write_wave(tmp_path / "a.wav", sine(0.04, 16000), 16000, 16)
    sound = read_sound(tmp_path / "a.wav")
    assert sound.samples.shape == (1, 640)
    assert resample(sound, 8000).samples.shape == (1, 320)


def test_silence_stays_silence(tmp_path):
    write_wave(tmp_path / "a.wav", np.zeros((1, 1600)), 16000, 16)
    assert torch.equal(resample(read_sound(tmp_path / "a.wav"), 44100).samples, torch.zeros(1, 4410))


@pytest.mark.parametrize("content", [b"", b"no sound", bytes(4000), None])
def test_what_is_no_sound_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_sound(tmp_path / "a.wav")
    assert "\n" not in str(caught.value)


def test_header_with_an_absurd_rate_is_refused(tmp_path):
    write_float_wave(tmp_path / "a.wav", sine(0.1, 16000), 2_000_000_000)
    with pytest.raises(InputError, match="damaged"):
        read_sound(tmp_path / "a.wav")


def test_clip_without_sound_and_wave_without_samples_are_refused(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="no sound"):
        read_sound(tmp_path / "a.mp4")
    write_wave(tmp_path / "a.wav", np.zeros((1, 0)), 16000, 16)
    with pytest.raises(InputError):
        read_sound(tmp_path / "a.wav")


@pytest.mark.parametrize("late", [0.0, 0.4, -0.32])
def test_sound_of_a_video_starts_with_its_picture(tmp_path, late):
    """A click half a second after the first picture is heard there, whichever stream starts first."""
    samples = np.zeros((1, 48000), np.float32)
    click = 24000 - round(late * 48000)
    samples[0, click : click + 480] = 0.5
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        video, audio = container.add_stream("mpeg4", rate=25), container.add_stream("flac", rate=48000, layout="mono")
        video.width = video.height = 64
        audio.format = "s16"
        for index in range(25):
            frame = av.VideoFrame(64, 64, "yuv420p")
            frame.pts, frame.time_base = round(1000 * (index / 25 + max(0.0, -late))), Fraction(1, 1000)
            container.mux(video.encode(frame))
        sound = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = 48000, round(48000 * max(0.0, late)), Fraction(1, 48000)
        container.mux(audio.encode(sound))
        container.mux([*video.encode(None), *audio.encode(None)])
    heard = read_sound(tmp_path / "a.mkv")
    onset = int((heard.samples[0].abs() > 0.1).nonzero()[0]) / heard.rate
    assert onset == pytest.approx(0.5, abs=0.002)  # Matroska counts milliseconds


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000]), st.sampled_from([8000, 16000, 44100]))
def test_resampling_keeps_a_tone_in_its_place(rate, wanted):
    """Twin: the same sine sampled at the wanted rate; the ends are left out, where the filter sees the cut."""
    converted = resample(Sound(torch.from_numpy(sine(2.0, rate)).float(), rate), wanted)
    truth = sine(2.0, wanted)
    assert converted.samples.shape == truth.shape
    middle = slice(wanted // 20, -wanted // 20)
    assert np.abs(converted.samples.numpy()[:, middle] - truth[:, middle]).max() < 1e-3


def test_resampling_in_pieces_equals_resampling_at_once(monkeypatch):
    noise = torch.randn(2, 16000 * 23, generator=torch.Generator().manual_seed(0)) * 0.1
    converted = resample(Sound(noise, 16000), 44100).samples.numpy()
    monkeypatch.setattr(audio, "CHUNK_SECONDS", 1000.0)
    at_once = resample(Sound(noise, 16000), 44100).samples.numpy()
    assert converted.shape == at_once.shape
    assert np.abs(converted - at_once).max() < 1e-6


@pytest.mark.parametrize(("up", "down"), [(320, 441), (160, 441), (1, 3), (2, 1), (640, 441), (441, 160), (500, 501)])
@pytest.mark.parametrize("count", [1, 440, 5000])
def test_resampling_as_a_product_of_matrices_equals_tap_by_tap(up, down, count):
    noise = np.random.default_rng(count).normal(size=count).astype(np.float32)
    product, taps = polyphase(noise, up, down), tap_by_tap(noise, up, down)
    assert product.shape == taps.shape
    # Some hundred products in single precision of numbers of size 1.
    assert np.abs(product - taps).max() < 1e-5


def test_rates_with_little_in_common_go_tap_by_tap():
    noise = np.random.default_rng(0).normal(size=3000).astype(np.float32)
    np.testing.assert_array_equal(polyphase(noise, 2000, 5507), tap_by_tap(noise, 2000, 5507))


def test_high_tones_do_not_fold():
    converted = resample(Sound(torch.from_numpy(sine(0.5, 48000, pitch=7000.0)).float(), 48000), 8000)
    assert float(converted.samples[:, 400:-400].abs().max()) < 1e-3
