"""Where weights are kept, whether they may be fetched, and which licences are accepted."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path

from ..errors import WeightsError

MODELS_VARIABLE = "MGGTALK_MODELS"
"""Environment variable: folders to look in first, separated as in PATH."""
CACHE_VARIABLE = "MGGTALK_CACHE"
"""Environment variable: the folder for what was fetched, in place of the platform's cache folder."""
DOWNLOADS_VARIABLE = "MGGTALK_DOWNLOADS"
"""Environment variable: ``none``, ``public`` or ``all``."""
COMMERCIAL_VARIABLE = "MGGTALK_COMMERCIAL_SAFE"
"""Environment variable: ``1`` refuses weights that forbid commercial use, everywhere.

It is the switch of the nodes too: a field on every node that reaches weights could be forgotten on one of them, and
what a node made before the field was changed would stay in ComfyUI's cache.
"""


class Downloads(IntEnum):
    """How far the resolver may go to fetch a file."""

    NONE = 0
    """Only folders on this machine."""
    PUBLIC = 1
    """Public addresses and the hub, over HTTPS."""
    ALL = 2
    """The package clients (pip, npm) as well."""


@dataclass(frozen=True)
class Policy:
    """What the resolver may do."""

    downloads: Downloads = Downloads.ALL
    commercial_safe: bool = False
    """Refuse weights whose licence or training data do not allow commercial use."""


_policy: ContextVar[Policy | None] = ContextVar("mggtalk_weights_policy", default=None)
_model_folders: tuple[Path, ...] = ()


def _downloads_from_environment() -> Downloads:
    word = os.environ.get(DOWNLOADS_VARIABLE, "all").strip().upper()
    if word not in Downloads.__members__:
        raise WeightsError(f"{DOWNLOADS_VARIABLE} is {word.lower()!r}: set it to none, public or all")
    return Downloads[word]


def _commercial_safe_from_environment() -> bool:
    word = os.environ.get(COMMERCIAL_VARIABLE, "0").strip()
    if word not in ("0", "1"):
        raise WeightsError(f"{COMMERCIAL_VARIABLE} is {word!r}: set it to 0 or 1")
    return word == "1"


def current_policy() -> Policy:
    """Return the policy in force: the innermost `using_policy`, else the environment's."""
    return _policy.get() or Policy(_downloads_from_environment(), _commercial_safe_from_environment())


@contextmanager
def using_policy(*, downloads: Downloads | None = None, commercial_safe: bool = False) -> Iterator[Policy]:
    """Change the policy inside the ``with`` block, on this thread; ``commercial_safe`` can only be turned on."""
    policy = current_policy()
    if downloads is not None:
        policy = replace(policy, downloads=downloads)
    if commercial_safe:
        policy = replace(policy, commercial_safe=True)
    token = _policy.set(policy)
    try:
        yield policy
    finally:
        _policy.reset(token)


def set_model_folders(folders: Iterable[str | os.PathLike[str]]) -> None:
    """Set the user's model folders, best first, for the whole process (ComfyUI's ``models/mggtalk``)."""
    global _model_folders
    _model_folders = tuple(Path(folder).expanduser() for folder in folders)


def model_folders() -> tuple[Path, ...]:
    """Return the user's model folders, best first: those set, then those of ``MGGTALK_MODELS``."""
    named = os.environ.get(MODELS_VARIABLE, "").split(os.pathsep)
    return _model_folders + tuple(Path(folder).expanduser() for folder in named if folder)


def cache_folder() -> Path:
    """Return the folder for fetched files: ``MGGTALK_CACHE`` or the platform's cache folder. It may not exist yet."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "mggtalk" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "mggtalk"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mggtalk"
