import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mggtalk_core.errors import InputError
from mggtalk_core.media.sound import Sound
from mggtalk_core.motion.audio import motion_from_audio
from mggtalk_core.motion.channels import FACE_REGIONS, MOUTH_OPENING, REGIONS, indices, region_mask
from mggtalk_core.motion.mix import mix_audio_video, mix_motions
from mggtalk_core.motion.retarget import retarget
from mggtalk_core.motion.rotations import log_rotation
from mggtalk_core.motion.timing import extend, resample_motion, take
from mggtalk_core.portrait.blendshapes import BLENDSHAPE_INDEX
from tests.motion_samples import EyesOnly, source_fit, syllables, wandering

VALUES = ("beta", "gaze", "rotation")


def test_regions_cover_every_blendshape_once():
    assert torch.equal(sum(region_mask(region).int() for region in FACE_REGIONS), torch.ones(52, dtype=torch.int))


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 9))
def test_no_weight_is_the_first_and_full_weight_the_second(frames, others, seed):
    first, second = wandering(frames, seed), wandering(others, seed + 50)
    none = mix_motions(first, second, {})
    full = mix_motions(first, second, dict.fromkeys(REGIONS, 1.0))
    for name in (*VALUES, "translation"):
        assert torch.equal(getattr(none, name), getattr(first, name))
        assert torch.equal(getattr(full, name), getattr(extend(second, frames), name))


def test_each_region_moves_alone():
    first, second = wandering(8, 1), wandering(8, 2)
    for region in FACE_REGIONS:
        mixed = mix_motions(first, second, {region: 1.0})
        mask = region_mask(region)
        assert torch.equal(mixed.beta[:, mask], second.beta[:, mask])
        assert torch.equal(mixed.beta[:, ~mask], first.beta[:, ~mask])
        assert torch.equal(mixed.rotation, first.rotation)
    assert torch.equal(mix_motions(first, second, {"gaze": 1.0}).gaze, second.gaze)
    head = mix_motions(first, second, {"head": 1.0})
    assert torch.equal(head.rotation, second.rotation)
    assert torch.equal(head.beta, first.beta)


def test_half_weight_is_halfway():
    first, second = wandering(5, 1), wandering(5, 2)
    mixed = mix_motions(first, second, {"brows": 0.5, "head": 0.5})
    brow = BLENDSHAPE_INDEX["browInnerUp"]
    torch.testing.assert_close(mixed.beta[:, brow], (first.beta[:, brow] + second.beta[:, brow]) / 2)
    there = log_rotation(first.rotation.double().transpose(-1, -2) @ mixed.rotation.double())
    back = log_rotation(mixed.rotation.double().transpose(-1, -2) @ second.rotation.double())
    torch.testing.assert_close(there, back, atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("wrong", [{"chin": 1.0}, {"mouth": 1.5}, {"mouth": -0.1}, {"mouth": float("nan")}])
def test_wrong_weights_are_refused(wrong):
    with pytest.raises(InputError):
        mix_motions(wandering(2), wandering(2), wrong)


def test_a_mixture_starts_at_the_source_like_its_parts():
    fit = source_fit()
    mixed = mix_motions(wandering(6, 1), wandering(6, 2), {"mouth": 0.3, "head": 0.7, "gaze": 1.0})
    driven = retarget(mixed, fit, EyesOnly())
    torch.testing.assert_close(driven.beta[0], fit.beta_s, atol=1e-6, rtol=0.0)
    torch.testing.assert_close(driven.rotation[0], fit.camera.rotation, atol=1e-5, rtol=0.0)
    torch.testing.assert_close(driven.translation[0], fit.camera.translation, atol=1e-5, rtol=0.0)


def test_sound_moves_the_mouth_and_the_video_the_rest():
    sound = syllables(3.0)
    audio, video = motion_from_audio(sound, phonemes=False, learned=False), wandering(100, 4)
    mixed = mix_audio_video(audio, video)
    mouth = region_mask("mouth") | region_mask("jaw")
    assert len(mixed) == len(audio) == 75
    assert torch.equal(mixed.beta[:, mouth], audio.beta[:, mouth])
    assert torch.equal(mixed.beta[:, ~mouth], video.beta[:75, ~mouth])
    assert torch.equal(mixed.rotation, video.rotation[:75])
    assert mixed.sound is sound
    assert mixed.speech == 1.0
    fit = source_fit()
    driven = retarget(mixed, fit, EyesOnly())
    assert float(driven.beta[0, indices(MOUTH_OPENING)].abs().max()) < 1e-6, "the sound begins with silence"
    assert torch.equal(driven.rotation[0], fit.camera.rotation), "the head begins where the portrait's is"


def test_a_video_shorter_than_the_sound_plays_back_and_forth():
    sound = Sound(torch.zeros(1, 16000), 16000)
    video = wandering(10, 4)
    mixed = mix_audio_video(motion_from_audio(sound, phonemes=False), video)
    assert len(mixed) == 25
    expected = [*range(10), *range(8, -1, -1), *range(1, 7)]
    assert torch.equal(mixed.rotation, video.rotation[expected])


def test_rates_are_brought_together():
    sound = syllables(2.0)
    mixed = mix_audio_video(motion_from_audio(sound, 25.0, phonemes=False), wandering(90, 4, fps=30.0))
    assert (len(mixed), mixed.fps) == (60, 30.0)
    other = mix_motions(wandering(50, 1, fps=25.0), wandering(60, 2, fps=30.0), {"mouth": 1.0}, fps=50.0)
    assert (len(other), other.fps) == (100, 50.0)


# Timing


def test_the_same_rate_changes_nothing():
    motion = wandering(12)
    assert resample_motion(motion, 25.0) is motion


def test_doubling_the_rate_keeps_every_frame():
    motion = wandering(12)
    double = resample_motion(motion, 50.0)
    assert len(double) == 24
    for name in ("beta", "gaze", "translation"):
        assert torch.equal(getattr(double, name)[::2], getattr(motion, name))
    torch.testing.assert_close(double.rotation[::2], motion.rotation, atol=1e-6, rtol=0.0)
    torch.testing.assert_close(double.beta[1], (motion.beta[0] + motion.beta[1]) / 2)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200), st.sampled_from([23.976, 24.0, 25.0, 29.97, 30.0, 60.0]), st.floats(5.0, 120.0))
def test_resampling_keeps_the_duration(frames, fps, wanted):
    resampled = resample_motion(wandering(frames, fps=fps), wanted)
    assert abs(len(resampled) / wanted - frames / fps) <= max(0.5 / wanted, 1.0 / wanted if len(resampled) == 1 else 0)


def test_held_frames_follow():
    motion = take(wandering(6), torch.arange(6))
    motion = extend(type(motion)(**{**motion.__dict__, "held": (1, 5)}), 9, "mirror")
    assert motion.held == (1, 5)
    assert take(motion, torch.tensor([5, 0, 1])).held == (0, 2)


def test_unknown_continuation_is_refused():
    with pytest.raises(InputError, match="continuation"):
        extend(wandering(2), 5, "loop")
