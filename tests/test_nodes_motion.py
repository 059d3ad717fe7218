"""Motion nodes: clips, voices, files, sliders and their mixture."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mggtalk_core.motion.channels import REGIONS
from mggtalk_core.motion.files import write_motion
from mggtalk_core.motion.rig import motion_from_rig
from mggtalk_core.motion.video import motion_from_video
from mggtalk_core.portrait.blendshapes import BLENDSHAPE_INDEX, BLENDSHAPES
from mggtalk_core.portrait.landmarker import FaceLandmarker

VIDEO = {"fps": 25.0, "smoothing": 0.0, "max_frames": 0, "with_sound": True}
RIG = {
    "move_seconds": 0.4, "hold_seconds": 0.2, "easing": "smooth", "fps": 20.0, "neutralise": 0.0, "look_at_camera": 0.0,
}  # fmt: skip


def motion(nodes, name, **inputs):
    with torch.inference_mode():
        return nodes[name].execute(**inputs).result[0]


def core(nodes, name):
    return sys.modules[f"{nodes['MGGDeform'].__module__.split('.')[0]}.mggtalk_core.{name}"]


@pytest.fixture(scope="module")
def faces(astronaut):
    """Four frames of a face that drifts to the right."""
    frames = torch.stack([torch.roll(astronaut, 4 * step, dims=2) for step in range(4)])
    return frames.permute(0, 2, 3, 1).contiguous()


@pytest.fixture(scope="module")
def followed(nodes, faces):
    return motion(nodes, "MGGMotionFromVideo", images=faces, **VIDEO)


def test_images_are_followed_like_the_core_does(faces, followed):
    frames = [(frame * 255.0).round().byte().numpy() for frame in faces]
    wanted = motion_from_video(frames, fps=25.0, smoothing=0.0)
    assert torch.equal(followed.beta, wanted.beta) and torch.equal(followed.translation, wanted.translation)
    assert followed.translation[3, 0] > followed.translation[0, 0]


def core_face(frame, stretch=0.4):
    """A face as ComfyUI's landmark node describes it: z in pixels of a crop of its own."""
    face = FaceLandmarker().detect((frame * 255.0).round().byte().numpy())[0]
    points = face.landmarks.numpy()
    named = dict(zip(BLENDSHAPES, face.blendshapes.tolist(), strict=True))
    named.pop("tongueOut")
    corners = np.concatenate((points[:, :2].min(axis=0), points[:, :2].max(axis=0)))
    return {
        "bbox_xyxy": corners, "landmarks_xy": points[:, :2], "landmarks_3d": points * stretch + 7.0,
        "blendshapes": {"_neutral": 0.0, **named},
    }  # fmt: skip


def test_face_landmarks_say_the_same_as_the_pictures(nodes, faces):
    found = [[core_face(frame)] for frame in faces]
    landmarks = sys.modules[nodes["MGGDeform"].__module__.rsplit(".", 1)[0] + ".landmarks"]
    seen = landmarks.sightings({"frames": found})
    truth = FaceLandmarker().detect((faces[1] * 255.0).round().byte().numpy())[0]
    # z is only known up to its origin: the crop's own depth is 0 somewhere else.
    shift = seen.landmarks[1, :, 2].mean() - truth.landmarks[:, 2].mean()
    assert torch.allclose(seen.landmarks[1, :, :2], truth.landmarks[:, :2])
    assert (seen.landmarks[1, :, 2] - shift - truth.landmarks[:, 2]).abs().max() < 1e-2
    assert torch.allclose(seen.blendshapes[1], truth.blendshapes)
    driven = motion(nodes, "MGGMotionFromVideo", face_landmarks={"frames": found}, **VIDEO)
    assert len(driven) == 4 and driven.held == ()


def test_frames_without_a_face_are_held(nodes, faces):
    found = [[core_face(faces[0])], [], [core_face(faces[2])], []]
    driven = motion(nodes, "MGGMotionFromVideo", face_landmarks={"frames": found}, **VIDEO)
    assert driven.held == (1, 3)
    assert torch.equal(driven.beta[3], driven.beta[2])


def test_exactly_one_source_is_asked_for(nodes, faces):
    error = core(nodes, "errors").InputError
    for sources in ({}, {"images": faces, "face_landmarks": {"frames": []}}):
        with pytest.raises(error, match="exactly one"):
            motion(nodes, "MGGMotionFromVideo", **sources, **VIDEO)
    with pytest.raises(error, match="no frames"):
        motion(nodes, "MGGMotionFromVideo", face_landmarks={"frames": []}, **VIDEO)
    with pytest.raises(error, match="No face"):
        motion(nodes, "MGGMotionFromVideo", face_landmarks={"frames": [[], []]}, **VIDEO)


VOICE = {"fps": 20.0, "seed": 3, "head_motion": 1.0, "blink_rate": 16.0, "phonemes": False}


@pytest.fixture(scope="module")
def voice():
    """A tone that comes and goes: loudness takes it for a voice, the mouth net does not."""
    time = torch.arange(16000) / 16000
    wave = torch.sin(time * 1200.0) * (torch.sin(time * 20.0) > 0) * 0.4
    return {"waveform": wave.expand(1, 2, -1).contiguous(), "sample_rate": 16000}


@pytest.fixture(scope="module")
def spoken(nodes, voice):
    return motion(nodes, "MGGMotionFromAudio", audio=voice, mouth="rules", **VOICE)


def test_a_voice_gives_frames_and_keeps_its_sound(spoken):
    assert (len(spoken), spoken.fps, spoken.kind) == (20, 20.0, "audio")
    assert spoken.sound.samples.shape == (2, 16000)
    assert spoken.beta[:, BLENDSHAPE_INDEX["jawOpen"]].max() > 0.1


def test_what_moves_the_mouth_and_where_the_eyes_look_can_be_chosen(nodes, voice, spoken):
    heard = core(nodes, "motion.audio").motion_from_audio
    options = {"phonemes": False, "blink_rate": 16.0}
    assert torch.equal(spoken.beta, heard(spoken.sound, 20.0, 3, learned=False, **options).beta)
    embedded = motion(nodes, "MGGMotionFromAudio", audio=voice, mouth="embedded", look=1.0, **VOICE)
    assert torch.equal(embedded.beta, heard(spoken.sound, 20.0, 3, look=1.0, **options).beta)
    assert torch.equal(embedded.gaze, heard(spoken.sound, 20.0, 3, look=1.0, **options).gaze)
    assert not torch.equal(embedded.gaze, spoken.gaze)
    with pytest.raises(core(nodes, "errors").WeightsError, match="SadTalker"):
        motion(nodes, "MGGMotionFromAudio", audio=voice, mouth="sadtalker", **VOICE)


def test_the_mixer_dubs_as_it_comes(nodes, followed, spoken):
    made = nodes["MGGMixMotion"].GET_SCHEMA().inputs
    weights = {socket.id: socket.default for socket in made if socket.id in REGIONS}
    mixed = motion(
        nodes, "MGGMixMotion", first=followed, second=spoken, length="second", continuation="mirror", **weights
    )
    wanted = core(nodes, "motion.mix").mix_audio_video(spoken, followed)
    assert len(mixed) == 25 and mixed.sound is spoken.sound
    assert torch.equal(mixed.beta, wanted.beta) and torch.equal(mixed.rotation, wanted.rotation)
    first = motion(
        nodes, "MGGMixMotion", first=followed, second=spoken, length="first", continuation="hold",
        **{**weights, "jaw": 0.0, "mouth": 0.0},
    )  # fmt: skip
    assert torch.equal(first.beta, followed.beta)


@pytest.fixture
def recorded(nodes):
    import folder_paths

    folder = Path(folder_paths.get_input_directory()) / "takes"
    folder.mkdir(exist_ok=True)
    written = motion_from_rig({"jawOpen": [0.0, 0.5]}, fps=24.0)
    write_motion(folder / "one.json", written)
    return written, folder / "one.json"


def test_files_of_the_input_folder_are_read_and_read_again_when_changed(nodes, recorded):
    node, (written, path) = nodes["MGGMotionFromFile"], recorded
    assert node.validate_inputs(file="takes/one.json") is True
    before = node.fingerprint_inputs(file="takes/one.json")
    read = motion(nodes, "MGGMotionFromFile", file="takes/one.json")
    assert torch.equal(read.beta, written.beta) and read.fps == 24.0
    assert node.fingerprint_inputs(file="takes/one.json") == before
    os.utime(path, ns=(1, 1))
    assert node.fingerprint_inputs(file="takes/one.json") != before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../secret.json", "outside"), ("/etc/secret.csv", "outside"), ("takes/../../secret.csv", "outside"),
        ("takes/two.json", "no 'takes/two.json'"), ("", "no motion file"), ("takes", "no motion file"),
        ("portrait.png", "no motion file"), ("a\0.csv", "no motion file"),
    ],
)  # fmt: skip
def test_other_names_are_refused_before_anything_runs(nodes, recorded, name, message):
    assert message in nodes["MGGMotionFromFile"].validate_inputs(file=name)
    with pytest.raises(core(nodes, "errors").InputError, match=message.split("'")[0]):
        motion(nodes, "MGGMotionFromFile", file=name)


def test_a_name_that_another_node_makes_is_not_judged_early(nodes):
    node = nodes["MGGMotionFromFile"]
    assert node.validate_inputs(file=None) is True and node.fingerprint_inputs(file=None) == ""


def test_rigs_chain_into_one_motion(nodes):
    smile, turn = BLENDSHAPE_INDEX["mouthSmileLeft"], 30.0
    first = motion(nodes, "MGGExpressionRig", mouthSmileLeft=0.8, **RIG)
    both = motion(nodes, "MGGExpressionRig", previous=first, head_yaw=turn, gaze_left_yaw=10.0, **{**RIG, "fps": 50.0})
    assert (len(first), len(both), both.fps) == (12, 24, 20.0)
    assert first.beta[0, smile] == 0.0 and first.beta[8:, smile].tolist() == pytest.approx([0.8] * 4)
    assert torch.equal(both.beta[:12], first.beta)
    assert both.beta[12, smile] == pytest.approx(0.8) and both.beta[20:, smile].abs().max() == 0.0
    assert torch.rad2deg(both.gaze[-1]).tolist() == pytest.approx([10.0, 0.0, 0.0, 0.0])


def test_sliders_up_right_and_near_move_the_head_there(nodes):
    still = motion(nodes, "MGGExpressionRig", **{**RIG, "move_seconds": 0.0})
    moved = motion(
        nodes, "MGGExpressionRig", head_right=0.1, head_up=0.2, head_near=0.3, **{**RIG, "move_seconds": 0.0}
    )
    assert (moved.translation - still.translation)[0].tolist() == pytest.approx([0.1, -0.2, -0.3], abs=1e-6)


def test_every_motion_shows_its_curves(nodes, followed):
    curves = sys.modules[nodes["MGGDeform"].__module__.rsplit(".", 1)[0] + ".curves"]
    sheet = curves.curve_sheet(followed)
    assert sheet.shape == (1, 476, 768, 3) and 0.0 <= float(sheet.min()) and float(sheet.max()) <= 1.0
    lanes = curves.lanes(motion(nodes, "MGGExpressionRig", jawOpen=0.5, head_yaw=20.0, **RIG))
    assert lanes[0].names == ["jawOpen"]
    assert lanes[2].curves[:, -1].tolist() == pytest.approx([20.0, 0.0, 0.0], abs=1e-3)
