"""Make torchvision and torchaudio usable beside a torch without CUDA: run once, by the environment's own Python.

The registry has their native parts for CUDA only. torchvision hides that they do not load, but then trips over the
operators that are missing; torchaudio refuses to load unless they are absent. ComfyUI's start needs none of them.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

SCHEMAS = """

# The native part is absent: say what its operators look like, so that the rest of the package can be imported.
if not _has_ops():
    import torch
    _library = torch.library.Library("torchvision", "FRAGMENT")
    _library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


def loads(module: str) -> bool:
    """Return whether a fresh interpreter can import a module."""
    return subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0


def main() -> None:
    """Mend what does not load, and fail where that does not help."""
    site = Path(sysconfig.get_path("purelib"))
    if not loads("torchvision"):
        with (site / "torchvision" / "extension.py").open("a", encoding="utf-8") as source:
            source.write(SCHEMAS)
    if not loads("torchaudio"):
        for library in (site / "torchaudio" / "lib").glob("*.so"):
            library.unlink()
    broken = [module for module in ("torchvision", "torchaudio") if not loads(module)]
    if broken:
        sys.exit(f"{' and '.join(broken)} cannot be imported beside this torch")


if __name__ == "__main__":
    main()
