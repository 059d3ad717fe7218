"""Normals, label view, confidence and video."""

from dataclasses import replace

import pytest
import torch

from mggtalk_core.gaussians.gaussians import Gaussians
from mggtalk_core.geometry.points import Label
from mggtalk_core.head.camera import Camera
from mggtalk_core.render.extras import CONFIDENCE, LABEL_COLORS, render_extras, view_normals
from mggtalk_core.render.rasterize import available_backends
from mggtalk_core.render.synthetic import head_camera, head_scene

CAMERA = Camera.for_crop(32)


def disc(label: Label, tilt: float = 0.0, opacity: float = 0.99) -> Gaussians:
    """One disc that covers the picture, turned about the vertical by ``tilt``."""
    half = torch.tensor(tilt / 2)
    quats = torch.stack((half.cos(), half * 0, half.sin(), half * 0))[None]
    sizes = torch.tensor([[5.0, 5.0, 0.01]])
    sh = torch.zeros(1, 4, 3)
    return Gaussians(
        torch.tensor([[0.0, 0, 10]]), quats, sizes, torch.tensor([opacity]), sh, torch.tensor([label]).byte()
    )


@pytest.mark.parametrize("tilt", [0.0, 0.6, -1.0, 3.0])
def test_normals_are_those_of_the_disc_and_face_the_camera(tilt):
    normals = render_extras(disc(Label.VISIBLE, tilt), CAMERA, normals=True).normals
    expected = torch.tensor([torch.tensor(tilt).sin(), 0.0, torch.tensor(tilt).cos()])
    expected = -expected if expected[2] > 0 else expected
    assert torch.allclose(normals[:, 16, 16], expected, atol=1e-3)
    assert torch.allclose(normals.norm(dim=0), torch.ones(32, 32), atol=1e-5)


def test_normals_of_a_round_head_point_outwards():
    scene, camera = head_scene(20_000), head_camera(96)
    normals = render_extras(scene, camera, normals=True).normals
    assert normals[0, 48, 31] < -0.4 and normals[0, 48, 65] > 0.4
    assert normals[1, 24, 48] < -0.3 and normals[1, 72, 48] > 0.3
    assert normals[2, 48, 48] < -0.95
    assert (normals[:, 0, 0] == 0).all()


def test_normals_do_not_depend_on_the_length_of_the_quaternion():
    scene, camera = head_scene(50), head_camera(32)
    longer = replace(scene, quats=scene.quats * 3)
    assert torch.allclose(view_normals(scene, camera), view_normals(longer, camera), atol=1e-6)


@pytest.mark.parametrize("label", list(Label))
def test_labels_and_confidence(label):
    extras = render_extras(disc(label, opacity=0.5), CAMERA, labels=True, confidence=True)
    assert extras.normals is None
    # Near the middle the alpha is the opacity.
    assert extras.labels[:, 16, 16].tolist() == pytest.approx([0.5 * c for c in LABEL_COLORS[label]], abs=1e-3)
    assert extras.confidence[0, 16, 16] == pytest.approx(0.5 * CONFIDENCE[label], abs=1e-3)
    assert extras.confidence.shape == (1, 32, 32)


def test_every_label_has_a_colour_of_its_own():
    assert set(LABEL_COLORS) == set(CONFIDENCE) == set(Label)
    assert len(set(LABEL_COLORS.values())) == len(Label)


def test_nothing_asked_for_nothing_drawn():
    extras = render_extras(head_scene(5), CAMERA)
    assert extras.normals is None and extras.labels is None and extras.confidence is None


def test_backends_are_listed_in_the_order_of_preference():
    assert available_backends("cpu")[0] == "numba"
    names = available_backends("cuda")
    assert names == [name for name in ("gsplat", "warp", "numba", "reference") if name in names]
