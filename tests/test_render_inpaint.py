"""The learned inpainter: it starts from no change at all, looks pictures up where it says, and patches fit faces."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from mggtalk_core.errors import WeightsError
from mggtalk_core.motion.rotations import camera_rotation
from mggtalk_core.portrait.blendshapes import BLENDSHAPE_INDEX
from mggtalk_core.portrait.warp import apply
from mggtalk_core.render.composite import Compositor
from mggtalk_core.render.inpaint.bounds import GRAIN, INSIDE, bounded_beside, with_grain
from mggtalk_core.render.inpaint.guide import CHANNELS, FLOW, MIRRORED, HeadGuide, grid_map, whole_guide
from mggtalk_core.render.inpaint.inpainter import PatchRefiner
from mggtalk_core.render.inpaint.networks import Networks, best_precision, build, read_networks, write_networks
from mggtalk_core.render.inpaint.pasting import paste
from mggtalk_core.render.inpaint.patches import (
    LEFT_EYE,
    MOUTH,
    PLACES,
    RIGHT_EYE,
    alignment,
    cut_source,
    facing,
    feather,
    moved,
)
from mggtalk_core.render.inpaint.refine import finished, refiner_for
from mggtalk_core.render.inpaint.unet import (
    EYES,
    PAPER,
    WHOLE,
    Correction,
    UNet,
    Veil,
    apply_correction,
    look_up,
    memory_bytes,
)
from mggtalk_core.render.rendering import Rendering
from mggtalk_core.weights.module_file import write_tensors
from mggtalk_core.weights.policy import using_policy
from tests.head_samples import model_fit
from tests.inpaint_samples import (
    SMALL,
    SMALL_PATCH,
    frame_of,
    full_maps,
    pair_of,
    patch_of,
    pictures,
    refiner_of,
    scene,
    small_networks,
)


@pytest.fixture(scope="module")
def turned():
    """A head turned by 12 degrees with its mouth open and its left eye half shut, its source seen from the front."""
    return scene(jawOpen=0.5, eyeBlinkLeft=0.5)


@pytest.fixture(scope="module")
def pair(turned):
    return pair_of(turned)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_what_has_learned_nothing_changes_nothing(turned, pair, precision):
    networks = Networks(build("whole"), build("eyes"), build("mouth"))
    frame = frame_of(turned, pair)
    assert (refiner_of(turned, networks, precision=precision)(*frame) - frame[0]).abs().max() <= 1e-6


def test_a_frame_without_a_refiner_is_the_composite(turned, pair):
    rgb, alpha, layer = pair.render[:3] / 255.0, pair.render[3:] / 255.0, pair.layer / 255.0
    rendering, state = Rendering(rgb, alpha, alpha), (turned.beta, turned.gaze, turned.camera)
    compositor = Compositor(replace(turned.head.portrait, background=layer), turned.camera)
    layers = compositor.layers(rendering, turned.camera)
    assert torch.equal(finished(layers, None, *state), compositor(rendering, turned.camera))
    awakened = refiner_of(turned, small_networks(seed=3))
    mended = finished(layers, awakened, *state)
    assert torch.equal(mended, awakened(layers.flat(), layers.alpha, layers.layer, *state))
    assert not torch.equal(mended, layers.flat())


def test_commercial_safe_leaves_the_frames_alone(turned):
    with using_policy(commercial_safe=True):
        assert refiner_for(turned.head.portrait, turned.guide.fit, turned.head.model) is None


def test_no_networks_at_all_change_nothing(turned, pair):
    frame = frame_of(turned, pair)
    assert torch.equal(refiner_of(turned, Networks())(*frame), frame[0])


def test_a_flow_looks_up_where_it_says():
    image, none = pictures(size=32)[None], torch.zeros(1, 2)
    flow = torch.zeros(1, 2, 32, 32)
    assert torch.equal(look_up(image, flow, none), image)
    flow[:, 0] = 3.0
    assert torch.allclose(look_up(image, flow, none)[..., :-3], image[..., 3:], atol=1e-6)
    flow[:, 0], flow[:, 1] = 0.0, -0.5
    between = (image[..., 1:, :] + image[..., :-1, :]) / 2
    assert torch.allclose(look_up(image, flow, none)[..., 1:, :], between, atol=1e-6)
    corner = torch.tensor([[4.0, 8.0]])
    part = look_up(image, torch.zeros(1, 2, 16, 16), corner)
    assert torch.allclose(part, image[..., 8:24, 4:20], atol=1e-6)


def test_a_correction_moves_mixes_and_adds():
    composite, source = pictures(1, 64)[None], pictures(2, 64)[None]
    zero, base = torch.zeros(1, 2), torch.zeros(1, 2, 16, 16)
    flow, fine = torch.zeros(1, 4, 16, 16), torch.zeros(1, 3, 32, 32)

    def result(flow, blend, residual):
        correction = Correction(flow, torch.full((1, 1, 32, 32), blend), residual)
        return apply_correction(correction, composite, source, base, zero)

    assert torch.equal(result(flow, 0.0, fine), composite)
    assert torch.allclose(result(flow, 1.0, fine), source, atol=1e-6)
    assert torch.allclose(result(flow, 0.25, fine + 0.1), composite * 0.75 + source * 0.25 + 0.1, atol=1e-6)
    moved = flow.clone()
    moved[:, 0] = 2.0
    assert torch.allclose(result(moved, 0.0, fine)[..., :-2], composite[..., 2:], atol=1e-6)
    moved[:, 3] = -1.0
    assert torch.allclose(result(moved, 1.0, fine)[..., 1:, :], source[..., :-1, :], atol=1e-6)


def test_the_source_s_head_is_not_seen_where_the_driven_one_has_left():
    layer, shown, alpha = pictures(1, 64)[None], pictures(2, 64)[None], torch.zeros(1, 1, 64, 64)
    alpha[..., :24] = 1.0
    veiled = Veil.of(layer, alpha)(shown)
    assert torch.allclose(veiled[..., :20], shown[..., :20], atol=1e-6)
    assert torch.allclose(veiled[..., 40:], layer[..., 40:], atol=1e-6)
    near = Veil.of(layer, alpha).near[0, 0, 32]
    assert (near.diff() <= 1e-6).all()


@pytest.mark.parametrize(("config", "size"), [(WHOLE, (128, 128)), (EYES, (64, 128)), (SMALL_PATCH, (64, 128))])
def test_gradients_reach_every_weight(config, size):
    torch.manual_seed(0)
    network = UNet(config)
    for head in (network.flow, network.fine_out):
        torch.nn.init.normal_(head.weight, std=0.1)
    inputs = [torch.rand(1, config.pictures, *size)], torch.rand(1, config.guides, *(s // config.stem for s in size))
    correction = network(*inputs)
    (
        correction.flow.square().mean() + correction.blend.square().mean() + correction.residual.square().mean()
    ).backward()
    assert correction.flow.shape[-2:] == tuple(s // config.stem for s in size)
    assert correction.residual.shape[-2:] == tuple(s // config.fine_stem for s in size)
    assert all(weight.grad.abs().max() > 0 for weight in network.parameters())


def test_the_heads_learn_from_zero():
    network = UNet(SMALL)
    correction = network([torch.rand(1, 10, 64, 64)], torch.rand(1, 12, 16, 16))
    assert not correction.flow.any() and not correction.blend.any() and not correction.residual.any()
    (correction.flow.sum() + correction.blend.sum() + correction.residual.sum()).backward()
    assert network.flow.weight.grad.abs().max() > 0 and network.fine_out.weight.grad.abs().max() > 0


def test_flows_stay_within_reach():
    network = UNet(SMALL)
    torch.nn.init.constant_(network.flow.bias, 1e3)
    flow = network([torch.rand(1, 10, 64, 64)], torch.rand(1, 12, 16, 16)).flow
    assert flow.abs().max() <= SMALL.reach


def test_what_ships_is_small_and_the_paper_s_size_fits_a_large_gpu():
    weights = sum(p.numel() for part in ("whole", "eyes", "mouth") for p in build(part).parameters())
    assert 2 * weights <= 12e6
    assert 2**30 < memory_bytes(PAPER, 512, 512) < 24e9
    assert memory_bytes(PAPER, 512, 512, batch=2) > memory_bytes(PAPER, 512, 512)


def test_the_paper_s_size_takes_a_step():
    torch.manual_seed(0)
    network = build("whole", PAPER)
    image, flat = pictures(size=64)[None], torch.rand(1, 1, 64, 64)
    inputs = image, flat, image, image, torch.zeros(1, 12, 32, 32), torch.zeros(1, 2)
    optimiser = torch.optim.Adam(network.parameters(), 1e-4)
    before = (network(*inputs) - 0.5).square().mean()
    before.backward()
    optimiser.step()
    with torch.no_grad():
        assert (network(*inputs) - 0.5).square().mean() < before


def test_at_the_source_the_guide_s_flow_is_zero(turned):
    guide, size = turned.guide, 128
    maps = guide.maps(guide.source, (size, size), grid_map(0.25), grid_map(0.25), torch.zeros(3), 1.0)
    assert maps[FLOW].abs().max() < 1e-5
    covered = maps[0] > 0
    assert 0.1 < covered.float().mean() < 0.9
    assert maps[CHANNELS.index("seen")][covered].mean() > 0.97


def test_the_guide_s_flow_leads_to_the_same_point_of_the_head(turned):
    maps = full_maps(turned)
    same = grid_map(1.0)
    source = turned.guide.maps(turned.guide.source, (512, 512), same, same, torch.zeros(3), 1.0)
    rest = slice(1, 4)
    found = look_up(source[None, rest], maps[None, FLOW] * 32.0, torch.zeros(1, 2))[0]
    skin = (maps[CHANNELS.index("seen")] > 0.99) & (maps[CHANNELS.index("face")] > 0.99)
    miss = (found - maps[rest]).norm(dim=0)[skin]
    # A pixel is 0.008 units wide; at the silhouette the look-up mixes in what lies beside the head.
    assert skin.sum() > 10_000 and miss.median() < 0.002 and miss.quantile(0.95) < 0.03


def test_the_guide_knows_eyes_and_mouth(turned):
    maps = full_maps(turned)
    open_mouth = maps[[CHANNELS.index(name) for name in ("socket", "soft", "teeth")]].sum()
    shut = full_maps(replace(turned, beta=torch.zeros(52)))
    assert open_mouth > 3 * shut[[CHANNELS.index(name) for name in ("socket", "soft", "teeth")]].sum()
    eyes = CHANNELS.index("eye")
    assert 0.4 * (shut[eyes] > 0).sum() < (maps[eyes] > 0).sum() < 0.9 * (shut[eyes] > 0).sum()
    open_eyes = scene(yaw=0.0)
    still = full_maps(open_eyes)
    # The iris is where the face mesh has it, and white lies on both of its sides.
    for center, corners in ((468, (33, 133)), (473, (362, 263))):
        x, y = open_eyes.driven.landmarks[center, :2].floor().int().tolist()
        assert still[eyes, y, x] == pytest.approx(2.0, abs=1e-3)
        row = still[eyes, y]
        for corner in corners:
            white = (x + int(open_eyes.driven.landmarks[corner, 0])) // 2
            assert row[min(x, white) : max(x, white) + 1].amin() < 1.5


def symmetric(yaw):
    """The mean head, which is symmetric, turned to one side."""
    fit = model_fit(scene().head.model, 0.0)
    fit = replace(fit, identity=torch.zeros_like(fit.identity), offsets=torch.zeros_like(fit.offsets))
    fit = replace(fit, camera=fit.camera.posed(fit.camera.rotation, torch.tensor([0.0, 0.1, 11.0])))
    guide = HeadGuide(scene().head.model, fit)
    camera = fit.camera.posed(camera_rotation(*torch.tensor([yaw, 0.0, 0.0])).float(), fit.camera.translation)
    return guide, guide.driven(fit.beta_s, fit.gaze, camera)


def test_a_mirrored_head_has_the_mirrored_guide():
    (guide, right), (_, left) = symmetric(15.0), symmetric(-15.0)
    alpha = torch.zeros(1, 512, 512)
    one, other = whole_guide(guide, right, alpha, 4), whole_guide(guide, left, alpha, 4)
    flipped = other.flip(-1)
    flipped[list(MIRRORED)] *= -1
    # Triangles are not cut alike on both sides, and a pixel of the silhouette may belong to either side.
    inner = (one[0] > 0) & (flipped[0] > 0)
    assert ((one[0] > 0) != (flipped[0] > 0)).float().mean() < 0.002
    difference = (one - flipped).abs()[:, inner]
    assert difference[1:4].median() < 1e-3 and difference[FLOW].median() < 0.05
    assert difference.flatten(1).quantile(0.95, dim=1)[[1, 2, 3]].max() < 0.02


def test_the_flow_covers_hair_and_dies_out_beyond(turned):
    alpha = torch.zeros(1, 512, 512)
    bare = whole_guide(turned.guide, turned.driven, alpha, 4)
    alpha[:, 20:500, 60:452] = 1.0
    hairy = whole_guide(turned.guide, turned.driven, alpha, 4)
    around = (bare[0] == 0) & (torch.nn.functional.avg_pool2d(alpha, 4)[0] > 0)
    assert hairy[FLOW][:, around].norm(dim=0).mean() > 3 * bare[FLOW][:, around].norm(dim=0).mean()
    assert not hairy[FLOW][:, :, :4].any() and not hairy[FLOW][:, :, -4:].any()


def test_the_shoulders_stay_where_they_are(turned):
    maps = whole_guide(turned.guide, turned.driven, torch.zeros(1, 512, 512), 4)
    height = maps[CHANNELS.index("rest y")]
    shoulders, face = (maps[0] > 0) & (height < -1.8), (maps[0] > 0) & (height > -1.0)
    assert shoulders.sum() > 100 and maps[FLOW][:, shoulders].abs().max() < 0.01
    assert maps[FLOW][:, face].norm(dim=0).mean() > 3.0


@pytest.mark.parametrize("place", PLACES, ids=("left eye", "right eye", "mouth"))
def test_patches_are_upright_and_of_one_size(place):
    guide, _ = symmetric(0.0)
    first, last = place.corners
    for roll, distance in ((0.0, 11.0), (25.0, 11.0), (-20.0, 15.0)):
        rotation = camera_rotation(*torch.tensor([0.0, 0.0, roll])).float()
        camera = guide.fit.camera.posed(rotation, torch.tensor([0.0, 0.1, distance]))
        head = guide.driven(guide.fit.beta_s, guide.fit.gaze, camera)
        places = apply(alignment(place, guide, head), head.landmarks[[first, last], :2].double().numpy())
        height, width = place.size
        assert places.mean(axis=0) == pytest.approx(
            [width * (0.5 - place.inward), height * (0.5 - place.lift)], abs=0.6
        )
        assert places[1, 0] - places[0, 0] == pytest.approx(place.span * width, rel=0.08)
        assert abs(places[1, 1] - places[0, 1]) < 6.0  # corners are not level


@pytest.mark.parametrize("place", (LEFT_EYE, RIGHT_EYE), ids=("left eye", "right eye"))
def test_an_eye_is_refined_with_its_brow(place):
    guide, head = symmetric(0.0)
    brow, eye = ((300, 293, 334, 296, 336), (362, 263, 386, 374)) if place is LEFT_EYE else ((70, 63, 105, 66, 107),
                (133, 33, 159, 145))  # fmt: skip
    spots = apply(alignment(place, guide, head), head.landmarks[list(brow + eye), :2].double().numpy())
    columns, rows = spots.astype(int).T
    assert (feather(place)[rows, columns] == 1.0).all()
    edge = feather(place)
    assert max(edge[0].max(), edge[-1].max(), edge[:, 0].max(), edge[:, -1].max()) < 0.01


def test_sunken_eyeballs_show_less_and_move_nothing(turned):
    same = grid_map(0.5)
    plain, sunken, gone = (
        turned.guide.maps(turned.driven, (256, 256), same, same, torch.zeros(3), 1.0, sunken=depth)
        for depth in (0.0, 0.03, 2.0)
    )
    eyeball, covered = CHANNELS.index("eye"), CHANNELS.index("covered")
    assert (plain[eyeball] > 0).sum() > (sunken[eyeball] > 0).sum() > 100 and not gone[eyeball].any()
    assert not ((sunken[eyeball] > 0) & (plain[eyeball] == 0)).any()
    assert torch.allclose(plain[covered], sunken[covered], atol=1e-5)


def test_shut_lids_hide_the_eyeball_in_the_guide():
    guide, _ = symmetric(0.0)
    shut = torch.zeros(52)
    shut[[BLENDSHAPE_INDEX["eyeBlinkLeft"], BLENDSHAPE_INDEX["eyeBlinkRight"]]] = 1.0
    picture = np.zeros((512, 512, 3), np.float32)
    for beta, least, most in ((torch.zeros(52), 60, 300), (shut, 0, 0)):
        patch = patch_of(LEFT_EYE, guide, guide.driven(beta, guide.fit.gaze, guide.fit.camera), picture)
        assert least <= (patch.guide[CHANNELS.index("eye")] > 0).sum() <= most


def test_the_right_eye_is_shown_as_a_left_one():
    guide, head = symmetric(0.0)
    image = pictures().mean(dim=0)
    picture = ((image + image.flip(-1)) / 2).expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
    left, right = (patch_of(place, guide, head, picture) for place in (LEFT_EYE, RIGHT_EYE))
    assert (left.composite - right.composite).abs().mean() < 0.01
    assert (left.guide - right.guide).abs().median() < 1e-3 and (left.guide - right.guide).abs().mean() < 0.02


def test_an_eye_that_is_turned_away_is_left_alone():
    guide, _ = symmetric(0.0)
    for yaw, near, far in ((70.0, RIGHT_EYE, LEFT_EYE), (-70.0, LEFT_EYE, RIGHT_EYE)):
        camera = guide.fit.camera.posed(
            camera_rotation(*torch.tensor([yaw, 0.0, 0.0])).float(), guide.fit.camera.translation
        )
        head = guide.driven(guide.fit.beta_s, guide.fit.gaze, camera)
        assert facing(near, head) > 0.9 and facing(far, head) == 0.0
    assert facing(MOUTH, guide.source) == 1.0


def test_an_eye_that_the_source_hides_is_left_alone():
    guide, head = symmetric(0.0)
    away = guide.fit.camera.posed(
        camera_rotation(*torch.tensor([70.0, 0.0, 0.0])).float(), guide.fit.camera.translation
    )
    turned_away = HeadGuide(guide.model, replace(guide.fit, camera=away))
    picture = pictures().permute(1, 2, 0).contiguous().numpy()
    assert facing(LEFT_EYE, head) == 1.0
    assert cut_source(LEFT_EYE, guide, picture, 2).facing == 1.0
    assert cut_source(LEFT_EYE, turned_away, picture, 2).facing == 0.0


EVERYWHERE = np.ones((512, 512), np.float32)
"""Coverage of a head that fills the picture."""


def plus(place, value):
    return np.full((*place.size, 3), value, np.float32)


@pytest.mark.parametrize("place", PLACES, ids=("left eye", "right eye", "mouth"))
def test_a_patch_is_put_back_where_it_was_cut(turned, place):
    picture = pictures().permute(1, 2, 0).contiguous().numpy()
    patch = patch_of(place, turned.guide, turned.driven, picture)
    change = np.full((512, 512, 3), 0.5, np.float32)
    paste(change, place, patch.to_patch, plus(place, 0.25), 1.0, EVERYWHERE)
    center = turned.driven.landmarks[list(place.corners), :2].mean(dim=0).int().tolist()
    assert change[center[1], center[0]] == pytest.approx(0.25, abs=1e-4)
    assert (change > 0.499).mean() > 0.9 and change.min() > 0.249 and change.max() < 0.501
    still = np.zeros((512, 512, 3), np.float32)
    paste(still, place, patch.to_patch, plus(place, 0.0), 1.0, EVERYWHERE)
    assert not still.any()
    half = np.zeros((512, 512, 3), np.float32)
    paste(half, place, patch.to_patch, plus(place, 0.25), 0.5, EVERYWHERE)
    assert half[center[1], center[0]] == pytest.approx(0.125, abs=1e-4)


def test_a_patch_ends_with_the_head(turned):
    picture = pictures().permute(1, 2, 0).contiguous().numpy()
    patch = patch_of(MOUTH, turned.guide, turned.driven, picture)
    x, y = turned.driven.landmarks[list(MOUTH.corners), :2].mean(dim=0).int().tolist()
    cover, change = EVERYWHERE.copy(), np.full((512, 512, 3), 0.5, np.float32)
    cover[:, x:] = 0.0
    paste(change, MOUTH, patch.to_patch, plus(MOUTH, 0.25), 1.0, cover)
    assert change[y, x - 1] == pytest.approx(0.25, abs=1e-4)
    assert (change[:, x + 2 :] == 0.5).all()  # two pixels beside it are let through


def test_feathers_end_at_the_border():
    for place in PLACES:
        weight = feather(place)
        assert max(weight[0].max(), weight[-1].max(), weight[:, 0].max(), weight[:, -1].max()) < 1e-2
        assert weight[place.size[0] // 2, place.size[1] // 2] == 1.0


def test_a_patch_outside_the_picture_is_left_out(turned):
    far = turned.camera.posed(turned.camera.rotation, turned.camera.translation + torch.tensor([9.0, 0.0, 0.0]))
    picture = pictures().permute(1, 2, 0).contiguous().numpy()
    head = turned.guide.driven(turned.beta, turned.gaze, far)
    patch = patch_of(MOUTH, turned.guide, head, picture)
    change = np.zeros((512, 512, 3), np.float32)
    paste(change, MOUTH, patch.to_patch, plus(MOUTH, 0.25), 1.0, EVERYWHERE)
    assert not change.any()


def test_eyes_and_mouth_alone_change_nothing_else(turned, pair):
    networks = small_networks(seed=3)
    frame = frame_of(turned, pair)
    result = refiner_of(turned, Networks(eyes=networks.eyes, mouth=networks.mouth))(*frame)
    changed = ((result - frame[0]).abs() > 1e-6).any(dim=0)
    assert 0.01 < changed.float().mean() < 0.2
    landmarks = turned.driven.landmarks[:, :2].int()
    for points in ((362, 263), (33, 133), (61, 291)):
        x, y = landmarks[list(points)].float().mean(dim=0).int().tolist()
        assert changed[y - 2 : y + 3, x - 2 : x + 3].any()
    assert not changed[:40].any() and not changed[:, :40].any()


def test_nothing_changes_far_from_the_head_or_at_the_border(turned, pair):
    composite, alpha, *rest = frame_of(turned, pair)
    small = torch.zeros_like(alpha)
    small[:, 200:300, 200:300] = 1.0
    refiner = refiner_of(turned, Networks(whole=small_networks(seed=3).whole))
    changed = (refiner(composite, small, *rest) - composite).abs().amax(dim=0)
    assert changed[195:305, 195:305].mean() > 0.01
    changed[92:408, 92:408] = 0.0  # 80 pixels, and the reach of the filter that keeps the grain
    assert not changed.any()
    everywhere = (refiner(composite, torch.ones_like(alpha), *rest) - composite).abs().amax(dim=0)
    assert not everywhere[0].any() and not everywhere[:, -1].any()
    assert everywhere[30:-30, 30:-30].mean() > 0.01


def test_threads_give_the_same_frames(turned, pair):
    refiner, frame = refiner_of(turned, small_networks(seed=3)), frame_of(turned, pair)
    expected = refiner(*frame)
    assert expected.min() >= 0.0 and expected.max() <= 1.0
    with ThreadPoolExecutor(3) as pool:
        assert all(torch.equal(result, expected) for result in pool.map(lambda _: refiner(*frame), range(6)))


@pytest.mark.parametrize(("matrix_units", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_half_precision_is_for_processors_with_matrix_units(monkeypatch, matrix_units, expected):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: matrix_units, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert best_precision("cpu") == expected


def test_a_torch_that_cannot_tell_computes_in_single_precision(monkeypatch):
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    assert best_precision("cpu") == torch.float32


def test_half_precision_is_near_single(turned, pair):
    frame = frame_of(turned, pair)
    single, half = (
        refiner_of(turned, small_networks(seed=3), precision=kind)(*frame) for kind in (torch.float32, torch.bfloat16)
    )
    # Eight bits of a change of a tenth or so: less than a grey level of 255 in the mean.
    assert (single - half).abs().mean() < 1.0 / 255.0


def test_networks_come_back_from_their_file(tmp_path):
    networks = small_networks(seed=4)
    write_networks(tmp_path / "a.safetensors", networks, {"steps": "7"})
    again = read_networks(tmp_path / "a.safetensors")
    for part, network in networks.items().items():
        found = getattr(again, part)
        assert found.config == network.config
        assert all(
            torch.equal(value.half().float(), found.state_dict()[name]) for name, value in network.state_dict().items()
        )
    write_networks(tmp_path / "b.safetensors", Networks(mouth=networks.mouth), {})
    alone = read_networks(tmp_path / "b.safetensors")
    assert alone.whole is None and alone.eyes is None and alone.mouth is not None


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="train or install it anew"):
        read_networks(path)


def test_a_file_of_another_network_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"stem.weight": torch.zeros(1)}, {"grid": 32}, {})
    with pytest.raises(WeightsError, match="another version of this network"):
        read_networks(path)


def test_a_network_that_does_not_mix_shows_nothing_of_the_source():
    torch.manual_seed(0)
    mixing, painting = (PatchRefiner(replace(SMALL_PATCH, mixes=mixes)) for mixes in (True, False))
    for network in (mixing, painting):
        torch.nn.init.normal_(network.unet.fine_out.weight, std=0.1)
        network.unet.fine_out.weight.data[1:] = 0.0  # a blend alone, no residual
    composite, guide = torch.rand(1, 3, 64, 64), torch.rand(1, 15, 32, 32)
    source = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert (mixing(composite, source, guide) - composite).abs().max() > 0.01
        assert torch.equal(painting(composite, source, guide), composite)


def test_a_mouth_that_has_not_moved_is_left_alone_and_one_that_has_is_refined(turned, pair):
    guide = turned.guide
    at_rest = guide.driven(guide.fit.beta_s, guide.fit.gaze, guide.fit.camera)
    nearer = guide.fit.camera.posed(guide.fit.camera.rotation, guide.fit.camera.translation * 0.8)
    blank = np.zeros((512, 512, 3), np.float32)

    def change(place, head):
        return moved(place, head, alignment(place, guide, head), cut_source(place, guide, blank, 2))

    assert change(MOUTH, at_rest) == 0.0 and change(LEFT_EYE, at_rest) == 1.0
    assert change(MOUTH, guide.driven(guide.fit.beta_s, guide.fit.gaze, nearer)) < 0.1
    open_wide = guide.fit.beta_s.clone()
    open_wide[BLENDSHAPE_INDEX["jawOpen"]] = 0.6
    assert change(MOUTH, guide.driven(open_wide, guide.fit.gaze, guide.fit.camera)) == 1.0
    mouth, none = (refiner_of(turned, each) for each in (Networks(mouth=small_networks(seed=3).mouth), Networks()))
    composite, alpha, layer, _, _, _ = frame_of(turned, pair)
    still = composite, alpha, layer, guide.fit.beta_s, guide.fit.gaze, guide.fit.camera
    assert torch.equal(mouth(*still), none(*still))
    driven = composite, alpha, layer, open_wide, guide.fit.gaze, guide.fit.camera
    assert (mouth(*driven) - none(*driven)).abs().amax() > 0.05


def test_a_share_of_the_grain_stays():
    """A smooth change is made in full; of a change from pixel to pixel a fixed share is left out."""
    rows = np.linspace(0, np.pi, 64, dtype=np.float32)
    smooth = np.repeat((np.sin(rows)[:, None] * np.sin(rows))[..., None], 3, axis=2)
    np.testing.assert_allclose(with_grain(smooth)[8:-8, 8:-8], smooth[8:-8, 8:-8], atol=0.01)
    checks = np.repeat(((np.indices((64, 64)).sum(axis=0) % 2) * 2.0 - 1.0).astype(np.float32)[..., None], 3, axis=2)
    np.testing.assert_allclose(with_grain(checks)[16:-16, 16:-16], (1.0 - GRAIN) * checks[16:-16, 16:-16], atol=1e-3)


def test_the_eyes_network_is_free_on_the_lids_and_bounded_beside_them():
    lids = np.zeros((64, 96), np.float32)
    lids[:, 48:] = 1.0
    for size in (0.03, 0.5, -0.5):
        change = np.full((64, 96, 3), size, np.float32)
        held = bounded_beside(change, lids)
        np.testing.assert_allclose(held[:, 48:], change[:, 48:], atol=1e-6)
        np.testing.assert_allclose(held[:, :48], np.clip(change[:, :48], -INSIDE, INSIDE), atol=1e-4)


def test_the_grain_is_kept_everywhere_but_on_the_lids(turned, pair, monkeypatch):
    """A lid that moves by a pixel is fine detail too, and must not lose a share of its way."""
    networks, frame = small_networks(seed=3), frame_of(turned, pair)
    eyes, rest = Networks(eyes=networks.eyes), Networks(whole=networks.whole, mouth=networks.mouth)
    kept = [refiner_of(turned, each)(*frame) for each in (eyes, rest)]
    monkeypatch.setattr("mggtalk_core.render.inpaint.bounds.GRAIN", 0.0)
    full = [refiner_of(turned, each)(*frame) for each in (eyes, rest)]
    columns, rows = turned.driven.landmarks[[386, 374, 159, 145], :2].long().T
    assert torch.allclose(kept[0][:, rows, columns], full[0][:, rows, columns], atol=2e-3)
    assert not torch.equal(kept[0][:, rows, columns], frame[0][:, rows, columns])
    assert not torch.equal(kept[0], full[0])
    assert (kept[1] - full[1]).abs().max() > 0.01
