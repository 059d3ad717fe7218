"""The pack in a running ComfyUI: Cancel, wrong input, prompts one after the other, and what is handed on."""

import time

import av
import numpy as np
import pytest
from PIL import Image

from mggtalk_core.portrait.blendshapes import BLENDSHAPES
from tests.comfy.client import Client
from tests.comfy.prompts import node, portrait, smile, stages, talking, with_defaults


@pytest.fixture
def run(client, object_info):
    """Fill in defaults, run, and return what happened."""

    def go(prompt, **options):
        return client.run(with_defaults(prompt, object_info), **options)

    return go


def executing(name):
    """Interrupt as soon as a node reports progress."""
    return lambda run: run.progress.get(name, (0, 1))[0] > 0


def test_cancel_stops_talking_video_within_a_second(run, comfy):
    assert run(talking(0.4)).status == "success"  # everything compiled, the portrait in the cache
    before = set((comfy.base / "temp").glob("*.mp4*"))
    stopped = run(talking(60.0), interrupt=lambda run: run.progress.get("talk", (0, 1))[0] > 10)
    assert stopped.status == "interrupted"
    assert stopped.seconds_to_stop < 1.0
    assert set((comfy.base / "temp").glob("*.mp4*")) == before, "half a clip was left behind"


def test_cancel_stops_a_long_integration_within_a_second(run, comfy):
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    noise[..., 2] = np.maximum(noise[..., 2], 140)
    Image.fromarray(noise).save(comfy.base / "input" / "noise.png")
    rough = {
        **portrait(),
        "noise": node("LoadImage", image="noise.png"),
        "surface": node("MGGDepthBINI", portrait=["portrait", 0], provider="given", normals=["noise", 0]),
        "show": node("PreviewImage", images=["surface", 1]),
    }
    stopped = run(rough, interrupt=lambda run: "surface" in run.executed)
    assert stopped.status == "interrupted"
    assert stopped.seconds_to_stop < 1.0


def test_cancel_stops_following_a_clip_within_a_second(run):
    clip = {
        "clip": node("LoadVideo", file="mggtalk_actor.mp4"),
        "motion": node("MGGMotionFromVideo", video=["clip", 0], smoothing=0.0),
    }
    stopped = run({**talking(), **clip}, interrupt=executing("motion"))
    assert stopped.status == "interrupted"
    assert stopped.seconds_to_stop < 1.0


def test_a_prompt_after_a_cancelled_one_and_after_a_failed_one(run):
    assert run(talking(30.0), interrupt=lambda run: run.progress.get("talk", (0, 1))[0] > 10).status == "interrupted"
    assert run(talking(0.5)).status == "success"
    assert run({**talking(0.5), **portrait(face=7)}).status == "error"
    assert run(talking(0.6)).status == "success"


def test_two_prompts_queued_at_once(client, object_info):
    prompts = [with_defaults(talking(seconds), object_info) for seconds in (0.6, 1.0)]
    runs = [client.queue(prompt) for prompt in prompts]
    lengths = []
    for waiting in runs:
        done = client.finish(waiting)
        assert done.status == "success"
        lengths.append(frames_of(client.path(done.files("talk")[0])))
    assert len(lengths[1]) - len(lengths[0]) == 10  # 0.4 s of 25 frames each


def frames_of(path):
    with av.open(str(path)) as clip:
        return [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]


def photo(**inputs):
    return portrait(**inputs) | {"talk": node("MGGTalkingVideo", portrait=["portrait", 0], motion=["motion", 0])}


BLANK = {"photo": node("EmptyImage", width=256, height=256, batch_size=1, color=0x808080)}
TINY = {"photo": node("EmptyImage", width=3, height=2, batch_size=1, color=0)}
GREY_CLIP = {
    "grey": node("EmptyImage", width=128, height=96, batch_size=5, color=0x808080),
    "motion": node("MGGMotionFromVideo", images=["grey", 0]),
}
GREY_VIDEO = {
    **GREY_CLIP,
    "clip": node("CreateVideo", images=["grey", 0], fps=25.0),
    "motion": node("MGGMotionFromVideo", video=["clip", 0]),
}
TWO_SOURCES = {
    "clip": node("LoadVideo", file="mggtalk_actor.mp4"),
    "motion": node("MGGMotionFromVideo", video=["clip", 0], images=["photo", 0]),
}
NO_SOUND = {
    "silence": node("EmptyAudio", duration=0.0),
    "motion": node("MGGMotionFromAudio", audio=["silence", 0]),
}
RENDER = node("MGGSplatRender", gaussians=["gaussians", 0], count=1)
AFTER_THE_END = {**stages(), "splats": node("MGGSplatRender", gaussians=["gaussians", 0], start=99)}
NO_MAPS = {**stages(), "surface": node("MGGDepthBINI", portrait=["portrait", 0], provider="given")}
FLAT = {
    **stages(),
    "grey": node("EmptyImage", width=512, height=512, batch_size=1, color=0x808080),
    "surface": node("MGGDepthBINI", portrait=["portrait", 0], depth=["grey", 0]),
}
TWO_MASKS = {
    **stages(),
    "splats": RENDER,
    "mask": node("SolidMask", value=1.0, width=64, height=48),
    "finished": node("MGGInpaint", portrait=["portrait", 0], image=["splats", 0], mask=["mask", 0]),
}

FAILURES = {
    "no face": ({**talking(), **BLANK}, "portrait", "face"),
    "a tiny picture": ({**talking(), **TINY}, "portrait", ""),
    "no such face": ({**talking(), **portrait(face=5)}, "portrait", "There is no face 5"),
    "no such picture": ({**talking(), **portrait(picture=3)}, "portrait", "There is no picture 3"),
    "pictures without a face": ({**talking(), **GREY_CLIP}, "motion", "face"),
    "a clip without a face": ({**talking(), **GREY_VIDEO}, "motion", "face"),
    "nothing to follow": ({**talking(), "motion": node("MGGMotionFromVideo")}, "motion", "Connect exactly one"),
    "two to follow": ({**talking(), **TWO_SOURCES}, "motion", "Connect exactly one"),
    "no sound": ({**talking(), **NO_SOUND}, "motion", ""),
    "after the end": ({**AFTER_THE_END, "end": node("PreviewImage", images=["splats", 0])}, "splats", "no frame 99"),
    "maps that are not there": ({**NO_MAPS, "end": node("PreviewImage", images=["surface", 1])}, "surface", "needs a"),
    "a flat depth map": ({**FLAT, "end": node("PreviewImage", images=["surface", 1])}, "surface", "depth map"),
    "a mask of another size": ({**TWO_MASKS, "end": node("PreviewImage", images=["finished", 0])}, "finished", ""),
}


@pytest.mark.parametrize("name", FAILURES)
def test_bad_input_is_one_line_on_the_node(name, run):
    prompt, culprit, message = FAILURES[name]
    failed = run(prompt)
    assert failed.status == "error", f"{name} went through"
    assert failed.error_node == culprit
    assert message in failed.error
    assert 20 < len(failed.error.strip()) < 300
    assert "\n" not in failed.error.strip()
    assert not failed.error.startswith(("Expected", "shape", "list index", "The size of tensor")), failed.error


def file_motion(name):
    return {**talking(), "motion": node("MGGMotionFromFile", file=name)}


MIXED_UP = {**stages(), "driven": node("MGGDeform", points=["motion", 0], motion=["motion", 0])}
REFUSALS = {
    "a picture for a portrait": ({**talking(), "portrait": portrait()["photo"]}, "type", ""),
    "a motion for points": (MIXED_UP, "type", ""),
    "nothing connected": ({**talking(), "portrait": node("MGGLoadPortrait")}, "missing", ""),
    "a negative strength": ({**talking(strength=-1.0)}, "smaller", ""),
    "an unknown framing": ({**talking(framing="cinema")}, "not in list", ""),
    "words for a number": ({**talking(max_frames="many")}, "convert", ""),
    "no rate": ({**talking(), **smile(fps=0.0)}, "smaller", ""),
    "a file outside": (file_motion("../server.log"), "", "csv"),
    "a csv outside": (file_motion("../../secret.csv"), "", "outside"),
    "an absolute path": (file_motion("/etc/passwd.csv"), "", "outside"),
    "a file that is not there": (file_motion("take7.csv"), "", "There is no"),
    "no file": (file_motion(""), "", "no motion file"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_mistakes_are_refused_before_anything_runs(name, run, object_info):
    prompt, words, details = REFUSALS[name]
    ending = {"end": node("PreviewImage", images=["render", 0])} if "gaussians" in prompt else {}
    render = {"render": RENDER} if ending else {}
    refused = run({**prompt, **render, **ending})
    assert refused.status == "rejected" or refused.node_errors, f"{name} went through"
    assert words in refused.refusals() and details in refused.refusals(), refused.refusals()


def write_take(path, opening):
    """Write five frames as Live Link Face does, with one jaw opening."""
    names = [name[0].upper() + name[1:] for name in BLENDSHAPES]
    values = [str(opening if name == "JawOpen" else 0.0) for name in names]
    rows = [["Timecode", "BlendShapeCount", *names]]
    rows += [[f"00:00:00:{frame:02}.000", "52", *values] for frame in range(5)]
    path.write_text("".join(",".join(row) + "\n" for row in rows), encoding="utf-8")


def test_a_file_that_changed_is_read_again(run, comfy):
    prompt = file_motion("take.csv")
    write_take(comfy.base / "input" / "take.csv", 0.2)
    first = run(prompt)
    assert first.status == "success", first.error
    assert run(prompt).executed == []
    time.sleep(0.01)
    write_take(comfy.base / "input" / "take.csv", 0.5)
    assert "motion" in run(prompt).executed


def test_the_head_goes_through_a_file_and_back_into_the_core(run, client, object_info):
    if "SplatToFile3D" not in object_info:
        pytest.skip("this ComfyUI has no splats")
    prompt = {
        **stages(),
        "splat": node("MGGToSplat", gaussians=["gaussians", 0]),
        "file": node("SplatToFile3D", splat=["splat", 0], format="ply"),
        "back": node("File3DToSplat", model_3d=["file", 0]),
        "again": node("SplatToFile3D", splat=["back", 0], format="ply"),
        "first": node("SaveGLB", mesh=["file", 0], filename_prefix="3d/first"),
        "second": node("SaveGLB", mesh=["again", 0], filename_prefix="3d/second"),
    }
    done = run(prompt)
    assert done.status == "success", done.error
    first, second = (read_ply(client.path(shown(done, name))) for name in ("first", "second"))
    assert len(first) > 20_000
    assert first.dtype.names[:3] == ("x", "y", "z")
    for name in first.dtype.names:
        np.testing.assert_allclose(second[name], first[name], rtol=1e-3, atol=1e-3)


def test_splats_of_the_core_are_drawn_where_the_core_draws_them(run, client, object_info):
    if "CreateCameraInfo" not in object_info:
        pytest.skip("this ComfyUI has no splats")
    aim = {"mode": "orbit", "mode.yaw": 35.0, "mode.pitch": 10.0, "mode.distance": 9.0, "target_z": -0.8}
    prompt = {
        **stages(),
        "splat": node("MGGToSplat", gaussians=["gaussians", 0]),
        "moved": node("TransformSplat", splat=["splat", 0], translate_x=0.4, rotate_y=15.0),
        "camera": node("CreateCameraInfo", **aim),
        "theirs": node(
            "RenderSplat", splat=["moved", 0], camera_info=["camera", 0], width=256, height=256, sharpen=1.0
        ),
        "ours": node("MGGSplatRender", gaussians=["moved", 0], camera_info=["camera", 0], size=256),
        "labels": node("MGGSplatRender", gaussians=["gaussians", 0], count=1, size=256, view="labels"),
        **{f"{name} mask": node("MaskToImage", mask=[name, 1]) for name in ("theirs", "ours")},
        **{f"save {name}": node("SaveImage", images=[name, 0], filename_prefix=name) for name in RENDERED},
    }
    done = run(prompt)
    assert done.status == "success", done.error
    theirs, ours, *covered, labels = (
        np.asarray(Image.open(client.path(shown(done, f"save {name}"))).convert("RGB")).astype(float)
        for name in RENDERED
    )
    first, second = (mask[..., 0] > 127 for mask in covered)
    assert 0.05 < first.mean() < 0.8
    # The core's pixels lie half a pixel beside ours.
    assert (first & second).sum() / (first | second).sum() > 0.93
    assert np.abs(theirs - ours)[first & second].mean() < 20
    assert (labels.max(axis=2) - labels.min(axis=2)).max() > 60, "labels have colours"


RENDERED = ("theirs", "ours", "theirs mask", "ours mask", "labels")


def shown(run, name):
    return next(iter(run.outputs[name].values()))[0]


def read_ply(path):
    """Return the vertices of a binary PLY of floats."""
    header, body = path.read_bytes().split(b"end_header\n", 1)
    lines = header.decode().splitlines()
    names = [line.split()[-1] for line in lines if line.startswith("property float")]
    return np.frombuffer(body, dtype=[(name, "<f4") for name in names])


def test_nothing_is_written_beside_output_and_temp(run, comfy):
    def files():
        places = (path for folder in ("input", "models", "custom_nodes") for path in (comfy.base / folder).glob("*"))
        return {path: path.lstat().st_mtime_ns for path in places}

    before = files()
    assert run(talking(0.8)).status == "success"
    assert files() == before


def test_two_browser_tabs(comfy, object_info):
    tabs = [Client(comfy), Client(comfy)]
    runs = [tab.queue(with_defaults(talking(0.9 + place / 10), object_info)) for place, tab in enumerate(tabs)]
    assert [tab.finish(run).status for tab, run in zip(tabs, runs, strict=True)] == ["success", "success"]
    for tab in tabs:
        tab.close()
