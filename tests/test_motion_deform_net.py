"""The learned deformation: zero where nothing changes, eq. 9 by value, and its training on rendered heads."""

from dataclasses import replace

import pytest
import torch

from mggtalk_core.errors import InputError, WeightsError
from mggtalk_core.gaussians.learned import displacement_of, driven_gaussians, with_networks
from mggtalk_core.gaussians.predict import predict_gaussians
from mggtalk_core.head.camera import Camera
from mggtalk_core.head.head_fit import HeadFit
from mggtalk_core.head.model import load_head_model
from mggtalk_core.head.parts import Part
from mggtalk_core.motion.deform_net import (
    CONFIGS,
    UNIT,
    DeformConfig,
    build_deform,
    places_on_head,
    read_deform,
    write_deform,
)
from mggtalk_core.motion.driven import DrivenPoints
from mggtalk_core.motion.still import still_motion
from mggtalk_core.studio.rendered_heads import HeadState
from mggtalk_core.training import deform_data
from mggtalk_core.training.deform import DeformExamples, DeformStage, train_deform
from mggtalk_core.training.deform_data import (
    DeformExample,
    _compared,
    draw_deformation,
    prepare_deformations,
    read_deformation,
    write_deformation,
)
from mggtalk_core.training.refine_data import sitters
from mggtalk_core.training.stage import LoopOptions
from tests.head_samples import expression, model_head

FORMS = ("residual", "plain")
SMALL = {
    "residual": DeformConfig("residual", width=16, layers=2, rank=4, waves=3),
    "plain": DeformConfig("plain", width=16, layers=2),
}


def awake(form, seed=0):
    """Return a network that says something at random."""
    torch.manual_seed(seed)
    made = build_deform(SMALL[form])
    for weight in made.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return made


def draw(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", CONFIGS)
def test_untrained_networks_move_nothing(name):
    made = build_deform(CONFIGS[name])
    assert not made(draw(40, 3), draw(40, 3), draw(52), draw(52, seed=1)).any()


def test_the_residual_form_is_zero_where_the_expression_is_the_source_s():
    made, points, places, beta = awake("residual"), draw(40, 3), draw(40, 3, seed=1), draw(52)
    assert not made(points, places, beta, beta).any()
    assert made(points, places, beta, 0.5 * beta).abs().max() > 1e-3


def test_the_residual_form_is_trunk_times_branch():
    made, points, places = awake("residual"), draw(7, 3), draw(7, 3, seed=1)
    beta_d, beta_s = draw(52, seed=2), draw(52, seed=3)
    branch = made.branch(torch.cat((beta_d, beta_s))) - made.branch(torch.cat((beta_s, beta_s)))
    octaves = torch.pi * torch.tensor([1.0, 2.0, 4.0])
    for row in range(7):
        where = []
        for point in (points[row], places[row]):
            angles = (point[:, None] * octaves).flatten()
            where += [point, angles.sin(), angles.cos()]
        wanted = UNIT * made.trunk(torch.cat(where)).view(3, 4) @ branch
        assert torch.allclose(made(points, places, beta_d, beta_s)[row], wanted, atol=1e-5)


def test_the_plain_form_is_one_network_on_points_and_expressions():
    made, points, places = awake("plain"), draw(5, 3), draw(5, 3, seed=1)
    beta_d, beta_s = draw(52, seed=2), draw(52, seed=3)
    for row in range(5):
        wanted = UNIT * made.mlp(torch.cat((points[row], beta_d, beta_s)))
        assert torch.allclose(made(points, places, beta_d, beta_s)[row], wanted, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_prepared_once_says_the_same(form):
    made, points, places = awake(form), draw(9, 3), draw(9, 3, seed=1)
    beta_d, beta_s = draw(52, seed=2), draw(52, seed=3)
    assert torch.allclose(made.on(points, places)(beta_d, beta_s), made(points, places, beta_d, beta_s), atol=1e-6)
    many = made(points.expand(2, -1, -1), places, torch.stack((beta_d, beta_s)), torch.stack((beta_s, beta_d)))
    assert torch.allclose(many[0], made(points, places, beta_d, beta_s), atol=1e-6)
    assert torch.allclose(many[1], made(points, places, beta_s, beta_d), atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_reach_every_parameter(form):
    made = awake(form)
    made(draw(9, 3), draw(9, 3, seed=1), draw(52, seed=2), draw(52, seed=3)).square().sum().backward()
    # The last bias of the branch cancels in the difference that makes it zero at the source's expression.
    without = [name for name, weight in made.named_parameters() if not weight.grad.any()]
    assert without == (["branch.4.bias"] if form == "residual" else [])


def test_places_tell_the_lips_apart():
    model = load_head_model()
    half = len(model.inner_lip) // 4
    upper, lower = model.inner_lip[half], model.inner_lip[-half]
    places = places_on_head(model)
    assert (places[upper] - places[lower]).norm() > 10 * (model.mean[upper] - model.mean[lower]).norm()


@pytest.fixture(scope="module")
def head():
    return model_head(20.0)


@pytest.fixture(scope="module")
def sequence(head):
    motion = replace(still_motion(head.points.fit, head.model), beta=expression(jawOpen=0.4)[None])
    return predict_gaussians(head.portrait, DrivenPoints(head.points, head.binding, motion))


def test_points_follow_the_model_s_own_movement(head, sequence):
    """Visible points on the mesh move by what their three corners move, mirrored ones by their twins' other side."""
    made, points, binding = awake("residual"), head.points, head.binding
    beta, fit = sequence.motion.beta[0], points.fit
    moves = displacement_of(sequence.avatar, made)
    plain = driven_gaussians(sequence.avatar, beta, fit.gaze, fit.camera)
    moved = driven_gaussians(sequence.avatar, beta, fit.gaze, fit.camera, moves)
    count = len(points.positions)
    with torch.no_grad():
        at_vertices = moves(beta, fit.beta_s)
        wanted = (at_vertices[binding.vertices] * binding.weights[..., None]).sum(dim=1)
        shift = (moved.means - plain.means)[:count]
    assert wanted.norm(dim=1).max() > 0.01
    assert torch.allclose(shift, wanted, atol=1e-5)
    at_rest = driven_gaussians(sequence.avatar, fit.beta_s, fit.gaze, fit.camera, moves)
    assert torch.equal(at_rest.means, driven_gaussians(sequence.avatar, fit.beta_s, fit.gaze, fit.camera).means)


def test_an_untrained_deformation_leaves_the_frame_as_it_is(head, sequence):
    learned = with_networks(sequence, head.portrait, deform=build_deform(CONFIGS["embedded"]))
    with torch.no_grad():
        one, two = learned.frame(0), sequence.frame(0)
    for name in ("means", "quats", "scales", "opacities", "sh"):
        assert torch.allclose(getattr(one, name), getattr(two, name), atol=1e-6), name


@pytest.mark.parametrize("form", FORMS)
def test_weights_come_back(tmp_path, form):
    made, path = awake(form), tmp_path / "deform.safetensors"
    write_deform(path, made, {"steps": "3"})
    read = read_deform(path)
    assert read.config == made.config
    for name, value in made.state_dict().items():
        assert torch.allclose(read.state_dict()[name], value, rtol=1e-3, atol=1e-6), name  # half precision
    path.write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_deform(path)


def test_an_unknown_form_is_refused():
    with pytest.raises(InputError, match="residual or plain"):
        DeformConfig("other", width=8, layers=1)


def example(seed):
    """Return a head that misses what follows from its expression: the chin goes with the jaw."""
    model = load_head_model()
    beta_d, beta_s = draw(2, 52, seed=seed), draw(52, seed=seed + 100)
    opened = (beta_d - beta_s)[:, 24]
    missing = torch.zeros(2, len(model.mean), 3)
    missing[..., 1] = -0.05 * opened[:, None] * (model.mean[:, 1] < -0.5)
    return DeformExample(model.mean, beta_s, beta_d, missing, torch.ones(2, len(model.mean)))


@pytest.fixture
def heads(tmp_path):
    folder = tmp_path / "heads"
    folder.mkdir()
    paths = [folder / f"deform_{seed:07d}.safetensors" for seed in range(3)]
    for seed, path in enumerate(paths):
        write_deformation(path, example(seed))
    return paths


def test_examples_come_back_and_depend_on_their_number_alone(heads):
    read = read_deformation(heads[1])
    assert torch.allclose(read.missing, example(1).missing, atol=1e-4)
    one, two = DeformExamples(heads, 3, 64), DeformExamples(heads, 3, 64)
    two[9]
    assert all(torch.equal(one[4][name], two[4][name]) for name in one[4])
    assert not torch.equal(one[4]["rows"], one[5]["rows"])
    part, whole = one[4], [read_deformation(path) for path in heads]
    assert any(
        torch.equal(part["missing"], each.missing[k][part["rows"]]) and torch.equal(part["beta_d"], each.beta_d[k])
        for each in whole
        for k in range(2)
    )


@pytest.mark.parametrize("form", FORMS)
def test_steps_bring_the_points_nearer(heads, form):
    config = replace(SMALL[form], width=32)
    stage = DeformStage(heads, heads[:1], config, sampled=64)
    batch = {name: value[None] for name, value in stage.examples()[0].items()}
    optimiser = torch.optim.Adam(stage.network.parameters(), 6e-3)
    losses = []
    for _ in range(40):
        terms = stage.losses(stage.made(stage.network, batch), batch, None, 0)
        optimiser.zero_grad()
        terms["millimetres"].backward()
        optimiser.step()
        losses.append(float(terms["millimetres"].detach()))
    assert losses[-1] < 0.6 * losses[0]
    figures, _ = stage.judge(build_deform(config))
    assert figures["millimetres_analytic"] == pytest.approx(figures["millimetres_learned"], rel=1e-6)
    missed = 100 * example(0).missing.norm(dim=-1).mean()
    assert figures["millimetres_analytic"] == pytest.approx(float(missed), rel=1e-2)


def test_training_goes_on_exactly_where_it_ended(tmp_path, heads):
    def weights(folder):
        return read_deform(folder / "weights.safetensors").state_dict()

    options = LoopOptions(tmp_path / "whole", steps=4, batch=2)
    train_deform(heads[0].parent, heads[0].parent, options)
    # The rate is still rising, so that of the second step knows nothing of how many will follow.
    half = replace(options, output=tmp_path / "half", steps=2)
    train_deform(heads[0].parent, None, half)
    early = weights(half.output)
    train_deform(heads[0].parent, None, replace(half, steps=4, resume=True))
    whole, late = weights(options.output), weights(half.output)
    assert all(torch.equal(value, whole[name]) for name, value in late.items())
    assert not all(torch.equal(value, whole[name]) for name, value in early.items())
    assert len((options.output / "judged.jsonl").read_text().splitlines()) == 1


def test_a_folder_without_heads_is_refused(tmp_path):
    with pytest.raises(InputError, match="train deform"):
        train_deform(tmp_path, None, LoopOptions(tmp_path / "out", steps=1))


def test_seeds_for_measuring_are_kept_apart(tmp_path):
    with pytest.raises(InputError, match="for measuring"):
        prepare_deformations(tmp_path, tmp_path, 10, first=999_995)
    with pytest.raises(InputError, match=r"ict_facekit\.npz is missing"):
        prepare_deformations(tmp_path, tmp_path, 1)


def test_the_model_misses_nothing_of_its_own_movement(shared):
    """A head of the source without identity, driven by true coefficients: what is missing is the reduction's error."""
    known = sitters(shared / "data" / "ict_facekit")
    model = known.model
    still = HeadState(torch.zeros(100), torch.zeros(52), torch.zeros(4), torch.eye(3), 0.0, 0.0)
    smile = expression(jawOpen=0.5, mouthSmileLeft=0.6, browInnerUp=0.5)
    fit = HeadFit(
        torch.zeros(model.modes), torch.zeros(52), torch.zeros(4), Camera.for_crop(), torch.zeros_like(model.mean), 0.0
    )
    seen = _compared(known, [still, replace(still, beta=smile)], fit, smile[None])
    moved = (smile @ model.expression_basis.flatten(1)).view_as(model.mean)
    skin = (model.parts == int(Part.FACE)) & (moved.norm(dim=1) > 0.02)
    assert float(seen.missing[0][skin].norm(dim=1).mean()) < 0.15 * float(moved[skin].norm(dim=1).mean())
    nothing = _compared(known, [still, replace(still, beta=smile)], fit, torch.zeros(1, 52))
    assert torch.allclose(nothing.missing[0][skin], moved[skin] + seen.missing[0][skin], atol=1e-5)
    assert not seen.weight[:, model.parts == int(Part.EYE_LEFT)].any()


def test_a_drawn_head_is_the_same_again(shared, monkeypatch):
    monkeypatch.setattr(deform_data, "DRIVEN", 1)
    known = sitters(shared / "data" / "ict_facekit")
    one, two = draw_deformation(known, 5), draw_deformation(known, 5)
    assert torch.equal(one.missing, two.missing) and torch.equal(one.beta_d, two.beta_d)
    assert 0.0 < float(one.missing.norm(dim=-1).mean()) < 0.05
