"""SyncNet in the training of the mouth: what it is shown, what its loss rewards, whom it teaches, what is refused."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mggtalk_core.errors import InputError, WeightsError
from mggtalk_core.evaluation.lip_sync import face_square
from mggtalk_core.evaluation.syncnet import SyncNet
from mggtalk_core.render.inpaint.networks import CONFIGS, read_networks
from mggtalk_core.render.inpaint.pasting import paste
from mggtalk_core.render.inpaint.patches import MOUTH, feather
from mggtalk_core.training.inpaint import InpaintLosses, InpaintStage
from mggtalk_core.training.inpaint_data import Examples
from mggtalk_core.training.inpaint_runs import (
    OTHERS,
    RunExamples,
    SpokenExamples,
    as_seen,
    heard,
    others,
    pieces_of,
    run_example,
    survey,
)
from mggtalk_core.training.inpaint_sync import (
    SyncedMouth,
    SyncJudge,
    SyncTerm,
    contrast,
    drawn,
    face_squares,
    pasted,
    run_of,
    train_synced_mouth,
)
from mggtalk_core.training.loop import train
from mggtalk_core.training.prepare_runs import AROUND
from mggtalk_core.training.stage import LoopOptions
from tests.cli_samples import assert_refused, call
from tests.inpaint_samples import SMALL_PATCH, pair_of, scene
from tests.spoken_samples import Levels, SpokenPairs, levels_run, sounding
from tests.training_samples import random_shard, soft_picture

ONLY_SYNC = InpaintLosses(difference=0.0, edges=0.0, perceptual=0.0, adversarial=0.0)
CURVE = 60.0 + 120.0 * torch.rand(105, generator=torch.Generator().manual_seed(3))
"""Levels, one for each frame from two seconds before a run to two seconds after it."""


@pytest.fixture(scope="module")
def pair():
    return pair_of(scene(6.0, jawOpen=0.6), name="ann")


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    monkeypatch.setitem(CONFIGS, "mouth", SMALL_PATCH)


@pytest.fixture
def fresh_accelerator():
    """Accelerate keeps its state for the process."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    yield
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


def spoken(pair, late=0, runs=3):
    curves = [CURVE.roll(7 * number) for number in range(runs)]
    return SpokenPairs([pair], [levels_run(pair, curve, late) for curve in curves])


def example_of(pair, late=0):
    return run_example(levels_run(pair, CURVE, late), late, np.random.default_rng(0))


# What is shown


def test_a_face_is_cut_out_as_it_is_measured():
    frames = torch.stack([soft_picture(3, seed) for seed in range(4)])
    # Smaller and larger than SyncNet's 224, off the pixels' grid, and beyond two borders.
    boxes = torch.tensor(
        [[250.3, 240.8, 61.7], [256.0, 256.0, 80.0], [251.1, 262.4, 143.3], [60.0, 480.0, 120.2]]
    )  # fmt: skip
    squares = 255.0 * face_squares(frames.float() / 255.0, boxes)
    for frame, box, square in zip(frames, boxes, squares, strict=True):
        expected = face_square(frame.permute(1, 2, 0).contiguous().numpy(), box.double().numpy())
        # OpenCV rounds to bytes, with weights of 11 bits.
        apart = (square.permute(1, 2, 0) - torch.from_numpy(expected).float()).abs()
        assert float(apart.max()) <= 1.0 and float(apart.mean()) < 0.3


def test_a_patch_is_put_back_as_in_a_frame(pair):
    example = example_of(pair)
    change = 0.2 * (soft_picture(15, 5).view(5, 3, 512, 512)[..., ::4, ::4] / 255.0 - 0.5)
    share = torch.tensor([1.0, 0.5, 0.0, 1.0, 1.0])
    frames = 0.2 + 0.6 * soft_picture(15, 9).view(5, 3, 512, 512) / 255.0
    found = pasted(frames, change, example["to_patch"], share)
    for index in range(5):
        expected = np.zeros((512, 512, 3), np.float32)
        delta = change[index].permute(1, 2, 0).contiguous().numpy()
        to_patch, everywhere = example["to_patch"][index].double().numpy(), np.ones((512, 512), np.float32)
        paste(expected, MOUTH, to_patch, delta, float(share[index]), everywhere)
        laid = (found - frames)[index].permute(1, 2, 0).numpy()
        # OpenCV looks up at thirty-seconds of a pixel; the change is up to .1.
        assert np.abs(laid - expected).max() < 2e-3
        assert float(np.abs(expected).max()) > 0.02 or index == 2
    assert torch.equal(found[2], frames[2])


def test_a_network_that_changes_nothing_shows_the_analytic_frame(pair):
    example = example_of(pair)
    plain = face_squares(example["frame"].clamp(0.0, 1.0), example["box"])
    assert torch.equal(drawn(example["composite"], example), plain)
    seen = as_seen(plain)
    assert seen.shape == (1, 3, 5, 224, 224)
    assert torch.equal(seen[0, 0, 3], 255.0 * plain[3, 2])  # blue first


def test_others_share_no_sound_with_the_run(pair):
    example = example_of(pair, late=4)
    pieces = pieces_of(sounding(CURVE))
    assert torch.equal(example["own"][0], pieces[AROUND + 4])
    assert example["others"].shape == (OTHERS, 1, 13, 20)
    places = [next(i for i in range(101) if torch.equal(piece, pieces[i])) for piece in example["others"]]
    assert len(set(places)) == OTHERS and all(abs(place - AROUND - 4) >= 5 for place in places)
    sound = sounding(CURVE)
    sound[:, 240:] = torch.nan
    known = heard(pieces_of(sound))
    assert int(known.sum()) == 56 and others(known, 50) == [*range(46), 55]


# What the loss rewards


def test_the_loss_is_the_contrastive_one():
    own, others = torch.tensor([3.0]), torch.tensor([4.0, 10.0, 30.0])
    assert float(contrast(own, others, 10.0)) == pytest.approx((9.0 + (36.0 + 0.0 + 0.0) / 3.0) / 200.0)
    assert float(contrast(torch.zeros(1), others[1:], 10.0)) == 0.0
    assert float(contrast(5.0 * own, 5.0 * others, 50.0)) == pytest.approx(float(contrast(own, others, 10.0)))


def test_lips_that_fit_their_sound_are_rewarded_and_others_are_not():
    run = {"own": pieces_of(sounding(CURVE))[AROUND][None], "others": pieces_of(sounding(CURVE))[[10, 80]]}
    term = SyncTerm(Levels(), 100.0)
    losses = []
    for levels in (CURVE[AROUND : AROUND + 5], CURVE[80:85]):
        squares = (levels / 255.0).view(5, 1, 1, 1).expand(5, 3, 224, 224)
        own, others = term.distances(squares, run)
        losses.append(float(contrast(own, others, 100.0)))
    assert losses[0] < 0.5 * losses[1]
    assert float(own) == pytest.approx(float((CURVE[AROUND : AROUND + 5] - CURVE[80:85]).norm()), rel=1e-4)
    assert float(others[1]) < 1e-3


# Who is taught


def test_gradients_reach_the_mouth_s_network_and_nothing_else(pair):
    torch.manual_seed(0)
    syncnet = SyncNet()
    found = survey(spoken(pair), Levels())
    stage = SyncedMouth(spoken(pair), None, syncnet, found, LoopOptions(Path(), batch=2), losses=ONLY_SYNC)
    before = {name: value.clone() for name, value in syncnet.state_dict().items()}
    examples = stage.examples()
    batch = examples.collate([examples[0], examples[1]])
    made = stage.made(stage.network, batch)
    assert made.shape == (2 + 5, 3, 128, 128)
    made.retain_grad()
    stage.losses(made, batch, None, 0)["sync"].backward()
    assert not made.grad[:2].any() and made.grad[2:].abs().amax(dim=(1, 2, 3)).min() > 0.0
    assert not made.grad[2:][..., torch.from_numpy(feather(MOUTH)) == 0.0].any()
    last = [*stage.network.unet.flow.parameters(), *stage.network.unet.fine_out.parameters()]
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0.0 for parameter in last)
    assert not syncnet.training and all(parameter.grad is None for parameter in syncnet.parameters())
    assert all(torch.equal(before[name], value) for name, value in syncnet.state_dict().items())


def test_gradients_are_those_of_differences(pair):
    example = example_of(pair)
    example["frame"] = 0.3 + 0.4 * example["frame"]
    term, random = SyncTerm(Levels(), 60.0), torch.Generator().manual_seed(0)
    direction = torch.rand(example["composite"].shape, generator=random)
    made = (example["composite"] + 0.01 * direction).requires_grad_()
    term(made, example).backward()
    step = 0.05
    two = [float(term(made.detach() + sign * step * direction, example)) for sign in (1.0, -1.0)]
    # Quadratic in the picture: central differences err by rounding alone.
    assert float((made.grad * direction).sum()) == pytest.approx((two[0] - two[1]) / (2.0 * step), rel=5e-3)


def test_a_training_brings_lips_nearer_to_their_sound_than_to_others(pair, tmp_path, fresh_accelerator):
    """The five analytic frames are alike; their sounds ask for faces that are darker, then brighter."""
    plain = float(example_of(pair)["frame"].clamp(0.0, 1.0).mean())
    level = 255.0 * float(drawn(example_of(pair)["composite"], example_of(pair)).mean())
    assert 0.0 < plain < 1.0
    wanted = torch.full((105,), level)
    wanted[AROUND : AROUND + 5] = level + 6.0
    wanted[: AROUND - 5], wanted[AROUND + 10 :] = level - 6.0, level - 6.0
    run = levels_run(pair, wanted)
    pairs, network = SpokenPairs([pair], [run]), Levels()
    stage = SyncedMouth(
        pairs, None, network, survey(pairs, network), LoopOptions(tmp_path, batch=1), weight=1.0, losses=ONLY_SYNC
    )  # fmt: skip
    batch = stage.examples().collate([stage.examples()[0]])

    def opinion(mouth):
        with torch.no_grad():
            made = stage.made(mouth, batch)[-5:]
            return (float(each.mean()) for each in stage._sync.distances(drawn(made, run_of(batch)), run_of(batch)))

    own, other = opinion(stage.network)
    assert own == pytest.approx(other, rel=0.1)
    for steps in (8, 16):
        train(stage, LoopOptions(tmp_path, steps=steps, batch=1, rate=1e-2, average=0.5, resume=steps > 8))
    learned = read_networks(tmp_path / "weights.safetensors").mouth
    own_after, other_after = opinion(learned)
    assert own_after < 0.8 * own and other_after > 1.1 * other, (own, own_after, other, other_after)
    told = json.loads((tmp_path / "sync.json").read_text())
    assert told["clips"]["ann.mp4"]["late"] == 0 and told["runs"] == 1


# Which runs


@pytest.mark.parametrize("late", [-6, 0, 9])
def test_the_sound_is_moved_to_where_the_real_lips_fit_best(pair, late):
    pairs = spoken(pair, late)
    found = survey(pairs, Levels())
    assert found.clips["ann.mp4"].late == late and found.clips["ann.mp4"].runs == 3
    assert found.clips["ann.mp4"].distance < 2.0 < found.clips["ann.mp4"].confidence
    assert found.runs == tuple(pairs.runs)
    assert found.margin == pytest.approx(found.clips["ann.mp4"].distance + found.clips["ann.mp4"].confidence)
    drawn_run = RunExamples(pairs, found, 0)[0]
    assert any(torch.equal(drawn_run["own"][0], pieces_of(run.sound)[AROUND + late]) for run in pairs._spoken)


def test_runs_that_do_not_fit_or_hardly_show_the_mouth_are_left_out(pair):
    good = [levels_run(pair, CURVE.roll(7 * number)) for number in range(4)]
    foreign = replace(good[0], sound=sounding(CURVE.flip(0)))
    still = pair_of(scene(6.0), name="ann")  # the mouth is as in the source: nothing is refined there
    unmoved = levels_run(replace(still, landmarks=pair.landmarks), CURVE)
    away = replace(good[1], boxes=good[1].boxes + 400.0)
    found = survey(SpokenPairs([pair], [*good, foreign, unmoved, away]), Levels())
    assert set(found.runs) >= {(number, 0) for number in range(4)}
    assert not {(5, 0), (6, 0)} & set(found.runs)
    row = survey(SpokenPairs([pair], [*good, foreign]), Levels())
    assert row.clips["ann.mp4"].late == 0 and (4, 0) not in row.runs


# Batches


def test_ordinary_examples_stay_as_they_are_and_one_run_goes_with_a_batch(pair):
    pairs = spoken(pair)
    runs = RunExamples(pairs, survey(pairs, Levels()), 5)
    both, plain = SpokenExamples(Examples(pairs, "mouth", 5), runs, 3), Examples(pairs, "mouth", 5)
    batch = both.collate([both[number] for number in (3, 4, 5)])
    for place, number in enumerate((3, 4, 5)):
        assert all(torch.equal(batch[name][place], value) for name, value in plain[number].items())
    expected, again = runs[1], RunExamples(pairs, survey(pairs, Levels()), 5)[1]
    assert run_of(batch).keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(batch["run_" + name], value) and torch.equal(again[name], value)
    torch.testing.assert_close(runs[0]["own"], RunExamples(pairs, survey(pairs, Levels()), 5)[0]["own"])


def test_the_other_terms_are_those_of_a_training_without_syncnet(pair):
    pairs, losses = spoken(pair), InpaintLosses(perceptual=0.0, adversarial=0.1, adversarial_from=0)
    found = survey(pairs, Levels())
    synced = SyncedMouth(pairs, None, Levels(), found, LoopOptions(Path(), batch=2, seed=4), losses=losses)
    plain = InpaintStage("mouth", pairs, None, seed=4, losses=losses)
    assert all(torch.equal(a, b) for a, b in zip(synced.network.parameters(), plain.network.parameters(), strict=True))
    batch = synced.examples().collate([synced.examples()[0], synced.examples()[1]])
    ordinary = {name: value for name, value in batch.items() if not name.startswith("run_")}
    with torch.no_grad():
        ours, theirs = synced.made(synced.network, batch), plain.made(plain.network, ordinary)
        torch.testing.assert_close(ours[:2], theirs)
        terms, others = (
            stage.losses(made, each, stage.critic.eval(), 9000)
            for stage, made, each in ((synced, ours, batch), (plain, theirs, ordinary))
        )
        critics = [
            stage.critic_loss(made, each, stage.critic, 9000)
            for stage, made, each in ((synced, ours, batch), (plain, theirs, ordinary))
        ]
    assert terms.keys() - others.keys() == {"sync"}
    assert all(float(terms[name]) == pytest.approx(float(others[name]), rel=1e-5) for name in others)
    assert float(critics[0]) == pytest.approx(float(critics[1]), rel=1e-5)


def test_people_not_learned_from_are_judged(pair):
    pairs = spoken(pair, late=2)
    found = survey(pairs, Levels())
    figures = SyncJudge(pairs, Levels(), found)(InpaintStage("mouth", pairs, None, losses=ONLY_SYNC).network)
    assert figures["truth sync_distance"] < 2.0 < figures["truth sync_lead"]
    assert figures["learned sync_distance"] == pytest.approx(figures["analytic sync_distance"], rel=1e-5)
    assert figures["analytic sync_distance"] > 10.0


def test_two_processes_learn_in_half_precision(pair, tmp_path):
    program = (
        "import sys; from pathlib import Path; from tests.test_training_inpaint_sync import both; "
        "both(Path(sys.argv[1]))"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--no_python"]
    repo = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(repo)}
    command += [sys.executable, "-c", program, str(tmp_path)]
    subprocess.run(command, check=True, env=environment, cwd=repo, timeout=200)
    told = json.loads((tmp_path / "judged.jsonl").read_text().splitlines()[-1])
    assert told["step"] == 2 and np.isfinite(told["learned sync_distance"])


def both(folder: Path) -> None:
    """Train in this process, which is one of two."""
    CONFIGS["mouth"] = SMALL_PATCH
    pairs = spoken(pair_of(scene(6.0, jawOpen=0.6), name="ann"), runs=2)
    options = LoopOptions(folder, steps=2, batch=1, precision="bf16")
    found = survey(pairs, Levels())
    judge = SyncJudge(pairs, Levels(), found)
    train(SyncedMouth(pairs, None, Levels(), found, options, losses=ONLY_SYNC, judge=judge), options)


# What is refused


def test_what_cannot_be_taught_is_refused_in_one_line(tmp_path, capfd):
    random_shard(tmp_path, "a", "ann")
    torch.save(SyncNet().state_dict(), tmp_path / "syncnet_v2.model")
    options = LoopOptions(tmp_path / "out", steps=1)
    with pytest.raises(InputError, match="train prepare --runs"):
        train_synced_mouth(tmp_path, None, tmp_path / "syncnet_v2.model", options)
    with pytest.raises(WeightsError, match="syncnet_v2.model"):
        train_synced_mouth(tmp_path, None, tmp_path / "gone.model", options)
    with pytest.raises(InputError, match="--sync-weight"):
        train_synced_mouth(tmp_path, None, tmp_path / "syncnet_v2.model", options, weight=0.0)
    command = ("train", "inpaint", "--pairs", tmp_path, "-o", tmp_path / "out", "--steps", "1", "--syncnet")
    assert_refused(call(capfd, *command, tmp_path / "syncnet_v2.model"), "--part mouth")
    assert_refused(call(capfd, *command, tmp_path / "gone.model", "--part", "mouth"), "syncnet_v2.model")
    assert_refused(call(capfd, *command, tmp_path / "syncnet_v2.model", "--part", "mouth"), "--runs")
    assert not (tmp_path / "out").exists()
