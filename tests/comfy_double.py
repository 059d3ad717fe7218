"""A light stand-in for the parts of ComfyUI that the nodes touch, for tests without a server.

It knows only what a schema is and what a node hands back; the tests that start a server use the real thing.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]


class Cancelled(Exception):
    """What ComfyUI raises when the user presses Cancel."""


class Socket:
    """An input or output: its id and whatever else it was given."""

    def __init__(self, io_type: str, id: str, display_name: str | None = None, **options: Any) -> None:
        self.io_type, self.id, self.display_name, self.options = io_type, id, display_name or id, options
        self.optional, self.tooltip = options.get("optional", False), options.get("tooltip")

    def __getattr__(self, name: str) -> Any:
        return self.__dict__.get("options", {}).get(name)


def socket_type(name: str) -> Any:
    def make(id: str, display_name: str | None = None, **options: Any) -> Socket:
        return Socket(name, id, display_name, **options)

    return types.SimpleNamespace(Input=make, Output=make, io_type=name)


def multi_type(id: str, types: list, **options: Any) -> Socket:
    return Socket(",".join(each.io_type for each in types), id, **options)


@dataclass
class Schema:
    node_id: str
    display_name: str = ""
    category: str = ""
    inputs: list = field(default_factory=list)
    outputs: list = field(default_factory=list)
    description: str = ""
    is_output_node: bool = False
    hidden: list = field(default_factory=list)


class ComfyNode:
    hidden = None

    @classmethod
    def GET_SCHEMA(cls) -> Schema:
        return cls.define_schema()


class NodeOutput:
    def __init__(self, *args: Any, ui: Any = None) -> None:
        self.result, self.ui = args, ui


class Picture:
    """What a node displays."""

    def __init__(self, image: Any, cls: Any = None) -> None:
        self.image = image


class Clip:
    """A VIDEO that is a file."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def get_stream_source(self) -> Any:
        return self.file


class ProgressBar:
    """Counts what it is told."""

    updates: list[int] = []

    def __init__(self, total: int) -> None:
        self.total = total

    def update_absolute(self, value: int) -> None:
        ProgressBar.updates.append(value)


class Interrupt:
    """Presses Cancel after a number of steps; -1 never."""

    after = -1


def throw_exception_if_processing_interrupted() -> None:
    if Interrupt.after == 0:
        Interrupt.after = -1
        raise Cancelled
    Interrupt.after -= Interrupt.after > 0


def modules(folder: Path) -> dict[str, types.ModuleType]:
    """Return the stand-in modules; inputs, models and temporary files lie in ``folder``."""
    import torch

    def module(name: str, **members: Any) -> types.ModuleType:
        made = types.ModuleType(name)
        vars(made).update(members)
        return made

    names = ("Image", "Mask", "Audio", "Video", "Int", "Float", "Boolean", "Combo", "String")
    io = types.SimpleNamespace(
        Custom=socket_type, Schema=Schema, ComfyNode=ComfyNode, NodeOutput=NodeOutput, Input=Socket, Output=Socket,
        NumberDisplay=types.SimpleNamespace(slider="slider"), FolderType=types.SimpleNamespace(temp="temp"),
        Hidden=types.SimpleNamespace(unique_id="UNIQUE_ID"), MultiType=types.SimpleNamespace(Input=multi_type),
        **{name: socket_type(name.upper()) for name in names},
    )  # fmt: skip
    places = {name: folder / name for name in ("input", "temp", "models")}
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True)
    listed: dict[str, tuple[list[str], set[str]]] = {}
    counter = iter(range(1, 1000))
    shown = types.SimpleNamespace(
        PreviewImage=Picture, PreviewVideo=lambda values: values, SavedResult=lambda name, folder, kind: name
    )
    api = module(
        "comfy_api.latest", io=io, ui=shown, ComfyExtension=object, Types=types.SimpleNamespace(),
        InputImpl=types.SimpleNamespace(VideoFromFile=Clip),
    )  # fmt: skip
    paths = module(
        "folder_paths", models_dir=str(places["models"]), folder_names_and_paths=listed,
        get_input_directory=lambda: str(places["input"]), get_temp_directory=lambda: str(places["temp"]),
        add_model_folder_path=lambda name, path: listed.setdefault(name, ([path], set())),
        get_folder_paths=lambda name: listed[name][0],
        get_save_image_path=lambda prefix, folder: (folder, prefix, next(counter), "", prefix),
    )  # fmt: skip
    cpu = torch.device("cpu")
    management = module(
        "comfy.model_management", intermediate_device=lambda: cpu, get_torch_device=lambda: cpu,
        throw_exception_if_processing_interrupted=throw_exception_if_processing_interrupted,
    )  # fmt: skip
    utils = module("comfy.utils", ProgressBar=ProgressBar)
    comfy = module("comfy", model_management=management, utils=utils)
    parts = (module("comfy_api", latest=api), api, paths, comfy, management, utils)
    return {part.__name__: part for part in parts}


def load_pack(name: str) -> tuple[types.ModuleType, dict[str, Any]]:
    """Load the repository as ComfyUI loads a node pack; return its module and its nodes by id."""
    spec = importlib.util.spec_from_file_location(name, REPO / "__init__.py", submodule_search_locations=[str(REPO)])
    pack = importlib.util.module_from_spec(spec)
    sys.modules[name] = pack
    spec.loader.exec_module(pack)
    extension = asyncio.run(pack.comfy_entrypoint())
    nodes = asyncio.run(extension.get_node_list())
    return pack, {node.GET_SCHEMA().node_id: node for node in nodes}
