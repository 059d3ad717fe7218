"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.comfy.fixtures import client, comfy, comfy_folder, face_networks, object_info, start_comfy
from tests.nodes_fixtures import nodes, pack_loader, picture, portrait

if TYPE_CHECKING:
    from torch import Tensor

    from mggtalk_core.pipeline import Head

__all__ = [
    "client", "comfy", "comfy_folder", "face_networks", "nodes", "object_info", "pack_loader", "picture", "portrait",
    "start_comfy",
]  # fmt: skip

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repo() -> Path:
    """Root of the repository."""
    return REPO


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of test material beside the repository; the test is skipped, visibly, where there is none."""
    folder = REPO.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs the test material in ../shared/data")
    return folder


@pytest.fixture(scope="session")
def astronaut() -> Tensor:
    """Scikit-image's astronaut (NASA, public domain): float32 [3,512,512]."""
    import torch
    from skimage.data import astronaut

    return torch.from_numpy(astronaut().copy()).permute(2, 0, 1).float() / 255.0


@pytest.fixture(scope="session")
def astronaut_head(astronaut: Tensor) -> Head:
    """The astronaut's head, reconstructed once for all tests; do not change it."""
    from mggtalk_core.pipeline import reconstruct

    return reconstruct(astronaut)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Tests that need a connection run only when asked for."""
    parser.addoption("--network", action="store_true", help="run the tests that ask the package registries")
