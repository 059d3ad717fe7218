import math
import pickle

import numpy as np
import pytest
import torch

from mggtalk_core.errors import InputError
from mggtalk_core.media.audio import resample
from mggtalk_core.media.sound import Sound
from mggtalk_core.motion.audio import motion_from_audio
from mggtalk_core.motion.audio_net import NET_RATE, MouthNet, MouthNetConfig, run_net
from mggtalk_core.motion.headmotion import LOOK_AHEAD, liveliness
from mggtalk_core.motion.mel import log_mel, normalised, voice_level
from mggtalk_core.motion.mouth import Heard, at_frames, mouth
from mggtalk_core.motion.mouth_shapes import OUTPUTS
from mggtalk_core.motion.speaking import speaking_motion
from mggtalk_core.motion.speech_features import FEATURE_RATE, band_levels, pieces
from mggtalk_core.motion.stream import SpeechStream
from mggtalk_core.motion.stream_ears import PATIENCE, RunningEars
from mggtalk_core.motion.stream_input import HOP, Pieces, Resampler
from mggtalk_core.portrait.blendshapes import BLENDSHAPE_INDEX
from tests.motion_samples import syllables

JAW = BLENDSHAPE_INDEX["jawOpen"]
PARTS = ("beta", "gaze", "rotation", "translation")


def bits(samples, seed, largest=5000):
    """Samples in pieces of random lengths, some of them empty."""
    rng, start = np.random.default_rng(seed), 0
    while start < samples.shape[-1]:
        length = int(rng.integers(0, largest))
        yield samples[..., start : start + length]
        start += length


def collect(stream, parts):
    out = [*(stream.push(part) for part in parts), stream.finish()]
    out = [motion for motion in out if motion is not None]
    return {name: torch.cat([getattr(motion, name) for motion in out]) for name in PARTS}


def small_net(seed=0):
    torch.manual_seed(seed)
    return MouthNet(MouthNetConfig(channels=16, outputs=OUTPUTS)).eval().requires_grad_(False)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000])
def test_a_stream_is_resampled_as_the_whole_is(rate):
    sound = resample(syllables(1.7, 48000), rate)
    resampler = Resampler(rate)
    parts = [resampler.push(part) for part in bits(sound.samples[0], rate)]
    whole = resample(sound, 16000).samples[0].numpy()
    np.testing.assert_allclose(np.concatenate([*parts, resampler.finish()]), whole, atol=1e-6)


@pytest.mark.parametrize("seconds", [0.003, 0.5, 2.6])
def test_pieces_of_a_stream_hold_the_features_of_the_whole(seconds):
    sound = resample(syllables(seconds, 48000), 22050)
    stream = Pieces(22050)
    found = [piece for part in bits(sound.samples, 2) for piece in stream.push(part)] + stream.finish()
    assert [piece.start for piece in found] == list(range(0, HOP * len(found), HOP))
    for part in (0, 1):
        ours = np.concatenate([band_levels(piece)[part] for piece in found])
        theirs = np.concatenate([band_levels(piece)[part] for piece in pieces(sound)])
        assert len(ours) == len(theirs)
        np.testing.assert_allclose(ours[theirs > -60.0], theirs[theirs > -60.0], atol=0.01)


class KnownEars:
    """Ears that have heard all of it before: no scale runs along."""

    reach = 40

    def __init__(self, heard):
        self._heard, self._count, self._settled = heard, 0, 0

    def push(self, piece):
        self._count += piece.frames
        return self._until(max(self._settled, self._count - self.reach))

    def finish(self):
        return self._until(self._count)

    def _until(self, end):
        first, self._settled = self._settled, end
        step = FEATURE_RATE // NET_RATE
        learned = self._heard.learned[-(-first // step) : -(-end // step)]
        return Heard(self._heard.opening[first:end], self._heard.activity[first:end], None, learned)


def smooth_curves(features, seed=0):
    rng, time = np.random.default_rng(seed), np.arange(features) / FEATURE_RATE
    opening, activity = (0.5 + 0.5 * np.sin(2 * np.pi * f * time + rng.uniform(0, 6)) for f in (2.3, 0.31))
    said = rng.normal(0.0, 0.2, (1, len(OUTPUTS))) * np.sin(2 * np.pi * 1.7 * time[:: FEATURE_RATE // NET_RATE, None])
    return Heard(opening, activity, None, said)


@pytest.mark.parametrize(("fps", "tolerance"), [(25.0, 1e-6), (50.0, 1e-6), (12.5, 1e-6), (30.0, 0.02), (29.97, 0.02)])
def test_a_stream_gives_what_the_whole_recording_gives(fps, tolerance):
    seconds, heard = 6.2, smooth_curves(620)
    sound = Sound(torch.zeros(1, round(seconds * 16000)), 16000)
    stream = SpeechStream(16000, fps, 3, ears=KnownEars(heard), blink_rate=40.0)
    ours = collect(stream, bits(sound.samples, 5, 9000))
    frames = math.floor(seconds * fps + 0.5)
    curves = (at_frames(curve, frames, fps) for curve in (heard.opening, heard.activity))
    life = liveliness(fps, 3, *curves, blink_rate=40.0)
    whole = speaking_motion(mouth(heard, frames, fps), life, fps)
    assert len(ours["beta"]) == frames
    for name in PARTS:
        torch.testing.assert_close(ours[name], getattr(whole, name), atol=tolerance, rtol=0.0)


@pytest.mark.parametrize("net", [None, small_net()], ids=["loudness", "net"])
def test_frames_do_not_depend_on_how_the_samples_come(net):
    sound = resample(syllables(4.3, 48000, on=0.4, off=0.3), 22050)
    one, two, whole = (
        collect(SpeechStream(22050, 25.0, 1, ears=RunningEars(net)), parts)
        for parts in (bits(sound.samples, 1), bits(sound.samples, 2, 30000), [sound.samples])
    )
    assert len(whole["beta"]) == 108
    for name in PARTS:
        torch.testing.assert_close(one[name], whole[name], atol=1e-6, rtol=0.0)
        torch.testing.assert_close(two[name], whole[name], atol=1e-6, rtol=0.0)


def test_the_net_hears_in_a_stream_what_it_hears_in_the_whole(monkeypatch):
    net, sound = small_net(), syllables(3.1)
    mel = np.concatenate([log_mel(piece) for piece in pieces(sound)])
    level = voice_level(mel)
    monkeypatch.setattr("mggtalk_core.motion.stream_ears.voice_level", lambda levels: level)
    ears, stream = RunningEars(net), Pieces(16000)
    found = [*stream.push(sound.samples), *stream.finish()]
    said = [*(ears.push(piece).learned for piece in found), ears.finish().learned]
    whole = run_net(net, normalised(mel, level))
    np.testing.assert_allclose(np.concatenate(said), whole, atol=1e-5)


def test_running_scales_soon_agree_with_those_of_the_whole():
    sound = syllables(12.0, on=0.3, off=0.4)
    for gain in (1.0, 0.05):
        louder = Sound(gain * sound.samples, 16000)
        ours = collect(SpeechStream(16000, learned=False), bits(louder.samples, 3))
        whole = motion_from_audio(louder, phonemes=False, learned=False)
        known = slice(round((PATIENCE + 1.0) * 25), None)
        both = np.corrcoef(ours["beta"][known, JAW].numpy(), whole.beta[known, JAW].numpy())[0, 1]
        assert both > 0.98


@pytest.mark.parametrize("anticipation", [0.0, 0.2, LOOK_AHEAD])
def test_latency_is_what_it_is_said_to_be(anticipation):
    sound = resample(syllables(6.0, 48000), 44100)
    stream, seen, worst = SpeechStream(44100, anticipation=anticipation, learned=False), 0, 0.0
    for end in range(441, sound.samples.shape[1], 441):
        motion = stream.push(sound.samples[:, end - 441 : end])
        seen += 0 if motion is None else len(motion)
        worst = max(worst, end / 44100 - seen / 25.0)
    assert stream.latency - 0.15 < worst <= stream.latency
    assert stream.latency < 1.0 + anticipation


def test_without_anticipation_the_mouth_is_the_same_and_the_rest_comes_late():
    sound = syllables(6.0)
    early, late = (collect(SpeechStream(16000, seed=2, anticipation=wait, learned=False), [sound.samples])
                   for wait in (LOOK_AHEAD, 0.0))  # fmt: skip
    torch.testing.assert_close(early["beta"][:, JAW], late["beta"][:, JAW], atol=1e-6, rtol=0.0)
    shift = 13
    torch.testing.assert_close(early["rotation"][:-shift], late["rotation"][shift:], atol=1e-6, rtol=0.0)


def test_memory_stays_flat():
    second = syllables(1.0).samples[0]
    stream, sizes = SpeechStream(16000, ears=RunningEars(small_net())), []
    for _ in range(30):
        stream.push(second)
        sizes.append(len(pickle.dumps(stream)))
    assert max(sizes[15:]) - min(sizes[12:15]) < 10_000, "after ten seconds nothing grows any more"


@pytest.mark.parametrize("seconds", [0.0, 1e-4, 0.1, 1.0, 2.02])
def test_every_frame_of_a_sound_comes_out(seconds):
    samples = torch.zeros(2, round(seconds * 16000))
    for fps in (25.0, 29.97):
        frames = collect(SpeechStream(16000, fps, learned=False), [samples] if seconds else [])["beta"]
        assert len(frames) == max(1, math.floor(samples.shape[1] / 16000 * fps + 0.5))


def test_silence_and_broken_samples_keep_the_mouth_shut():
    samples = torch.zeros(32000)
    samples[1000:1010] = math.nan
    beta = collect(SpeechStream(16000, ears=RunningEars(small_net())), [samples])["beta"]
    assert float(beta[:, JAW].abs().max()) < 1e-4


@pytest.mark.parametrize("wrong", [{"rate": 3}, {"fps": 0.0}, {"look": 2.0}, {"blink_rate": -1.0}, {"anticipation": 2}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InputError):
        SpeechStream(**({"rate": 16000} | wrong))
