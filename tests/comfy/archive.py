"""The archive that the registry would publish: what git tracks, less what ``.comfyignore`` names."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def published_files(repo: Path) -> list[str]:
    """Return the paths in the archive, relative to the repository, sorted."""
    ignored = set(_listed(repo, "--cached", "--ignored", "--exclude-from=.comfyignore"))
    return sorted(name for name in _listed(repo, "--cached") if name not in ignored and (repo / name).is_file())


def unpack(repo: Path, folder: Path) -> Path:
    """Lay the archive's files out in a new folder, as an install from the registry does, and return it."""
    for name in published_files(repo):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(repo / name, target)
    return folder


def _listed(repo: Path, *options: str) -> list[str]:
    command = ["git", "-c", "core.quotePath=false", "ls-files", "-z", *options]
    return [name for name in subprocess.check_output(command, cwd=repo, text=True).split("\0") if name]
