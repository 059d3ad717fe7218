"""The front end in a real browser: an example opened, run and photographed."""

import json

import pytest
from PIL import Image

from tests.comfy.browser import drive, why_missing
from tests.comfy.editor import to_prompt
from tests.comfy.fixtures import REPO

NAME = "3_expression_rig"


@pytest.fixture(scope="module")
def opened(start_comfy, comfy_folder, tmp_path_factory):
    """What the browser saw, with the picture it took; the server's input folder is empty at first."""
    if (reason := why_missing(comfy_folder)) is not None:
        pytest.skip(reason)
    picture = tmp_path_factory.mktemp("browser") / "graph.png"
    with start_comfy(samples=False) as server:
        workflow = REPO / "workflows" / f"{NAME}.json"
        seen = json.loads(drive(comfy_folder, server.url, workflow, picture, timeout=280))
        return {**seen, "picture": picture, "inputs": {path.name for path in (server.base / "input").iterdir()}}


def test_the_example_runs_as_it_was_opened(opened):
    assert opened["outcome"]["end"] == "execution_success", opened["outcome"]
    assert not opened["errors"]


def test_the_samples_were_put_into_the_input_folder(opened):
    assert "mggtalk_portrait.jpg" in opened["inputs"]


def test_the_front_end_and_the_tests_read_an_example_alike(opened, object_info):
    workflow = json.loads((REPO / "workflows" / f"{NAME}.json").read_text(encoding="utf-8"))
    ours = to_prompt(workflow, object_info)
    theirs = {
        key: {"class_type": node["class_type"], "inputs": node["inputs"]} for key, node in opened["prompt"].items()
    }
    assert set(theirs) == set(ours)
    for key, node in ours.items():
        assert theirs[key]["class_type"] == node["class_type"]
        known = {name: value for name, value in theirs[key]["inputs"].items() if name in node["inputs"]}
        assert known == node["inputs"], node["class_type"]


def test_nodes_show_what_they_made(opened):
    shown = {node["type"]: node["pictures"] for node in opened["nodes"]}
    assert shown["MGGLoadPortrait"] == 1 and shown["MGGExpressionRig"] == 1


def test_the_picture_shows_the_graph(opened):
    with Image.open(opened["picture"]) as picture:
        colours = picture.convert("RGB").resize((95, 50)).getcolors(maxcolors=95 * 50)
    assert len(colours) > 300, "the canvas is nearly empty"


def test_a_rig_shows_the_sliders_that_are_used_and_those_that_many_need(opened):
    rigs = [node for node in opened["nodes"] if node["type"] == "MGGExpressionRig"]
    assert len(rigs) == 3
    for rig in rigs:
        assert {"mouthSmileLeft", "eyeBlinkRight", "head_yaw", "gaze_left_yaw", "all_sliders"} <= set(rig["shown"])
        assert len(rig["shown"]) < 45 and len(rig["hidden"]) > 20
        assert set(rig["hidden"]) == {0}, "a slider that does something is hidden"
        assert rig["height"] < 1400
