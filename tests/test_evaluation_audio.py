"""Speech that moves a mouth, scored on curves that are known."""

import math

import numpy as np
import pytest
import torch

from mggtalk_core.evaluation.audio import advanced
from mggtalk_core.evaluation.audio_curves import WIDEST, constant_curve, energy_curve, lip_opening
from mggtalk_core.evaluation.audio_list import clips_with_sound
from mggtalk_core.evaluation.audio_pictures import LIPS, lip_distance
from mggtalk_core.evaluation.audio_scores import (
    CLOSED,
    best_lag,
    closure_scores,
    correlation,
    estimated_offset,
    moved,
    quiet_frames,
    settled,
    silence_scores,
    spoken_scores,
    true_closures,
    unspoken_frames,
)
from mggtalk_core.evaluation.audio_summary import SHUFFLES, shuffle_scores, summary
from mggtalk_core.evaluation.audio_transcripts import SpokenSound, align, grid_sentence, transcript
from mggtalk_core.evaluation.tables import Table
from mggtalk_core.head.model import load_head_model
from mggtalk_core.media.sound import Sound
from mggtalk_core.portrait.blendshapes import BLENDSHAPE_INDEX
from tests.audio_samples import FPS, babble

# Curves


def test_correlation_leaves_out_what_is_not_known():
    truth = babble()
    curve = 3.0 * truth + 1.0
    curve[:10], truth[50:] = 100.0, math.nan
    curve[:10] = math.nan
    assert correlation(curve, truth) == pytest.approx(1.0)
    assert math.isnan(correlation(np.ones(60), truth))
    assert correlation(curve[:40], truth) == pytest.approx(1.0), "the shorter one counts"


@pytest.mark.parametrize("lag", [-7, -1, 0, 3, 10])
def test_a_late_curve_has_a_positive_lag(lag):
    truth = babble(200)
    found, value = best_lag(moved(truth, lag), truth, FPS)
    assert (found, value) == (lag, pytest.approx(1.0))
    assert estimated_offset(moved(truth, lag), truth, FPS) == pytest.approx(lag / FPS)


def test_a_far_offset_needs_a_better_fit_than_a_near_one():
    truth = babble(400)
    for share, offset in ((1.2, 0.0), (2.0, 0.32)):
        both = truth + share * moved(truth, 8)  # fits by 1 over and by share over the root of 1 + share squared
        both[:8] = truth[:8]
        assert estimated_offset(both, truth, FPS) == pytest.approx(offset)


def test_an_offset_that_is_not_clear_is_none():
    assert estimated_offset(babble(200, 1), babble(200, 1) + 0.0, FPS) == 0.0
    assert estimated_offset(np.zeros(200), babble(200), FPS) == 0.0
    assert best_lag(np.zeros(200), babble(200), FPS)[0] == 0


def test_bilabials_close_and_open_vowels_do_not():
    curve = np.full(50, 0.1)
    curve[10] = curve[30] = 0.0
    sounds = [
        SpokenSound("B", 0.38, 0.42), SpokenSound("M", 0.80, 0.90), SpokenSound("P", 1.25, 1.30),
        SpokenSound("AA", 0.5, 0.7), SpokenSound("IY", 1.18, 1.22), SpokenSound("AE", 1.19, 1.21),
    ]  # fmt: skip
    assert spoken_scores(curve, FPS, sounds) == {"bilabials_closed": 2, "vowels_closed": 1}
    assert spoken_scores(np.zeros(50), FPS, sounds) == {"bilabials_closed": 3, "vowels_closed": 2}


def test_closures_of_the_real_mouth_lie_between_openings_and_are_short():
    truth = np.full(100, 0.15)
    truth[:3] = truth[20:23] = truth[40:60] = truth[70] = 0.01
    assert true_closures(truth, FPS) == [21, 70]
    met = truth.copy()
    met[70] = 0.15
    assert closure_scores(met, truth, FPS)["closures_met"] == 1
    assert closure_scores(moved(truth, 1)[1:], truth[1:], FPS)["closures_met"] == 2, "a frame late still counts"
    wide = truth.copy()
    wide[75:] = 0.3
    assert closure_scores(truth, wide, FPS)["wide_closed"] == 0.0
    assert closure_scores(np.zeros(100), wide, FPS) == {"closures_met": 2, "wide_closed": 1.0}


def test_silence_counts_from_a_fifth_of_a_second_on():
    level = np.full(100, -20.0)
    level[10:15] = level[40:70] = -60.0
    silent = settled(quiet_frames(level), FPS)
    assert np.flatnonzero(silent).tolist() == list(range(45, 68))
    curve = np.full(100, 0.1)
    curve[50:] = 0.0
    assert silence_scores(curve, silent) == {
        "silence_opening": pytest.approx(0.1 * 5 / 23),
        "silence_closed": pytest.approx(18 / 23),
    }
    spoken = [SpokenSound("SIL", 0.0, 1.0), SpokenSound("AA", 1.0, 2.0)]
    assert np.flatnonzero(unspoken_frames(spoken, 60, FPS)).tolist() == [*range(25), *range(50, 60)]


def test_own_sound_beats_others_only_where_it_fits():
    truth = babble(100, 1)
    others = [(babble(100, seed), FPS) for seed in range(2, 7)]
    assert shuffle_scores(truth, truth, FPS, others, 0) == {"shuffles": SHUFFLES, "shuffles_beaten": SHUFFLES}
    assert shuffle_scores(-truth, truth, FPS, others, 0)["shuffles_beaten"] == 0
    assert shuffle_scores(babble(100, 9), truth, FPS, others, 0)["shuffles_beaten"] < SHUFFLES
    assert shuffle_scores(truth, truth, FPS, [], 0) == {}


def test_driving_curve_is_the_gap_between_the_inner_lips_of_the_head():
    model = load_head_model()
    beta = torch.zeros(3, 52)
    beta[1, BLENDSHAPE_INDEX["jawOpen"]] = 0.5
    beta[2, BLENDSHAPE_INDEX["mouthClose"]] = 1.0
    vertices = model.vertices(torch.zeros(model.modes), beta[1], torch.zeros(4))
    points = model.landmarks(vertices)
    gap = float(points[13, 1] - points[14, 1]) / float((points[33, :2] - points[263, :2]).norm())
    curve = lip_opening(beta)
    assert curve[1] == pytest.approx(gap, abs=1e-5)
    assert curve[0] < CLOSED < curve[1]
    assert curve[2] == 0.0


def test_energy_is_the_logarithm_of_loudness():
    samples = torch.ones(1, 32000) * 0.2
    samples[:, 16000:] = 0.02
    samples[:, 24000:] = 0.0
    curve = energy_curve(Sound(samples, 16000), FPS)
    assert len(curve) == 50
    assert curve[10] == pytest.approx(WIDEST, abs=1e-3)
    assert curve[40] == pytest.approx(0.0, abs=1e-6)
    wanted = math.log((0.02 + 3e-3) / 3e-3) / math.log((0.2 + 3e-3) / 3e-3)
    assert curve[27] == pytest.approx(wanted * WIDEST, rel=1e-3)
    assert constant_curve(Sound(samples, 16000), FPS).tolist() == [0.0] * 50


def test_lip_distance_ignores_pose_and_counts_lips_alone():
    truth = 100.0 + 300.0 * torch.rand(2, 478, 2, generator=torch.Generator().manual_seed(1))
    truth[:, 33], truth[:, 263] = torch.tensor([150.0, 200.0]), torch.tensor([350.0, 200.0])
    angle = 0.3
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    posed = 1.7 * truth @ turn.T + 40.0
    assert float(lip_distance(posed, truth).max()) < 1e-3
    other = truth.clone()
    other[0, list(LIPS), 1] += 10.0
    assert lip_distance(other, truth).tolist() == pytest.approx([100.0 * 10.0 / 200.0, 0.0], abs=1e-4)
    assert len(set(LIPS)) == 40


# Transcripts


def test_names_of_grid_say_what_is_said(tmp_path):
    assert grid_sentence("bbaf2n") == "bin blue at f. two now"
    assert grid_sentence("lipnet_lwbsza") == "lay white by s. zero again"
    assert grid_sentence("id2_vcd_swwp2s") == "set white with p. two soon"
    for other in ("grid-test", "bbaf2x", "video-retalking_5", "talking", "xbbaf2n"):
        assert grid_sentence(other) is None
    (tmp_path / "clip.txt").write_text("She had, your DARK suit!", encoding="utf-8")
    assert transcript(tmp_path / "clip.mp4") == "she had your dark suit"
    assert transcript(tmp_path / "other.mp4") is None


def test_alignment_finds_the_words_of_a_grid_clip(shared):
    pytest.importorskip("pocketsphinx")
    from mggtalk_core.media.audio import read_sound

    sound = read_sound(shared / "data" / "clips" / "lipnet_bbaf2n.mpg")
    sounds = [found for found in align(sound, "bin blue at f. two now") if found.name != "SIL"]
    assert [found.name for found in sounds] == "B IH N B L UW AE T EH F T UW N AW".split()
    starts = [found.start for found in sounds]
    assert starts == sorted(starts)
    assert 0.8 < starts[0] < 1.1
    assert align(sound, "xyzzyqq") is None
    assert align(Sound(torch.zeros(1, 16000), 16000), "bin") is None


# Lists


def test_the_list_knows_sound_and_offset(tmp_path):
    rows = [
        "path,kind,split,origin,one_face,has_audio,av_sync,av_lag_frames,fps",
        "a.mp4,clip,val,real,yes,yes,ok,2,25", "b.mp4,clip,val,real,yes,yes,offset,-7,25",
        "c.mp4,clip,val,real,yes,yes,unproven,9,25", "d.mp4,clip,val,real,yes,no,,,25",
    ]  # fmt: skip
    (tmp_path / "list.csv").write_text("\n".join(rows), encoding="utf-8")
    clips, offsets = clips_with_sound(tmp_path / "list.csv", "val")
    assert [clip.name for clip in clips] == ["a.mp4", "b.mp4", "c.mp4"]
    assert offsets == {"a.mp4": 0.0, "b.mp4": pytest.approx(0.28)}


def test_sound_is_moved_without_changing_its_length():
    sound = Sound(torch.arange(10.0)[None], 10)
    assert advanced(sound, 0.3).samples[0].tolist() == [3, 4, 5, 6, 7, 8, 9, 0, 0, 0]
    assert advanced(sound, -0.2).samples[0].tolist() == [0, 0, 0, 1, 2, 3, 4, 5, 6, 7]
    assert advanced(sound, 2.0).samples[0].tolist() == [0.0] * 10


def test_summary_counts_events_over_all_clips():
    table = Table("t")
    table.rows = [
        {"speech": "grid", "mouth_movement": 0.1, "correlation": 0.8, "lag": 0, "bilabials": 1, "bilabials_closed": 1},
        {"speech": "grid", "mouth_movement": 0.1, "correlation": 0.6, "lag": 3, "bilabials": 3, "bilabials_closed": 0},
        {"speech": "wild", "mouth_movement": 0.001, "correlation": 0.1, "lag": 9},
        {"error": "gone"},
    ]
    figures = summary(table)
    assert figures["bilabials closed"] == {"value": 0.25, "n": 4}
    assert figures["correlation, grid, moving mouths"] == {"value": pytest.approx(0.7), "n": 2}
    assert figures["correlation, wild, moving mouths"]["n"] == 0
    assert figures["lag within one frame"] == {"value": 0.5, "n": 2}
