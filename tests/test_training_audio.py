import dataclasses
import shutil

import numpy as np
import pytest
import torch

from mggtalk_core.errors import InputError
from mggtalk_core.motion.audio_net import MouthNetConfig, run_net
from mggtalk_core.motion.mel import BANDS, log_mel, normalised, silence_frame
from mggtalk_core.motion.mouth_shapes import CLOSED, OPENING, OUTPUTS, SHAPES
from mggtalk_core.motion.speech_features import Piece, windows
from mggtalk_core.motion.speech_trunk import HEARD, WIDTH, SpeechTrunk
from mggtalk_core.training.audio import LISTENERS, MEMBERS, correct_lags, leave_out, members
from mggtalk_core.training.audio_augment import (
    GENTLE,
    LIGHT,
    PLAIN,
    SILENCE,
    Augmentation,
    at_positions,
    falls_silent,
    other_room,
    steady_noise,
)
from mggtalk_core.training.audio_batches import LONGEST_VOICE, draw_batch, draw_example, draw_stretch, shares_of
from mggtalk_core.training.audio_clips import SpokenClip, fold_of, for_scoring, for_training
from mggtalk_core.training.audio_data import REFERENCE_SPREAD, Speech, speech_from_capture, to_reference
from mggtalk_core.training.audio_heard import VARIANTS, HeardExamples
from mggtalk_core.training.audio_lag import Lag, anchored, estimate_lag
from mggtalk_core.training.audio_losses import closed_loss, correlation_loss, mouth_loss
from mggtalk_core.training.audio_reader import fit_reader
from mggtalk_core.training.audio_synthetic import made_up_phones, synthetic_speech
from mggtalk_core.training.audio_train import AudioTraining, Material, predict, train_net
from mggtalk_core.training.audio_trunk import main_directions, trunk_bands
from mggtalk_core.training.tracks import ClipTrack, read_track, track_all, write_track

SMALL = MouthNetConfig(channels=24, dilations=(1, 2), outputs=OUTPUTS)
LISTENING = dataclasses.replace(SMALL, members=0, listeners=1)


def babble(seed=0, seconds=12.0, lag=0.0, name="babble"):
    """A mouth that opens with the loudness of 40 of 80 bands, which comes ``lag`` seconds later."""
    rng = np.random.default_rng(seed)
    knots = rng.uniform(0.0, 1.0, int(seconds * 6))
    times = np.arange(int(seconds * 100)) / 100.0
    voice = np.interp(times, np.arange(len(knots)) / 6.0, knots)
    mel = rng.normal(0.0, 0.3, (len(times), BANDS)) - 8.0
    mel[:, 20:60] += 8.0 * voice[:, None]
    frames = np.arange(int(seconds * 25)) / 25.0
    gap = 0.2 * np.interp(frames + lag, times, voice)
    shapes = np.zeros((len(gap), len(SHAPES)))
    shapes[:, 0] = gap
    values = to_reference(name, shapes, gap, 25.0)
    known = tuple(output != CLOSED for output in OUTPUTS)
    return Speech(name, name, mel.astype(np.float32), values, known, 25.0)


def spoken(seed, name, split="train", real=True, lag=0.0):
    return SpokenClip(babble(seed, lag=lag, name=name), split, real, False, 0.05)


# Data


def test_every_speaker_has_the_same_spread_and_rests_at_zero():
    one, loud = babble(), to_reference("x", np.ones((100, 16)), 0.5 * np.random.default_rng(0).random(100), 25.0)
    opening = OUTPUTS.index(OPENING)
    for values in (one.values, loud):
        assert values[:, opening].std() == pytest.approx(REFERENCE_SPREAD)
        assert np.quantile(values[:, opening], 0.1) == pytest.approx(0.0, abs=1e-12)


def test_mouths_that_stand_still_are_refused():
    with pytest.raises(InputError, match="hardly moves"):
        to_reference("x", np.zeros((100, 16)), np.full(100, 0.1), 25.0)


def test_targets_are_read_at_the_time_of_the_sound():
    speech = dataclasses.replace(babble(), lag=0.2)
    values, known = speech.targets(np.array([1.2, 0.1, 100.0]))
    np.testing.assert_allclose(values[0], speech.values[25])
    assert known[:, OUTPUTS.index(OPENING)].tolist() == [True, False, False]
    assert not known[:, OUTPUTS.index(CLOSED)].any()


def test_captured_speech_follows_its_sound(shared):
    speech = speech_from_capture(shared / "data" / "audio2face", "3_16")
    loud = speech.mel[:, 20:50].mean(axis=1)
    at = np.interp(np.arange(len(speech.opening)) / speech.fps, (np.arange(len(loud)) + 0.5) / 100.0, loud)
    assert np.corrcoef(at, speech.opening)[0, 1] > 0.55, "columns and clock are right"
    with pytest.raises(InputError):
        speech_from_capture(shared / "data", "3_16")


# Augmentation


def test_plain_batches_hold_the_recording_itself():
    speech = babble(seconds=4.0)
    batch = draw_batch([speech], 1, SMALL, PLAIN, np.random.default_rng(0))
    assert batch.sound.shape == (1, BANDS, 4 * (100 + 6))
    inner = batch.sound[0, :, 12:-12].T.numpy()
    np.testing.assert_allclose(inner, normalised(speech.mel, speech.level), atol=1e-4)
    np.testing.assert_allclose(batch.sound[0, :, :12].T.numpy(), np.tile(silence_frame(), (12, 1)), atol=1e-4)
    middles = (np.arange(200) * 2 + 1) / 100.0
    np.testing.assert_allclose(batch.targets[0].T.numpy(), speech.targets(middles)[0], atol=1e-6)


def test_every_voice_is_heard_and_a_long_one_not_much_more():
    short, long, first, second = (
        babble(seconds=s, name=n) for s, n in ((4.0, "a"), (40.0, "b"), (6.0, "c"), (2.0, "d"))
    )
    second = dataclasses.replace(second, speaker="c")
    shares = shares_of([short, long, first, second])
    assert shares.sum() == pytest.approx(1.0)
    assert shares[1] / shares[0] == pytest.approx((LONGEST_VOICE / 4.0) ** 0.5)
    assert shares[2] / shares[3] == pytest.approx(3.0), "recordings of one voice count by their length"
    assert (shares[2] + shares[3]) / shares[0] == pytest.approx(2.0**0.5)


def test_beyond_the_ends_is_silence_and_between_frames_a_line():
    mel = np.arange(10.0, dtype=np.float32)[:, None] * np.ones((1, BANDS), np.float32)
    read = at_positions(mel, np.array([-1.0, 2.25, 9.0, 9.5]))
    assert read[:, 0].tolist() == [SILENCE, 2.25, 9.0, SILENCE]


def test_rooms_only_add_power():
    mel = np.random.default_rng(0).normal(-3.0, 2.0, (300, BANDS)).astype(np.float32)
    always = dataclasses.replace(PLAIN, noise=1.0, reverberation=1.0)
    assert (other_room(mel, always, np.random.default_rng(1)) >= mel - 1e-4).all()
    np.testing.assert_allclose(other_room(mel, PLAIN, np.random.default_rng(1)), mel, atol=1e-4)


def test_a_stretch_that_falls_silent_shuts_the_mouth():
    always = dataclasses.replace(PLAIN, silence=1.0)
    assert falls_silent(400, always, np.random.default_rng(0)).sum() >= 30
    batch = draw_batch([babble()], 4, SMALL, always, np.random.default_rng(0))
    quiet = (batch.sound[:, :, 12:-12] < -3.5).all(dim=1).view(4, 200, 2).all(dim=2)
    shut = batch.targets[:, OUTPUTS.index(OPENING)].abs() < 1e-6
    assert bool(shut[:, 4:-4][quiet[:, 4:-4]].float().mean() > 0.7)


def test_noise_as_loud_as_a_voice_leaves_the_mouth_shut():
    for seed in range(8):
        mel = steady_noise(600, np.random.default_rng(seed))
        assert mel.mean() == pytest.approx(0.0, abs=1e-3)
        # Nothing in it lasts: what two halves have in common is their colour.
        np.testing.assert_allclose(mel[:300].mean(axis=0), mel[300:].mean(axis=0), atol=0.35)
    batch = draw_batch([babble()], 3, SMALL, dataclasses.replace(PLAIN, steady=1.0), np.random.default_rng(0))
    assert float(batch.targets.abs().max()) < 1e-6


# Losses


def test_correlation_loss_knows_no_gain_and_no_offset():
    truth = torch.randn(3, 200, generator=torch.Generator().manual_seed(0))
    known = torch.ones(3, 200)
    assert float(correlation_loss(3.0 * truth + 1.0, truth, known)) == pytest.approx(0.0, abs=1e-3)
    assert float(correlation_loss(-truth, truth, known)) == pytest.approx(2.0, abs=1e-3)
    assert float(correlation_loss(torch.zeros(3, 200), truth, known)) == pytest.approx(1.0)


def test_what_is_not_known_does_not_count():
    batch = draw_batch([babble()], 2, SMALL, Augmentation(), np.random.default_rng(0))
    output = torch.randn(2, len(OUTPUTS), 200, generator=torch.Generator().manual_seed(1))
    changed = output.clone()
    changed[:, OUTPUTS.index(CLOSED)] += 10.0  # known only in synthetic speech
    scale = torch.ones(len(OUTPUTS))
    assert float(mouth_loss(output, batch, scale)) == float(mouth_loss(changed, batch, scale))
    assert float(closed_loss(output, batch)) == 0.0


# Training


def test_training_learns_repeats_itself_and_goes_on_from_a_checkpoint(tmp_path):
    material = Material([babble(seed, name=f"b{seed}") for seed in range(3)])
    settings = AudioTraining(steps=40, batch=(4, 0, 0), net=SMALL, checkpoint_every=20)
    log = []
    net = train_net(material, settings, log=log)
    unseen = babble(9)
    heard = predict(net, unseen)[:, OUTPUTS.index(OPENING)]
    at = np.interp(np.arange(len(unseen.opening)) / 25.0, (np.arange(len(heard)) + 0.5) / 50.0, heard)
    assert np.corrcoef(at, unseen.opening)[0, 1] > 0.9

    def stop(done, total):
        if done == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_net(material, settings, checkpoint=tmp_path / "state.pt", on_step=stop)
    resumed = train_net(material, settings, checkpoint=tmp_path / "state.pt")
    for one, two in zip(net.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, two)
    mel = normalised(unseen.mel, unseen.level)
    assert np.array_equal(run_net(net, mel), run_net(resumed, mel))


@pytest.mark.parametrize("lag", [-0.24, 0.0, 0.16])
def test_lag_of_a_moved_sound_is_found(lag):
    truth = babble(3, lag=lag)
    heard = np.interp((np.arange(600) + 0.5) / 50.0, np.arange(300) / 25.0, babble(3).opening)
    found = estimate_lag(heard, truth)
    assert found.proven
    assert found.seconds == pytest.approx(lag, abs=0.021)
    other = estimate_lag(np.random.default_rng(0).normal(size=600), truth)
    assert not other.proven


def test_lags_are_told_by_nets_that_have_not_heard_the_voice(monkeypatch):
    monkeypatch.setattr("mggtalk_core.training.audio.LAG_ROUNDS", 1)
    clips = [spoken(seed, f"s{seed}", lag=0.2 if seed == 2 else 0.0) for seed in range(5)]
    learned = []

    def train(part):
        learned.append({clip.speech.name for clip in part})
        settings = AudioTraining(steps=30, batch=(4, 0, 0), net=SMALL)
        return train_net(Material([clip.speech for clip in part]), settings)

    corrected, lags = correct_lags(clips, train)
    assert all(sum(name in part for part in learned) == len(learned) - 1 for name in lags)
    assert lags["s2"].seconds == pytest.approx(0.2, abs=0.041)
    assert corrected[2].speech.lag == lags["s2"].seconds
    assert all(abs(lags[f"s{seed}"].seconds) <= 0.041 for seed in (0, 1, 3, 4))


def test_clips_that_are_nearly_in_step_are_so_in_the_mean():
    seconds = {"a": -0.04, "b": -0.02, "c": 0.0, "d": 0.3, "e": 0.04}
    lags = {name: Lag(value, 0.8, name != "e") for name, value in seconds.items()}
    # All nets spoke 20 ms late; what is far out of step or not proven says nothing of it.
    moved = anchored(lags)
    assert {name: lag.seconds for name, lag in moved.items()} == pytest.approx(
        {"a": -0.02, "b": 0.0, "c": 0.02, "d": 0.32, "e": 0.06}
    )
    assert [lag.proven for lag in moved.values()] == [lag.proven for lag in lags.values()]
    assert anchored({"d": lags["d"], "e": lags["e"]}) == {"d": lags["d"], "e": lags["e"]}


def test_the_nets_that_are_averaged_differ_in_seed_and_in_how_much_voices_are_changed():
    settings = members(AudioTraining(seed=5, steps=7))
    assert [each.seed for each in settings] == list(range(5, 5 + MEMBERS + LISTENERS))
    assert {each.steps for each in settings} == {7}
    assert [each.augmentation for each in settings] == [Augmentation(), LIGHT, Augmentation(), GENTLE]
    assert [(each.net.members, each.net.listeners) for each in settings] == [(1, 0)] * MEMBERS + [(0, 1)] * LISTENERS


# What the trunk hears


@pytest.mark.parametrize("slope", [0.0, -6.0, -12.0])
def test_the_trunk_is_given_what_its_own_filters_would_hear(slope):
    from librosa.filters import mel

    octaves = np.log2(np.maximum(np.fft.rfftfreq(16000, 1 / 16000), 50.0) / 500.0)
    white = np.fft.rfft(np.random.default_rng(0).normal(size=16000))
    samples = np.fft.irfft(white * 10.0 ** (slope * octaves / 20.0))
    piece = Piece((0.01 * samples).astype(np.float32), 0, 100, 0)
    power = np.abs(np.fft.rfft(windows(piece) * np.hanning(400), 400)) ** 2
    theirs = power @ mel(sr=16000, n_fft=400, n_mels=80).T
    ours = np.exp(log_mel(piece)) @ trunk_bands().T
    finer = 512 / 400  # bins of our transform for each of theirs
    decades = np.log10(ours[5:-5].mean(axis=0) / theirs[5:-5].mean(axis=0) / finer)
    # The lowest bands are narrower than a bin of either transform, and the highest reaches beyond ours.
    assert np.abs(decades[3:-2]).max() < 0.12, "speech spans three decades"


def test_what_varies_most_is_kept_and_comes_out_at_size_one():
    rng = torch.Generator().manual_seed(0)
    hidden = torch.randn(2000, HEARD, generator=rng)
    mixed = hidden @ torch.randn(HEARD, WIDTH, generator=rng)
    weight, bias = main_directions(mixed + 3.0)
    kept = (mixed + 3.0) @ weight.T + bias
    assert float(kept.mean().abs()) < 1e-3 and float(kept.var()) == pytest.approx(1.0, abs=0.02)
    # Nothing of what was mixed is lost.
    back = torch.linalg.lstsq(kept, hidden).solution
    assert float((kept @ back - (hidden - hidden.mean(dim=0))).abs().max()) < 0.01


def listening_trunk():
    torch.manual_seed(3)
    trunk = SpeechTrunk().eval().requires_grad_(False)
    trunk.bands.fill_(0.1)
    return trunk


def test_training_leaves_the_trunk_as_it_is():
    trunk = listening_trunk()
    settings = AudioTraining(steps=2, batch=(2, 0, 0), net=LISTENING)
    nets = [train_net(Material([babble()], heard=HeardExamples(trunk)), settings) for _ in range(2)]
    for name, value in trunk.state_dict().items():
        assert torch.equal(nets[0].trunk.state_dict()[name], value), name
    for one, two in zip(nets[0].state_dict().values(), nets[1].state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_examples_are_heard_once_and_alike_whoever_asks_first():
    speech, calls = babble(seconds=6.0), []

    class Counting(SpeechTrunk):
        def forward(self, mel):
            calls.append(len(mel))
            return super().forward(mel)

    trunk = Counting().eval().requires_grad_(False)
    trunk.load_state_dict(listening_trunk().state_dict())
    one, two = HeardExamples(trunk), HeardExamples(trunk)
    first = [one.draw([speech], 6, LISTENING, Augmentation(), np.random.default_rng(seed)) for seed in range(12)]
    assert len(calls) <= VARIANTS and set(calls) == {1}
    again = [
        two.draw([speech], 6, LISTENING, Augmentation(), np.random.default_rng(seed)) for seed in reversed(range(12))
    ]
    for batch, other in zip(first, reversed(again), strict=True):
        assert batch.sound.shape == (6, HEARD, 100 + 2 * 3)
        assert torch.equal(batch.sound, other.sound) and torch.equal(batch.targets, other.targets)
    before = len(calls)
    moved = one.draw([dataclasses.replace(speech, lag=0.1)], 6, LISTENING, Augmentation(), np.random.default_rng(0))
    assert torch.equal(moved.sound, first[0].sound) and not torch.equal(moved.targets, first[0].targets)
    assert len(calls) == before, "what is heard does not depend on the lag"


def test_a_stretch_is_drawn_alike_whatever_the_lag():
    speech = dataclasses.replace(babble(), lag=0.1)
    mel, *truth = draw_example(speech, SMALL, Augmentation(), np.random.default_rng(3))
    drawn, stretch = draw_stretch(dataclasses.replace(speech, lag=0.0), SMALL, Augmentation(), np.random.default_rng(3))
    np.testing.assert_array_equal(drawn, mel)
    for one, two in zip(stretch.targets(speech), truth, strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_reader_follows_voices_that_it_has_not_heard():
    heard = HeardExamples(listening_trunk())
    weight, bias = main_directions(heard.trunk.tokens(torch.from_numpy(babble(4).mel.T.copy())[None] / 3.0)[0])
    heard.trunk.kept.weight.copy_(weight)
    heard.trunk.kept.bias.copy_(bias)
    net = fit_reader([babble(seed, name=f"b{seed}") for seed in range(3)], heard, LISTENING)
    assert net.reader is not None and not net.listeners and not net.members
    unseen = babble(9)
    said = predict(net, unseen)[:, OUTPUTS.index(OPENING)]
    at = np.interp(np.arange(len(unseen.opening)) / 25.0, (np.arange(len(said)) + 0.5) / 50.0, said)
    assert np.corrcoef(at, unseen.opening)[0, 1] > 0.8


# Speakers


def test_folds_hold_whole_speakers_out():
    clips = [spoken(index, name) for index, name in enumerate(("a", "b", "c", "a", "d", "e"))]
    seen = []
    for learned, held in leave_out(clips, 3, lambda part: [clip.speech.speaker for clip in part]):
        assert not set(learned) & {clip.speech.speaker for clip in held}
        seen += [clip.speech.speaker for clip in held]
    assert sorted(seen) == sorted(clip.speech.speaker for clip in clips)
    assert fold_of(clips[0].speech, 3) == fold_of(clips[3].speech, 3)


def test_voices_of_the_validation_are_not_learned():
    clips = [spoken(0, "a"), spoken(1, "b"), spoken(2, "a", split="val"), spoken(3, "c", split="val", real=False)]
    assert [clip.speech.speaker for clip in for_training(clips)] == ["b"]
    assert [clip.speech.speaker for clip in for_scoring(clips)] == ["a"]


# Synthetic speech


def test_made_up_phones_are_seeded_and_full_of_lips():
    one, two = (made_up_phones(np.random.default_rng(5)) for _ in range(2))
    assert one == two
    many = [phone for seed in range(20) for phone in made_up_phones(np.random.default_rng(seed))]
    assert 0.08 < np.mean([phone in "pbm" for phone in many]) < 0.25


@pytest.mark.skipif(shutil.which("flite") is None, reason="needs the speech synthesiser flite")
def test_synthetic_lips_shut_where_the_sound_is_stopped():
    speech = synthetic_speech(1)[0]
    shut = speech.values[:, OUTPUTS.index(CLOSED)] > 0.5
    levels = speech.mel[:, 10:60].mean(axis=1)
    assert 0.02 < shut.mean() < 0.4
    assert levels[shut].mean() < levels[~shut & (levels > np.median(levels))].mean() - 1.0
    assert speech.opening[shut].max() <= np.quantile(speech.opening, 0.3)


# Tracks


def test_a_track_is_read_as_it_was_written(tmp_path):
    rng = torch.Generator().manual_seed(0)
    shapes = {"landmarks": (4, 478, 3), "blendshapes": (4, 52), "beta": (4, 52), "gaze": (4, 4)}
    shapes |= {"rotation": (4, 3, 3), "translation": (4, 3), "residual": (4,), "identity": (50,)}
    fields = {name: torch.randn(shape, generator=rng) for name, shape in shapes.items()}
    track = ClipTrack(
        **fields, seen=torch.tensor([True, False, True, True]), crop_transform=torch.randn(2, 3), fps=29.97
    )
    write_track(tmp_path / "a.safetensors", track)
    read = read_track(tmp_path / "a.safetensors")
    assert read.fps == 29.97 and len(read) == 4
    for field in dataclasses.fields(track):
        if field.name != "fps":
            assert torch.equal(getattr(read, field.name), getattr(track, field.name))
    (tmp_path / "b.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError):
        read_track(tmp_path / "b.safetensors")


def test_clips_are_tracked_once_and_refusals_are_remembered(shared, tmp_path):
    clip, broken = shared / "data" / "clips" / "spectre_oza6jryjvqs-00004.mp4", tmp_path / "broken.mp4"
    broken.write_bytes(b"no clip")
    report = track_all([clip, broken], tmp_path / "tracks", processes=1)
    assert list(report.tracks) == [clip] and list(report.rejected) == [broken]
    track = read_track(report.tracks[clip])
    assert len(track) == 27 and bool(track.seen.all())
    assert float(track.residual.median()) < 4.0
    before = report.tracks[clip].stat().st_mtime_ns
    again = track_all([clip, broken], tmp_path / "tracks", processes=1)
    assert again == report
    assert report.tracks[clip].stat().st_mtime_ns == before
