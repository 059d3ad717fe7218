"""Other installs: an older ComfyUI, and the pack twice under names of other kinds."""

import json

import pytest

from tests.comfy.archive import unpack
from tests.comfy.client import Client
from tests.comfy.editor import to_prompt
from tests.comfy.fixtures import REPO
from tests.comfy.graphs import GRAPHS
from tests.comfy.prompts import talking, with_defaults

OLDER = ("0.3.75", "0.3.52")
"""The pack asks for 0.3.64, which no package carries: the nearest ones, after it and before it."""
FROZEN = json.loads((REPO / "tests" / "comfy" / "nodes.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=OLDER)
def older(request, start_comfy):
    with start_comfy(core=request.param) as server:
        yield server


def test_an_older_comfyui_has_every_node(older):
    info = older.get("/object_info")
    assert older.get("/system_stats")["system"]["comfyui_version"] == older.core
    assert set(FROZEN) <= set(info)
    for name, frozen in FROZEN.items():
        inputs = {**info[name]["input"].get("required", {}), **info[name]["input"].get("optional", {})}
        assert list(inputs) == list(frozen["inputs"]) or set(inputs) == set(frozen["inputs"]), name
        assert info[name]["output"] == [kind for _, kind in frozen["outputs"]], name


@pytest.mark.parametrize("name", GRAPHS)
def test_examples_run_on_an_older_comfyui(name, older):
    info = older.get("/object_info")
    workflow = json.loads((REPO / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    strangers = {node["type"] for node in workflow["nodes"]} - set(info) - {"MarkdownNote"}
    if strangers:
        assert all("Splat" in kind for kind in strangers)
        pytest.skip(f"ComfyUI {older.core} has no {', '.join(sorted(strangers))}")
    client = Client(older)
    run = client.run(to_prompt(workflow, info))
    assert run.status == "success", f"{run.error_node}: {run.error} {run.refusals()}"
    assert run.files()
    client.close()


def test_the_published_archive_twice_under_other_names(start_comfy, tmp_path):
    if not (REPO / ".git").exists():
        pytest.skip("this is no git checkout: what would be published is not known")
    names = {name: unpack(REPO, tmp_path / name) for name in ("ComfyUI-MGGTalk", "My copy of it")}
    with start_comfy(packs=names) as server:
        log = server.log.read_text(encoding="utf-8", errors="replace")
        assert "IMPORT FAILED" not in log and "Cannot import" not in log
        info = server.get("/object_info")
        assert set(FROZEN) <= set(info)
        client = Client(server)
        assert client.run(with_defaults(talking(0.3), info)).status == "success"
        client.close()
