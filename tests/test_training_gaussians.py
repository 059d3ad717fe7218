"""Training of the Gaussian stage: eq. 7 by value, the ablations, and steps that bring a render nearer to its truth."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from mggtalk_core.cli.train_gaussians import ABLATED
from mggtalk_core.errors import InputError
from mggtalk_core.evaluation.metrics import psnr, ssim
from mggtalk_core.gaussians.avatar import build_avatar
from mggtalk_core.gaussians.frame import frame_gaussians
from mggtalk_core.gaussians.networks.config import ABLATIONS, EMBEDDED, Switches
from mggtalk_core.gaussians.networks.model import HeadImage, read_gaussians
from mggtalk_core.geometry.points import Label
from mggtalk_core.motion.deform import bind_points
from mggtalk_core.render.rasterize import render
from mggtalk_core.training import sitters
from mggtalk_core.training.gaussian_data import RUN, GaussianExamples, example_of, windowed
from mggtalk_core.training.gaussians import GaussianStage, train_gaussians
from mggtalk_core.training.head_losses import HeadLoss, at_size, ssim_loss
from mggtalk_core.training.loop import train
from mggtalk_core.training.sitters import KeptAvatars, Sitters, mirrorable, portrait_of, switched, with_mirrored
from mggtalk_core.training.stage import LoopOptions
from tests.head_samples import FLIP_X
from tests.inpaint_samples import Pairs, pair_of, scene

SMALL = replace(EMBEDDED, encoder=(8, 16), decoder=(8, 16), mirrored=8, densify=8)
QUIET = HeadLoss(perceptual=0.0)
SIZE = 64


@pytest.fixture(scope="module")
def sitting():
    return scene(12.0, jawOpen=0.4)


def thinned(points, step=3):
    """Return the cloud with one visible point of ``step`` x ``step``: a ninth of the time, the same picture at 64."""
    first, last = points.visible_count, points.visible_count + points.mirrored_count
    seen = (points.pixel % step == 0).all(dim=1)
    row = seen.long().cumsum(0) - 1
    twins = points.mirror_of[seen[points.mirror_of]]
    keep = torch.cat((seen, seen[points.mirror_of], torch.ones(len(points.positions) - last, dtype=torch.bool)))
    parts = {name: getattr(points, name)[keep] for name in ("positions", "labels", "triangle", "barycentric")}
    assert first == len(seen)
    return replace(points, pixel=points.pixel[seen], mirror_of=row[twins], **parts)


class Shards(Pairs):
    """Pairs in memory that say which of them share a source."""

    @property
    def shards(self):
        return [[pair] for pair in self]


@pytest.fixture(scope="module")
def pairs(sitting):
    """A pair whose truth is the head in a colder light."""
    pair = pair_of(sitting, shift=0)
    cold = (pair.truth.float() * torch.tensor([0.7, 0.9, 1.0]).view(3, 1, 1)).to(torch.uint8)
    return Shards([replace(pair, truth=cold)])


def builder(sitting):
    """Return what builds the avatar of the only head, without parsing its picture."""
    head = sitting.head
    few = thinned(head.points)

    def avatar_of(pair, switches):
        points = switched(few, head.portrait, head.model, switches)
        avatar = build_avatar(head.portrait, points, bind_points(points, head.model))
        return avatar, HeadImage(head.portrait.crop, head.portrait.matte)

    return avatar_of


@pytest.fixture(scope="module")
def build(sitting):
    return builder(sitting)


def stage_of(pairs, build, switches=None, **how):
    return GaussianStage(
        pairs,
        how.pop("val", None),
        SMALL.with_switches(switches or Switches()),
        size=SIZE,
        loss=QUIET,
        build=build,
        **how,
    )


def batch_of(stage):
    return {name: value[None] for name, value in stage.examples()[0].items()}


def test_ssim_is_the_metric_s(pairs):
    random = torch.Generator().manual_seed(0)
    truth = torch.rand(1, 3, 40, 48, generator=random)
    image = (truth + 0.2 * torch.rand(truth.shape, generator=random)).clamp(0, 1)
    ones, part = torch.ones(1, 1, 40, 48), torch.rand(1, 1, 40, 48, generator=random)
    assert float(ssim_loss(image, truth, ones)) == pytest.approx(1.0 - ssim(image[0], truth[0]), abs=1e-5)
    assert float(ssim_loss(image, truth, part)) == pytest.approx(1.0 - ssim(image[0], truth[0], part[0]), abs=1e-5)
    assert float(ssim_loss(truth, truth, part)) == pytest.approx(0.0, abs=1e-6)


def test_the_loss_is_equation_7():
    random = torch.Generator().manual_seed(0)
    coarse, dense, truth = (torch.rand(1, 3, 32, 32, generator=random) for _ in range(3))
    weight = torch.ones(1, 1, 32, 32)

    def distance(image, truth, weight):  # stands for LPIPS
        return (image - truth).square().mean(dim=(1, 2, 3))

    terms = HeadLoss()(coarse, dense, truth, weight, distance)
    wanted = (
        (coarse - truth).abs().mean()
        + (dense - truth).abs().mean()
        + 0.01 * ((coarse - truth).square().mean() + (dense - truth).square().mean())
        + 0.2 * (1.0 - ssim(dense[0], truth[0]))
    )
    assert float(sum(terms.values())) == pytest.approx(float(wanted), abs=1e-5)


def test_smaller_pictures_are_means():
    picture = torch.arange(64.0).view(1, 1, 8, 8)
    assert torch.equal(at_size(picture, 4)[0, 0, 0], torch.tensor([4.5, 6.5, 8.5, 10.5]))
    assert at_size(picture, 8) is picture


def test_the_nth_example_depends_on_n_alone_and_neighbours_share_a_source(pairs):
    many = Shards([replace(pairs[0], identity=str(k), beta=pairs[0].beta + k) for k in range(4)])
    one, two = GaussianExamples(many, 3, SIZE), GaussianExamples(many, 3, SIZE)
    two[RUN + 2]
    assert all(torch.equal(one[1][name], two[1][name]) for name in one[1])
    places = [int(one[n]["index"]) for n in range(5 * RUN)]
    assert all(len(set(places[n : n + RUN])) == 1 for n in range(0, 5 * RUN, RUN))
    assert len(set(places)) > 1
    assert not torch.equal(one[0]["backdrop"], one[1]["backdrop"])


def test_a_window_is_a_part_of_the_example_around_the_head(pairs):
    example, random = example_of(pairs[0], 512), np.random.default_rng(0)
    corners = set()
    for _ in range(8):
        part = windowed(example, 96, random)
        x, y = part["corner"].tolist()
        assert 0 <= x <= 512 - 96 and 0 <= y <= 512 - 96 and part["matte"].max() > 0.5
        for name in ("truth", "matte", "weight"):
            assert torch.equal(part[name], example[name][:, y : y + 96, x : x + 96])
        corners.add((x, y))
    assert len(corners) > 4
    whole = windowed(example, 512, random)
    assert whole["corner"].tolist() == [0, 0] and torch.equal(whole["truth"], example["truth"])


@pytest.mark.parametrize("name", ["all", "densify", "sgp"])
def test_a_window_shows_what_the_whole_picture_shows_there(pairs, build, name):
    switches = {"all": Switches(), "sgp": Switches(symmetry_in="sgp")}.get(name) or ABLATIONS[name]
    whole, part = stage_of(pairs, build, switches), stage_of(pairs, build, switches, window=24)
    for made, weight in whole.network.named_parameters():
        if "leave" in made:
            torch.nn.init.normal_(weight, std=0.02)
    part.network.load_state_dict(whole.network.state_dict())
    small = batch_of(part)
    x, y = small["corner"][0].tolist()
    large = batch_of(whole) | {"backdrop": small["backdrop"]}
    assert small["truth"].shape[-1] == 24
    shown = part.made(part.network, small)
    wanted = whole.made(whole.network, large)[..., y : y + 24, x : x + 24]
    # Leaving out what is far away changes no weight but those that rounding decides.
    assert float((shown - wanted).detach().abs().max()) < 2e-3


def test_the_truth_is_a_head_image_under_its_matte(pairs):
    example = GaussianExamples(pairs, 0, 512)[0]
    matte = pairs[0].matte / 255.0
    assert torch.allclose(example["truth"], pairs[0].truth / 255.0 * matte, atol=1e-6)
    assert not example["truth"][:, matte[0] == 0].any()


def test_the_untrained_dense_render_is_the_analytic_head(pairs, build):
    stage = stage_of(pairs, build)
    batch = batch_of(stage)
    made = stage.made(stage.network, batch).detach()
    assert made.shape == (1, 2, 3, SIZE, SIZE)
    truth = stage.losses(made, batch, None, 0)
    assert set(truth) == {"coarse", "dense", "ssim"}
    # Before the same backdrop, head and truth differ in the light alone.
    clear = batch["matte"][0, 0] < 1e-3
    backdrop = batch["backdrop"][0, :, None].expand(3, int(clear.sum()))
    assert float((made[0, 1][:, clear] - backdrop).abs().mean()) < 0.01


def test_half_precision_moves_no_point(pairs, build):
    stage = stage_of(pairs, build)
    batch = batch_of(stage)
    with torch.no_grad():
        full = stage.made(stage.network, batch)
        with torch.autocast("cpu", torch.bfloat16):
            half = stage.made(stage.network, batch)
            terms = stage.losses(half, batch, None, 0)
    assert torch.allclose(half, full, atol=1e-5)
    assert float(sum(terms.values())) == pytest.approx(
        float(sum(stage.losses(full, batch, None, 0).values())), rel=1e-4
    )


def test_steps_bring_the_render_nearer(pairs, build):
    stage = stage_of(pairs, build)
    batch = batch_of(stage)
    optimiser = torch.optim.Adam(stage.network.parameters(), 3e-3)
    losses = []
    for _ in range(8):
        terms = stage.losses(stage.made(stage.network, batch), batch, None, 0)
        optimiser.zero_grad()
        sum(terms.values()).backward()
        optimiser.step()
        losses.append({name: float(value.detach()) for name, value in terms.items()})
    assert losses[-1]["dense"] < 0.9 * losses[0]["dense"] and losses[-1]["coarse"] < 0.9 * losses[0]["coarse"]
    assert sum(losses[-1].values()) < sum(losses[1].values()) < sum(losses[0].values())


@pytest.mark.parametrize("name", [*ABLATIONS, "sgp"])
def test_every_ablation_takes_a_step(pairs, build, name):
    switches = ABLATIONS.get(name, Switches(symmetry_in="sgp"))
    stage = stage_of(pairs, build, switches)
    batch = batch_of(stage)
    optimiser = torch.optim.Adam(stage.network.parameters(), 3e-3)
    losses = []
    for _ in range(2):
        loss = sum(stage.losses(stage.made(stage.network, batch), batch, None, 0).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[1] < losses[0]


def test_the_command_names_every_ablation():
    assert tuple(ABLATIONS) == ABLATED


def test_training_goes_on_exactly_where_it_ended(tmp_path, pairs, build):
    def run(folder, steps, resume=False):
        stage = stage_of(pairs, build, val=pairs)
        train(stage, LoopOptions(folder, steps=steps, batch=1, resume=resume))
        return read_gaussians(folder / "weights.safetensors").state_dict()

    whole, early = run(tmp_path / "whole", 3), run(tmp_path / "half", 2)
    late = run(tmp_path / "half", 3, resume=True)
    assert all(torch.equal(value, whole[name]) for name, value in late.items())
    assert not all(torch.equal(value, whole[name]) for name, value in early.items())
    judged = json.loads((tmp_path / "whole" / "judged.jsonl").read_text())
    assert judged["learned psnr_head"] == pytest.approx(judged["analytic psnr_head"], abs=0.1)  # hardly any rate yet
    assert (tmp_path / "whole" / "sheet_0000003.png").is_file()


def test_an_untrained_network_is_judged_as_good_as_the_analytic_form(pairs, build):
    stage = stage_of(pairs, build, val=pairs)
    figures, sheet = stage.judge(stage.network)
    for name in ("psnr_head", "ssim_head", "sharpness_head"):
        assert figures[f"learned {name}"] == pytest.approx(figures[f"analytic {name}"], abs=1e-3)
    assert 15.0 < figures["analytic psnr_head"] < 40.0 and sheet.shape[0] == 3
    assert stage_of(pairs, build).judge(stage.network) == ({}, None)


def test_mirrored_points_without_a_filter_are_all_the_skin(sitting):
    head = sitting.head
    rows = mirrorable(head.points, head.portrait, head.model)
    points = with_mirrored(head.points, rows)
    first, last = points.visible_count, points.visible_count + points.mirrored_count
    assert 0.8 * first < len(rows) < first
    assert torch.equal(points.positions[first:last], points.positions[rows] * FLIP_X)
    assert points.plane.normal.tolist() == [1.0, 0.0, 0.0] and points.plane.offset == 0.0
    assert (points.labels[first:last] == int(Label.MIRRORED)).all()
    behind = head.points.visible_count + head.points.mirrored_count
    for name in ("positions", "labels", "triangle", "barycentric"):
        assert torch.equal(getattr(points, name)[last:], getattr(head.points, name)[behind:])
        assert torch.equal(getattr(points, name)[:first], getattr(head.points, name)[:first])
    without = switched(head.points, head.portrait, head.model, Switches(symmetry=False))
    assert without.mirrored_count == 0 and len(without.positions) == len(head.points.positions) - (behind - first)


def test_sitters_are_built_once_and_forgotten_in_turn(pairs, build):
    built = []

    def counted(pair, switches):
        built.append(pair.identity)
        return build(pair, switches)

    many = Shards([replace(pairs[0], identity=str(k)) for k in range(3)])
    kept = Sitters(many, SMALL, kept=2, build=counted)
    for index in (0, 1, 0, 2, 0, 1):
        kept.of_pair(index)
    assert built == ["0", "1", "2", "1"]


def test_trainings_share_the_avatars_of_the_same_geometry(pairs, build):
    built = []

    def counted(pair, switches):
        built.append(switches)
        return build(pair, switches)

    kept = KeptAvatars(2, counted)
    one = kept(pairs[0], Switches())
    assert kept(pairs[0], ABLATIONS["densify"]) is one and len(built) == 1
    other = kept(pairs[0], ABLATIONS["symmetry"])
    assert other is not one and len(built) == 2
    kept(pairs[0], ABLATIONS["voxel-filter"])
    assert kept(pairs[0], ABLATIONS["symmetry"]) is other and len(built) == 3
    kept(pairs[0], Switches())  # the oldest was forgotten
    assert len(built) == 4


def test_a_pair_s_portrait_shows_its_source(pairs):
    portrait = portrait_of(pairs[0])
    assert torch.equal(portrait.crop, pairs[0].source / 255.0)
    assert torch.equal(portrait.background, pairs[0].background / 255.0)
    assert torch.equal(portrait.landmarks, pairs[0].source_landmarks)
    assert torch.equal(portrait.matte, pairs[0].source_matte / 255.0) and torch.equal(
        portrait.labels, pairs[0].labels[0]
    )


def test_an_avatar_of_a_pair_shows_its_source(pairs):
    fit = pairs[0].fit
    pair = replace(pairs[0], fit=replace(fit, offsets=fit.offsets + 1e-3), coarse=fit)
    avatar, image = sitters.avatar_of(pair, Switches(refinement=False, symmetry=False))
    assert avatar.points.mirrored_count == 0 and torch.equal(avatar.points.fit.offsets, pair.coarse.offsets)
    with torch.no_grad():
        gaussians = frame_gaussians(avatar, fit.beta_s, fit.gaze)
        shown = render(gaussians, fit.camera, torch.full((3,), 0.5), backend="numba").rgb
    wanted = image.crop * image.matte + 0.5 * (1.0 - image.matte)
    assert psnr(shown, wanted, image.matte) > 25.0
    avatar, _ = sitters.avatar_of(pair, Switches())
    assert torch.equal(avatar.points.fit.offsets, pair.fit.offsets)


def test_a_folder_without_pairs_is_refused(tmp_path):
    with pytest.raises(InputError, match="train prepare"):
        train_gaussians(tmp_path, None, LoopOptions(tmp_path / "out", steps=1))
    assert np.array_equal(list(tmp_path.iterdir()), [])
