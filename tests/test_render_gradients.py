"""Gradients of the rasterisers beside those of the dense float64 reference."""

import gc
from dataclasses import replace

import pytest
import torch

from mggtalk_core.gaussians.gaussians import SH_C0, Gaussians
from mggtalk_core.head.camera import Camera
from mggtalk_core.render.cpu.rasterizer import Rasterizer
from mggtalk_core.render.gsplat_backend import gsplat_available
from mggtalk_core.render.rasterize import render
from mggtalk_core.render.reference import render_reference
from mggtalk_core.render.synthetic import head_camera, head_scene

NAMES = ("means", "quats", "scales", "opacities", "sh")
CAMERA = Camera.for_crop(40).resized(40, 36)


def needs(backend: str) -> str:
    if backend == "warp":
        pytest.importorskip("warp")
    return backend


def clear_scene(seed: int = 0, count: int = 40, sigma: float = 70.0) -> Gaussians:
    """Wide, faint, tilted splats: nowhere near 1/255, .999 or the end of the light."""
    random = torch.Generator().manual_seed(seed)
    depth = 9 + 2 * torch.rand(count, generator=random)
    means = CAMERA.unproject(torch.rand(count, 2, generator=random) * 40, depth)
    scales = sigma * (0.7 + 0.6 * torch.rand(count, 3, generator=random)) * (depth / CAMERA.focal)[:, None]
    quats = torch.randn(count, 4, generator=random)
    opacities = 0.02 + 0.05 * torch.rand(count, generator=random)
    sh = 0.2 * torch.randn(count, 4, 3, generator=random)
    sh[:, 0] += 0.3 / SH_C0
    return Gaussians(means, quats, scales, opacities, sh, torch.zeros(count, dtype=torch.uint8))


def gradients(draw, scene, camera, weights, dtype=torch.float32, **options) -> dict[str, torch.Tensor]:
    tensors = {name: getattr(scene, name).to(dtype).clone().requires_grad_(True) for name in NAMES}
    drawn = draw(replace(scene, **tensors), camera, **options)
    (torch.cat((drawn.rgb, drawn.alpha, drawn.depth)) * weights.to(dtype)).sum().backward()
    return {name: tensor.grad for name, tensor in tensors.items()}


def random_weights(camera: Camera, seed: int = 0) -> torch.Tensor:
    return torch.randn(5, camera.height, camera.width, generator=torch.Generator().manual_seed(seed))


def by_name(backend):
    return lambda scene, camera, **options: render(scene, camera, backend=backend, **options)


@pytest.mark.parametrize("backend", ["numba", "warp"])
@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_gradients_agree_with_the_reference(backend, antialiased, seed):
    scene, weights = clear_scene(seed), random_weights(CAMERA, seed)
    fast = gradients(by_name(needs(backend)), scene, CAMERA, weights, antialiased=antialiased)
    exact = gradients(render_reference, scene, CAMERA, weights, torch.float64, antialiased=antialiased)
    for name in NAMES:
        # Relative to the largest of the parameter: sums of signs that cancel have no digits of their own in float32.
        assert (fast[name] - exact[name]).abs().max() <= 1e-4 * exact[name].abs().max(), name


@pytest.mark.parametrize("backend", ["numba", "warp"])
@pytest.mark.parametrize("antialiased", [False, True])
def test_gradients_of_a_head(backend, antialiased):
    scene, camera = head_scene(800, seed=4), head_camera(50, 20.0)
    weights = random_weights(camera)
    fast = gradients(by_name(needs(backend)), scene, camera, weights, antialiased=antialiased)
    exact = gradients(render_reference, scene, camera, weights, torch.float64, antialiased=antialiased)
    for name in NAMES:
        # A pixel at the threshold of 1/255 counts here and not there, and changes one splat by that much.
        far = (fast[name] - exact[name]).abs() > 1e-4 * exact[name].abs().max()
        assert far.float().mean() < 0.01, name
        assert (fast[name] - exact[name]).norm() < 1e-3 * exact[name].norm(), name


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("backend", ["numba", "warp"])
def test_pictures_agree_with_the_reference(backend, antialiased):
    scene, camera = head_scene(900, seed=2), head_camera(45, -25.0)
    fast = render(scene, camera, backend=needs(backend), antialiased=antialiased)
    exact = render_reference(scene, camera, antialiased=antialiased)
    difference = torch.cat((fast.rgb - exact.rgb, fast.alpha - exact.alpha)).abs().amax(dim=0)
    assert (difference <= 1e-4).float().mean() >= 0.999 and difference.max() <= 1 / 255
    clear = render(clear_scene(3), CAMERA, backend=backend, antialiased=antialiased)
    exact = render_reference(clear_scene(3), CAMERA, antialiased=antialiased)
    assert torch.cat((clear.rgb - exact.rgb, clear.alpha - exact.alpha)).abs().max() <= 1e-5


@pytest.mark.parametrize("antialiased", [False, True])
def test_antialiasing_keeps_the_light_of_small_splats(antialiased):
    # Seen from four times as far, a splat covers a sixteenth of the area; the low-pass filter alone makes it larger.
    scene = replace(clear_scene(count=1, sigma=1.0), opacities=torch.tensor([0.9]), quats=torch.eye(4)[:1])
    scene = replace(scene, means=torch.tensor([[0.0, 0.0, 10.0]]), scales=torch.full((1, 3), 10.0 / CAMERA.focal))
    near = render(scene, CAMERA, backend="numba", antialiased=antialiased).alpha.sum()
    far = replace(scene, means=scene.means * 4.0)
    ratio = render(far, CAMERA, backend="numba", antialiased=antialiased).alpha.sum() / near
    assert ratio == pytest.approx(1 / 16, rel=0.5) if antialiased else ratio > 3 / 16


def test_reference_gradients_are_those_of_finite_differences():
    scene = clear_scene(7, count=3, sigma=4.0)
    scene = replace(scene, opacities=torch.tensor([0.3, 0.5, 0.4]))
    camera = CAMERA.resized(6, 5)
    values = [getattr(scene, name).double().requires_grad_(True) for name in NAMES]

    def draw(*tensors):
        drawn = render_reference(replace(scene, **dict(zip(NAMES, tensors, strict=True))), camera, antialiased=True)
        return torch.cat((drawn.rgb, drawn.alpha))

    assert torch.autograd.gradcheck(draw, values, eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("antialiased", [False, True])
def test_threads_do_not_change_a_bit_of_a_gradient(antialiased):
    scene, camera = head_scene(6000), head_camera(150, 10.0)
    weights = random_weights(camera)
    single = gradients(Rasterizer(1), scene, camera, weights, antialiased=antialiased)
    for threads in (2, 3, 8):
        many = gradients(Rasterizer(threads), scene, camera, weights, antialiased=antialiased)
        assert all(torch.equal(single[name], many[name]) for name in NAMES)


def test_frames_that_wait_for_their_backward_keep_their_memory():
    draw, camera = Rasterizer(1), head_camera(48)
    weights = random_weights(camera)
    scenes = [head_scene(n, seed=n) for n in (300, 500, 400)]
    alone = [gradients(Rasterizer(1), scene, camera, weights)["means"] for scene in scenes]
    means = [scene.means.clone().requires_grad_(True) for scene in scenes]
    drawn = [draw(replace(s, means=m), camera) for s, m in zip(scenes, means, strict=True)]
    for picture in drawn:
        (torch.cat((picture.rgb, picture.alpha, picture.depth)) * weights).sum().backward()
    assert all(torch.equal(m.grad, expected) for m, expected in zip(means, alone, strict=True))
    del drawn, picture
    gc.collect()
    assert len(draw._pool._idle) == 3


BRANCHES = {
    "alpha clamp": {"opacities": 1.0},
    "behind the camera": {"depth": -3.0},
    "beside the picture": {"pixel": (300.0, 10.0)},
    "tile corner": {"pixel": (16.0, 16.0)},
    "picture corner": {"pixel": (39.9, 35.9)},
    "over everything": {"sigma": 400.0},
    "far outside, reaching in": {"pixel": (90.0, 20.0), "sigma": 30.0},
}


@pytest.mark.parametrize("backend", ["numba", "warp"])
@pytest.mark.parametrize("branch", BRANCHES)
def test_gradients_of_every_branch(branch, backend):
    choice = {"opacities": 0.6, "depth": 10.0, "pixel": (20.3, 17.8), "sigma": 2.0, **BRANCHES[branch]}
    scene = clear_scene(1, count=2, sigma=choice["sigma"])
    pixels = torch.tensor([choice["pixel"], (22.0, 18.0)])
    means = CAMERA.unproject(pixels, torch.tensor([10.0, 11.0]))
    means[0] *= choice["depth"] / 10.0
    scene = replace(scene, means=means, opacities=torch.tensor([choice["opacities"], 0.5]))
    weights = random_weights(CAMERA)
    fast = gradients(by_name(needs(backend)), scene, CAMERA, weights)
    exact = gradients(render_reference, scene, CAMERA, weights, torch.float64)
    for name in NAMES:
        # Few pixels: one at the threshold is worth up to 1/255 of the splat.
        assert (fast[name] - exact[name]).abs().max() <= 5e-3 * exact[name].abs().max() + 1e-6, name


def test_no_gradient_reaches_what_is_hidden_dropped_or_skipped():
    # Front to back: opaque, opaque, hidden behind both; one with a bad number; one too faint to be drawn.
    scene = clear_scene(2, count=5, sigma=3.0)
    means = CAMERA.unproject(torch.tensor([[20.5, 17.5]] * 5), torch.tensor([9.0, 10.0, 11.0, 8.0, 8.5]))
    scene = replace(scene, means=means, scales=scene.scales * 20, opacities=torch.tensor([1.0, 1.0, 0.9, 0.5, 0.003]))
    scene.scales[3, 1] = float("nan")
    weights = torch.zeros(5, 36, 40)
    weights[:, 15:20, 18:23] = 1.0
    grads = gradients(Rasterizer(1), scene, CAMERA, weights)
    assert all(torch.isfinite(grads[name]).all() for name in NAMES)
    assert all((grads[name][2:] == 0).all() for name in NAMES)
    assert grads["sh"][0].abs().max() > 0


def test_gradient_of_nothing():
    grads = gradients(Rasterizer(2), clear_scene(count=0), CAMERA, random_weights(CAMERA))
    assert all(grads[name].shape == getattr(clear_scene(count=0), name).shape for name in NAMES)


def test_only_what_asks_for_a_gradient_gets_one_and_none_is_kept_otherwise():
    scene = clear_scene()
    scene.opacities.requires_grad_(True)
    drawn = render(scene, CAMERA, backend="numba")
    drawn.alpha.sum().backward()
    assert scene.opacities.grad.abs().min() > 0 and scene.means.grad is None
    with torch.no_grad():
        assert not render(scene, CAMERA, backend="numba").rgb.requires_grad


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("backend", ["gsplat", "warp"])
@pytest.mark.parametrize("antialiased", [False, True])
def test_gpu_gradients_agree_with_the_reference(backend, antialiased):
    if backend == "gsplat" and not gsplat_available():
        pytest.skip("gsplat cannot build its kernels here")
    scene, weights = clear_scene(5).to("cuda"), random_weights(CAMERA).to("cuda")
    fast = gradients(by_name(needs(backend)), scene, CAMERA, weights, antialiased=antialiased)
    exact = gradients(render_reference, scene, CAMERA, weights, torch.float64, antialiased=antialiased)
    for name in NAMES:
        assert (fast[name] - exact[name]).abs().max() <= 1e-3 * exact[name].abs().max(), name
