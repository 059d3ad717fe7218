"""Where weights lie in a ComfyUI install, and whether a node may fetch them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import folder_paths
from comfy_api.latest import io

from ..mggtalk_core.weights.policy import (
    DOWNLOADS_VARIABLE,
    Downloads,
    current_policy,
    set_model_folders,
    using_policy,
)
from .sockets import advanced

FOLDER = "mggtalk"
EXTENSIONS = {".task", ".tflite", ".safetensors"}


def register_model_folder() -> None:
    """Make ``models/mggtalk`` a model folder of ComfyUI, which ``extra_model_paths.yaml`` may add places to."""
    folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
    places, extensions = folder_paths.folder_names_and_paths[FOLDER]
    folder_paths.folder_names_and_paths[FOLDER] = (places, set(extensions) | EXTENSIONS)


def download_input() -> io.Input:
    """Return the switch of nodes that run the face networks."""
    return advanced(
        io.Boolean.Input(
            "download",
            default=True,
            label_on="when missing",
            label_off="never",
            tooltip="Fetch the face networks (20 MB) once if they are not in models/mggtalk. Never: the node stops and "
            "names the missing file instead.",
        )
    )


@contextmanager
def weights_policy(download: bool) -> Iterator[None]:
    """Look into ComfyUI's model folders, and fetch what is missing only if that is allowed.

    A node fetches from public addresses at most: package clients are for the command line. What ``MGGTALK_DOWNLOADS``
    says holds here too.
    """
    set_model_folders(folder_paths.get_folder_paths(FOLDER))
    wanted = Downloads.PUBLIC if download else Downloads.NONE
    if DOWNLOADS_VARIABLE in os.environ:
        wanted = min(wanted, current_policy().downloads)
    with using_policy(downloads=wanted):
        yield
