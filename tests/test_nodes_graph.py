"""The stages as a graph, Talking Video and the command line: one picture, three ways, the same frames."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mggtalk_core.animate import Framing, Job, animate
from mggtalk_core.media.images import write_image
from mggtalk_core.media.video import VideoReader
from mggtalk_core.motion.files import write_motion
from mggtalk_core.motion.rig import motion_from_rig
from mggtalk_core.pipeline import drive, frames, reconstruct
from tests.comfy_double import Cancelled, Interrupt, ProgressBar

FRAMES = 3
RETARGET = {"reference": "first", "strength": 1.0, "yaw": 0.0, "pitch": 0.0}
VIDEO = {**RETARGET, "framing": "source", "torso": "follow", "max_frames": 0}
RENDER = {"start": 0, "count": 0, "step": 1, "orbit_yaw": 0.0, "orbit_pitch": 0.0, "orbit_turn": 0.0, "size": 512}
BYTE = 1.0 / 255.0


def core(nodes, name):
    """A module of the core as the pack has loaded it, under the pack's own name."""
    return sys.modules[f"{nodes['MGGDeform'].__module__.split('.')[0]}.mggtalk_core.{name}"]


def smile(nodes):
    rig = core(nodes, "motion.rig").motion_from_rig
    return rig({"jawOpen": [0.0, 0.3, 0.6]}, yaw=[0.0, 8.0, 16.0], fps=20.0)


def run(nodes, name, **inputs):
    with torch.inference_mode():
        return nodes[name].execute(**inputs).result


@pytest.fixture(scope="module")
def sequence(nodes, portrait):
    surface, *maps = run(nodes, "MGGDepthBINI", portrait=portrait, provider="mesh")
    assert [tuple(each.shape) for each in maps] == [(1, 512, 512, 3)] * 2
    (points,) = run(
        nodes, "MGGSymmetricGeometry", surface=surface, voxel=0.03, radius=0, occlusion="front", do_not_mirror=None
    )
    (driven,) = run(nodes, "MGGDeform", points=points, motion=smile(nodes), **RETARGET)
    return run(nodes, "MGGGaussianPredict", portrait=portrait, driven=driven)[0]


@pytest.fixture(scope="module")
def rendered(nodes, sequence):
    return run(nodes, "MGGSplatRender", gaussians=sequence, **RENDER)


@pytest.fixture(scope="module")
def staged(nodes, portrait, sequence, rendered):
    image, mask, _ = rendered
    inputs = {"portrait": portrait, "image": image, "mask": mask, "framing": "source", "torso": "follow"}
    return run(nodes, "MGGInpaint", gaussians=sequence, **inputs)[0]


@pytest.fixture(scope="module")
def head(astronaut):
    """The same head, by the core alone."""
    return reconstruct(astronaut)


@pytest.fixture(scope="module")
def in_one_go(nodes, portrait):
    """Frames that Talking Video hands to its writer, and the clip that it gives."""
    writer, seen = core(nodes, "media.video_writer").VideoWriter, []
    keep = writer.write

    def write(self, frame):
        seen.append(frame.copy())
        keep(self, frame)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "write", write)
        (video,) = run(nodes, "MGGTalkingVideo", portrait=portrait, motion=smile(nodes), **VIDEO)
    return np.stack(seen), video


def test_the_graph_gives_the_frames_of_the_core(head, staged):
    motion = motion_from_rig({"jawOpen": [0.0, 0.3, 0.6]}, yaw=[0.0, 8.0, 16.0], fps=20.0)
    finish = Framing(head.portrait)
    wanted = np.stack([finish(frame.image) for frame in frames(head, drive(head, motion))])
    assert staged.shape == (FRAMES, *wanted.shape[1:]) and staged.dtype == torch.float32
    assert (staged - torch.from_numpy(wanted) / 255.0).abs().max() <= BYTE + 1e-6
    assert (staged[2] - staged[0]).abs().max() > 0.3


def test_talking_video_gives_the_frames_of_the_graph(staged, in_one_go):
    pictures, _ = in_one_go
    assert (staged - torch.from_numpy(pictures) / 255.0).abs().max() <= BYTE + 1e-6


def test_the_command_line_writes_the_clip_of_talking_video(astronaut, in_one_go, tmp_path):
    _, video = in_one_go
    write_image(tmp_path / "portrait.png", astronaut)
    motion = motion_from_rig({"jawOpen": [0.0, 0.3, 0.6]}, yaw=[0.0, 8.0, 16.0], fps=20.0)
    write_motion(tmp_path / "motion.json", motion)
    animate(Job(tmp_path / "portrait.png", tmp_path / "out.mp4", motion=tmp_path / "motion.json"))
    ours, theirs = (list(VideoReader(path)) for path in (video.get_stream_source(), tmp_path / "out.mp4"))
    assert len(ours) == len(theirs) == FRAMES
    assert all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_the_first_frame_is_the_portrait(staged, picture):
    assert (staged[0] - picture[0]).abs().mean() < 0.004


def test_colour_times_mask_is_what_was_rendered(nodes, sequence, rendered):
    image, mask, depth = rendered
    raw = list(core(nodes, "pipeline").renderings(sequence, range(FRAMES)))
    rgb = torch.stack([one.rgb for one in raw]).movedim(1, -1)
    assert (image * mask[..., None] - rgb).abs().max() < 2e-3
    assert torch.equal(mask, torch.stack([one.alpha[0] for one in raw]))
    assert 0.0 <= float(image.min()) and float(image.max()) <= 1.0
    head_depth = depth[..., 0][mask > 0.9]
    assert 0.04 < float(head_depth.min()) and float(depth.max()) <= 1.0
    assert depth[0, 280, 256, 0] > depth[0, 280, 150, 0], "the nose is nearer than the cheek"


def test_a_range_and_a_view_are_those_of_single_frames(nodes, sequence, rendered):
    image = rendered[0]
    chosen = run(nodes, "MGGSplatRender", gaussians=sequence, **{**RENDER, "start": 1, "step": 1, "count": 1})[0]
    assert torch.equal(chosen, image[1:2])
    small, mask, _ = run(nodes, "MGGSplatRender", gaussians=sequence, **{**RENDER, "count": 2, "size": 128})
    assert small.shape == (2, 128, 128, 3) and mask.shape == (2, 128, 128)
    turned = run(nodes, "MGGSplatRender", gaussians=sequence, **{**RENDER, "count": 1, "size": 128, "orbit_yaw": 60.0})[
        1
    ]
    assert (turned - mask[0]).abs().max() > 0.9
    with pytest.raises(core(nodes, "errors").InputError, match="has 3"):
        run(nodes, "MGGSplatRender", gaussians=sequence, **{**RENDER, "start": 3})


def test_the_learned_inpainter_works_where_the_gaussians_are_known(nodes, portrait, sequence, rendered):
    image, mask, _ = rendered
    inputs = {"portrait": portrait, "image": image, "mask": mask, "framing": "crop", "torso": "hold"}
    plain = run(nodes, "MGGInpaint", **inputs)[0]
    assert torch.equal(run(nodes, "MGGInpaint", gaussians=sequence, learned=False, **inputs)[0], plain)
    mended = run(nodes, "MGGInpaint", gaussians=sequence, **inputs)[0]
    finisher = core(nodes, "render.finish").Finisher(portrait, sequence)
    drawn = core(nodes, "pipeline").renderings(sequence, range(FRAMES))
    wanted = torch.stack([finisher(one, index) for index, one in enumerate(drawn)]).movedim(1, -1)
    assert (mended - wanted).abs().max() <= 2 * BYTE  # frames are bytes, and colours went through an IMAGE
    assert (mended - plain).abs().max() > 0.1


def test_the_torso_follows_where_the_gaussians_are_known(nodes, portrait, sequence, rendered):
    image, mask, _ = rendered
    inputs = {"portrait": portrait, "image": image, "mask": mask, "framing": "crop", "torso": "follow"}
    inputs["learned"] = False
    unknown = run(nodes, "MGGInpaint", **inputs)[0]
    moved = run(nodes, "MGGInpaint", gaussians=sequence, **inputs)[0]
    held = run(nodes, "MGGInpaint", **{**inputs, "torso": "hold"})[0]
    assert moved.shape == held.shape == (FRAMES, 512, 512, 3)
    assert torch.equal(unknown, held)
    assert (moved[0] - held[0]).abs().max() < 0.02 and (moved[2] - held[2]).abs().max() > 0.1
    with pytest.raises(core(nodes, "errors").InputError, match="3 pictures but 2 masks"):
        run(nodes, "MGGInpaint", **{**inputs, "torso": "hold", "mask": mask[:2]})


def test_splats_hold_the_pose_only_when_asked(nodes, sequence):
    still = run(nodes, "MGGToSplat", gaussians=sequence, start=0, count=0, step=1, bake_pose=False)[0]
    posed = run(nodes, "MGGToSplat", gaussians=sequence, start=0, count=0, step=1, bake_pose=True)[0]
    count = len(sequence.frame(0))
    shapes = [tuple(getattr(posed, name).shape) for name in ("positions", "scales", "rotations", "opacities", "sh")]
    assert shapes == [(3, count, 3), (3, count, 3), (3, count, 4), (3, count, 1), (3, count, 4, 3)]
    assert (posed.rotations.norm(dim=-1) - 1.0).abs().max() < 1e-4
    nose = still.positions[0, :, 2].argmin()
    assert abs(float(still.positions[0, nose, 0])) < 0.3, "the nose is the foremost point"
    # A turn to the subject's left moves the nose to the picture's right.
    assert posed.positions[2, nose, 0] - posed.positions[0, nose, 0] > 0.1
    assert (still.positions[2, nose] - still.positions[0, nose]).norm() < 0.1
    camera, gaussians = sequence.camera(2), sequence.frame(2)
    seen = camera.to_camera(gaussians.means) - sequence.avatar.points.fit.camera.translation
    assert torch.allclose(posed.positions[2], seen, atol=1e-4)


def test_nothing_handed_in_is_changed(nodes, picture):
    before = picture.clone()
    run(nodes, "MGGLoadPortrait", image=picture, face=0)
    assert torch.equal(picture, before)


@pytest.mark.parametrize("steps", [0, 2, 8])
def test_cancel_leaves_no_clip(nodes, portrait, monkeypatch, steps):
    import folder_paths

    folder = Path(folder_paths.get_temp_directory())
    before = sorted(folder.iterdir())
    monkeypatch.setattr(Interrupt, "after", steps)
    with pytest.raises(Cancelled):
        run(nodes, "MGGTalkingVideo", portrait=portrait, motion=smile(nodes), **VIDEO)
    assert sorted(folder.iterdir()) == before


def test_progress_only_grows_and_ends_full(nodes, sequence):
    ProgressBar.updates.clear()
    run(nodes, "MGGSplatRender", gaussians=sequence, **{**RENDER, "size": 64})
    assert ProgressBar.updates == sorted(ProgressBar.updates) and ProgressBar.updates[-1] == 100


def test_talking_video_takes_the_given_sound_and_length(nodes, portrait):
    audio = {"waveform": torch.zeros(1, 2, 8000), "sample_rate": 16000}
    (video,) = run(
        nodes, "MGGTalkingVideo", portrait=portrait, motion=smile(nodes), audio=audio, size=128,
        **{**VIDEO, "framing": "crop", "max_frames": 2},
    )  # fmt: skip
    clip = VideoReader(video.get_stream_source())
    assert (clip.frame_count, clip.fps, clip.width, clip.height, clip.has_sound) == (2, 20.0, 128, 128, True)


def test_the_announcement_does_not_grow_with_the_length(nodes):
    estimate = sys.modules[nodes["MGGDeform"].__module__.rsplit(".", 1)[0] + ".estimate"]
    short, long = (estimate.statement(count, 25.0, 512, 512, 0) for count in (250, 15000))
    assert short.startswith("250 frames of 512x512, 10.0 s at 25") and long.startswith("15000 frames")
    assert short.split(" s of work")[1] == long.split(" s of work")[1]


def test_commercial_safe_of_the_environment_holds_for_nodes(nodes, portrait, monkeypatch):
    monkeypatch.setenv("MGGTALK_COMMERCIAL_SAFE", "1")
    with pytest.raises(core(nodes, "errors").WeightsError, match="geowizard.*commercial-safe"):
        run(nodes, "MGGDepthBINI", portrait=portrait, provider="geowizard")
