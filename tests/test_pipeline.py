"""The pipeline from end to end on one portrait: likeness, movement seen by the landmarker, repeatability and files."""

import threading
import wave
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from mggtalk_core.animate import Framing, Job, animate, shorten, write_clip
from mggtalk_core.clock import StageClock
from mggtalk_core.errors import InputError
from mggtalk_core.evaluation.gallery import GALLERY, Pose, gallery_motion
from mggtalk_core.evaluation.landmarks import eye_opening, mouth_opening
from mggtalk_core.evaluation.metrics import psnr
from mggtalk_core.gaussians.predict import with_motion
from mggtalk_core.head.fit import fit_head
from mggtalk_core.media.audio import read_sound
from mggtalk_core.media.images import write_image
from mggtalk_core.media.video import VideoReader
from mggtalk_core.motion.motion_json import write_motion_json
from mggtalk_core.motion.rig import motion_from_rig
from mggtalk_core.motion.rotations import FACING, head_degrees
from mggtalk_core.motion.timing import take
from mggtalk_core.pipeline import BUILD_STEPS, Settings, drive, frames, reconstruct
from mggtalk_core.portrait.landmarker import FaceLandmarker
from mggtalk_core.render.composite import Compositor
from mggtalk_core.weights.policy import using_policy

POSES = (
    Pose("at rest"),
    Pose("eyes closed", {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}),
    Pose("mouth open", {"jawOpen": 0.7}),
    Pose("to the subject's right", yaw=-20.0),
    Pose("to the subject's left", yaw=20.0),
)
REST, SHUT, OPEN, RIGHT, LEFT = range(len(POSES))


@pytest.fixture(scope="module")
def pictures(astronaut_head):
    sequence = with_motion(astronaut_head.still, gallery_motion(astronaut_head, POSES))
    return [frame.image for frame in frames(astronaut_head, sequence)]


@pytest.fixture(scope="module")
def faces(pictures):
    """What the landmarker sees in each picture."""
    landmarker = FaceLandmarker()
    found = [landmarker.detect((image * 255 + 0.5).to(torch.uint8).permute(1, 2, 0).numpy()) for image in pictures]
    assert all(len(face) == 1 for face in found)
    return [face[0] for face in found]


def openings(measure, face):
    return float(measure(face.landmarks))


def test_head_at_rest_is_the_picture(astronaut_head, pictures):
    portrait = astronaut_head.portrait
    assert psnr(pictures[REST], portrait.crop, portrait.matte) >= 33.0
    # Away from the head nothing has changed.
    away = torch.nn.functional.max_pool2d(portrait.matte, 193, stride=1, padding=96)[0] < 0.01
    assert away.float().mean() > 0.02
    assert (pictures[REST] - portrait.crop)[:, away].abs().max() < 1e-3


def test_the_analytic_head_at_rest_is_the_picture(astronaut_head):
    portrait, analytic = astronaut_head.portrait, Settings(learned=False)
    (rest,) = (frame.image for frame in frames(astronaut_head, astronaut_head.still, analytic))
    assert psnr(rest, portrait.crop, portrait.matte) >= 33.0
    # Outside the head nothing has changed but its soft edge.
    away = torch.nn.functional.max_pool2d(portrait.matte, 31, stride=1, padding=15)[0] < 0.01
    assert away.float().mean() > 0.2
    assert (rest - portrait.crop)[:, away].abs().max() < 0.02


def test_without_learned_parts_frames_are_the_composite(astronaut_head):
    sequence = with_motion(astronaut_head.still, gallery_motion(astronaut_head, POSES[LEFT:]))
    compositor = Compositor(astronaut_head.portrait, astronaut_head.fit.camera, torso="follow")

    def frame(**settings):
        return next(iter(frames(astronaut_head, sequence, Settings(**settings))))

    plain, learned = frame(learned=False), frame()
    assert torch.equal(plain.image, compositor(plain.rendering, sequence.camera(0)))
    assert torch.equal(plain.rendering.rgb, learned.rendering.rgb) and not torch.equal(plain.image, learned.image)
    with using_policy(commercial_safe=True):
        assert torch.equal(frame().image, plain.image)


def test_closing_the_eyes_closes_them(astronaut_head, faces):
    rest, shut = (openings(eye_opening, faces[pose]) for pose in (REST, SHUT))
    assert shut < 0.5 * rest
    assert openings(eye_opening, faces[OPEN]) > 0.8 * rest


def test_a_blink_from_the_sliders_closes_the_eyes(astronaut_head, faces):
    blink = motion_from_rig({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0})
    frame = next(frames(astronaut_head, drive(astronaut_head, blink)))
    shut = FaceLandmarker().detect((frame.image * 255 + 0.5).to(torch.uint8).permute(1, 2, 0).numpy())[0]
    assert openings(eye_opening, shut) < 0.4 * openings(eye_opening, faces[REST])
    assert openings(mouth_opening, shut) == pytest.approx(openings(mouth_opening, faces[REST]), abs=0.03)


def test_opening_the_jaw_opens_the_mouth(faces):
    rest, wide = (openings(mouth_opening, faces[pose]) for pose in (REST, OPEN))
    assert wide > rest + 0.15


@pytest.mark.parametrize(("pose", "degrees"), [(LEFT, 20.0), (RIGHT, -20.0)])
def test_turns_are_seen_with_their_sign(astronaut_head, faces, pose, degrees):
    def yaw(face):
        fit = fit_head(astronaut_head.model, face.landmarks, face.blendshapes)
        return float(head_degrees(FACING.T @ fit.camera.rotation.double())[0])

    assert yaw(faces[pose]) - yaw(faces[REST]) == pytest.approx(degrees, abs=6.0)


def test_gallery_is_in_the_portraits_terms(astronaut_head):
    motion, fit = gallery_motion(astronaut_head), astronaut_head.fit
    assert len(motion) == len(GALLERY)
    assert torch.equal(motion.beta[0], fit.beta_s)
    assert torch.equal(motion.rotation[0], fit.camera.rotation)
    assert torch.allclose(motion.translation, fit.camera.translation.expand(len(GALLERY), 3))
    turned = head_degrees(FACING.T @ motion.rotation.double())
    straight = head_degrees(FACING.T @ fit.camera.rotation.double())
    for index, pose in enumerate(GALLERY):
        assert float(turned[index, 0] - straight[0]) == pytest.approx(pose.yaw, abs=3.0)


def test_same_portrait_same_bits(astronaut, astronaut_head):
    steps = []
    clock = StageClock()
    again = reconstruct(astronaut, clock=clock, on_step=lambda done, total: steps.append((done, total)))
    assert_same_record(again.portrait, astronaut_head.portrait)
    assert_same_record(again.fit, astronaut_head.fit)
    assert_same_record(again.surface, astronaut_head.surface)
    assert_same_record(again.points, astronaut_head.points)
    assert_same_record(again.still.frame(0), astronaut_head.still.frame(0))
    assert set(clock.seconds) == {"portrait", "head", "surface", "symmetry", "gaussians"}
    assert steps[-1] == (BUILD_STEPS, BUILD_STEPS)
    assert steps.count((2, BUILD_STEPS)) > 3  # the longest stage calls from within
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)


def assert_same_record(a, b):
    for field in fields(a):
        one, two = getattr(a, field.name), getattr(b, field.name)
        if isinstance(one, torch.Tensor):
            assert torch.equal(one, two), field.name


def test_number_of_workers_does_not_change_the_frames(astronaut_head):
    sequence = with_motion(astronaut_head.still, gallery_motion(astronaut_head, POSES[:3]))
    one, two = (list(frames(astronaut_head, sequence, workers=workers)) for workers in (1, 2))
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a.image, b.image)
        assert torch.equal(a.rendering.depth, b.rendering.depth)


def test_cancelling_the_reconstruction_reaches_the_caller(astronaut):
    class Cancelled(BaseException):
        pass

    def cancel(done, total):
        raise Cancelled

    with pytest.raises(Cancelled):
        reconstruct(astronaut, on_step=cancel)


def test_a_picture_without_a_face_is_refused():
    with pytest.raises(InputError, match="face"):
        reconstruct(torch.full((3, 96, 96), 0.5))


def test_driving_with_its_own_state_is_the_still_head(astronaut_head):
    """Relative motion of a driver that does not move: the source expression and pose, whoever drives."""
    driver = replace(astronaut_head.still.motion, beta=torch.rand(1, 52, generator=torch.Generator().manual_seed(0)))
    driven = drive(astronaut_head, driver)
    assert torch.allclose(driven.motion.beta[0], astronaut_head.fit.beta_s, atol=1e-6)
    pose = astronaut_head.fit.camera.world_to_camera
    assert torch.allclose(driven.camera(0).world_to_camera.to(pose), pose, atol=1e-5)
    turned = drive(astronaut_head, driver, Settings(yaw=15.0))
    yaw = (
        head_degrees(FACING.T @ turned.motion.rotation[0].double())[0]
        - head_degrees(FACING.T @ pose[:3, :3].double())[0]
    )
    assert float(yaw) == pytest.approx(15.0, abs=2.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, astronaut):
    """A portrait, six tenths of a second of a tone, and a motion file of five frames."""
    place = tmp_path_factory.mktemp("animate")
    write_image(place / "portrait.png", astronaut)
    time = np.arange(int(0.6 * 16000)) / 16000
    tone = (0.4 * np.sin(2 * np.pi * 300 * time) * 32767).astype("<i2")
    with wave.open(str(place / "tone.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(tone.tobytes())
    return place


def test_animate_writes_a_clip_with_every_frame_and_its_sound(folder):
    steps = []
    output = folder / "talk.mp4"
    report = animate(Job(folder / "portrait.png", output, audio=folder / "tone.wav"), lambda *step: steps.append(step))
    with VideoReader(output) as clip:
        seen = list(clip)
        assert (clip.frame_count, clip.fps, clip.has_sound) == (15, 25.0, True)
    assert len(seen) == 15 and seen[0].shape == (512, 512, 3)
    sound = read_sound(output)
    # AAC comes in packets of 1024 samples.
    assert sound.seconds == pytest.approx(0.6, abs=0.07)
    spectrum = np.abs(np.fft.rfft(sound.samples[0].numpy()))
    assert np.argmax(spectrum) * sound.rate / sound.samples.shape[1] == pytest.approx(300.0, abs=5.0)
    assert (report["frames"], report["fps"]) == (15, 25.0)
    assert {"portrait", "head", "surface", "splat", "encode"} <= set(report["seconds"])
    assert {row["name"] for row in report["weights"]} >= {"face_landmarker.task"}
    assert 100.0 < report["peak_memory_mb"] < 8000.0
    assert steps[-1][0] == steps[-1][1]


def test_first_frame_of_the_clip_is_the_source_picture(folder, astronaut, astronaut_head):
    """The pasted head meets the source in its own framing; a still driver moves nothing."""
    job = Job(folder / "portrait.png", folder / "still.mp4")
    sequence = drive(astronaut_head, astronaut_head.still.motion)
    assert write_clip(job, astronaut_head, sequence, StageClock(), lambda *_: None) == 1
    with VideoReader(job.output) as clip:
        frame = torch.from_numpy(next(iter(clip)).copy()).permute(2, 0, 1).float() / 255.0
    # H.264 at half the colour resolution takes most of what is missing.
    assert psnr(frame, astronaut) > 30.0


def test_a_motion_file_and_a_voice_cut_to_a_few_frames(folder, astronaut_head, monkeypatch):
    """A file brings its own rate and the head's movement; the clip has an odd picture's size padded by one."""
    monkeypatch.setattr("mggtalk_core.animate.reconstruct", lambda *_, **__: odd_head(astronaut_head))
    turn = torch.linspace(0.0, 15.0, 12)
    write_motion_json(folder / "turn.json", motion_from_rig({"browInnerUp": torch.zeros(12)}, yaw=turn, fps=20.0))
    job = Job(
        folder / "portrait.png",
        folder / "both.mp4",
        audio=folder / "tone.wav",
        motion=folder / "turn.json",
        max_frames=4,
    )
    report = animate(job)
    assert (report["frames"], report["fps"]) == (4, 20.0)
    with VideoReader(job.output) as clip:
        assert (clip.frame_count, clip.fps, clip.width, clip.height, clip.has_sound) == (4, 20.0, 512, 502, True)
    assert read_sound(job.output).seconds == pytest.approx(4 / 20.0, abs=0.07)
    again = replace(job, output=folder / "again.mp4")
    animate(again)
    assert again.output.read_bytes() == job.output.read_bytes()


def odd_head(head):
    """The same head in a picture of 501 rows."""
    return replace(head, portrait=replace(head.portrait, source=head.portrait.source[:, :501]))


@pytest.mark.parametrize("size", [256, 512])
def test_crop_framing_gives_the_crop(astronaut_head, size):
    framing = Framing(astronaut_head.portrait, "crop", size)
    frame = next(frames(astronaut_head, astronaut_head.still))
    picture = framing(frame.image)
    assert (framing.width, framing.height) == (size, size) and picture.shape == (size, size, 3)
    smaller = torch.nn.functional.avg_pool2d(frame.image[None], 512 // size)[0]
    assert psnr(torch.from_numpy(picture.copy()).permute(2, 0, 1) / 255.0, smaller) > 30.0


class Cancelled(BaseException):
    """As raised by a user's Cancel."""


@pytest.mark.parametrize("last", [1, 3])
def test_cancelling_leaves_no_file_and_no_thread(folder, astronaut_head, last):
    job = Job(folder / "portrait.png", folder / "cancelled.mp4")
    motion = take(astronaut_head.still.motion, torch.zeros(30, dtype=torch.long))
    before = set(folder.iterdir())

    def cancel(done, total):
        if done == last:
            raise Cancelled

    with pytest.raises(Cancelled):
        write_clip(job, astronaut_head, with_motion(astronaut_head.still, motion), StageClock(), cancel)
    assert set(folder.iterdir()) == before
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("frame")]


def test_cancelling_keeps_an_older_clip(folder, astronaut_head):
    output = folder / "older.mp4"
    output.write_bytes(b"precious")

    def cancel(done, total):
        raise Cancelled

    with pytest.raises(Cancelled):
        write_clip(Job(folder / "portrait.png", output), astronaut_head, astronaut_head.still, StageClock(), cancel)
    assert output.read_bytes() == b"precious"


def test_motions_are_cut_to_the_largest_number_of_frames(astronaut_head):
    motion = take(astronaut_head.still.motion, torch.zeros(9, dtype=torch.long))
    assert len(shorten(motion, 4)) == 4
    assert shorten(motion, 9) is motion and shorten(motion, 20) is motion
    with pytest.raises(InputError, match="at least 1"):
        shorten(motion, 0)


def test_unusable_jobs_are_refused(folder, astronaut_head):
    portrait, output = folder / "portrait.png", folder / "never.mp4"
    with pytest.raises(InputError, match="Nothing drives"):
        animate(Job(portrait, output))
    with pytest.raises(InputError, match="leave out one"):
        animate(Job(portrait, output, video=folder / "a.mp4", motion=folder / "b.json"))
    with pytest.raises(InputError, match="framing"):
        Framing(astronaut_head.portrait, "wide")
    assert not output.exists()
