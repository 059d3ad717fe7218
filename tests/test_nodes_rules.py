"""Rules that every node keeps: devices are ComfyUI's, classes hold no state, previews are shown, nobody is called."""

import ast
import sys

import pytest
import torch

from tests.comfy.fixtures import REPO

FILES = sorted((REPO / "nodes").glob("*.py"))


def part(nodes, name):
    return sys.modules[nodes["MGGDeform"].__module__.rsplit(".", 1)[0] + "." + name]


def test_pictures_and_masks_go_where_comfyui_wants_them(nodes, monkeypatch):
    convert = part(nodes, "convert")
    monkeypatch.setattr(convert, "intermediate_device", lambda: torch.device("meta"))
    assert convert.to_image(torch.zeros(3, 4, 5)).device.type == "meta"
    assert convert.to_mask(torch.zeros(1, 4, 5)).device.type == "meta"


@pytest.mark.parametrize(
    ("device", "backend", "runs", "wanted"),
    [
        ("cuda", "auto", ["warp", "numba"], "cuda"),
        ("cuda", "auto", ["numba", "reference"], "cpu"),
        ("cuda", "gsplat", ["gsplat", "numba"], "cuda"),
        ("cuda", "numba", ["gsplat", "numba"], "cpu"),
        ("cpu", "auto", ["numba"], "cpu"),
        ("mps", "auto", ["numba"], "cpu"),
    ],
)
def test_gaussians_stay_on_the_device_that_draws_them(nodes, monkeypatch, device, backend, runs, wanted):
    devices = part(nodes, "devices")
    monkeypatch.setattr(devices, "get_torch_device", lambda: torch.device(device))
    monkeypatch.setattr(devices, "available_backends", lambda _: runs)
    assert devices.render_device(backend).type == wanted


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nodes_name_no_device_and_keep_nothing_on_their_class(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr != "cuda", f"line {node.lineno}: ask get_torch_device()"
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            kept = isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "cls"
            assert not kept, f"line {node.lineno}: a node is run by several prompts at once"


def test_classes_have_methods_only(nodes):
    for name, node in nodes.items():
        own = {key for key in vars(node) if not key.startswith("__")}
        assert own <= {"define_schema", "execute", "validate_inputs", "fingerprint_inputs"}, name


def test_the_same_seed_gives_the_same_motion(nodes):
    audio = {"waveform": torch.sin(torch.arange(16000) / 9.0)[None, None] * 0.3, "sample_rate": 16000}
    inputs = {"audio": audio, "fps": 25.0, "head_motion": 1.0, "blink_rate": 30.0, "phonemes": False}
    first, again, other = (nodes["MGGMotionFromAudio"].execute(seed=seed, **inputs).result[0] for seed in (3, 3, 4))
    assert torch.equal(first.beta, again.beta) and torch.equal(first.rotation, again.rotation)
    assert not torch.equal(first.rotation, other.rotation)


def test_load_portrait_shows_what_it_found(nodes, picture):
    shown = nodes["MGGLoadPortrait"].execute(image=picture, face=0).ui.image
    assert shown.shape == (1, 512, 1536, 3)
    found, head, behind = shown[0].split(512, dim=1)
    assert ((found - torch.tensor([0.1, 1.0, 0.4])).abs().sum(-1) < 1e-3).sum() > 1000, "landmarks are marked"
    assert ((head - 0.5).abs().amax(-1) < 1e-3).float().mean() > 0.3, "grey is not the head"
    assert (behind - head).abs().mean() > 0.1
