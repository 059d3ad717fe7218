import math
import sys
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mggtalk_core.errors import InputError
from mggtalk_core.media.audio import resample
from mggtalk_core.media.sound import Sound
from mggtalk_core.motion.audio import motion_from_audio
from mggtalk_core.motion.blinks import blink_curve, blink_shape, pause_starts
from mggtalk_core.motion.channels import BLINKS, MOUTH_OPENING, indices
from mggtalk_core.motion.headmotion import FADE_IN, SWAY_DEGREES, SWAY_HERTZ, liveliness
from mggtalk_core.motion.rotations import FACING, head_degrees
from mggtalk_core.motion.speech_features import FEATURE_RATE, band_levels, feature_count, pieces
from mggtalk_core.motion.timing import frame_count
from mggtalk_core.motion.vad import voice_activity
from mggtalk_core.motion.visemes import PHONEMES, VISEMES, shape_vector, viseme_curves
from mggtalk_core.portrait.blendshapes import BLENDSHAPE_INDEX
from tests.motion_samples import syllables

JAW = BLENDSHAPE_INDEX["jawOpen"]
MOUTH = [index for name, index in BLENDSHAPE_INDEX.items() if name.startswith(("jaw", "mouth", "tongue"))]


def plain(sound, fps=25.0, seed=0, **options):
    """By the loudness alone."""
    return motion_from_audio(sound, fps, seed, phonemes=False, learned=False, **options)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40000), st.sampled_from([8000, 11025, 16000, 22050]), st.floats(1.0, 120.0))
def test_frame_count_is_seconds_times_fps_rounded_and_at_least_one(samples, rate, fps):
    motion = plain(Sound(torch.zeros(1, samples), rate), fps)
    assert len(motion) == max(1, math.floor(samples / rate * fps + 0.5))


KNOWN = [(0.04, 25.0, 1), (1e-4, 25.0, 1), (0.5, 25.0, 13), (10.0, 25.0, 250), (1.0, 29.97, 30), (300.0, 25.0, 7500)]


@pytest.mark.parametrize(("seconds", "fps", "frames"), KNOWN)
def test_frame_counts_of_known_durations(seconds, fps, frames):
    assert frame_count(seconds, fps) == frames


def test_mouth_follows_the_syllables_and_closes_between_them():
    motion = plain(syllables(4.0, on=0.3, off=0.5))
    jaw = motion.beta[:, JAW].numpy()
    time = np.arange(len(jaw)) / 25.0 % 0.8
    assert jaw[(time > 0.58) & (time < 0.72)].min() > 0.2, "open in the middle of each syllable"
    assert jaw[(time > 0.2) & (time < 0.3)].max() < 0.01, "closed in the middle of each pause"
    assert jaw.max() <= 0.55


@pytest.mark.parametrize("level", [0.0, 1e-5])
def test_silence_closes_the_mouth_and_still_blinks(level):
    noise = level * torch.randn(1, 16000 * 12, generator=torch.Generator().manual_seed(0))
    for phonemes, learned in ((False, False), (True, False), (True, True)):
        motion = motion_from_audio(Sound(noise, 16000), phonemes=phonemes, learned=learned)
        assert float(motion.beta[:, MOUTH].abs().max()) == 0.0
        assert float(motion.beta[:, BLINKS[0]].max()) == 1.0


def test_steady_hum_between_words_is_not_speech():
    sound = syllables(6.0, on=0.5, off=1.0)
    time = torch.arange(sound.samples.shape[1]) / 16000
    hum = 0.004 * torch.sin(2 * math.pi * 100.0 * time)
    jaw = plain(Sound(sound.samples + hum, 16000)).beta[:, JAW].numpy()
    phase = np.arange(len(jaw)) / 25.0 % 1.5
    assert jaw[(phase > 0.3) & (phase < 0.8)].max() < 0.01


def test_same_seed_same_motion_and_another_seed_another():
    sound = syllables(8.0)
    one, two, other = (plain(sound, seed=seed) for seed in (5, 5, 6))
    for name in ("beta", "gaze", "rotation", "translation"):
        assert torch.equal(getattr(one, name), getattr(two, name))
    assert not torch.equal(one.rotation, other.rotation)
    assert not torch.equal(one.beta[:, BLINKS[0]], other.beta[:, BLINKS[0]])
    assert torch.equal(one.beta[:, JAW], other.beta[:, JAW]), "chance does not move the mouth"


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_any_rate_and_channels_give_the_same_mouth(rate):
    sound = syllables(3.0, 48000)
    reference = plain(resample(sound, 16000)).beta[:, JAW]
    other = resample(sound, rate)
    six = Sound(other.samples.expand(6, -1).clone(), rate)
    torch.testing.assert_close(plain(six).beta[:, JAW], reference, atol=0.04, rtol=0.0)


def test_samples_that_are_not_finite_count_as_silence():
    sound = syllables(2.0)
    samples = sound.samples.clone()
    samples[0, 100:200] = float("nan")
    samples[0, 300] = float("inf")
    motion = plain(Sound(samples, 16000))
    assert bool(torch.isfinite(motion.beta).all())
    torch.testing.assert_close(motion.beta[:, JAW], plain(sound).beta[:, JAW], atol=0.02, rtol=0.0)


def test_pieces_cover_the_sound_and_do_not_show():
    sound = syllables(9.3, 44100)
    parts = list(pieces(sound))
    assert sum(part.frames for part in parts) == feature_count(sound) == 930
    levels = np.concatenate([band_levels(part)[0] for part in parts])
    mono = resample(sound, 16000).samples[0].numpy()
    centre = 401  # a frame right behind the seam at 4 s, from the whole sound in one go
    window = mono[centre * 160 - 120 : centre * 160 + 280] * np.hanning(400)
    power = np.abs(np.fft.rfft(window, 512)) ** 2 / (400 * 512)
    assert levels[centre] == pytest.approx(10 * np.log10(power[2:].sum() + 1e-10), abs=0.05)


def test_long_sound_stays_cheap_in_memory():
    def peak(seconds):
        sound = Sound(syllables(1.0).samples.repeat(1, seconds), 16000)
        tracemalloc.start()
        motion = plain(sound)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(motion) == 25 * seconds
        return size

    assert peak(120) - peak(10) < 40e6


def test_first_frame_starts_at_the_rest_and_the_mouth_is_speech():
    motion = plain(syllables(3.0))
    torch.testing.assert_close(motion.rotation[0], FACING.float(), atol=1e-6, rtol=0.0)
    torch.testing.assert_close(motion.translation[0], motion.rest.translation)
    assert motion.speech == 1.0
    assert motion.start is motion.rest
    assert float(motion.rest.beta.abs().max()) == 0.0


@pytest.mark.parametrize(
    "wrong", [{"fps": 0.0}, {"fps": float("nan")}, {"blink_rate": -1.0}, {"head_motion": math.inf}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InputError):
        motion_from_audio(syllables(0.2), **wrong)


def test_progress_is_reported_and_raising_from_it_stops():
    steps = []
    plain(syllables(9.0), on_step=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 3), (2, 3), (3, 3)]

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plain(syllables(1.0), on_step=stop)


def test_without_pocketsphinx_the_loudness_takes_over(monkeypatch):
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    sound = syllables(2.0)
    assert torch.equal(motion_from_audio(sound, learned=False).beta, plain(sound).beta)


def test_recognising_reports_progress_twice_a_second_of_sound():
    pytest.importorskip("pocketsphinx")
    steps = []
    motion_from_audio(syllables(6.0), on_step=lambda done, total: steps.append(done))
    assert len(steps) >= 12
    assert steps == sorted(steps)
    assert steps[-1] == 2


# Voice activity


def test_activity_bridges_short_gaps_and_drops_clicks():
    levels = np.full(300, -70.0)
    levels[50:100] = levels[110:160] = -20.0
    levels[250:253] = -20.0
    activity = voice_activity(levels)
    assert activity[50:160].min() == 1.0
    assert activity[:30].max() == activity[200:].max() == 0.0


def test_a_sound_that_keeps_its_level_is_no_voice():
    rng = np.random.default_rng(0)
    assert voice_activity(rng.normal(-20.0, 1.0, 300)).max() == 0.0, "3 dB between quiet and loud"
    assert voice_activity(rng.normal(-20.0, 3.0, 300)).max() == 1.0, "speech in loud noise"


# Phonemes


def test_every_phoneme_has_a_viseme_and_lip_sounds_close():
    assert {name for names in PHONEMES.values() for name in names} <= set(VISEMES)
    assert len(PHONEMES) == 39, "the sounds of CMUdict"
    for phoneme in "PBM":
        shapes, closed = viseme_curves([("AA", 0, 20), (phoneme, 20, 28), ("AA", 28, 50)], 50)
        assert closed[24] == pytest.approx(1.0)
        assert shapes[10, JAW] == pytest.approx(VISEMES["open"]["jawOpen"], abs=1e-6)


def test_shapes_without_a_side_move_both():
    vector = shape_vector({"mouthSmile": 0.2, "jawOpen": 0.1})
    assert vector[[BLENDSHAPE_INDEX["mouthSmileLeft"], BLENDSHAPE_INDEX["mouthSmileRight"], JAW]].tolist() == [
        0.2, 0.2, 0.1]  # fmt: skip
    assert np.count_nonzero(vector) == 3


def test_recognised_lip_sounds_close_the_lips(monkeypatch):
    import mggtalk_core.motion.audio as audio

    monkeypatch.setattr(audio, "load_decoder", lambda: object())
    monkeypatch.setattr(
        audio, "phoneme_segments", lambda decoder, piece, on_block: [("AA", 0, 90), ("M", 90, 100), ("AA", 100, 200)]
    )
    sound = syllables(2.0, on=1.7, off=0.3)  # a sound that never stops is no voice
    beta = motion_from_audio(sound, 25.0, learned=False).beta
    closed = [frame for frame in range(50) if 0.92 <= frame / 25.0 <= 0.96]
    assert float(beta[closed][:, indices(MOUTH_OPENING[:1])].max()) < 1e-6
    assert float(beta[closed, BLENDSHAPE_INDEX["mouthPressLeft"]].min()) > 0.15
    assert float(beta[10, JAW]) > 0.3


def test_pocketsphinx_hears_open_vowels_and_closures(shared):
    pytest.importorskip("pocketsphinx")
    from mggtalk_core.media.audio import read_sound

    files = sorted((shared / "data" / "audio").glob("pocketsphinx_*"))
    sound = read_sound(files[0])
    sound = Sound(sound.samples[:, : 6 * sound.rate], sound.rate)
    heard, loud = motion_from_audio(sound, learned=False), plain(sound)
    both = np.corrcoef(heard.beta[:, JAW].numpy(), loud.beta[:, JAW].numpy())[0, 1]
    assert 0.5 < both < 0.999, "phonemes refine the loudness, they do not replace it"
    assert float(heard.beta[:, BLENDSHAPE_INDEX["mouthPressLeft"]].max()) > 0.15


# Blinks


@pytest.mark.parametrize("rate", [10.0, 20.0, 40.0])
def test_blink_rate(rate):
    counts = []
    for seed in range(10):
        curve = blink_curve(25 * 120, 25.0, np.random.default_rng(seed), np.zeros(25 * 120), rate=rate)
        counts.append(np.count_nonzero(curve == 1.0) / 2.0)
    assert np.mean(counts) == pytest.approx(rate, rel=0.1)


@pytest.mark.parametrize("fps", [12.0, 25.0, 29.97, 60.0])
def test_every_blink_closes_fully_and_takes_200_ms(fps):
    curve = blink_curve(round(60 * fps), fps, np.random.default_rng(0), np.zeros(round(60 * fps)))
    apexes = np.flatnonzero(curve == 1.0)
    assert len(apexes) > 10
    assert np.diff(apexes).min() >= 0.5 * fps - 1
    middle = apexes[len(apexes) // 2]
    shut = curve[middle - round(0.5 * fps) : middle + round(0.5 * fps)] > 0.0
    assert np.count_nonzero(shut) / fps == pytest.approx(0.2, abs=1.5 / fps)


def test_blink_shape_falls_faster_than_it_rises():
    assert blink_shape(0.0) == 1.0
    assert blink_shape(-0.08) == pytest.approx(0.0, abs=1e-12)
    assert blink_shape(0.12) == pytest.approx(0.0, abs=1e-12)
    assert blink_shape(0.06) > blink_shape(-0.06)


def test_blinks_gather_at_pauses():
    speech = np.tile(np.r_[np.ones(50), np.zeros(10)], 60)
    pauses = pause_starts(speech)
    apexes = np.flatnonzero(blink_curve(len(speech), 25.0, np.random.default_rng(1), speech) == 1.0)
    near = [np.abs(pauses - apex).min() <= 1 for apex in apexes]
    assert np.mean(near) > 0.3, "by chance it would be 3 of 60 frames"


# Head


def test_head_sway_is_small_slow_and_seeded():
    fps, frames = 25.0, 25 * 120
    speech = np.ones(frames)
    life = liveliness(fps, 4, np.zeros(frames), speech)
    settled = life.head[round(2 * FADE_IN * fps) :]
    np.testing.assert_allclose(settled.std(axis=0), SWAY_DEGREES, rtol=0.2)
    spectrum = np.abs(np.fft.rfft(settled * np.hanning(len(settled))[:, None], axis=0)) ** 2
    frequency = np.fft.rfftfreq(len(settled), 1.0 / fps)
    assert spectrum[frequency > SWAY_HERTZ[1] + 0.1].sum() < 1e-3 * spectrum.sum()
    assert np.array_equal(life.head, liveliness(fps, 4, np.zeros(frames), speech).head)
    assert np.all(life.head[0] == 0.0)


def test_head_nods_down_on_loud_syllables():
    opening = np.zeros(200)
    opening[95:106] = np.hanning(11)
    quiet, loud = (liveliness(25.0, 0, curve, np.ones(200)) for curve in (np.zeros(200), opening))
    dip = (loud.head - quiet.head)[:, 1]
    assert dip.argmin() == 100
    assert dip.min() == pytest.approx(-1.0, abs=1e-6)


def test_eyes_stay_on_the_viewer_while_the_head_turns():
    life = liveliness(25.0, 2, np.zeros(2500), np.ones(2500))
    assert np.corrcoef(life.gaze[:, 0], life.head[:, 0])[0, 1] < -0.3
    assert np.abs(life.gaze).max() < 15.0


def test_no_head_motion_when_none_is_wanted():
    motion = plain(syllables(3.0), head_motion=0.0, blink_rate=0.0)
    degrees = head_degrees(FACING.T @ motion.rotation.double())
    assert float(degrees.abs().max()) < 1e-5
    assert float(motion.gaze.abs().max()) == 0.0
    assert float(motion.beta[:, list(BLINKS)].max()) == 0.0


def test_feature_rate_matches_its_hop():
    assert FEATURE_RATE * 160 == 16000
