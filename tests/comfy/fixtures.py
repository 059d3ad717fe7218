"""Fixtures that give a running ComfyUI with this pack inside."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .install import NEWEST, python_of, tree_of

if TYPE_CHECKING:
    from .client import Client
    from .server import Server

REPO = Path(__file__).resolve().parents[2]
PACK = "mggtalk"
"""Name of the pack's folder in custom_nodes."""
SAMPLES = REPO / "web" / "samples"


def comfy_missing(reason: str) -> None:
    """Skip where ComfyUI is not set up; fail where it was said to be."""
    if "MGGTALK_COMFY" in os.environ:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def comfy_folder() -> Path:
    """Folder that a real ComfyUI was set up in."""
    folder = Path(os.environ.get("MGGTALK_COMFY", REPO / ".comfy")).resolve()
    if not (folder / "venv" / "installed.txt").is_file() or not python_of(folder).is_file():
        comfy_missing(f"there is no ComfyUI in {folder.name}: make test sets one up")
    return folder


@pytest.fixture(scope="session")
def face_networks() -> list[Path]:
    """The two networks that every run needs, fetched once."""
    from mggtalk_core.weights.resolver import resolve

    return [resolve("face_landmarker.task"), resolve("selfie_multiclass_256x256.tflite")]


@pytest.fixture(scope="session")
def start_comfy(
    comfy_folder: Path, face_networks: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., AbstractContextManager[Server]]:
    """Return a function that starts a server of its own: ``with start_comfy(packs={...}, core="0.3.75") as server``."""
    from .server import Server

    def start(packs: dict[str, Path] | None = None, core: str = NEWEST, samples: bool = True, **options: Any) -> Server:
        if not tree_of(comfy_folder, core).is_dir():
            pytest.skip(f"there is no ComfyUI {core}: make test-all sets it up")
        base = tmp_path_factory.mktemp("comfy")
        options.setdefault("models", {"mggtalk": face_networks})
        server = Server(comfy_folder, base, packs or {PACK: REPO}, core=core, **options)
        server.put_input(*(SAMPLES.glob("mggtalk_*") if samples else ()))
        return server

    return start


@pytest.fixture(scope="session")
def comfy(start_comfy: Callable[..., AbstractContextManager[Server]]) -> Iterator[Server]:
    """A running ComfyUI with this pack, shared by all tests."""
    with start_comfy() as server:
        yield server


@pytest.fixture(scope="session")
def object_info(comfy: Server) -> dict[str, Any]:
    """What the server says of every node."""
    return comfy.get("/object_info")


@pytest.fixture
def client(comfy: Server) -> Iterator[Client]:
    """A listener of the shared server."""
    from .client import Client

    listener = Client(comfy)
    yield listener
    listener.close()
