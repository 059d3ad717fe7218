"""The CPU rasteriser beside the dense float64 reference, and each branch of the splatting equations."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

import pytest
import torch

from mggtalk_core.errors import InputError
from mggtalk_core.gaussians.gaussians import SH_C0, Gaussians
from mggtalk_core.head.camera import Camera
from mggtalk_core.render.cpu.rasterizer import Rasterizer
from mggtalk_core.render.gsplat_backend import gsplat_available
from mggtalk_core.render.rasterize import available_backends, render
from mggtalk_core.render.reference import render_reference
from mggtalk_core.render.synthetic import head_camera, head_scene

DEPTH = 10.0
CAMERA = Camera.for_crop(64)
PIXEL = DEPTH / CAMERA.focal  # width of a pixel at that depth, in scene units


def splats(pixels, *, depth=DEPTH, sigma=1.0, opacity=0.5, color=(0.8, 0.4, 0.2), camera=CAMERA) -> Gaussians:
    """Round Gaussians centred on the given pixel coordinates, ``sigma`` pixels wide before the low-pass filter."""
    pixels = torch.as_tensor(pixels, dtype=torch.float32)
    n = len(pixels)
    depth = torch.as_tensor(depth, dtype=torch.float32).expand(n)
    sh = torch.zeros(n, 4, 3)
    sh[:, 0] = (torch.as_tensor(color).expand(n, 3) - 0.5) / SH_C0
    scales = (torch.as_tensor(sigma).expand(n) * depth / camera.focal)[:, None].expand(n, 3).contiguous()
    quats = torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(n, 1)
    opacities = torch.as_tensor(opacity, dtype=torch.float32).expand(n).contiguous()
    return Gaussians(camera.unproject(pixels, depth), quats, scales, opacities, sh, torch.zeros(n, dtype=torch.uint8))


def rows(g: Gaussians, index) -> Gaussians:
    return replace(g, **{f.name: getattr(g, f.name)[index] for f in fields(g)})


def joined(*scenes: Gaussians) -> Gaussians:
    return Gaussians(*(torch.cat([getattr(s, f.name) for s in scenes]) for f in fields(Gaussians)))


def image(rendering) -> torch.Tensor:
    return torch.cat((rendering.rgb, rendering.alpha)).double()


def assert_same(a, b) -> None:
    for name in ("rgb", "alpha", "depth"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert a.dropped == b.dropped


@pytest.mark.parametrize("yaw", [-40.0, 0.0, 15.0])
@pytest.mark.parametrize("size", [48, 61])
def test_agrees_with_the_reference(yaw, size):
    scene, camera = head_scene(1200, seed=1), head_camera(size, yaw)
    fast, exact = Rasterizer(1)(scene, camera), render_reference(scene, camera)
    difference = (image(fast) - image(exact)).abs().amax(dim=0)
    # The two may fall on different sides of a threshold (1/255, 1e-4) in a few pixels; elsewhere float32 agrees.
    assert (difference <= 1e-5).float().mean() >= 0.99
    assert (difference <= 1e-4).float().mean() >= 0.999
    seen = exact.alpha[0] > 0.1
    assert (fast.depth - exact.depth)[0][seen].abs().max() < 1e-3 * exact.depth.max()


def test_depths_that_float32_cannot_tell_apart_keep_their_order():
    # A camera 8 units away sees 1e-7 between neighbours, a fifth of what float32 resolves there.
    random = torch.Generator().manual_seed(4)
    camera, n = head_camera(64), 40
    heights = 1e-7 * torch.randperm(n, generator=random)
    scene = replace(
        splats([[32.0, 32.0]] * n, sigma=8.0, opacity=0.3, color=torch.rand(n, 3, generator=random)),
        means=torch.stack((torch.zeros(n), torch.zeros(n), heights), dim=1),
    )
    assert len(camera.to_camera(scene.means)[:, 2].unique()) < n / 2
    exact = render_reference(scene, camera)
    difference = (image(Rasterizer(1)(scene, camera)) - image(exact)).abs()
    assert difference.max() < 1e-5
    # In the order of the rows instead the picture would be another one.
    stable = replace(scene, means=torch.zeros(n, 3))
    assert (image(render_reference(stable, camera)) - image(exact)).abs().max() > 1e-2


def test_agrees_to_1e_5_clear_of_thresholds():
    # Wide, faint splats that cover the picture: nowhere near 1/255, .999 or the end of the light.
    generator = torch.Generator().manual_seed(2)
    n = 60
    scene = splats(
        torch.rand(n, 2, generator=generator) * 64,
        depth=9 + 2 * torch.rand(n, generator=generator),
        sigma=60.0,
        opacity=0.02 + 0.05 * torch.rand(n, generator=generator),
        color=torch.rand(n, 3, generator=generator),
    )
    quats = torch.nn.functional.normalize(torch.randn(n, 4, generator=generator), dim=1)
    scene = replace(scene, quats=quats, scales=scene.scales * torch.tensor([1.0, 0.7, 0.4]))
    fast, exact = Rasterizer(1)(scene, CAMERA), render_reference(scene, CAMERA)
    assert (image(fast) - image(exact)).abs().max() <= 1e-5
    assert (fast.depth - exact.depth).abs().max() <= 1e-4


def test_one_splat_by_hand():
    # Next to the axis perspective does not stretch it: covariance (1 + .3) I, so alpha falls with exp(-d^2 / 2.6).
    drawn = Rasterizer(1)(splats([[32.5, 32.5]], opacity=0.6), CAMERA)
    assert drawn.alpha[0, 32, 32] == pytest.approx(0.6, abs=1e-5)
    assert drawn.alpha[0, 32, 34] == pytest.approx(0.6 * torch.exp(torch.tensor(-4 / 2.6)).item(), abs=1e-5)
    assert drawn.rgb[:, 32, 32].tolist() == pytest.approx([0.48, 0.24, 0.12], abs=1e-5)
    assert drawn.depth[0, 32, 32] == pytest.approx(DEPTH, rel=1e-5)
    assert drawn.alpha[0, 60, 60] == 0 and drawn.depth[0, 60, 60] == 0


def test_alpha_is_clamped():
    drawn = Rasterizer(1)(splats([[20.5, 30.5]], opacity=1.0), CAMERA)
    assert drawn.alpha[0, 30, 20] == pytest.approx(0.999, abs=1e-6)


def test_faint_splats_are_skipped():
    scene = splats([[20.5, 30.5]], opacity=1 / 255 - 1e-5)
    assert Rasterizer(1)(scene, CAMERA).alpha.max() == 0
    scene = splats([[20.5, 30.5]], opacity=1 / 255 + 1e-5)
    assert Rasterizer(1)(scene, CAMERA).alpha[0, 30, 20] == pytest.approx(1 / 255, abs=2e-5)


def test_stops_before_the_light_runs_out():
    # .999 leaves .001; a second .999 would leave 1e-6 <= 1e-4 and is not drawn, nor is anything behind it.
    colors = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    scene = splats([[20.5, 30.5]] * 3, depth=torch.tensor([9.0, 10.0, 11.0]), opacity=1.0, color=colors)
    drawn = Rasterizer(1)(scene, CAMERA)
    assert drawn.rgb[:, 30, 20].tolist() == pytest.approx([0.999, 0.0, 0.0], abs=1e-6)


def test_nearer_splats_hide_farther_ones_in_any_order():
    colors = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    scene = splats([[20.5, 30.5]] * 2, depth=torch.tensor([11.0, 9.0]), opacity=0.8, color=colors)
    drawn = Rasterizer(1)(scene, CAMERA)
    assert drawn.rgb[:, 30, 20].tolist() == pytest.approx([0.16, 0.8, 0.0], abs=1e-4)


@pytest.mark.parametrize("count", [40, 3000])
def test_order_of_rows_does_not_matter_at_distinct_depths(count):
    # 40: sorted by insertion. 3000: sorted by radix.
    scene, camera = head_scene(count), head_camera(64)
    depths = camera.to_camera(scene.means)[:, 2]
    _, inverse, counts = depths.unique(return_inverse=True, return_counts=True)
    scene = rows(scene, counts[inverse] == 1)
    shuffled = rows(scene, torch.randperm(len(scene), generator=torch.Generator().manual_seed(3)))
    assert len(scene) > 0.9 * count
    assert_same(Rasterizer(1)(scene, camera), Rasterizer(1)(shuffled, camera))


@pytest.mark.parametrize("depth", [-10.0, 0.0, 0.009])
def test_behind_the_camera_nothing_is_drawn(depth):
    scene = splats([[32.0, 32.0]])
    scene = replace(scene, means=torch.tensor([[0.0, 0.0, depth]]))
    drawn = Rasterizer(1)(scene, CAMERA)
    assert drawn.alpha.max() == 0 and drawn.dropped == 0
    assert render_reference(scene, CAMERA).alpha.max() == 0


def test_tile_and_picture_edges():
    # On tile corners, on the picture's corners, just outside it, and far outside it.
    places = [[16, 16], [32.0, 47.9], [0, 0], [63.9, 0.1], [-1.5, 20], [65, 65], [30, 66], [-500, 3], [1e6, 1e6]]
    camera = Camera.for_crop(64).resized(64, 50)
    scene = splats(places, sigma=2.0, opacity=0.7, camera=camera)
    fast, exact = Rasterizer(1)(scene, camera), render_reference(scene, camera)
    assert fast.rgb.shape == (3, 50, 64)
    difference = (image(fast) - image(exact)).abs()
    assert (difference > 1e-5).float().mean() < 1e-3 and difference.max() < 0.7 / 255 + 0.005


def test_one_splat_over_everything():
    scene = splats([[32.0, 32.0]], sigma=1e4, opacity=0.5)
    drawn = Rasterizer(1)(scene, CAMERA)
    assert torch.allclose(drawn.alpha, torch.full_like(drawn.alpha, 0.5), atol=1e-4)


@pytest.mark.parametrize("threads", [1, 2])
def test_empty_scene(threads):
    drawn = Rasterizer(threads)(head_scene(0), head_camera(40))
    assert drawn.rgb.shape == (3, 40, 40) and drawn.rgb.abs().max() == 0
    assert drawn.alpha.max() == 0 and drawn.depth.max() == 0 and drawn.dropped == 0
    assert render_reference(head_scene(0), head_camera(40)).alpha.max() == 0


@pytest.mark.parametrize("name", ["means", "quats", "scales", "opacities", "sh"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_dropped_and_counted(name, bad):
    scene, camera = head_scene(300), head_camera(48)
    broken = getattr(scene, name).clone()
    broken[[7, 100]] = bad
    good = rows(scene, torch.tensor([i for i in range(300) if i not in (7, 100)]))
    for draw in (Rasterizer(1), render_reference):
        spoiled, sound = draw(replace(scene, **{name: broken}), camera), draw(good, camera)
        assert spoiled.dropped == 2 and sound.dropped == 0
        assert torch.equal(spoiled.rgb, sound.rgb) and torch.equal(spoiled.alpha, sound.alpha)


def test_zero_quaternion_and_overflow_are_dropped():
    scene = splats([[20.5, 30.5]] * 3)
    scene.quats[0] = 0
    scene.scales[1] = 1e30
    assert Rasterizer(1)(scene, CAMERA).dropped == 2


def test_colors_are_clamped_below_and_depend_on_the_view():
    scene = splats([[32.5, 32.5]], opacity=0.5, color=(-1.0, 0.5, 2.0))
    assert Rasterizer(1)(scene, CAMERA).rgb[:, 32, 32].tolist() == pytest.approx([0.0, 0.25, 1.0], abs=1e-5)
    # Straight ahead the direction is +z, whose harmonic is the second linear one, + C1 z.
    scene.sh[:, 2, 1] = 0.4
    assert Rasterizer(1)(scene, CAMERA).rgb[1, 32, 32] == pytest.approx(0.5 * (0.5 + 0.4 * 0.4886025), abs=1e-4)


def test_threads_do_not_change_a_bit():
    scene, camera = head_scene(8000), head_camera(200, 20.0)
    single = Rasterizer(1)(scene, camera)
    for threads in (2, 3, 8):
        assert_same(single, Rasterizer(threads)(scene, camera))


def test_two_renders_at_once_and_buffers_that_are_used_again():
    draw = Rasterizer(2)
    jobs = [(head_scene(n, seed=n), head_camera(size, n / 100)) for n, size in ((3000, 96), (500, 130), (9000, 64))]
    alone = [Rasterizer(1)(*job) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda k: draw(*jobs[k % 3]), range(24)))
    for k, drawn in enumerate(together):
        assert_same(drawn, alone[k % 3])


def test_background_is_what_shines_through():
    scene, camera = head_scene(2000), head_camera(64)
    bare = render(scene, camera, backend="numba")
    color = torch.tensor([0.1, 0.5, 0.9])
    over = render(scene, camera, color, backend="numba")
    assert torch.allclose(over.rgb, bare.rgb + (1 - bare.alpha) * color[:, None, None], atol=1e-6)
    picture = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    over = render(scene, camera, picture, backend="numba")
    empty = bare.alpha[0] == 0
    assert torch.equal(over.rgb[:, empty], picture[:, empty])
    assert torch.equal(over.alpha, bare.alpha) and torch.equal(over.depth, bare.depth)


def test_backends_by_name():
    scene, camera = head_scene(200), head_camera(32)
    assert "numba" in available_backends() and "reference" in available_backends()
    assert_same(render(scene, camera), render(scene, camera, backend="numba"))
    assert render(scene, camera, backend="reference").rgb.dtype == torch.float64
    with pytest.raises(InputError, match='Unknown splat backend "blender": choose one of auto, '):
        render(scene, camera, backend="blender")


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without CUDA")
def test_gsplat_is_refused_without_cuda():
    with pytest.raises(InputError, match='"gsplat" cannot run on this machine'):
        render(head_scene(10), head_camera(32), backend="gsplat")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_gsplat_agrees_with_the_reference():
    assert gsplat_available()
    scene, camera = head_scene(1200, seed=1), head_camera(64, 15.0)
    fast, exact = render(scene.to("cuda"), camera, backend="gsplat").to("cpu"), render_reference(scene, camera)
    difference = (image(fast) - image(exact)).abs().amax(dim=0)
    assert (difference <= 1e-4).float().mean() >= 0.995


def test_the_reference_is_differentiable():
    generator = torch.Generator().manual_seed(5)
    scene = splats([[3.2, 4.1], [4.6, 3.7], [5.5, 5.2]], depth=torch.tensor([9.0, 10.0, 11.0]), sigma=4.0)
    camera = Camera.for_crop(6)
    scene = replace(
        scene, means=camera.unproject(torch.tensor([[3.2, 4.1], [4.6, 3.7], [5.5, 5.2]]), scene.means[:, 2])
    )
    quats = torch.nn.functional.normalize(torch.randn(3, 4, generator=generator), dim=1)
    names = ("means", "quats", "scales", "opacities", "sh")
    scene = replace(scene, quats=quats, scales=scene.scales * 4)
    values = [getattr(scene, name).double().requires_grad_(True) for name in names]

    def draw(*tensors):
        rendering = render_reference(replace(scene, **dict(zip(names, tensors, strict=True))), camera)
        return torch.cat((rendering.rgb, rendering.alpha))

    assert torch.autograd.gradcheck(draw, values, eps=1e-6, atol=1e-5)


def test_the_reference_refuses_a_whole_head():
    with pytest.raises(InputError, match="for small scenes"):
        render(head_scene(20_000), head_camera(512), backend="reference")


def test_a_scene_too_large_is_refused_in_one_line(monkeypatch):
    from mggtalk_core.render.cpu import rasterizer

    monkeypatch.setattr(rasterizer, "_MAX_ENTRIES", 100)
    with pytest.raises(InputError, match="too large for this view"):
        Rasterizer(1)(splats([[32.0, 32.0]] * 30, sigma=500.0), CAMERA)


def test_kernels_compile_without_a_cache_folder(monkeypatch):
    import numba

    from mggtalk_core.render.cpu.jit import kernel

    compile_ = numba.njit

    def refuses_cache(*args, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return compile_(*args, **options)

    monkeypatch.setattr(numba, "njit", refuses_cache)
    assert kernel()(lambda x: x + 1)(2) == 3
