import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import mggtalk_core.motion.watch as watching
from mggtalk_core.errors import InputError
from mggtalk_core.head.camera import Camera
from mggtalk_core.head.model import load_head_model
from mggtalk_core.motion.rig import motion_from_rig
from mggtalk_core.motion.rotations import FACING, head_degrees
from mggtalk_core.motion.video import driver_crop, motion_from_sightings, motion_from_video, open_clip, to_crop
from mggtalk_core.motion.watch import Sightings, watch
from mggtalk_core.portrait.blendshapes import BLENDSHAPE_INDEX

JAW = BLENDSHAPE_INDEX["jawOpen"]
FRAMES = 30


def acted():
    """A head that turns, nods and talks, and the landmarks that a camera sees of it."""
    time = torch.linspace(0.0, 1.0, FRAMES, dtype=torch.float64)
    talk = 0.25 - 0.25 * torch.cos(4 * torch.pi * time)
    motion = motion_from_rig({"jawOpen": talk}, yaw=18.0 * torch.sin(2 * torch.pi * time), pitch=6.0 * time)
    model, camera = load_head_model(), Camera.for_crop()
    seen = []
    for frame in range(FRAMES):
        vertices = model.vertices(torch.zeros(model.modes), motion.beta[frame], motion.gaze[frame])
        posed = camera.posed(motion.rotation[frame], motion.translation[frame])
        points = posed.project(model.landmarks(vertices))
        points[:, 2] = (points[:, 2] - points[:, 2].mean()) * camera.focal / motion.translation[frame, 2]
        seen.append(points)
    return motion, Sightings(torch.stack(seen), motion.beta, torch.ones(FRAMES, dtype=torch.bool))


@pytest.fixture(scope="module")
def played():
    return acted()


@pytest.fixture(scope="module")
def tracked(played):
    return motion_from_sightings(played[1], 25.0, smoothing=0.0)


def test_a_known_performance_comes_back(played, tracked):
    acted_degrees, degrees = (head_degrees(FACING.T @ motion.rotation.double()) for motion in (played[0], tracked))
    torch.testing.assert_close(degrees, acted_degrees, atol=2.0, rtol=0.0)
    talk = np.corrcoef(played[0].beta[:, JAW].numpy(), tracked.beta[:, JAW].numpy())[0, 1]
    assert talk > 0.98
    assert tracked.kind == "video"
    assert tracked.held == ()


def test_the_rest_is_a_face_that_does_little(tracked):
    assert float(tracked.rest.beta[JAW]) < float(tracked.beta[:, JAW].median())
    degrees = head_degrees(FACING.T @ tracked.rest.rotation.double())
    assert abs(float(degrees[0])) < 2.0, "the middle of a turn to both sides"


def test_frames_without_a_face_are_interpolated_and_counted(played):
    seen = played[1]
    found = seen.found.clone()
    found[10:13] = False
    found[-1] = False
    motion = motion_from_sightings(Sightings(seen.landmarks, seen.blendshapes, found), 25.0, smoothing=0.0)
    assert motion.held == (10, 11, 12, 29)
    torch.testing.assert_close(motion.beta[11], (motion.beta[9] + motion.beta[13]) / 2)
    assert torch.equal(motion.rotation[29], motion.rotation[28])


def test_the_clips_scale_and_place_do_not_matter(played, tracked):
    seen = played[1]
    moved = seen.landmarks * 1.7 + torch.tensor([300.0, 40.0, 0.0])
    other = motion_from_sightings(Sightings(moved, seen.blendshapes, seen.found), 25.0, smoothing=0.0)
    plain = motion_from_sightings(seen, 25.0, smoothing=0.0)
    torch.testing.assert_close(other.beta, plain.beta, atol=2e-3, rtol=0.0)
    torch.testing.assert_close(other.rotation, plain.rotation, atol=2e-3, rtol=0.0)


def test_landmarks_move_into_the_crop_with_their_depth(played):
    landmarks = played[1].landmarks[:2]
    transform = torch.tensor([[0.0, -2.0, 10.0], [2.0, 0.0, 20.0]])
    moved = to_crop(landmarks, transform)
    torch.testing.assert_close(moved[..., 0], 10.0 - 2.0 * landmarks[..., 1])
    torch.testing.assert_close(moved[..., 1], 20.0 + 2.0 * landmarks[..., 0])
    torch.testing.assert_close(moved[..., 2], 2.0 * landmarks[..., 2])


def test_the_drivers_crop_is_framed_like_a_portrait(played):
    inside = to_crop(played[1].landmarks[:1], driver_crop(played[1]))[0, :, :2]
    assert float(inside.min()) > 100.0
    assert float(inside.max()) < 412.0


class Tracker:
    """Sees a face wherever the first pixel is not black."""

    def update(self, image):
        if not image.any():
            return None
        return SimpleNamespace(landmarks=torch.full((478, 3), float(image[0, 0, 0])), blendshapes=torch.zeros(52))


def pictures(values):
    return (np.full((4, 4, 3), value, dtype=np.uint8) for value in values)


@pytest.fixture
def simple_tracker(monkeypatch):
    monkeypatch.setattr(watching, "FaceTracker", Tracker)


def test_gaps_are_bridged_before_the_fit(simple_tracker):
    steps = []
    seen = watch(pictures([0, 10, 0, 0, 40, 0]), 6, on_step=lambda done, total: steps.append((done, total)))
    assert seen.found.tolist() == [False, True, False, False, True, False]
    torch.testing.assert_close(seen.landmarks[:, 0, 0], torch.tensor([10.0, 10.0, 20.0, 30.0, 40.0, 40.0]))
    assert steps == [(done, 6) for done in range(1, 7)]


def test_no_face_and_no_frame_are_input_errors(simple_tracker):
    with pytest.raises(InputError, match="No face"):
        watch(pictures([0, 0]), 2)
    with pytest.raises(InputError, match="no frames"):
        watch(pictures([]), 0)


def test_frames_are_let_go(simple_tracker):
    alive = []

    def stream():
        for value in range(1, 40):
            frame = np.full((64, 64, 3), value, dtype=np.uint8)
            alive.append(weakref.ref(frame))
            yield frame
            del frame
            assert sum(reference() is not None for reference in alive) <= 2

    assert len(watch(stream(), 39).found) == 39


def test_frames_need_a_rate():
    with pytest.raises(InputError, match="rate"):
        open_clip(pictures([1]))


def test_a_real_clip_with_frames_blacked_out(shared):
    clip = open_clip(shared / "data" / "clips" / "edtalk_mouth-source-with-audio.mp4", max_frames=16)
    frames = list(clip.frames)
    for blank in (0, 7, 8):
        frames[blank] = np.zeros_like(frames[blank])
    motion = motion_from_video(frames, fps=clip.fps)
    assert (len(motion), motion.fps, motion.held) == (16, 25.0, (0, 7, 8))
    assert float(head_degrees(FACING.T @ motion.rotation.double()).abs().max()) < 45.0
    assert 0.4 < motion.eye_distance < 0.8
    assert 4.0 < float(motion.translation[:, 2].median()) < 12.0


def test_a_real_clip_brings_its_sound_and_count(shared):
    path = shared / "data" / "clips" / "edtalk_mouth-source-with-audio.mp4"
    motion = motion_from_video(path, max_frames=6)
    assert len(motion) == 6
    assert motion.sound is not None
    assert motion_from_video(path, max_frames=3, with_sound=False).sound is None
