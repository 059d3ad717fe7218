"""Networks in the care of a real ComfyUI."""

import json
import os
import subprocess

from tests.comfy.fixtures import REPO
from tests.comfy.install import NEWEST, python_of, tree_of

SCRIPT = """
import sys
sys.argv = [sys.argv[0], "--cpu"]
import comfy.options
comfy.options.enable_args_parsing()
import json, torch
import comfy.model_management as management
import importlib
pack = "pack_x"
spec = importlib.util.spec_from_file_location(pack, REPO + "/__init__.py", submodule_search_locations=[REPO])
module = importlib.util.module_from_spec(spec)
sys.modules[pack] = module
spec.loader.exec_module(module)
import asyncio
asyncio.run(asyncio.run(module.comfy_entrypoint()).get_node_list())
placement = importlib.import_module(pack + ".mggtalk_core.placement")
network = torch.nn.Linear(4, 4)
placement.place(network, torch.device("cpu"))
first = [loaded.model.model is network for loaded in management.current_loaded_models]
placement.place(network, torch.device("cpu"))
again = len(management.current_loaded_models)
placement.unplace(network)
kept = len(management.current_loaded_models)
answer = network(torch.ones(4)).shape[0]
management.unload_all_models()
print(json.dumps([first, again, kept, answer, len(management.current_loaded_models)]))
"""


def test_comfyui_takes_care_of_networks(comfy_folder):
    script = SCRIPT.replace("REPO", repr(str(REPO)))
    done = subprocess.run(
        [str(python_of(comfy_folder)), "-c", script],
        cwd=tree_of(comfy_folder, NEWEST),
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    first, again, kept, answer, left = json.loads(done.stdout.strip().splitlines()[-1])
    assert first == [True]  # ComfyUI knows of it, once
    assert (again, kept) == (1, 1)  # and only ComfyUI decides when it goes
    assert answer == 4
    assert left == 0
