"""The example workflows, in a real ComfyUI: each runs to its output, and a second run is all cache."""

import json

import av
import pytest
from PIL import Image

from tests.comfy.editor import DECORATION, to_prompt
from tests.comfy.fixtures import REPO, SAMPLES
from tests.comfy.graphs import GRAPHS
from tests.comfy.layout import lay_out

FILES = sorted((REPO / "workflows").glob("*.json"))
FRAMES = {"1_portrait_and_video": 100, "4_the_seven_stages": 50, "5_head_in_3d": 50}
"""Length of the clip where it is known: that of the actor, of max_frames, of two seconds."""


def workflow(name):
    return json.loads((REPO / "workflows" / f"{name}.json").read_text(encoding="utf-8"))


def test_every_example_has_a_file_and_a_thumbnail():
    assert [file.stem for file in FILES] == sorted(GRAPHS)
    assert sorted(file.stem for file in (REPO / "workflows").glob("*.jpg")) == sorted(GRAPHS)


@pytest.mark.parametrize("name", GRAPHS)
def test_thumbnails_are_small_pictures_of_something(name):
    path = REPO / "workflows" / f"{name}.jpg"
    with Image.open(path) as picture:
        assert picture.size == (400, 400)
        assert max(high - low for low, high in picture.convert("RGB").getextrema()) > 100
    assert path.stat().st_size < 100_000


@pytest.mark.parametrize("name", GRAPHS)
def test_inputs_come_with_the_pack(name):
    fields = [node["widgets_values"] for node in workflow(name)["nodes"] if node["type"].startswith("Load")]
    assert fields
    assert {values[0] for values in fields} <= {path.name for path in SAMPLES.iterdir()}


def test_the_sample_voice_is_that_of_the_demo():
    assert (SAMPLES / "mggtalk_speech.ogg").read_bytes() == (
        REPO / "mggtalk_core" / "media" / "samples" / "speech.ogg"
    ).read_bytes()


@pytest.mark.parametrize("name", GRAPHS)
def test_examples_explain_themselves(name):
    notes = [node for node in workflow(name)["nodes"] if node["type"] == "MarkdownNote"]
    assert notes and all(len(note["widgets_values"][0]) > 200 for note in notes)


@pytest.mark.parametrize("name", GRAPHS)
def test_files_are_up_to_date(name, object_info):
    assert workflow(name) == lay_out(name, GRAPHS[name], object_info), "run make workflows"


@pytest.mark.parametrize("name", GRAPHS)
def test_nodes_do_not_overlap(name):
    boxes = [(*node["pos"], *node["size"]) for node in workflow(name)["nodes"]]
    for place, (x, y, width, height) in enumerate(boxes):
        for other_x, other_y, other_width, other_height in boxes[:place]:
            apart = x >= other_x + other_width or other_x >= x + width
            assert apart or y >= other_y + other_height or other_y >= y + height


@pytest.mark.parametrize("name", GRAPHS)
def test_examples_run_to_their_output_and_again_from_cache(name, client, object_info):
    prompt = to_prompt(workflow(name), object_info)
    first = client.run(prompt)
    assert first.status == "success", f"{first.error_node}: {first.error} {first.refusals()}"
    files = [client.path(shown) for shown in first.files() if shown["type"] == "output"]
    assert files and all(path.stat().st_size > 1000 for path in files)
    for clip in (path for path in files if path.suffix == ".mp4"):
        check_clip(clip, FRAMES.get(name))
    second = client.run(prompt)
    assert second.status == "success"
    assert second.executed == []
    assert set(second.cached) == set(prompt)


def check_clip(path, frames):
    with av.open(str(path)) as clip:
        shown = [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]
    assert frames in (None, len(shown))
    assert max(abs(frame.astype(int) - shown[0].astype(int)).max() for frame in shown) > 40, "nothing moves"


def test_the_editor_knows_what_it_decorates_with(object_info):
    assert not DECORATION & set(object_info)


def test_the_template_browser_lists_them(comfy):
    assert sorted(comfy.get("/workflow_templates")["mggtalk"]) == sorted(GRAPHS)
