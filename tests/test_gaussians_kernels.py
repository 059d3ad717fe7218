"""The compiled loops of a frame's Gaussians give what torch's operations give."""

from dataclasses import fields, replace

import pytest
import torch

from mggtalk_core.gaussians.aperture import Aperture
from mggtalk_core.gaussians.avatar import build_avatar
from mggtalk_core.gaussians.compiled import loops_may
from mggtalk_core.gaussians.frame import frame_gaussians
from mggtalk_core.gaussians.frames import ellipse_frames
from mggtalk_core.gaussians.gaussians import Gaussians
from mggtalk_core.motion.deform import deform
from mggtalk_core.motion.rotations import axis_rotation
from tests.head_samples import expression, model_head
from tests.test_gaussians_frames import covariance


@pytest.fixture(scope="module")
def head():
    return model_head(20.0)


@pytest.fixture(scope="module")
def avatar(head):
    return build_avatar(head.portrait, head.points, head.binding)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_loops_leave_to_torch_what_they_cannot_do():
    value = torch.zeros(2)
    assert loops_may(value, value) and not loops_may(value, value.double())
    assert not loops_may(value, value.to("meta"))
    assert not loops_may(value, torch.zeros(2, requires_grad=True))


def spacings():
    """Pairs of any shape, and the special ones: round, long either way, along the axes, turned half about each."""
    axis, long = torch.eye(3), torch.tensor([[1.0], [3.0], [0.5]])
    pairs = [(long[i] * a, long[j] * b) for a in axis for b in axis for i in range(3) for j in range(3) if a is not b]
    x, y = (torch.stack([pair[side] for pair in pairs if pair[0] @ pair[1] == 0.0]) for side in (0, 1))
    signs = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    x, y = (torch.cat([side[k] * each for side in signs]) for k, each in enumerate((x, y)))
    return torch.cat((x, noise(500, 3))), torch.cat((y, noise(500, 3, seed=1)))


def test_ellipses_are_those_of_torch():
    x, y = spacings()
    quats, scales = ellipse_frames(x, y)
    plain_quats, plain_scales = ellipse_frames(x.double(), y.double())  # the loops know single precision alone
    assert torch.allclose(scales.double(), plain_scales, rtol=1e-5, atol=1e-6)
    assert torch.allclose(quats.norm(dim=-1), torch.ones(len(quats)), atol=1e-6)
    # A round Gaussian has no principal axes: what must agree is the shape.
    wanted = covariance(plain_quats, plain_scales)
    assert torch.allclose(covariance(quats.double(), scales.double()), wanted, atol=2e-5)
    lengthy = plain_scales[-500:, 0] > 1.2 * plain_scales[-500:, 1]
    turns = (quats.double() * plain_quats).sum(dim=-1).abs()[-500:][lengthy]
    assert lengthy.sum() > 300 and turns.min() > 1.0 - 1e-6


def test_an_aperture_shows_what_torch_shows():
    """Also beyond the ends, at the knots, and where a contour runs back."""
    upper = torch.tensor([[-1.0, 0.0, 0.1], [-0.4, 0.3, 0.2], [-0.5, 0.35, 0.2], [0.3, 0.3, 0.1], [0.9, -0.1, 0.0]])
    lower = torch.tensor([[-1.0, 0.0, 0.1], [0.0, -0.4, 0.3], [0.0, -0.3, 0.2], [0.9, -0.1, 0.0]])
    vertices = torch.cat((upper, lower))
    opening = Aperture(torch.arange(5), torch.arange(5, 9), margin=0.04, slope=2.0, softness=0.05)
    points = torch.cat((0.6 * noise(400, 3), vertices, vertices * torch.tensor([1.0, 1.0, -1.0])))
    shown = opening(vertices, points)
    plain = opening(vertices, points.clone().requires_grad_())
    assert float(shown.min()) == 0.0 and float(shown.max()) == 1.0 and ((shown > 0.01) & (shown < 0.99)).sum() > 10
    assert torch.allclose(shown, plain, atol=1e-5)


def test_a_frame_is_that_of_torch(head, avatar):
    """Torn lids, an open mouth, a turned head: positions, shapes and what is left of every Gaussian."""
    fit = head.points.fit
    beta, gaze = expression(jawOpen=0.5, eyeBlinkLeft=0.8), torch.tensor([0.2, 0.1, 0.0, -0.1])
    camera = fit.camera.posed(fit.camera.rotation @ axis_rotation(1, torch.tensor(0.5)), fit.camera.translation)
    made = frame_gaussians(avatar, beta, gaze, camera)
    assert torch.equal(made.means[: len(head.points.positions)], deform(head.points, head.binding, beta, gaze))
    differentiable = replace(fit, offsets=fit.offsets.clone().requires_grad_())
    plain = frame_gaussians(avatar, beta, gaze, camera, fit=differentiable)
    assert plain.means.requires_grad and not made.means.requires_grad
    plain = Gaussians(**{field.name: getattr(plain, field.name).detach() for field in fields(plain)})
    left = (plain.opacities / avatar.opacities)[avatar.opacities > 0.5]
    assert ((left > 0.01) & (left < 0.99)).sum() > 500
    for name, tolerance in (("means", 1e-6), ("scales", 1e-6), ("sh", 1e-6), ("opacities", 5e-5)):
        assert torch.allclose(getattr(made, name), getattr(plain, name), atol=tolerance), name
    shapes = (covariance(each.quats.double(), each.scales.double()) for each in (made, plain))
    largest = made.scales.double().amax(dim=-1)[:, None, None].square()
    assert float(((next(shapes) - next(shapes)) / largest).abs().max()) < 1e-4
