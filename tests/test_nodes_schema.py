"""What the nodes say of themselves, and what loading them costs."""

import inspect
import json
import subprocess
import sys
import tomllib

import pytest
import torch

IDS = [
    "MGGLoadPortrait", "MGGDepthBINI", "MGGSymmetricGeometry", "MGGMotionFromVideo", "MGGMotionFromAudio",
    "MGGMotionFromFile", "MGGExpressionRig", "MGGMixMotion", "MGGDeform", "MGGGaussianPredict", "MGGSplatRender",
    "MGGInpaint", "MGGToSplat", "MGGTalkingVideo",
]  # fmt: skip
"""Frozen: a saved workflow finds its nodes by these."""
PASSED_ON = {
    "MGGLoadPortrait": (["IMAGE", "MASK"], ["MGG_PORTRAIT", "IMAGE", "MASK"]),
    "MGGDepthBINI": (
        ["MGG_PORTRAIT", "IMAGE", "IMAGE", "MOGE_GEOMETRY", "DA3_GEOMETRY"], ["MGG_SURFACE", "IMAGE", "IMAGE"]
    ),
    "MGGSymmetricGeometry": (["MGG_SURFACE", "MASK"], ["MGG_POINTS"]),
    "MGGMotionFromVideo": (["VIDEO", "IMAGE", "FACE_LANDMARKS"], ["MGG_MOTION"]),
    "MGGMotionFromAudio": (["AUDIO"], ["MGG_MOTION"]),
    "MGGMotionFromFile": ([], ["MGG_MOTION"]),
    "MGGExpressionRig": (["MGG_MOTION"], ["MGG_MOTION"]),
    "MGGMixMotion": (["MGG_MOTION", "MGG_MOTION"], ["MGG_MOTION"]),
    "MGGDeform": (["MGG_POINTS", "MGG_MOTION"], ["MGG_DRIVEN"]),
    "MGGGaussianPredict": (["MGG_PORTRAIT", "MGG_DRIVEN"], ["MGG_GAUSSIANS"]),
    "MGGSplatRender": (["MGG_GAUSSIANS,SPLAT", "LOAD3D_CAMERA"], ["IMAGE", "MASK", "IMAGE"]),
    "MGGInpaint": (["MGG_PORTRAIT", "IMAGE", "MASK", "MGG_GAUSSIANS"], ["IMAGE"]),
    "MGGToSplat": (["MGG_GAUSSIANS"], ["SPLAT"]),
    "MGGTalkingVideo": (["MGG_PORTRAIT", "MGG_MOTION", "AUDIO"], ["VIDEO"]),
}  # fmt: skip
WIDGETS = {"INT", "FLOAT", "BOOLEAN", "COMBO", "STRING"}


def schemas(nodes):
    return {name: node.GET_SCHEMA() for name, node in nodes.items()}


def test_ids_are_the_frozen_ones(nodes):
    assert list(nodes) == IDS


def test_sockets_are_the_frozen_ones(nodes):
    for name, made in schemas(nodes).items():
        sockets = [socket.io_type for socket in made.inputs if socket.io_type not in WIDGETS]
        assert (sockets, [socket.io_type for socket in made.outputs]) == PASSED_ON[name], name


def test_everything_has_a_tooltip_that_is_a_sentence(nodes):
    for name, made in schemas(nodes).items():
        assert made.description.endswith(".") and made.category.split("/")[0] == "MGGTalk", name
        for socket in (*made.inputs, *made.outputs):
            assert socket.tooltip and socket.tooltip.endswith("."), (name, socket.id)


def test_numbers_have_bounds_around_their_default(nodes):
    for name, made in schemas(nodes).items():
        for socket in made.inputs:
            if socket.io_type in ("INT", "FLOAT"):
                assert socket.min <= socket.default <= socket.max, (name, socket.id)
            if socket.io_type == "FLOAT":
                assert socket.step > 0, (name, socket.id)
            if socket.io_type == "COMBO":
                assert socket.default in socket.options["options"], (name, socket.id)


def test_execute_takes_the_inputs_and_older_cores_find_no_id_twice(nodes):
    for name, node in nodes.items():
        made = node.GET_SCHEMA()
        ids = [socket.id for socket in (*made.inputs, *made.outputs)]
        assert len(set(ids)) == len(ids), name
        parameters = inspect.signature(node.execute).parameters
        inputs = {socket.id for socket in made.inputs}
        free = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
        named = {key for key, one in parameters.items() if one.kind is not one.VAR_KEYWORD}
        assert named <= inputs and (free or named == inputs), name
        for socket in made.inputs:
            if socket.optional:
                assert socket.id not in parameters or parameters[socket.id].default is not inspect.Parameter.empty, name


def test_the_rig_has_every_blendshape_left_and_right_apart(nodes):
    from mggtalk_core.portrait.blendshapes import BLENDSHAPES

    inputs = {socket.id for socket in nodes["MGGExpressionRig"].GET_SCHEMA().inputs}
    assert set(BLENDSHAPES) <= inputs
    assert {"gaze_left_yaw", "gaze_right_yaw", "look_at_camera", "neutralise", "easing", "previous"} <= inputs


def test_only_files_are_fingerprinted_and_validated(nodes):
    for name, node in nodes.items():
        own = {"validate_inputs", "fingerprint_inputs"} & set(vars(node))
        assert own == ({"validate_inputs", "fingerprint_inputs"} if name == "MGGMotionFromFile" else set()), name


LOADING = """
import json, pathlib, socket, sys, tempfile, time
sys.path.insert(0, sys.argv[1])
import torch, numpy
from tests import comfy_double
def refuse(*_, **__):
    raise AssertionError("loading the pack asks the network")
socket.create_connection = socket.getaddrinfo = socket.gethostbyname = refuse
with tempfile.TemporaryDirectory() as folder:
    sys.modules.update(comfy_double.modules(pathlib.Path(folder)))
    before, start = set(sys.modules), time.process_time()
    pack, nodes = comfy_double.load_pack("custom_nodes_x_mggtalk")
    seconds = time.process_time() - start
new = sorted({name.split(".")[0] for name in set(sys.modules) - before})
print(json.dumps([seconds, new, hasattr(pack, "NODE_CLASS_MAPPINGS"), pack.WEB_DIRECTORY, len(nodes)]))
"""
HEAVY = {"scipy", "cv2", "av", "numba", "librosa", "ai_edge_litert", "gsplat", "diffusers", "huggingface_hub", "PIL",
         "requests", "urllib3", "soxr", "pocketsphinx"}  # fmt: skip


TRIES = 5
"""Loads of which the quickest counts: a busy machine only ever adds to the time."""


def test_loading_is_quick_and_brings_nothing_heavy(repo):
    quickest = float("inf")
    for _ in range(TRIES):
        result = subprocess.run(
            [sys.executable, "-c", LOADING, str(repo)], capture_output=True, text=True, check=True, cwd=repo.parent
        )
        seconds, new, v1, web, count = json.loads(result.stdout)
        assert HEAVY.isdisjoint(new)
        assert (v1, web, count) == (False, "./web", len(IDS))
        quickest = min(quickest, seconds)
        if quickest < 0.5:
            return
    pytest.fail(f"loading takes {quickest:.2f} s of the processor at best")


def test_the_pack_can_be_loaded_under_two_names(pack_loader, nodes):
    _, others = pack_loader("other_x_name")
    assert list(others) == list(nodes)
    assert others["MGGDeform"] is not nodes["MGGDeform"]


def test_models_folder_is_registered(nodes):
    import folder_paths

    places, endings = folder_paths.folder_names_and_paths["mggtalk"]
    assert places[0].endswith("mggtalk") and {".task", ".tflite", ".safetensors"} <= endings


def test_the_registry_finds_what_it_needs(repo):
    content = tomllib.loads((repo / "pyproject.toml").read_text())
    comfy = content["tool"]["comfy"]
    assert comfy["requires-comfyui"] == ">=0.3.64" and comfy["PublisherId"] and comfy["DisplayName"] == "MGGTalk"
    assert (repo / comfy["version"]["path"]).read_text().count("__version__ = ") == 1


@pytest.mark.parametrize("value", ["hardly", "public", "all"])
def test_downloads_by_a_node_obey_the_switch_and_the_environment(nodes, monkeypatch, value):
    models = sys.modules[nodes["MGGDeform"].__module__.rsplit(".", 1)[0] + ".models"]
    policy = sys.modules[models.using_policy.__module__]
    levels = policy.Downloads
    if value != "hardly":
        monkeypatch.setenv("MGGTALK_DOWNLOADS", value)
    else:
        monkeypatch.delenv("MGGTALK_DOWNLOADS", raising=False)
    with models.weights_policy(True):
        assert policy.current_policy().downloads == levels.PUBLIC
    monkeypatch.setenv("MGGTALK_DOWNLOADS", "none")
    with models.weights_policy(True):
        assert policy.current_policy().downloads == levels.NONE
    with models.weights_policy(False):
        assert policy.current_policy().downloads == levels.NONE


@pytest.mark.parametrize(("module", "package"), [("cv2", "opencv-python"), ("scipy.sparse", "scipy")])
def test_a_missing_package_is_named_with_the_command_that_helps(nodes, monkeypatch, module, package):
    home = sys.modules[nodes["MGGInpaint"].__module__]

    def fail(*_, **__):
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(home, "Finisher", fail)
    mask = torch.ones(1, 4, 4)
    with pytest.raises(home.InputError, match=f"pip install {package}'"):
        nodes["MGGInpaint"].execute(portrait=None, image=mask[..., None], mask=mask, framing="crop", torso="hold")
