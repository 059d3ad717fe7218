"""What ComfyUI knows of the nodes: ids and sockets as promised, words for everything, help and translations."""

import json

import pytest

from tests.comfy.fixtures import REPO

PROMISED = json.loads((REPO / "tests" / "comfy" / "nodes.json").read_text(encoding="utf-8"))
"""Node id to inputs (name to type) and outputs: frozen once released, because saved graphs hold them."""
LANGUAGES = ("en", "zh")


def described(info):
    """Return ids and sockets of our nodes in the form of the committed list."""
    found = {}
    for name in sorted(name for name in info if name.startswith("MGG")):
        inputs = {**info[name]["input"].get("required", {}), **info[name]["input"].get("optional", {})}
        types = {key: spec[0] if isinstance(spec[0], str) else "COMBO" for key, spec in inputs.items()}
        outputs = [list(pair) for pair in zip(info[name]["output_name"], info[name]["output"], strict=True)]
        found[name] = {"inputs": types, "outputs": outputs}
    return found


def inputs_of(entry):
    return {**entry["input"].get("required", {}), **entry["input"].get("optional", {})}


def test_ids_and_sockets_are_those_that_were_promised(object_info):
    assert described(object_info) == PROMISED


def test_all_nodes_come_from_this_pack(object_info):
    ours = [name for name, entry in object_info.items() if entry["python_module"] == "custom_nodes.mggtalk"]
    assert sorted(ours) == sorted(PROMISED)


@pytest.mark.parametrize("name", PROMISED)
def test_everything_has_words(name, object_info):
    entry = object_info[name]
    assert entry["category"].split("/")[0] == "MGGTalk"
    assert len(entry["description"]) > 40
    assert entry["display_name"] and entry["display_name"] != name
    silent = [key for key, spec in inputs_of(entry).items() if len(spec[1].get("tooltip") or "") < 10]
    assert not silent
    assert len(entry["output_tooltips"]) == len(entry["output"]) and all(entry["output_tooltips"])


@pytest.mark.parametrize("name", PROMISED)
def test_numbers_have_bounds_and_defaults(name, object_info):
    for key, spec in inputs_of(object_info[name]).items():
        if spec[0] in ("INT", "FLOAT"):
            options = spec[1]
            assert options["min"] <= options["default"] <= options["max"], key
            assert spec[0] == "INT" or options["step"] > 0, key


@pytest.mark.parametrize("name", PROMISED)
def test_no_output_is_a_plain_copy_of_an_input(name, object_info):
    entry = object_info[name]
    ours = {spec[0] for spec in inputs_of(entry).values() if isinstance(spec[0], str) and spec[0].startswith("MGG_")}
    assert not ours - {"MGG_MOTION"} & set(entry["output"])


@pytest.mark.parametrize("name", PROMISED)
def test_every_node_has_a_page_of_help(name, object_info, comfy):
    path = REPO / "web" / "docs" / f"{name}.md"
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ") and len(text) > 600
    missing = [key for key in documented(object_info[name]) if f"**{key}**" not in text]
    assert not missing
    assert comfy.fetch(f"/extensions/mggtalk/docs/{name}.md").decode() == text
    for picture in (line.split("](")[1].split(")")[0] for line in text.splitlines() if line.startswith("![")):
        assert comfy.fetch(f"/extensions/mggtalk/docs/{picture}")[:3] == b"\xff\xd8\xff", (
            f"{picture} is no JPEG that the server has"
        )


def documented(entry):
    """Return the inputs that a page must name: not each of the many sliders of a face."""
    return [key for key, spec in inputs_of(entry).items() if "Slider" not in key and not is_slider(key)]


def is_slider(key):
    from mggtalk_core.portrait.blendshapes import BLENDSHAPES

    return key in BLENDSHAPES or key == "cheekPuff" or key.startswith(("head_", "gaze_")) and key != "head_motion"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_word_is_translated(language, object_info, comfy):
    words = json.loads((REPO / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
    assert set(words) == set(PROMISED)
    for name, entry in words.items():
        assert entry["display_name"] and entry["description"]
        assert set(entry["inputs"]) == set(PROMISED[name]["inputs"])
        assert all(text["name"] and text["tooltip"] for text in entry["inputs"].values()), name
        assert len(entry["outputs"]) == len(PROMISED[name]["outputs"])
    assert comfy.get("/i18n")[language]["nodeDefs"].items() >= words.items()


def test_the_english_words_are_those_of_the_nodes(object_info):
    words = json.loads((REPO / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8"))
    for name, entry in words.items():
        assert entry["description"] == object_info[name]["description"]
        for key, spec in inputs_of(object_info[name]).items():
            assert entry["inputs"][key]["tooltip"] == spec[1]["tooltip"], f"{name}.{key}: run make workflows"
