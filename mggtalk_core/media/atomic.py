"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import InputError


def reserve(path: str | os.PathLike[str]) -> Path:
    """Create an empty hidden file beside ``path``, with the same suffix, to be renamed onto it later.

    Raises:
        InputError: the folder is missing or cannot be written, or ``path`` is a folder.
    """
    target = Path(path)
    if os.path.isdir(target):
        raise InputError(f"Cannot write {target}: it is a folder; give a file name.")
    # The name of the target is left out, so that a name of the greatest allowed length still works.
    temporary = target.with_name(f".{uuid.uuid4().hex}.part{target.suffix}")
    try:
        with contextlib.suppress(FileNotFoundError):
            os.stat(target)  # a name that is too long shows here already
        # Not tempfile.mkstemp: its files are readable by their owner alone, and stay so after the rename.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise unwritable(target, error) from error
    return temporary


def check_outputs(
    outputs: Iterable[str | os.PathLike[str] | None], inputs: Iterable[str | os.PathLike[str] | None] = ()
) -> None:
    """Refuse outputs that could not be written at the end of long work; None stands for one that is not wanted.

    Raises:
        InputError: an output that `reserve` refuses, that is one of the inputs, or that is named twice.
    """
    taken = {os.path.realpath(path) for path in inputs if path is not None}
    for path in (path for path in outputs if path is not None):
        if os.path.realpath(path) in taken:
            raise InputError(f"Cannot write {path}: it is read or written by this command already; use another name.")
        taken.add(os.path.realpath(path))
        reserve(path).unlink(missing_ok=True)


def unwritable(path: str | os.PathLike[str], error: OSError) -> InputError:
    """Return the one-line error for a file that the system refuses to write."""
    folder = Path(path).parent
    if not os.path.exists(folder):
        return InputError(f"Cannot write {path}: the folder {folder} does not exist; create it first.")
    return InputError(f"Cannot write {path}: {error.strerror or error}; check free space and rights of {folder}.")


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary file beside ``path``; rename it onto ``path`` on success and remove it on any exception.

    Raises:
        InputError: the file cannot be written (no such folder, no rights, disk full).
    """
    temporary = reserve(path)
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
