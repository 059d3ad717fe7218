"""Scores of pictures whose values are known by construction."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mggtalk_core.errors import WeightsError
from mggtalk_core.evaluation.baselines import blurred, blurred_to, ghost
from mggtalk_core.evaluation.fid import FeatureStatistics, FidPool, Inception, fid_pool, frechet_distance
from mggtalk_core.evaluation.flicker import STILL, StillChange, still_region
from mggtalk_core.evaluation.identity import PLACES, POINTS, SIZE, Identity, aligned
from mggtalk_core.evaluation.landmarks import eye_distance
from mggtalk_core.evaluation.metrics import gradient_energy, psnr, sharpness
from mggtalk_core.evaluation.regions import box, face_box, part_masks
from mggtalk_core.evaluation.scorers import attempt, find_scorers, perceptual_scores
from mggtalk_core.evaluation.seam import border_bands, seam_error
from mggtalk_core.evaluation.sheets import squared_difference
from mggtalk_core.evaluation.variance import parameter_variance
from mggtalk_core.gaussians.gaussians import Gaussians
from mggtalk_core.portrait.landmarker import Face
from mggtalk_core.portrait.warp import similarity
from mggtalk_core.weights.policy import Downloads, using_policy


def have(read):
    """Read a network, or skip, visibly, where its weights are not on this machine."""
    try:
        with using_policy(downloads=Downloads.NONE):
            return read()
    except WeightsError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def lpips():
    from mggtalk_core.evaluation.perceptual import Lpips

    return have(Lpips)


@pytest.fixture(scope="module")
def identity():
    return have(Identity)


@pytest.fixture(scope="module")
def face(astronaut):
    from mggtalk_core.portrait.landmarker import FaceLandmarker

    pixels = (astronaut * 255.0).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return FaceLandmarker().detect(pixels, upright=True)[0]


def whole(image):
    return torch.ones_like(image[:1])


def test_blur_lowers_sharpness_step_by_step(astronaut):
    scores = [sharpness(blurred(astronaut, sigma), astronaut, whole(astronaut)) for sigma in (0.6, 1.0, 2.0, 4.0)]
    assert sharpness(astronaut, astronaut, whole(astronaut)) == 1.0
    assert 1.0 > scores[0] > scores[1] > scores[2] > scores[3] > 0.0
    # Half the contrast is half the gradients.
    assert sharpness(astronaut / 2.0, astronaut, whole(astronaut)) == pytest.approx(0.5, rel=1e-5)
    assert math.isnan(sharpness(astronaut, torch.zeros_like(astronaut), whole(astronaut)))


def test_gradient_energy_of_a_ramp():
    ramp = torch.linspace(0.0, 1.0, 101).expand(3, 50, 101)
    assert gradient_energy(ramp, whole(ramp)) == pytest.approx(0.01, rel=1e-4)
    assert gradient_energy(ramp, torch.zeros(1, 50, 101)) == 0.0


def test_a_ghost_is_the_mean_and_gains_psnr(astronaut):
    generator = torch.Generator().manual_seed(0)
    one, two = (astronaut + 0.1 * torch.randn(astronaut.shape, generator=generator) for _ in range(2))
    assert torch.equal(ghost(one, two), (one + two) / 2.0)
    # The mean of two independent errors has half their energy: 3 dB.
    assert psnr(ghost(one, two), astronaut) - psnr(one, astronaut) == pytest.approx(3.01, abs=0.05)


def test_blurring_reaches_the_psnr_that_is_asked_for(astronaut):
    wanted = psnr(blurred(astronaut, 2.0), astronaut)
    assert torch.equal(blurred_to(astronaut, astronaut, whole(astronaut), wanted), blurred(astronaut, 2.0))
    noisy = astronaut + 0.1 * torch.randn(astronaut.shape, generator=torch.Generator().manual_seed(0))
    better = blurred_to(noisy, astronaut, whole(astronaut), psnr(noisy, astronaut) + 3.0)
    assert psnr(better, astronaut) > psnr(noisy, astronaut) + 1.0


def test_a_perfect_composite_has_no_seam(astronaut, face):
    matte = torch.zeros(1, 512, 512)
    x0, y0, x1, y1 = face_box(face.landmarks)
    matte[:, y0:y1, x0:x1] = 1.0
    bands = border_bands(matte, face.landmarks)
    assert seam_error(astronaut, astronaut, bands["border"]) == 0.0
    # A tone that is off everywhere leaves the gradients as they are; one that is off inside alone draws a line.
    assert seam_error(astronaut + 0.1, astronaut, bands["border"]) == pytest.approx(0.0, abs=1e-4)
    assert seam_error(astronaut + 0.1 * matte, astronaut, bands["border"]) > 0.5
    assert math.isnan(seam_error(astronaut, astronaut, torch.zeros(1, 512, 512)))


def test_the_seam_of_a_step_is_its_height_over_the_band():
    size, reach = 64, 6
    matte = torch.zeros(1, size, size)
    matte[:, :, 32:] = 1.0
    marks = torch.zeros(478, 3)
    marks[:, 0] = torch.linspace(10.0, 50.0, 478)
    marks[:, 1] = torch.linspace(10.0, 30.0, 478)
    band = border_bands(matte, marks, reach)["border"]
    # The head ends with the picture at three sides: only the column in the middle is a border.
    assert torch.equal(band[0], band[0, :1].expand(size, -1))
    assert int(band[0, 0].sum()) == 2 * reach
    # One column of twelve has the whole step of a half.
    image = torch.zeros(3, size, size) + 0.5 * matte
    assert seam_error(image, torch.zeros(3, size, size), band) == pytest.approx(100.0 * 0.5 / 12.0, rel=1e-4)


def test_the_neck_is_the_border_below_the_jaw(face):
    matte = torch.zeros(1, 512, 512)
    matte[:, 40:500, 60:400] = 1.0
    bands = border_bands(matte, face.landmarks)
    assert 0.0 < float(bands["neck"].sum()) < float(bands["border"].sum())
    assert float((bands["neck"] * (1.0 - bands["border"])).sum()) == 0.0
    assert float(bands["neck"][:, : int(face.landmarks[152, 1]) - 60].sum()) < float(bands["neck"].sum())


def test_eyes_and_mouth_have_boxes_around_their_landmarks(face):
    masks = part_masks(face.landmarks)
    for name, points in (("eyes", (159, 386)), ("mouth", (13,))):
        for point in points:
            x, y = face.landmarks[point, :2].int().tolist()
            assert masks[name][0, y, x] == 1.0
        assert masks[name].mean() < 0.1
    x0, y0, x1, y1 = box(face.landmarks, (13,), 0.1)
    assert x1 - x0 == pytest.approx(0.2 * float(eye_distance(face.landmarks)), abs=2.0)
    tiny = torch.full((478, 3), 500.0)
    assert face_box(tiny) == (448, 448, 512, 512)


def test_still_pixels_are_compared_where_the_face_keeps_still(astronaut, face):
    inside = whole(astronaut)
    assert still_region(None, face, inside) is None
    moved = Face(face.landmarks + 0.02 * STILL * eye_distance(face.landmarks), face.blendshapes, 1.0)
    assert still_region(face, moved, inside) is None
    region = still_region(face, face, inside)
    x, y = face.landmarks[13, :2].int().tolist()
    assert region[0, y, x] == 0.0 < region.sum()
    change = StillChange()
    change.add(astronaut, None)
    change.add(astronaut + 2.0 / 255.0, region)
    change.add(astronaut, None)
    assert len(change) == 1
    assert change.mean == pytest.approx(2.0, rel=1e-3)
    assert math.isnan(StillChange().mean)


def test_squared_difference_is_grey():
    off = squared_difference(torch.full((3, 2, 2), 0.5), torch.full((3, 2, 2), 0.4), 20.0)
    assert torch.allclose(off, torch.full((3, 2, 2), 0.2))


def test_the_frechet_distance_is_the_closed_form():
    generator = np.random.default_rng(0)
    one, two = FeatureStatistics(3), FeatureStatistics(3)
    samples = generator.normal(size=(400, 3))
    for values in samples:
        one.add(torch.tensor(values))
        two.add(torch.tensor(2.0 * values + np.array([1.0, 0.0, 0.0])))
    assert np.allclose(one.covariance, np.cov(samples.T), atol=1e-12)
    assert frechet_distance(one, one) == pytest.approx(0.0, abs=1e-9)
    # The second covariance is four times the first: tr(C + 4C - 2 * 2C) = tr C; the means are m apart from 2m + e.
    mean = samples.mean(axis=0) + np.array([1.0, 0.0, 0.0])
    assert frechet_distance(one, two) == pytest.approx(mean @ mean + np.trace(one.covariance), rel=1e-9)
    assert frechet_distance(two, one) == pytest.approx(frechet_distance(one, two), rel=1e-9)


def test_the_frechet_distance_agrees_with_the_matrix_root():
    from scipy.linalg import sqrtm

    generator = np.random.default_rng(1)
    one, two = FeatureStatistics(4), FeatureStatistics(4)
    for _ in range(50):
        one.add(torch.tensor(generator.normal(size=4) @ np.diag([1.0, 2.0, 3.0, 0.5])))
        two.add(torch.tensor(generator.normal(size=4) + 1.0))
    shift = one.mean - two.mean
    root = sqrtm(one.covariance @ two.covariance).real
    plain = shift @ shift + np.trace(one.covariance + two.covariance - 2.0 * root)
    assert frechet_distance(one, two) == pytest.approx(plain, rel=1e-9)


def test_pools_of_parts_are_the_pool_of_the_whole():
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(3, 4, 4, generator=generator) for _ in range(4)]
    whole, first, second = (FidPool(lambda image: image.mean(dim=(1, 2)).repeat(683)[:2048]) for _ in range(3))
    for place, image in enumerate(images):
        for pool in (whole, first if place < 2 else second):
            pool.add(image, {"": image / 2.0})
    first.join(second.statistics)
    assert first.statistics.keys() == whole.statistics.keys()
    for name, each in whole.statistics.items():
        assert first.statistics[name].count == each.count == 4
        np.testing.assert_allclose(first.statistics[name].mean, each.mean, rtol=1e-12)
        np.testing.assert_allclose(first.statistics[name].covariance, each.covariance, atol=1e-12)


def test_too_few_frames_have_no_frechet_distance():
    lines = []
    assert fid_pool(100, lines) is None
    assert "100 frames are too few" in lines[0]
    pool = FidPool(lambda image: image.mean(dim=(1, 2)).repeat(683)[:2048])
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        image = torch.rand(3, 4, 4, generator=generator)
        pool.add(image, {"": image, "analytic": image / 2.0})
    assert pool.results(lines) == {}
    assert "3 frames are too few" in lines[1]


def test_inception_knows_a_picture_again(astronaut):
    network = have(Inception)
    features = network(astronaut)
    assert features.shape == (2048,)
    assert torch.equal(features, network(astronaut))
    assert float((network(blurred(astronaut, 4.0)) - features).norm()) > 1.0


def test_a_network_that_cannot_be_had_is_one_line():
    def fail():
        raise WeightsError("nobody has it")

    lines = []
    assert attempt("lpips", fail, lines) is None
    assert lines == ["lpips: nobody has it"]


def test_commercial_safe_leaves_the_judges_out():
    with using_policy(commercial_safe=True):
        scorers = find_scorers()
    assert scorers.lpips is None
    assert scorers.identity is None
    assert [line.split(":")[0] for line in scorers.left_out] == ["lpips", "identity"]


def test_lpips_of_regions(astronaut, face, lpips):
    head = torch.zeros(1, 512, 512)
    x0, y0, x1, y1 = face_box(face.landmarks)
    head[:, y0:y1, x0:x1] = 1.0
    spoiled = astronaut.clone()
    spoiled[:, 440:, :120] = 0.5  # far from the face
    images = {"": astronaut, "copy": spoiled, "soft": blurred(astronaut, 3.0)}
    scores = perceptual_scores(lpips, images, astronaut, {"whole": whole(astronaut), "head": head}, face.landmarks)
    # Convolutions of three pictures and of one may differ in the last bit.
    assert scores[""] == pytest.approx({"lpips_whole": 0.0, "lpips_head": 0.0, "lpips_face": 0.0}, abs=1e-9)
    assert scores["copy"]["lpips_face"] < 1e-9 < 1e-3 < scores["copy"]["lpips_whole"]
    assert min(scores["soft"].values()) > 0.05
    # The regions are weights of one map: alone they give what the module itself does.
    alone = lpips(images["soft"][None], astronaut[None], head[None])
    assert scores["soft"]["lpips_head"] == pytest.approx(float(alone), rel=1e-5)


def test_similarity_undoes_a_turn():
    places = torch.tensor(PLACES, dtype=torch.float64)
    angle = math.radians(30.0)
    turn = 2.0 * torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]).double()
    matrix = torch.from_numpy(similarity((places @ turn.T + 7.0).numpy(), places.numpy()))
    back = torch.cat((places @ turn.T + 7.0, torch.ones(5, 1).double()), dim=1) @ matrix.T
    assert torch.allclose(back, places, atol=1e-6)


def test_the_aligned_face_has_its_eyes_where_they_belong():
    landmarks = torch.full((478, 3), 250.0)
    for points, (x, y) in zip(POINTS, PLACES, strict=True):
        landmarks[list(points)] = torch.tensor([2.0 * x + 100.5, 2.0 * y + 50.5, 0.0])
    image = torch.zeros(3, 512, 512)
    x, y = 2.0 * PLACES[0][0] + 100.0, 2.0 * PLACES[0][1] + 50.0
    image[:, int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4] = 1.0
    face = aligned(image, landmarks)
    assert face.shape == (SIZE, SIZE, 3)
    rows, columns = np.nonzero(face[..., 0] > 128.0)
    assert columns.mean() == pytest.approx(PLACES[0][0], abs=0.6)
    assert rows.mean() == pytest.approx(PLACES[0][1], abs=0.6)


def test_a_person_is_known_again_and_told_from_another_pose(astronaut, face, identity):
    known = identity.embedding(astronaut, face.landmarks)
    assert float(known.norm()) == pytest.approx(1.0, abs=1e-5)
    assert float(known @ identity.embedding(astronaut, face.landmarks)) == pytest.approx(1.0, abs=1e-5)
    # Shifted with its landmarks it is the same face, darker it is the same person, upside down it is nobody.
    shifted = torch.roll(astronaut, (5, 9), dims=(1, 2))
    moved = face.landmarks + torch.tensor([9.0, 5.0, 0.0])
    assert float(known @ identity.embedding(shifted, moved)) > 0.99
    assert float(known @ identity.embedding(0.7 * astronaut, face.landmarks)) > 0.9
    assert float(known @ identity.embedding(astronaut.flip(1), face.landmarks)) < 0.5


def some_gaussians(count=50, **changes):
    generator = torch.Generator().manual_seed(2)
    return replace(
        Gaussians(
            means=torch.randn(count, 3, generator=generator),
            quats=torch.nn.functional.normalize(torch.randn(count, 4, generator=generator), dim=1),
            scales=torch.full((count, 3), 0.02),
            opacities=torch.full((count,), 0.5),
            sh=torch.zeros(count, 4, 3),
            labels=torch.zeros(count, dtype=torch.uint8),
        ),
        **changes,
    )


def test_gaussians_that_keep_still_have_no_variance():
    first = some_gaussians()
    spreads = parameter_variance([first, some_gaussians(quats=-first.quats), first])  # -q is the same rotation as q
    assert list(spreads) == [
        f"spread_{name}" for name in ("position", "rotation", "shape", "scale", "opacity", "colour")
    ]
    assert max(spreads.values()) < 1e-4
    assert parameter_variance([first]) == {}


def test_the_variance_of_gaussians_is_that_of_their_parameters():
    first = some_gaussians()
    turn = torch.tensor([math.cos(0.01), 0.0, 0.0, math.sin(0.01)])  # by 0.02 radians
    one = torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(50, 1)
    frames = [
        some_gaussians(quats=one),
        some_gaussians(
            means=first.means + torch.tensor([0.03, 0.04, 0.0]), quats=turn.repeat(50, 1), scales=first.scales * 1.1,
            opacities=first.opacities + 0.2, sh=first.sh + 0.1,
        ),
    ]  # fmt: skip
    spreads = parameter_variance(frames)
    # Two values stray from their mean by half of their distance.
    assert spreads["spread_position"] == pytest.approx(100.0 * 0.05 / 2.0, rel=1e-4)
    assert spreads["spread_rotation"] == pytest.approx(math.degrees(0.02) / 2.0, rel=1e-3)
    assert spreads["spread_shape"] == pytest.approx(0.0, abs=1e-4)  # round Gaussians may turn and grow
    assert spreads["spread_scale"] == pytest.approx(100.0 * math.log(1.1) * math.sqrt(3.0) / 2.0, rel=1e-3)
    assert spreads["spread_opacity"] == pytest.approx(10.0, rel=1e-4)
    assert spreads["spread_colour"] == pytest.approx(100.0 * 0.1 * math.sqrt(12.0) / 2.0, rel=1e-4)


def test_flat_gaussians_that_turn_change_their_shape():
    one, angle = torch.tensor([1.0, 0.0, 0.0, 0.0]), 0.02
    turn = torch.tensor([math.cos(angle / 2.0), 0.0, 0.0, math.sin(angle / 2.0)])
    needles = torch.tensor([[0.05, 1e-6, 1e-6]]).repeat(50, 1)
    frames = [some_gaussians(quats=quat.repeat(50, 1), scales=needles) for quat in (one, turn)]
    # The covariance of a needle along d is d d^T: turned by a small angle it moves by sqrt(2) times the angle.
    wanted = 100.0 * math.sqrt(2.0) * math.sin(angle) / 2.0
    assert parameter_variance(frames)["spread_shape"] == pytest.approx(wanted, rel=1e-3)
