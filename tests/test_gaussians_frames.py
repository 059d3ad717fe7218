"""Orientation, extent and reflection of Gaussians, and the files they are written to."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from mggtalk_core.errors import InputError
from mggtalk_core.gaussians.densify import CHILD_SHRINK, child_offset
from mggtalk_core.gaussians.files import to_image_axes, write_gaussians
from mggtalk_core.gaussians.frames import THICKNESS, ellipse_frames, quaternion_of
from mggtalk_core.gaussians.gaussians import SH_C0, Gaussians
from mggtalk_core.gaussians.mirror import Mirror
from mggtalk_core.geometry.mirror_plane import MirrorPlane
from mggtalk_core.head.camera import Camera
from mggtalk_core.motion.rotations import camera_rotation
from mggtalk_core.render.rasterize import render
from mggtalk_core.render.reference import render_reference
from mggtalk_core.render.synthetic import head_camera, head_scene

number = st.floats(-1.0, 1.0, allow_subnormal=False)
quick = settings(max_examples=100, deadline=None, derandomize=True, database=None)
FLIP_X = torch.tensor([-1.0, 1.0, 1.0])
FLIP = Mirror.about(MirrorPlane.canonical())
TILTED = Mirror.about(MirrorPlane(torch.nn.functional.normalize(torch.tensor([1.0, 0.3, -0.2]), dim=0), 0.07))


def matrix_of(quats):
    """Rotation matrices of unit quaternions w, x, y, z, by the sandwich product."""

    def times(a, b):
        (aw, ax, ay, az), (bw, bx, by, bz) = a.unbind(-1), b.unbind(-1)
        return torch.stack(
            (
                aw * bw - ax * bx - ay * by - az * bz,
                aw * bx + ax * bw + ay * bz - az * by,
                aw * by - ax * bz + ay * bw + az * bx,
                aw * bz + ax * by - ay * bx + az * bw,
            ),
            dim=-1,
        )

    conjugate = quats * quats.new_tensor((1.0, -1.0, -1.0, -1.0))
    axes = torch.eye(4).to(quats)[1:]
    columns = [times(times(quats, axis.expand_as(quats)), conjugate)[..., 1:] for axis in axes]
    return torch.stack(columns, dim=-1)


def covariance(quats, scales):
    axes = matrix_of(quats) * scales[..., None, :]
    return axes @ axes.mT


def some_gaussians(count=40, seed=0):
    """Gaussians of any orientation and colour that lie in front of a canonical camera."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(*shape, generator=random)

    return Gaussians(
        means=draw(count, 3) * 1.4 - 0.7,
        quats=torch.nn.functional.normalize(torch.randn(count, 4, generator=random), dim=1),
        scales=0.03 + 0.15 * draw(count, 3),
        opacities=0.2 + 0.7 * draw(count),
        sh=0.6 * torch.randn(count, 4, 3, generator=random),
        labels=(draw(count) * 5).to(torch.uint8),
    )


def facing_camera(size=40, yaw=0.0, pitch=0.0):
    turn = camera_rotation(*torch.tensor([yaw, pitch, 0.0])).float()
    return Camera.for_crop(size).posed(turn, torch.tensor([0.0, 0.1, 9.0]))


@quick
@given(st.tuples(number, number, number, number))
def test_quaternion_of_inverts_the_rotation_matrix(values):
    quaternion = torch.tensor(values, dtype=torch.float64)
    assume(quaternion.norm() > 1e-3)
    quaternion = quaternion / quaternion.norm()
    matrix = matrix_of(quaternion[None])[0]
    found = quaternion_of(*(column[None] for column in matrix.unbind(-1)))[0]
    # A quaternion and its negative are the same rotation.
    assert min((found - quaternion).norm(), (found + quaternion).norm()) < 1e-9


def test_quaternion_of_half_turns_and_rest():
    quats = torch.eye(4, dtype=torch.float64)
    found = quaternion_of(*matrix_of(quats).unbind(-1))
    assert torch.allclose(found.abs(), quats, atol=1e-12)


@quick
@given(st.tuples(*[number] * 6))
def test_ellipse_covers_both_spacing_vectors(values):
    x, y = torch.tensor(values, dtype=torch.float64).view(2, 3)
    normal = torch.linalg.cross(x, y)
    assume(normal.norm() > 0.02 * x.norm() * y.norm() and min(x.norm(), y.norm()) > 1e-3)
    quats, scales = ellipse_frames(x[None], y[None])
    thin = THICKNESS * scales[0, 1] * normal / normal.norm()
    wanted = torch.outer(x, x) + torch.outer(y, y) + torch.outer(thin, thin)
    assert torch.allclose(covariance(quats, scales)[0], wanted, atol=1e-9)
    assert scales[0, 0] >= scales[0, 1] > scales[0, 2] > 0.0
    # The third axis is the side that the surface's rows and columns turn about, not its opposite.
    assert matrix_of(quats)[0, :, 2] @ normal > 0.0


def test_ellipse_of_equal_perpendicular_vectors_is_round():
    x, y = torch.tensor([[0.3, 0.0, 0.0]]), torch.tensor([[0.0, -0.3, 0.0]])
    quats, scales = ellipse_frames(x, y)
    assert torch.allclose(scales, torch.tensor([[0.3, 0.3, 0.3 * THICKNESS]]))
    assert torch.allclose(quats.norm(dim=-1), torch.ones(1))


def test_children_and_parents_form_one_denser_lattice():
    row, column = torch.meshgrid(torch.arange(5.0), torch.arange(5.0), indexing="ij")
    parents = torch.stack((column, -row, torch.zeros_like(row)), dim=-1).view(-1, 3)
    x, y = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, -1.0, 0.0]])
    children = parents + child_offset(x, y)
    distance = torch.cdist(children, parents)
    assert torch.allclose(distance.amin(dim=1), torch.full((25,), CHILD_SHRINK))
    inner = children[:, 0].lt(4) & children[:, 1].gt(-4)
    nearest = distance[inner].sort(dim=1).values[:, :4]
    assert torch.allclose(nearest, torch.full_like(nearest, CHILD_SHRINK))


@pytest.mark.parametrize("mirror", [FLIP, TILTED], ids=["x = 0", "a plane of its own"])
def test_reflected_gaussians_make_the_mirrored_picture(mirror):
    """Orientation, extent and colour that depends on the view, in one: the picture of the mirror is the mirror's."""
    scene = some_gaussians()
    twin = Gaussians(
        means=mirror.reflect_points(scene.means),
        quats=mirror.reflect_quaternions(scene.quats),
        scales=scene.scales,
        opacities=scene.opacities,
        sh=mirror.reflect_harmonics(scene.sh),
        labels=scene.labels,
    )
    reflection = torch.eye(4)
    reflection[:3, :3], reflection[:3, 3] = mirror.vectors, mirror.shift
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0]))
    for yaw, pitch in ((0.0, 0.0), (25.0, 10.0)):
        camera = facing_camera(yaw=yaw, pitch=pitch)
        pose = flip @ camera.world_to_camera @ reflection
        seen = render_reference(scene, camera)
        mirrored = render_reference(twin, Camera(pose, camera.focal, camera.width, camera.height))
        assert float(seen.alpha.mean()) > 0.1
        # float32 poses of the cameras: everything behind them is float64.
        assert torch.allclose(mirrored.rgb, seen.rgb.flip(-1), atol=2e-6)
        assert torch.allclose(mirrored.alpha, seen.alpha.flip(-1), atol=2e-6)


def test_wrong_reflections_would_be_seen():
    """The test above has teeth: leaving out the harmonics or the quaternions changes the picture."""
    scene = some_gaussians()
    camera = facing_camera()
    seen = render_reference(scene, camera).rgb.flip(-1)
    fields = {"scales": scene.scales, "opacities": scene.opacities, "labels": scene.labels}
    for quats, sh in (
        (scene.quats, FLIP.reflect_harmonics(scene.sh)),
        (FLIP.reflect_quaternions(scene.quats), scene.sh),
    ):
        twin = Gaussians(means=scene.means * FLIP_X, quats=quats, sh=sh, **fields)
        assert (render_reference(twin, camera).rgb - seen).abs().max() > 0.02


@pytest.mark.parametrize("mirror", [FLIP, TILTED], ids=["x = 0", "a plane of its own"])
def test_reflection_is_its_own_inverse(mirror):
    scene = some_gaussians()
    for reflect, values in (
        (mirror.reflect_points, scene.means),
        (mirror.reflect_vectors, scene.means),
        (mirror.reflect_quaternions, scene.quats),
        (mirror.reflect_harmonics, scene.sh),
    ):
        assert torch.allclose(reflect(reflect(values)), values, atol=1e-6)
        assert not torch.allclose(reflect(values), values, atol=0.1)


@pytest.mark.parametrize("mirror", [FLIP, TILTED], ids=["x = 0", "a plane of its own"])
def test_covariances_are_reflected(mirror):
    scene = some_gaussians()
    one, two = (
        (matrix_of(quats) * scene.scales.square()[:, None]) @ matrix_of(quats).mT
        for quats in (scene.quats, mirror.reflect_quaternions(scene.quats))
    )
    assert torch.allclose(two, mirror.vectors @ one @ mirror.vectors.mT, atol=1e-7)


def test_the_plane_of_the_paper_changes_signs_alone():
    scene = some_gaussians()
    assert torch.equal(FLIP.reflect_points(scene.means), scene.means * FLIP_X)
    assert torch.equal(FLIP.reflect_quaternions(scene.quats), scene.quats * scene.quats.new_tensor((1, 1, -1, -1)))
    assert torch.equal(FLIP.reflect_harmonics(scene.sh), scene.sh * scene.sh.new_tensor((1, 1, 1, -1))[:, None])


def test_turned_axes_make_the_same_picture():
    scene, camera = some_gaussians(seed=1), facing_camera(yaw=-20.0)
    half_turn = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    turned = Camera(camera.world_to_camera @ half_turn, camera.focal, camera.width, camera.height)
    seen, again = render_reference(scene, camera), render_reference(to_image_axes(scene), turned)
    for name in ("rgb", "alpha", "depth"):
        assert torch.allclose(getattr(seen, name), getattr(again, name), atol=1e-9), name
    twice = to_image_axes(to_image_axes(scene))
    assert torch.equal(twice.means, scene.means) and torch.equal(twice.sh, scene.sh)
    assert torch.equal(twice.quats, -scene.quats)  # a full turn: the same rotation


def read_ply(path):
    """A plain reader of the layout: header lines, then little-endian floats."""
    header, data = path.read_bytes().split(b"end_header\n", 1)
    lines = header.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    names = [line.split()[2] for line in lines if line.startswith("property float ")]
    count = int(next(line for line in lines if line.startswith("element vertex")).split()[2])
    table = np.frombuffer(data, dtype="<f4").reshape(count, len(names))
    return {name: torch.from_numpy(table[:, k].copy()) for k, name in enumerate(names)}


def stacked(columns, prefix, count):
    return torch.stack([columns[f"{prefix}{k}"] for k in range(count)], dim=1)


def test_ply_holds_what_viewers_expect(tmp_path):
    scene = some_gaussians(30, seed=2)
    scene.opacities[:2] = torch.tensor([0.0, 1.0])
    write_gaussians(tmp_path / "head.ply", scene)
    columns, turned = read_ply(tmp_path / "head.ply"), to_image_axes(scene)
    assert len(columns) == 26
    assert torch.equal(torch.stack([columns[axis] for axis in "xyz"], dim=1), turned.means)
    opacity = torch.sigmoid(columns["opacity"])
    assert torch.isfinite(columns["opacity"]).all() and torch.allclose(opacity, scene.opacities, atol=2e-6)
    assert torch.allclose(stacked(columns, "scale_", 3).exp(), scene.scales, rtol=1e-5)
    assert torch.equal(stacked(columns, "rot_", 4), turned.quats)
    assert torch.equal(stacked(columns, "f_dc_", 3), turned.sh[:, 0])
    # f_rest runs channel by channel: all of red's coefficients first.
    rest = stacked(columns, "f_rest_", 9).view(-1, 3, 3)
    assert torch.equal(rest, turned.sh[:, 1:].transpose(1, 2))


def test_another_program_reads_the_ply(tmp_path):
    gsply = pytest.importorskip("gsply")
    scene = some_gaussians(30, seed=3)
    write_gaussians(tmp_path / "head.ply", scene)
    data, turned = gsply.plyread(tmp_path / "head.ply"), to_image_axes(scene)
    assert np.allclose(data.means, turned.means.numpy())
    assert np.allclose(data.sh0, turned.sh[:, 0].numpy())
    assert np.allclose(np.asarray(data.shN).reshape(30, 3, 3), turned.sh[:, 1:].numpy())
    assert np.allclose(data.quats, turned.quats.numpy())
    assert np.allclose(np.exp(data.scales), scene.scales.numpy(), rtol=1e-5)
    assert np.allclose(1 / (1 + np.exp(-data.opacities)), scene.opacities.numpy(), atol=2e-6)


def test_safetensors_keeps_every_bit_in_canonical_axes(tmp_path):
    scene = some_gaussians(seed=4)
    write_gaussians(tmp_path / "avatar.safetensors", scene)
    stored = load_file(tmp_path / "avatar.safetensors")
    assert set(stored) == {"means", "quats", "scales", "opacities", "sh", "labels"}
    assert all(torch.equal(stored[name], getattr(scene, name)) for name in stored)


@pytest.mark.parametrize("name", ["head.obj", "head", "missing/head.ply"])
def test_unwritable_files_are_refused_and_leave_nothing(tmp_path, name):
    with pytest.raises(InputError) as refused:
        write_gaussians(tmp_path / name, some_gaussians(3))
    assert "\n" not in str(refused.value) and name.split("/")[0] in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_constant_harmonic_is_the_colour():
    """One opaque splat, many pixels wide, shows 0.5 + SH_C0 sh[0] at its middle."""
    colour = torch.tensor([0.9, 0.3, 0.6])
    sh = torch.zeros(1, 4, 3)
    sh[0, 0] = (colour - 0.5) / SH_C0
    splat = Gaussians(
        torch.zeros(1, 3), torch.eye(4)[:1], torch.full((1, 3), 2.0), torch.ones(1), sh, torch.zeros(1).byte()
    )
    seen = render_reference(splat, facing_camera(16))
    center = seen.rgb[:, 8, 8] / seen.alpha[0, 8, 8]
    assert torch.allclose(center, colour.double(), atol=1e-6)


def test_golden_picture_of_a_small_head():
    """The fast rasteriser against the float64 reference made here and now: at most one grey level of 255 apart."""
    scene, camera = head_scene(2500, seed=7), head_camera(56, yaw=12.0)
    background = torch.tensor([0.2, 0.3, 0.4])
    fast = render(scene, camera, background, backend="numba")
    golden = render(scene, camera, background, backend="reference")
    grey = torch.stack([(r.rgb.clamp(0, 1) * 255 + 0.5).to(torch.uint8).int() for r in (fast, golden)])
    assert (grey[0] - grey[1]).abs().max() <= 1
    assert ((grey[0] - grey[1]) != 0).float().mean() < 0.01
    assert golden.alpha.mean() > 0.2 and golden.rgb.std() > 0.1
