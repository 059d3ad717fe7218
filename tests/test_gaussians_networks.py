"""The networks of the Gaussian stage: shapes, gradients, the untrained start, and the paper's equations by value."""

from dataclasses import replace

import pytest
import torch

from mggtalk_core.errors import InputError, WeightsError
from mggtalk_core.gaussians import shipped
from mggtalk_core.gaussians.densify import CHILD_SHRINK
from mggtalk_core.gaussians.gaussians import Gaussians
from mggtalk_core.gaussians.learned import (
    coarse,
    dense,
    dense_in_place,
    driven_head,
    mirrored_after_driving,
    with_networks,
)
from mggtalk_core.gaussians.mirror import Mirror
from mggtalk_core.gaussians.networks.cells import Cells
from mggtalk_core.gaussians.networks.config import ABLATIONS, CONFIGS, EMBEDDED, PAPER, Switches
from mggtalk_core.gaussians.networks.densify import REACH
from mggtalk_core.gaussians.networks.encoder import IdentityEncoder
from mggtalk_core.gaussians.networks.memory import memory_bytes
from mggtalk_core.gaussians.networks.mirrored import MirroredDecoder
from mggtalk_core.gaussians.networks.model import GaussianNetworks, HeadImage, read_gaussians, write_gaussians
from mggtalk_core.gaussians.networks.offsets import TOTAL, WIDTHS, apply_offsets, parameters, reflect
from mggtalk_core.gaussians.predict import predict_gaussians, with_motion
from mggtalk_core.geometry.mirror_plane import MirrorPlane
from mggtalk_core.geometry.points import Label
from mggtalk_core.head.camera import Camera
from mggtalk_core.motion.driven import DrivenPoints
from mggtalk_core.motion.still import still_motion
from mggtalk_core.render.rasterize import render
from mggtalk_core.weights.ledger import Weight
from mggtalk_core.weights.policy import using_policy
from tests.head_samples import FLIP_X, expression, model_head

FIELDS = ("means", "quats", "scales", "opacities", "sh")
FULL = Switches()
VARIANTS = {"all": FULL, **ABLATIONS, "sgp": Switches(symmetry_in="sgp")}
SMALL = replace(EMBEDDED, encoder=(8, 16), decoder=(8, 16), mirrored=8, densify=8)


@pytest.fixture(scope="module")
def head():
    return model_head(20.0)


@pytest.fixture(scope="module")
def sequence(head):
    still = still_motion(head.points.fit, head.model)
    motion = replace(still, beta=expression(jawOpen=0.4, mouthSmileLeft=0.3, eyeBlinkRight=0.8)[None])
    return predict_gaussians(head.portrait, DrivenPoints(head.points, head.binding, motion))


def networks(switches=FULL, *, awake=True, seed=0):
    """Return small networks; ``awake`` ones say something at random."""
    torch.manual_seed(seed)
    made = GaussianNetworks(SMALL.with_switches(switches))
    if awake:
        for name, weight in made.named_parameters():
            if "leave" in name:
                torch.nn.init.normal_(weight, std=0.02)
    return made


def driven(sequence, made):
    """Return what the networks look at in the only frame."""
    cells, motion = Cells.of(sequence.avatar.points, SMALL.cell), sequence.motion
    return driven_head(
        sequence.avatar, cells, motion.beta[0], motion.gaze[0], sequence.camera(0), None, made.config.switches
    )


def image(head):
    return HeadImage(head.portrait.crop, head.portrait.matte)


def difference(one, two):
    return max(float((getattr(one, name) - getattr(two, name)).detach().abs().max()) for name in FIELDS)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name not in ("densify", "sgp")])
def test_untrained_networks_change_nothing(head, sequence, name):
    learned = with_networks(sequence, head.portrait, networks(VARIANTS[name], awake=False))
    assert difference(learned.frame(0), sequence.frame(0)) < 1e-6
    assert torch.equal(learned.frame(0).labels, sequence.frame(0).labels)


def test_the_untrained_picture_is_the_analytic_one(head, sequence):
    learned = with_networks(sequence, head.portrait, networks(awake=False))
    camera = sequence.camera(0).resized(128, 128)
    pictures = [render(each.frame(0), camera, backend="numba") for each in (learned, sequence)]
    assert torch.allclose(pictures[0].rgb, pictures[1].rgb, atol=1e-6)
    assert torch.allclose(pictures[0].alpha, pictures[1].alpha, atol=1e-6)


def test_a_learned_sequence_is_a_sequence(head, sequence):
    learned = with_networks(sequence, head.portrait, networks())
    assert (len(learned), learned.fps) == (1, sequence.fps)
    assert torch.equal(learned.camera(0).world_to_camera, sequence.camera(0).world_to_camera)
    assert difference(learned.frame(0), learned.frame(0)) == 0.0
    assert difference(learned.frame(0), sequence.frame(0)) > 1e-3
    assert difference(learned.to("cpu").frame(0), learned.frame(0)) == 0.0
    moved = with_motion(learned, replace(sequence.motion, beta=head.points.fit.beta_s[None]))
    assert difference(moved.frame(0), learned.frame(0)) > 1e-3


@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_reach_every_parameter(head, sequence, name):
    made = networks(VARIANTS[name])
    seen = driven(sequence, made)
    random = torch.Generator().manual_seed(1)
    offsets = made([seen], [image(head)])[0]
    total = torch.zeros(())
    for gaussians in (coarse(seen, offsets), dense(seen, offsets)):
        for field in FIELDS:
            value = getattr(gaussians, field)
            total = total + (value * torch.randn(value.shape, generator=random)).sum()
    total.backward()
    without = [key for key, weight in made.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not without


def test_offsets_act_where_parameters_have_no_bounds():
    random = torch.Generator().manual_seed(0)
    offsets = torch.randn(50, TOTAL, generator=random)
    before = some_gaussians(50)
    after = apply_offsets(before, offsets.split(WIDTHS, dim=-1))
    scale, turn, colour, odds = offsets.split(WIDTHS, dim=-1)
    assert torch.allclose(after.scales.log(), before.scales.log() + scale, atol=1e-5)
    assert torch.allclose(torch.logit(after.opacities), torch.logit(before.opacities) + odds[:, 0], atol=1e-4)
    assert torch.allclose(after.quats, torch.nn.functional.normalize(before.quats + turn, dim=-1), atol=1e-6)
    assert torch.allclose(after.sh, before.sh + colour.view(50, 4, 3), atol=1e-6)
    assert torch.equal(after.means, before.means)
    ends = replace(before, opacities=torch.tensor([0.0, 1.0]).repeat(25))
    there = apply_offsets(ends, offsets.split(WIDTHS, dim=-1)).opacities  # no logit, no movement
    assert torch.allclose(there, ends.opacities, atol=1e-6)


def some_gaussians(count):
    random = torch.Generator().manual_seed(3)

    def draw(*shape):
        return torch.rand(count, *shape, generator=random)

    return Gaussians(
        means=(draw(3) - 0.5) * torch.tensor([1.5, 1.5, 0.5]),
        quats=torch.nn.functional.normalize(draw(4) - 0.5, dim=-1),
        scales=0.02 + 0.2 * draw(3),
        opacities=0.1 + 0.8 * draw(),
        sh=draw(4, 3) - 0.3,
        labels=torch.zeros(count, dtype=torch.uint8),
    )


def test_reflected_parameters_make_the_mirrored_picture():
    """The twin's parameters and mirrored places, seen by a frontal camera, are the picture seen in a mirror."""
    gaussians = some_gaussians(60)
    scale, turn, colour, odds = reflect(parameters(gaussians), Mirror.about(MirrorPlane.canonical())).split(
        WIDTHS, dim=-1
    )
    mirrored = replace(
        gaussians, means=gaussians.means * FLIP_X, quats=turn, scales=scale.exp(), sh=colour.view(-1, 4, 3),
        opacities=odds[:, 0].sigmoid(),
    )  # fmt: skip
    camera = Camera.for_crop(64).posed(torch.diag(torch.tensor([1.0, -1.0, -1.0])), torch.tensor([0.0, 0.0, 11.0]))
    one, two = (render(each, camera, backend="reference") for each in (gaussians, mirrored))
    assert float(one.alpha.max()) > 0.5
    assert torch.allclose(one.rgb.flip(-1), two.rgb, atol=1e-5)
    wrong = replace(mirrored, sh=gaussians.sh)
    assert not torch.allclose(one.rgb.flip(-1), render(wrong, camera, backend="reference").rgb, atol=1e-3)


def test_mirrored_gaussians_are_the_visible_ones_reflected_and_an_offset(sequence, head):
    """Eq. 10: s^s = s + D(F, P_d^s, s), here with D = 0; without G_d nothing of the visible half comes over."""
    first, twin = head.points.visible_count, head.points.mirror_of
    for switches, follows in ((Switches(), 1.0), (ABLATIONS["gaussians-in-symmetric"], 0.0)):
        made = networks(switches)
        for network in made.mirrored.networks.values():
            torch.nn.init.zeros_(network.leave.weight)
            torch.nn.init.zeros_(network.leave.bias)
        with torch.no_grad():
            offsets = torch.cat(made([driven(sequence, made)], [image(head)])[0].parents, dim=-1)
        visible, mirrored = offsets[:first], offsets[first:]
        assert visible.abs().max() > 0.01
        assert torch.allclose(mirrored, follows * reflect(visible, sequence.avatar.mirror)[twin], atol=1e-5)


def test_each_mirrored_parameter_has_a_network_of_its_own():
    config = replace(SMALL, features=4)
    torch.manual_seed(0)
    decoder = MirroredDecoder(config)
    for network in decoder.networks.values():
        torch.nn.init.normal_(network.leave.weight)
    features, points, betas = torch.rand(1, 4, 8, 8), torch.rand(1, 3, 8, 8), torch.rand(1, 104)
    before = torch.rand(1, TOTAL, 8, 8)
    ends = torch.tensor(WIDTHS).cumsum(0).tolist()
    for start, end in zip([0, *ends], ends, strict=False):
        after = before.clone()
        after[:, start:end] += 1.0
        change = decoder(features, points, points, betas, after) - decoder(features, points, points, betas, before)
        changed = change.abs().amax(dim=(0, 2, 3)) > 0
        assert changed[start:end].all() and not changed[:start].any() and not changed[end:].any()


def test_every_parent_has_a_child(sequence, head):
    made = networks()
    seen = driven(sequence, made)
    offsets = made([seen], [image(head)])[0]
    small, large = coarse(seen, offsets), dense(seen, offsets)
    count, parents = len(head.points.positions), head.points.visible_count + head.points.mirrored_count
    assert (len(small), len(large)) == (count, count + parents)
    assert torch.equal(large.labels[:count], head.points.labels)
    assert (large.labels[count:] == int(Label.CHILD)).all()
    assert torch.allclose(small.scales[:parents] * CHILD_SHRINK, large.scales[:parents], rtol=1e-6)
    assert torch.equal(small.scales[parents:], large.scales[parents:count])  # interior Gaussians are never split
    away = (large.means[count:] - sequence.frame(0).means[count:]).abs().amax(dim=1)
    assert torch.equal(large.scales[count:], large.scales[:parents])
    assert torch.equal(large.quats[count:], large.quats[:parents])
    assert 0.0 < float(away.detach().max()) and bool((away <= REACH * seen.analytic.scales[:parents].amax(dim=1)).all())


def test_the_fast_way_is_the_plain_one(sequence, head):
    made = networks()
    with torch.no_grad():
        seen = driven(sequence, made)
        offsets = made([seen], [image(head)])[0]
        plain = dense(seen, offsets)
        fast = dense_in_place(seen, offsets)
    # The products of children's places are added in one step instead of two.
    assert difference(plain, fast) < 1e-6 and torch.equal(plain.labels, fast.labels)


def test_without_densification_there_are_no_children(sequence, head):
    made = networks(ABLATIONS["densify"], awake=False)
    seen = driven(sequence, made)
    offsets = made([seen], [image(head)])[0]
    alone = dense(seen, offsets)
    assert len(alone) == len(head.points.positions) and made.densifier is None
    assert difference(alone, coarse(seen, offsets)) == 0.0


def test_symmetry_after_driving_mirrors_the_driven_points(sequence, head):
    analytic, points = sequence.frame(0), head.points
    first, last, twin = points.visible_count, points.visible_count + points.mirrored_count, points.mirror_of
    mirrored = mirrored_after_driving(sequence.avatar, analytic, filtered=False)
    assert torch.equal(mirrored.means[first:last], analytic.means[twin] * FLIP_X)
    assert torch.equal(mirrored.opacities, analytic.opacities)
    # A wink and half a smile: mirrored before, points move as the other side does.
    assert (mirrored.means - analytic.means)[first:last].norm(dim=1).max() > 0.02
    filtered = mirrored_after_driving(sequence.avatar, analytic, filtered=True).opacities[first:last]
    assert 0 < int((filtered == 0).sum()) < len(filtered)


def test_cells_of_pixels_are_the_position_map(head):
    cells, points = Cells.of(head.points, 1), head.points
    column, row = points.pixel.unbind(-1)
    wanted = torch.zeros(3, 512, 512)
    wanted[:, row, column] = points.positions[: points.visible_count].T
    assert torch.equal(cells.picture(points.positions, cells.visible), wanted)
    seen = points.visible_count + points.mirrored_count
    twins = points.positions[points.visible_count : seen]
    other = cells.picture(points.positions, cells.mirrored)
    # Two visible points may have a twin each in one cell of the mirrored half only where a cell is no pixel.
    assert torch.equal(cells.spread(torch.stack((wanted, other)), (3,))[0], points.positions[:seen])
    assert torch.equal(other[:, row, column].T[points.mirror_of], twins)


def test_between_cells_maps_are_linear(head):
    cells = Cells.of(head.points, 8)
    middle = (torch.arange(64) + 0.5) * 8 - 0.5
    ramp = torch.stack((middle.expand(64, 64), middle[:, None].expand(64, 64)))
    read = torch.cat(cells.spread(torch.stack((ramp, -ramp)), (1, 1)), dim=1)
    pixel = torch.cat((head.points.pixel, -head.points.pixel[head.points.mirror_of])).float()
    inside = ((pixel.abs() > 4) & (pixel.abs() < 507)).all(dim=1)
    assert torch.allclose(read[inside], pixel[inside], atol=1e-3)
    has = cells.twins >= 0
    pixel = head.points.pixel[cells.twins[has]].float()
    within = ((pixel > 4) & (pixel < 507)).all(dim=1)
    assert int(within.sum()) > 100
    assert torch.allclose(cells.at_twins(ramp)[has][within], pixel[within], atol=1e-3)
    assert torch.allclose(cells.weights.sum(dim=1), torch.ones(len(cells.weights)), atol=1e-6)


def test_the_nearest_point_stands_for_a_cell(head):
    cells, pixel = Cells.of(head.points, 8), head.points.pixel
    away = ((pixel % 8) - 3.5).square().sum(dim=1)
    place = pixel[:, 1] // 8 * 64 + pixel[:, 0] // 8
    for cell in (place.unique()[::97]).tolist():
        assert int(place[cells.visible[cell]]) == cell
        assert float(away[cells.visible[cell]]) == float(away[place == cell].min())
    assert (cells.visible >= 0).sum() == len(place.unique())
    has = cells.mirrored >= 0
    assert torch.equal(head.points.mirror_of[cells.mirrored[has] - head.points.visible_count], cells.twins[has])


@pytest.mark.parametrize("name", ["embedded", "paper"])
def test_both_configs_build_and_take_a_step(name):
    """All networks in their full widths, on a grid of 16 cells: they are convolutional."""
    config = CONFIGS[name]
    torch.manual_seed(0)
    made = GaussianNetworks(config)
    edge = 16 * config.cell
    random = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.rand(shape, generator=random)

    crop, matte, points, reflected = (
        draw(1, 3, edge, edge),
        draw(1, 1, edge, edge),
        draw(1, 1, 3, 16, 16),
        draw(1, 20, 16, 16),
    )
    betas, truth = draw(1, 104), draw(1, 20, 16, 16)

    def loss():
        features = made.encoder(crop, matte)
        assert features.shape == (1, config.features, 16, 16)
        visible = made.decoder(features, points, 0.9 * points, betas)[:, 0]
        mirrored = made.mirrored(features, points[:, 0], points[:, 0], betas, reflected)
        places, more = made.densifier(features, visible)
        assert visible.shape == mirrored.shape == truth.shape
        assert (places.shape, more.shape) == ((1, 3, 16, 16), (1, 13, 16, 16))
        terms = ((visible - truth), (mirrored - truth), (visible[:, 7:] + more - truth[:, 7:]), places - 1.0)
        return sum(term.square().mean() for term in terms)

    optimiser = torch.optim.Adam(made.parameters(), 1e-4)
    losses = []
    for _ in range(2):
        optimiser.zero_grad()
        value = loss()
        value.backward()
        optimiser.step()
        losses.append(float(value.detach()))
    assert losses[1] < losses[0]


def test_the_paper_s_sizes_fit_a_card_of_24_gb():
    assert PAPER.grid == 512
    assert 2e9 < memory_bytes(PAPER) < 24e9
    assert memory_bytes(EMBEDDED) < 2e9
    weights = sum(weight.numel() for weight in GaussianNetworks(EMBEDDED).parameters())
    assert 2 * weights < 2e6  # bytes of the file


def test_the_encoder_sees_nothing_outside_the_matte(head):
    torch.manual_seed(0)
    encoder = IdentityEncoder(SMALL)
    matte = head.portrait.matte[None]
    other = torch.where(matte > 0, head.portrait.crop[None], 1.0 - head.portrait.crop[None])
    assert torch.equal(encoder(head.portrait.crop[None], matte), encoder(other, matte))


def test_weights_come_back(tmp_path, head, sequence):
    made = networks(Switches(voxel_filter=False))
    path = tmp_path / "gaussians.safetensors"
    write_gaussians(path, made, {"steps": "3"})
    read = read_gaussians(path)
    assert read.config == made.config and not any(weight.requires_grad for weight in read.parameters())
    for name, value in made.state_dict().items():
        assert torch.allclose(read.state_dict()[name], value, rtol=1e-3, atol=1e-6), name  # half precision
    path.write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_gaussians(path)


def test_networks_are_used_when_the_ledger_knows_them(tmp_path, monkeypatch, head, sequence):
    path = tmp_path / shipped.GAUSSIANS
    write_gaussians(path, networks(), {})
    row = Weight(shipped.GAUSSIANS, "test", "research only", "nothing", commercial_ok=False)
    monkeypatch.setattr(shipped, "resolve", {path.name: path}.__getitem__)
    monkeypatch.setattr(shipped, "LEDGER", ())
    assert shipped.with_shipped_networks(sequence, head.portrait) is sequence
    monkeypatch.setattr(shipped, "LEDGER", (row,))
    learned = shipped.with_shipped_networks(sequence, head.portrait)
    assert learned.networks is not None and learned.deform is None
    assert difference(learned.frame(0), sequence.frame(0)) > 1e-3
    with using_policy(commercial_safe=True):
        assert shipped.with_shipped_networks(sequence, head.portrait) is sequence
        monkeypatch.setattr(shipped, "LEDGER", (replace(row, commercial_ok=True),))
        assert shipped.with_shipped_networks(sequence, head.portrait) is not sequence


def test_symmetry_has_two_places():
    with pytest.raises(InputError, match="dsgr or sgp"):
        Switches(symmetry_in="nowhere")
