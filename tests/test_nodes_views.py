"""Splat Render: cameras on their way, ComfyUI's cameras and splats, and what else than colour it shows."""

import math
import sys
import types

import pytest
import torch

from mggtalk_core.gaussians.gaussians import SH_C0, Gaussians
from mggtalk_core.head.camera import Camera
from mggtalk_core.motion.rotations import exp_rotation
from mggtalk_core.render.cameras import HEAD_CENTER, orbit
from mggtalk_core.render.extras import CONFIDENCE, LABEL_COLORS
from mggtalk_core.render.rasterize import render
from mggtalk_core.render.rendering import straight_colour

FRONT = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
HOME = Camera.for_crop(64).posed(FRONT, torch.tensor([0.1, 0.3, 14.0]))
RENDER = {"start": 0, "count": 0, "step": 1, "size": 64, "backend": "reference"}


def part(nodes, name):
    return sys.modules[nodes["MGGSplatRender"].__module__.rsplit(".", 1)[0] + "." + name]


def nodding(degrees):
    """The camera of a head that has nodded by so many degrees, about the camera's own x axis."""
    turn = exp_rotation(torch.tensor([math.radians(degrees), 0.0, 0.0]))
    return HOME.posed(turn @ FRONT, HOME.translation)


class Head:
    """A sequence of four Gaussians, one of each label that a view tells apart, on a head that nods."""

    fps = 25.0
    avatar = types.SimpleNamespace(points=types.SimpleNamespace(fit=types.SimpleNamespace(camera=HOME)))

    def __init__(self, nods=(0.0, 10.0, 20.0)):
        self.nods = nods

    def __len__(self):
        return len(self.nods)

    def frame(self, index, view=None):
        means = torch.tensor([[-1.2, 1.0, -0.5], [1.2, 1.0, -0.5], [-1.2, -1.4, -0.5], [1.2, -1.4, -0.5]])
        sh = torch.zeros(4, 4, 3)
        sh[:, 0] = (torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.1, 0.1, 0.9], [0.5, 0.5, 0.5]]) - 0.5) / SH_C0
        return Gaussians(
            means=means,
            quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(4, 1),
            scales=torch.tensor([[0.5, 0.5, 0.02]]).repeat(4, 1),
            opacities=torch.full((4,), 0.99),
            sh=sh,
            labels=torch.arange(4, dtype=torch.uint8),
        )

    def camera(self, index):
        return nodding(self.nods[index])


def run(nodes, gaussians, **inputs):
    with torch.inference_mode():
        return nodes["MGGSplatRender"].execute(gaussians=gaussians, **{**RENDER, **inputs}).result


def cameras(nodes, sequence, frames, size=64, camera_info=None, **move):
    views = part(nodes, "views")
    taken = views.shots(sequence, frames, size, views.Move(**move), camera_info)
    return [taken.camera(place) for place in range(len(taken))]


def assert_same(a, b, atol=2e-5):
    assert torch.allclose(a.world_to_camera, b.world_to_camera, atol=atol)
    assert a.focal == pytest.approx(b.focal)
    assert (a.width, a.height) == (b.width, b.height)


def test_without_a_move_every_frame_has_its_own_camera_bit_for_bit(nodes):
    head = Head()
    for place, seen in enumerate(cameras(nodes, head, [2, 0], size=128, easing="ease-in")):
        own = head.camera([2, 0][place]).resized(128, 128)
        assert torch.equal(seen.world_to_camera, own.world_to_camera) and seen.focal == own.focal


def test_a_still_head_is_orbited(nodes):
    still = Head((0.0, 0.0, 0.0))
    seen = cameras(nodes, still, range(3), orbit_yaw=-30.0, orbit_pitch=20.0, orbit_turn=60.0)
    for camera, yaw in zip(seen, (-30.0, 0.0, 30.0), strict=True):
        assert_same(camera, orbit(HOME, yaw, 20.0), atol=0.02)  # between keys the way is the shorter one
    assert_same(seen[0], orbit(HOME, -30.0, 20.0))


def test_a_nod_seen_from_the_side_turns_the_profile_in_the_picture(nodes):
    (level, *_), (nodded, *_) = (cameras(nodes, Head((nod,)), [0], orbit_yaw=90.0) for nod in (0.0, 20.0))
    turn = nodded.rotation @ level.rotation.T
    assert torch.allclose(turn[2], torch.tensor([0.0, 0.0, 1.0]), atol=1e-5)
    assert math.degrees(math.acos(float(turn[0, 0]))) == pytest.approx(20.0, abs=1e-3)


def test_a_whole_turn_comes_back_and_keeps_its_height(nodes):
    seen = cameras(nodes, Head((0.0,)), [0] * 9, orbit_pitch=30.0, orbit_turn=360.0)
    assert_same(seen[0], seen[-1], atol=1e-4)
    heights = [elevation(camera) for camera in seen]
    assert heights == pytest.approx([heights[0]] * len(seen), abs=0.3)


def elevation(camera):
    """Degrees that the camera stands above the middle of the head."""
    position = -camera.rotation.T @ camera.translation - torch.tensor(HEAD_CENTER)
    return math.degrees(math.asin(float(position[1] / position.norm())))


def test_zoom_goes_by_even_ratios_and_easing_keeps_the_ends(nodes):
    linear, eased = (
        cameras(nodes, Head((0.0,)), [0] * 5, zoom=1.0, zoom_end=4.0, orbit_rise=40.0, easing=easing)
        for easing in ("linear", "ease-in")
    )
    assert [camera.focal / HOME.focal for camera in linear] == pytest.approx([4.0 ** (k / 4) for k in range(5)])
    assert_same(eased[0], linear[0])
    assert_same(eased[-1], linear[-1])
    assert_same(eased[2], linear[1])  # a quarter of the way after half of the time


def test_a_camera_of_comfyui_sees_what_it_should(nodes):
    position, target = {"x": 3.0, "y": 4.0, "z": 12.0}, {"x": 1.0, "y": 0.5, "z": 0.0}
    info = {"position": position, "target": target, "fov": 40.0, "zoom": 2}
    camera, target = part(nodes, "camera_info").camera_of(info, 100)
    assert target == (1.0, 0.5, 0.0)
    seen = camera.to_camera(torch.tensor([[1.0, 0.5, 0.0], [3.0, 4.0, 12.0], [1.0, 1.5, 0.0]]))
    distance = (4.0 + 12.25 + 144.0) ** 0.5
    assert torch.allclose(seen[0], torch.tensor([0.0, 0.0, distance]), atol=1e-4)
    assert torch.allclose(seen[1], torch.zeros(3), atol=1e-4)
    assert float(seen[2, 1]) < -0.5 and abs(float(seen[2, 0])) < 1e-5, "up is up in the picture"
    assert camera.focal == pytest.approx(50.0 / math.tan(math.radians(20.0)) * 2)


def test_the_quaternion_of_a_camera_goes_before_its_target(nodes):
    half = math.sin(math.radians(15.0))
    info = {
        "position": {"x": 0.0, "y": 0.0, "z": 8.0},
        "target": {"x": 5.0, "y": 5.0, "z": 5.0},
        "quaternion": {"x": 0.0, "y": half, "z": 0.0, "w": math.cos(math.radians(15.0))},
    }
    camera, _ = part(nodes, "camera_info").camera_of(info, 64)
    ahead = torch.tensor([[-math.sin(math.radians(30.0)), 0.0, 8.0 - math.cos(math.radians(30.0))]])
    assert torch.allclose(camera.to_camera(ahead), torch.tensor([[0.0, 0.0, 1.0]]), atol=1e-5)


@pytest.mark.parametrize(
    ("info", "message"),
    [({"cameraType": "orthographic"}, "perspective"), ({"position": {"z": 1.0}, "target": {"z": 1.0}}, "stands where")],
)
def test_cameras_that_cannot_be_are_refused(nodes, info, message):
    module = part(nodes, "camera_info")
    with pytest.raises(module.InputError, match=message):
        module.camera_of(info, 64)


def test_a_camera_shows_the_head_where_to_splat_puts_it(nodes):
    """The world of camera_info is that of To Splat with its pose: y up, z to the viewer."""
    info = {"position": {"x": 1.0, "y": 0.0, "z": 10.0}, "target": {"x": 0.0, "y": 0.0, "z": 0.0}}
    head = Head((20.0,))
    (camera,) = cameras(nodes, head, [0], camera_info=info)
    direct, _ = part(nodes, "camera_info").camera_of(info, 64)
    splat = part(nodes, "splats").to_splat(head, [0], True, lambda done, total: None)
    in_world = splat.positions[0] * torch.tensor([1.0, -1.0, -1.0])
    assert torch.allclose(camera.to_camera(head.frame(0).means), direct.to_camera(in_world), atol=1e-4)


def test_any_splat_is_drawn_as_its_gaussians_are(nodes):
    head = Head((0.0, 0.0))
    module = part(nodes, "splats")
    splat = module.to_splat(head, [0, 1], False, lambda done, total: None)
    splat.positions, splat.sh = splat.positions.half(), torch.cat((splat.sh, torch.ones(2, 4, 5, 3)), dim=2)
    splat.counts = torch.tensor([4, 3])
    image, mask, _ = run(nodes, splat)
    sequence = module.SplatSequence(splat, torch.device("cpu"))
    for place, count in enumerate((4, 3)):
        whole = head.frame(0)
        fields = {name: getattr(whole, name)[:count] for name in ("quats", "scales", "opacities", "sh", "labels")}
        gaussians = Gaussians(means=whole.means[:count].half().float(), **fields)
        wanted = render(gaussians, sequence.home.resized(64, 64), backend="reference")
        assert (mask[place] - wanted.alpha[0]).abs().max() < 1e-5
        assert (image[place].movedim(-1, 0) - straight_colour(wanted).clamp(0, 1)).abs().max() < 1e-4
    columns, rows = (mask[0] > 0.1).any(0).nonzero(), (mask[0] > 0.1).any(1).nonzero()
    assert 20 < float(rows.max() - rows.min()) < 64 and abs(float(columns.float().mean()) - 31.5) < 1.0


def test_splats_without_harmonics_or_gaussians(nodes):
    module = part(nodes, "splats")
    splat = module.to_splat(Head(), [0], False, lambda done, total: None)
    splat.sh = splat.sh[:, :, :1]
    assert torch.equal(module.SplatSequence(splat, torch.device("cpu")).frame(0).sh[:, 1:], torch.zeros(4, 3, 3))
    splat.counts = torch.tensor([0])
    with pytest.raises(module.InputError, match="empty"):
        run(nodes, splat)


def test_a_still_is_repeated_for_a_camera_that_moves(nodes):
    image, mask, _ = run(nodes, Head((0.0,)), count=3, orbit_turn=60.0)
    assert image.shape == (3, 64, 64, 3)
    assert (mask[2] - mask[0]).abs().max() > 0.3
    assert len(run(nodes, Head((0.0, 0.0)), count=3)[0]) == 2, "a clip has no more frames than it has"


def test_views_show_what_they_say(nodes):
    head = Head((0.0,))
    pixels = HOME.project(head.frame(0).means)[:, :2].long()
    views = ("labels", "normals", "confidence", "colour", "depth")
    colours = {view: run(nodes, head, view=view)[0][0] for view in views}
    for label, (x, y) in enumerate(pixels.tolist()):
        assert colours["labels"][y, x].tolist() == pytest.approx(LABEL_COLORS[label], abs=2e-2)
        assert colours["confidence"][y, x].tolist() == pytest.approx([CONFIDENCE[label]] * 3, abs=2e-2)
        assert colours["normals"][y, x].tolist() == pytest.approx([0.5, 0.5, 1.0], abs=0.03)
    for view, picture in colours.items():
        assert float(picture[0, 0].abs().max()) == 0.0, f"{view} is black where nothing is"
    assert torch.equal(colours["depth"], run(nodes, head)[2][0])
    wanted = straight_colour(render(head.frame(0), HOME, backend="reference"))
    assert torch.equal(colours["colour"], wanted.float().movedim(0, -1).clamp(0, 1))


@pytest.mark.parametrize("view", ["labels", "confidence"])
def test_a_splat_from_elsewhere_has_no_labels(nodes, view):
    module = part(nodes, "splats")
    splat = module.to_splat(Head(), [0], False, lambda done, total: None)
    with pytest.raises(module.InputError, match=f"has no {view}"):
        run(nodes, splat, view=view)
