"""What the command line says to the person in front of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..media.atomic import replacing
from ..progress import OnStep


def say(line: str) -> None:
    """Write one line to standard output, with escapes for what its encoding does not have."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()


@contextmanager
def progress_bar(label: str, unit: str = "frame") -> Iterator[OnStep]:
    """Yield an ``on_step`` that drives a progress bar on standard error."""
    from tqdm import tqdm

    with tqdm(desc=label, unit=unit, leave=False, disable=None) as bar:

        def step(done: int, total: int) -> None:
            if done < bar.n:  # another phase begins
                bar.reset()
            bar.total = total
            bar.update(done - bar.n)

        yield step


def write_json(path: Path | None, content: Any) -> None:
    """Write a report, whole or not at all; without a path do nothing."""
    if path is None:
        return
    with replacing(path) as temporary:
        Path(temporary).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
