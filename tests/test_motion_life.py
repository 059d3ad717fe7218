import numpy as np
import pytest
import torch

from mggtalk_core.errors import InputError
from mggtalk_core.motion.audio import motion_from_audio
from mggtalk_core.motion.blinks import PATIENCE, blink_curve, pause_starts
from mggtalk_core.motion.glances import TREMOR_DEGREES
from mggtalk_core.motion.headmotion import (
    LOOK_AHEAD,
    NOD_DEGREES,
    NOD_GAP,
    NOD_SECONDS,
    STRESS_SECONDS,
    SWAY_DEGREES,
    Life,
    joined,
    liveliness,
)
from mggtalk_core.portrait.blendshapes import BLENDSHAPE_INDEX
from tests.motion_samples import syllables

CURVES = ("head", "gaze", "emphasis", "smile", "blink")


def talk(frames, seed=0, fps=25.0):
    """Phrases of one to four seconds with pauses between them, and syllables in the phrases."""
    rng = np.random.default_rng(seed)
    speech = np.zeros(frames)
    place = rng.integers(0, 20)
    while place < frames:
        length = int(rng.uniform(1.0, 4.0) * fps)
        speech[place : place + length] = 1.0
        place += length + int(rng.uniform(0.3, 1.2) * fps)
    time = np.arange(frames) / fps
    return speech * (0.5 + 0.5 * np.sin(2 * np.pi * 3.1 * time) * np.sin(2 * np.pi * 0.23 * time)), speech


@pytest.mark.parametrize("fps", [12.0, 25.0, 29.97, 60.0])
@pytest.mark.parametrize("sizes", ["ones", "random", "whole"])
def test_pieces_of_any_size_give_the_same_life(fps, sizes):
    opening, speech = talk(300, 1, fps)
    whole = liveliness(fps, 7, opening, speech, blink_rate=40.0)
    rng = np.random.default_rng(3)
    cuts = {"ones": range(301), "random": sorted({0, 300, *rng.integers(0, 300, 12)}), "whole": (0, 300)}[sizes]
    life = Life(fps, 7, blink_rate=40.0)
    parts = [life.push(opening[a:b], speech[a:b]) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
    parts = joined([*parts, life.finish()])
    assert len(parts) == 300
    for name in CURVES:
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), atol=1e-12, err_msg=name)


def test_a_frame_comes_out_as_soon_as_what_it_depends_on_is_known():
    life, (opening, speech) = Life(25.0, 0), talk(100)
    out = [len(life.push(opening[i : i + 1], speech[i : i + 1])) for i in range(100)]
    assert out == [0] * life.look_ahead + [1] * (100 - life.look_ahead)
    assert life.look_ahead / 25.0 == pytest.approx(LOOK_AHEAD, abs=1.0 / 25.0)


def test_nothing_beyond_the_look_ahead_matters():
    opening, speech = talk(200)
    known = 120
    changed = opening.copy(), speech.copy()
    changed[0][known:], changed[1][known:] = 1.0, 0.0
    reach = Life(25.0, 0).look_ahead
    one, other = liveliness(25.0, 0, opening, speech), liveliness(25.0, 0, *changed)
    for name in CURVES:
        np.testing.assert_array_equal(getattr(one, name)[: known - reach], getattr(other, name)[: known - reach])


def test_memory_of_a_stream_stays_flat():
    life, (opening, speech) = Life(25.0, 0), talk(15000)
    for start in range(0, 15000, 100):
        life.push(opening[start : start + 100], speech[start : start + 100])
    assert len(life._opening) < 50
    assert len(life._nods) + len(life._blinks) < 12


def test_blinks_keep_their_rate_in_talk_and_gather_where_it_pauses():
    near, rates = [], []
    for seed in range(12):
        _, speech = talk(25 * 120, seed)
        apexes = np.flatnonzero(blink_curve(len(speech), 25.0, np.random.default_rng(seed), speech) == 1.0)
        rates.append(len(apexes) / 2.0)
        near += [abs(pause_starts(speech) - apex).min() <= 1 for apex in apexes]
        assert np.diff(apexes).min() >= 0.5 * 25 - 1
    assert np.mean(rates) == pytest.approx(20.0, rel=0.1)
    _, speech = talk(25 * 120, 0)
    by_chance = 3 * len(pause_starts(speech)) / len(speech)
    assert np.mean(near) > 2.5 * by_chance


def test_a_blink_waits_for_a_pause_but_not_for_ever():
    fps, never, soon = 25.0, np.ones(500), np.ones(500)
    free = np.flatnonzero(blink_curve(500, fps, np.random.default_rng(5), np.zeros(500)) == 1.0)[0]
    late = np.flatnonzero(blink_curve(500, fps, np.random.default_rng(5), never) == 1.0)[0]
    assert (late - free) / fps == pytest.approx(PATIENCE, abs=1.5 / fps)
    soon[free + 5 :] = 0.0
    assert np.flatnonzero(blink_curve(500, fps, np.random.default_rng(5), soon) == 1.0)[0] == free + 5


def test_head_without_stress_stays_below_one_hertz_and_within_a_few_degrees():
    speech = np.ones(25 * 300)
    for seed in range(5):
        head = liveliness(25.0, seed, np.zeros(len(speech)), speech).head[50:]
        spectrum = np.abs(np.fft.rfft(head * np.hanning(len(head))[:, None], axis=0)) ** 2
        frequency = np.fft.rfftfreq(len(head), 1 / 25.0)
        assert spectrum[frequency > 1.0].sum() < 1e-6 * spectrum.sum()
        np.testing.assert_allclose(head.std(axis=0), SWAY_DEGREES, rtol=0.2)
        assert np.abs(head).max() < 4.5 * max(SWAY_DEGREES)


def test_nods_lie_on_stress_a_degree_deep_and_apart():
    opening, speech = talk(1500, 4)
    with_nods, without = (liveliness(25.0, 2, curve, speech).head[:, 1] for curve in (opening, 0.5 * opening))
    dip = without - with_nods
    peaks = np.flatnonzero((dip[1:-1] > dip[:-2]) & (dip[1:-1] >= dip[2:])) + 1
    assert len(peaks) > 10
    assert dip.max() == pytest.approx(NOD_DEGREES, abs=1e-9)
    assert np.diff(peaks).min() >= NOD_GAP * 25 - 1
    window = int(STRESS_SECONDS * 25)
    for peak in peaks[2:]:
        assert opening[peak] == opening[max(0, peak - window) : peak + window + 1].max()
    assert np.all(dip[: max(0, peaks[0] - int(NOD_SECONDS * 25) - 1)] == 0.0)


def test_steady_loudness_has_no_stress():
    assert liveliness(25.0, 0, np.full(200, 0.9), np.ones(200)).emphasis[1:].max() == 0.0


def test_eyes_jump_rest_and_tremble():
    _, speech = talk(25 * 120)
    gaze = liveliness(25.0, 3, np.zeros(len(speech)), speech, strength=1.0, look=1.0).gaze[50:]
    np.testing.assert_allclose(gaze.std(axis=0), TREMOR_DEGREES, rtol=0.3)
    assert 0.8 < np.count_nonzero(np.abs(np.diff(gaze[:, 0])) > 0.0) / (len(gaze) / 25.0) < 2.5
    free = liveliness(25.0, 3, np.zeros(len(speech)), speech, strength=1.0).gaze[50:]
    assert free.std() > 4 * TREMOR_DEGREES
    steps = np.abs(np.diff(free[:, 0]))
    assert np.median(steps) < 0.3, "most of the time they follow the head's slow turn"
    assert steps.max() > 1.0, "saccades take a frame or two"


def test_a_smile_comes_with_speech_slowly_and_is_never_large():
    opening, speech = talk(1500, 6)
    speech[:100] = opening[:100] = 0.0
    life = liveliness(25.0, 1, opening, speech)
    assert life.smile[:100].max() == 0.0
    assert 0.3 < life.smile.max() < 1.0
    assert np.abs(np.diff(life.smile, 2)).max() < 0.01
    beta = life.expression()
    assert beta[:, BLENDSHAPE_INDEX["mouthSmileLeft"]].max() <= 0.12
    assert beta[:, BLENDSHAPE_INDEX["browInnerUp"]].max() == pytest.approx(0.12, abs=1e-6)
    assert np.count_nonzero(np.abs(beta).max(axis=0)) == 9


def test_the_seed_decides_everything_and_strength_scales_it():
    opening, speech = talk(400, 2)
    one, same, other = (liveliness(25.0, seed, opening, speech) for seed in (1, 1, 2))
    double, none = (liveliness(25.0, 1, opening, speech, strength=s) for s in (2.0, 0.0))
    for name in CURVES:
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
        assert name == "emphasis" or not np.array_equal(getattr(one, name), getattr(other, name))
        if name != "blink":
            np.testing.assert_allclose(getattr(double, name), 2.0 * getattr(one, name), atol=1e-12)
            assert np.abs(getattr(none, name)).max() == 0.0
    np.testing.assert_array_equal(none.blink, one.blink)


def test_eyes_can_be_locked_on_the_camera():
    sound = syllables(3.0)
    locked, free = (motion_from_audio(sound, phonemes=False, look=look) for look in (1.0, 0.0))
    assert (locked.look, free.look) == (1.0, 0.0)
    assert float(torch.rad2deg(locked.gaze).abs().max()) < 5.0 * TREMOR_DEGREES
    assert torch.equal(locked.rotation, free.rotation)
    with pytest.raises(InputError, match="look"):
        motion_from_audio(sound, look=1.5)
