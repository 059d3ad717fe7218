"""Geometry refinement: nothing untrained, the line of sight kept, one body, mirror images alike."""

from dataclasses import asdict, replace

import pytest
import torch

from mggtalk_core.errors import WeightsError
from mggtalk_core.geometry.refine import (
    features,
    load_network,
    read_network,
    refined_fit,
    shifted_along_sight,
    write_network,
)
from mggtalk_core.geometry.refine_chart import load_chart
from mggtalk_core.geometry.refine_net import EMBEDDED, GEOMETRY, PAPER, PICTURE, RefineConfig, RefineNet, mirrored
from mggtalk_core.head.model import load_head_model
from mggtalk_core.head.parts import Part
from mggtalk_core.head.zbuffer import rasterize_mesh
from mggtalk_core.weights.module_file import write_module
from mggtalk_core.weights.policy import using_policy
from tests.head_samples import FLIP_X, model_fit, model_head

TINY = RefineConfig(grid=16, widths=(4, 8), out_level=1, with_picture=True)


@pytest.fixture(scope="module")
def head():
    sample = model_head(20.0, jawOpen=0.2)
    landmarks = sample.points.fit.camera.project(sample.model.landmarks(vertices_of(sample.points.fit)))
    return replace(sample, portrait=replace(sample.portrait, landmarks=landmarks))


def vertices_of(fit):
    return load_head_model().vertices(fit.identity, fit.beta_s, fit.gaze) + fit.offsets


def some_network(config=TINY, seed=0):
    """Return a network that says something, as a trained one does."""
    torch.manual_seed(seed)
    network = RefineNet(config)
    torch.nn.init.normal_(network.head.weight, std=0.02)
    torch.nn.init.normal_(network.always, std=0.05)
    return network.eval()


def seen_of(head):
    """Return the landmarks and the picture that a network reads."""
    return head.portrait.landmarks, head.portrait.crop


def test_an_untrained_network_changes_nothing(head):
    fit = head.points.fit
    refined = refined_fit(fit, head.model, *seen_of(head), RefineNet(EMBEDDED).eval())
    assert torch.equal(refined.offsets, fit.offsets)


def test_every_point_stays_in_its_pixel(head):
    fit = head.points.fit
    refined = refined_fit(fit, head.model, *seen_of(head), some_network())
    before, after = (fit.camera.project(vertices_of(each)) for each in (fit, refined))
    moved = (after[:, 2] - before[:, 2]).abs()
    skin = head.model.parts <= int(Part.SCALP)
    assert moved.max() > 0.02
    # Half a thousandth of a pixel: float32 at coordinates of some hundred.
    assert (after[:, :2] - before[:, :2])[skin].abs().max() < 5e-4
    # Rigid pieces follow their middle: what is 2 cm beside it, 110 cm away, slips by a fraction of what they move.
    assert (after[:, :2] - before[:, :2])[~skin].abs().max() < 1.5


def test_the_picture_shows_the_same_triangles(head):
    fit = head.points.fit
    refined = refined_fit(fit, head.model, *seen_of(head), some_network())
    shown = [
        rasterize_mesh(fit.camera.project(vertices_of(each)), head.model.triangles, 512, 512)[1]
        for each in (fit, refined)
    ]
    assert float((shown[0] != shown[1]).float().mean()) < 0.01


def test_teeth_and_eyeballs_move_as_rigid_pieces(head):
    fit = head.points.fit
    step = refined_fit(fit, head.model, *seen_of(head), some_network()).offsets - fit.offsets
    for parts in ((Part.TEETH, Part.GUMS), (Part.EYE_LEFT,), (Part.EYE_RIGHT,)):
        piece = step[sum(head.model.parts == int(part) for part in parts).bool()]
        assert (piece - piece.mean(dim=0)).abs().max() < 1e-6


def test_lids_move_with_their_eyeball(head):
    chart = load_chart(TINY.grid)
    slope = torch.linspace(-1.0, 1.0, TINY.grid).expand(1, 1, TINY.grid, -1)
    shift = chart.at_vertices(slope)[0]
    for part, lids in ((Part.EYE_LEFT, head.model.eyelid_left), (Part.EYE_RIGHT, head.model.eyelid_right)):
        ball = shift[head.model.parts == int(part)].mean()
        assert (shift[lids.long()] - ball).abs().max() < 0.02
        assert shift.abs().max() > 0.4


def test_the_field_is_smooth_over_the_skin_and_nothing_behind(head):
    chart = load_chart(TINY.grid)
    shift = chart.at_vertices(torch.ones(1, 1, TINY.grid, TINY.grid))[0]
    mean, skin = head.model.mean, head.model.parts <= int(Part.SCALP)
    assert shift[skin & (mean[:, 2] < -1.4) & (mean[:, 0].abs() < 0.3)].abs().max() == 0.0
    assert torch.allclose(
        shift[skin & (mean[:, 2] > -0.5) & (mean[:, 1] > -0.9) & (mean[:, 1] < 0.6)], torch.tensor(1.0)
    )
    a, b, _ = head.model.triangles[skin[head.model.triangles].all(dim=1)].unbind(1)
    slope = (shift[a] - shift[b]).abs() / (mean[a] - mean[b]).norm(dim=1)
    assert slope.max() < 4.0


def test_a_mirrored_head_gets_the_mirrored_correction():
    model = load_head_model()
    fit = model_fit(model, 0.0)
    mirror_fit = replace(fit, identity=torch.zeros_like(fit.identity))
    flip = model.mirror
    shape = vertices_of(fit)
    other = replace(mirror_fit, offsets=(shape * FLIP_X)[flip] - vertices_of(replace(mirror_fit, offsets=0.0)))
    same = replace(mirror_fit, offsets=shape - vertices_of(replace(mirror_fit, offsets=0.0)))
    chart, blank = load_chart(32), torch.zeros(3, 512, 512)
    read = [
        features(each, model, fit.camera.project(model.landmarks(vertices_of(each))), blank, chart)
        for each in (same, other)
    ]
    # The triangles are not mirrored pairs, so the two charts sample a curved surface a little differently.
    shared = chart.mask & chart.mask.flip(-1)
    apart = (mirrored(read[0][None])[0, :3] - read[1][:3]).abs()[:, shared]
    assert apart.mean() < 0.01
    network = some_network(replace(EMBEDDED, with_picture=False))
    with torch.no_grad():
        there, back = network(read[0][None]), network(mirrored(read[0][None]))
    torch.testing.assert_close(there.flip(-1), back, atol=1e-6, rtol=0.0)


def test_landmarks_that_agree_tell_of_no_gap(head):
    fit = head.points.fit
    chart = load_chart(TINY.grid)
    depth = fit.camera.project(head.model.landmarks(vertices_of(fit)))
    pixels = depth[:, 2] * (fit.camera.focal / depth[:468, 2].mean())
    landmarks = torch.cat((depth[:, :2], pixels[:, None]), dim=1)
    read = features(fit, head.model, landmarks, head.portrait.crop, chart)
    assert read.shape == (GEOMETRY + PICTURE, TINY.grid, TINY.grid)
    assert read[8].abs().max() < 1e-3
    landmarks[:, 2] += 50.0
    assert features(fit, head.model, landmarks, head.portrait.crop, chart)[8].abs().max() < 1e-3
    places = head.model.landmarks(head.model.mean)
    landmarks[(places - places[1]).norm(dim=1) < 0.2, 2] -= 20.0
    gap = features(fit, head.model, landmarks, head.portrait.crop, chart)[8]
    row, column = divmod(int(gap.argmin()), TINY.grid)
    assert gap.min() < -0.1
    assert (chart.mean[:, row, column] - places[1])[:2].norm() < 0.25


def test_brightness_and_contrast_of_the_picture_do_not_matter(head):
    fit, chart = head.points.fit, load_chart(TINY.grid)
    picture = torch.rand(3, 512, 512, generator=torch.Generator().manual_seed(0))
    one, two = (
        features(fit, head.model, head.portrait.landmarks, each, chart) for each in (picture, 0.3 * picture + 0.2)
    )
    assert one[GEOMETRY:].abs().max() > 0.1
    torch.testing.assert_close(one, two, atol=1e-4, rtol=0.0)


def test_the_network_without_the_picture_does_not_look_at_it():
    network = some_network(replace(TINY, with_picture=False))
    read = torch.randn(1, GEOMETRY + PICTURE, 16, 16, generator=torch.Generator().manual_seed(0))
    other = read.clone()
    other[:, GEOMETRY:] = 0.0
    assert torch.equal(network(read), network(other))


def test_gradients_reach_every_weight():
    network = some_network().train()
    read = torch.randn(2, GEOMETRY + PICTURE, 16, 16, generator=torch.Generator().manual_seed(0))
    network(read).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().max() > 0.0 for weight in network.parameters())


def test_the_paper_s_size_gives_an_offset_per_pixel():
    with torch.device("meta"):
        network = RefineNet(PAPER).eval()
        assert network(torch.empty(1, GEOMETRY + PICTURE, 512, 512)).shape == (1, 1, 512, 512)
        assert network.always.shape[-1] == 512


def test_the_same_head_gives_the_same_bits(head):
    one, two = (refined_fit(head.points.fit, head.model, *seen_of(head), some_network()) for _ in range(2))
    assert torch.equal(one.offsets, two.offsets)


def test_weights_come_back_from_their_file(tmp_path, head):
    network = some_network()
    write_network(tmp_path / "net.safetensors", network, {"steps": "1"})
    again = read_network(tmp_path / "net.safetensors")
    assert again.config == TINY
    one, two = (refined_fit(head.points.fit, head.model, *seen_of(head), each).offsets for each in (network, again))
    # Half precision keeps eleven bits.
    torch.testing.assert_close(one, two, atol=2e-4, rtol=0.0)


@pytest.mark.parametrize("content", [b"", b"not weights", b"\x10" * 64])
def test_a_wrong_file_is_told_in_one_line(tmp_path, content):
    path = tmp_path / "refine.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="refine.safetensors cannot be read") as error:
        read_network(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("sizes", [{"grid": 32}, {**asdict(TINY), "rooms": 3}, {**asdict(TINY), "widths": (8, 8, 8)}])
def test_weights_of_another_version_are_told_in_one_line(tmp_path, sizes):
    path = tmp_path / "refine.safetensors"
    write_module(path, some_network(), sizes, {})
    with pytest.raises(WeightsError, match="refine.safetensors belongs to another version") as error:
        read_network(path)
    assert "\n" not in str(error.value)


def test_the_shipped_network_sees_geometry_alone(head):
    network = load_network()
    assert not network.config.with_picture
    one, two = (
        refined_fit(head.points.fit, head.model, head.portrait.landmarks, picture)
        for picture in (None, torch.rand(3, 512, 512))
    )
    assert torch.equal(one.offsets, two.offsets)
    moved = (one.offsets - head.points.fit.offsets).norm(dim=1)
    # Millimetres, not centimetres.
    assert 0.01 < moved.max() < 0.12


def test_its_weights_are_free_for_commercial_use():
    with using_policy(commercial_safe=True):
        assert load_network().config.grid == EMBEDDED.grid


def test_nothing_moves_where_nothing_is_asked(head):
    fit = head.points.fit
    still = shifted_along_sight(fit, head.model, torch.zeros(len(head.model.mean)), load_chart(TINY.grid))
    assert torch.equal(still.offsets, fit.offsets)
