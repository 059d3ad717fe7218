"""Our projection beside gsplat's own functions in plain torch, which run without CUDA."""

import pytest
import torch

from mggtalk_core.head.camera import Camera
from mggtalk_core.render.cpu.rasterizer import Rasterizer
from mggtalk_core.render.reference import project_splats, view_colors
from mggtalk_core.render.synthetic import head_camera, head_scene


@pytest.fixture(scope="module")
def theirs():
    return pytest.importorskip("gsplat.cuda._torch_impl")


def projected(theirs, g, camera: Camera):
    """gsplat's means, depths, conics and compensations of the whole scene."""
    x, y = camera.center
    intrinsics = torch.tensor([[camera.focal, 0.0, x], [0.0, camera.focal, y], [0.0, 0.0, 1.0]], dtype=g.means.dtype)
    covariances, _ = theirs._quat_scale_to_covar_preci(g.quats, g.scales, True, False)
    pose = camera.world_to_camera.to(g.means)[None]
    result = theirs._fully_fused_projection(
        g.means, covariances, pose, intrinsics[None], camera.width, camera.height, calc_compensations=True
    )
    return [tensor[0] for tensor in result[1:]]


def test_projection_is_that_of_gsplat(theirs):
    scene, camera = head_scene(2000), head_camera(128, 25.0)
    means, depths, conics, compensations = projected(theirs, scene, camera)
    frame = Rasterizer(1).forward((scene.means, scene.quats, scene.scales, scene.opacities, scene.sh), camera, True)
    drawn = torch.from_numpy(frame.records[:, 12] > frame.records[:, 10])
    ours = torch.from_numpy(frame.records.copy())[drawn]
    assert drawn.float().mean() > 0.8
    assert torch.allclose(ours[:, :2], means[drawn], atol=1e-3)
    assert torch.allclose(ours[:, 9], depths[drawn], rtol=1e-6)
    halved = conics[drawn] * torch.tensor([0.5, 1.0, 0.5])
    assert torch.allclose(ours[:, 2:5], halved, rtol=1e-4, atol=1e-6)
    assert torch.allclose(torch.exp(-ours[:, 5]), (scene.opacities * compensations)[drawn], rtol=2e-3)


def test_reference_is_that_of_gsplat(theirs):
    scene, camera = head_scene(500), head_camera(64, -15.0)
    means, depths, conics, compensations = projected(theirs, scene, camera)
    ours, covariances, features, opacities = project_splats(scene, camera, True)
    assert torch.allclose(ours, means, atol=1e-3) and torch.allclose(features[:, 3], depths, rtol=1e-6)
    inverse = torch.linalg.inv(covariances)
    assert torch.allclose(torch.stack((inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]), 1), conics, rtol=1e-4)
    assert torch.allclose(opacities, scene.opacities * compensations, rtol=2e-3)


def test_harmonics_are_those_of_gsplat(theirs):
    scene, camera = head_scene(300), head_camera(64, 40.0)
    eye = -camera.rotation.T @ camera.translation
    colors = theirs._spherical_harmonics(1, torch.nn.functional.normalize(scene.means - eye, dim=1), scene.sh)
    assert torch.allclose(view_colors(scene.means, scene.sh, camera), (colors + 0.5).clamp(min=0), atol=1e-5)
