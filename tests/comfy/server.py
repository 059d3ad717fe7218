"""A headless ComfyUI of its own: throw-away folders, a free port of the loopback, ended by its process id."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .install import NEWEST, python_of, tree_of

BOOT_SECONDS = 240.0
"""A cold start on a busy machine takes a minute."""
FOLDERS = ("custom_nodes", "input", "output", "temp", "user", "models")


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """Start ComfyUI with packs in its custom_nodes: a context manager."""

    def __init__(
        self,
        installed: Path,
        base: Path,
        packs: dict[str, Path],
        *,
        core: str = NEWEST,
        models: dict[str, list[Path]] | None = None,
        flags: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        """Lay out the folders: packs by their name in custom_nodes, models by their folder."""
        self.installed, self.base, self.core, self.flags = installed, base, core, flags
        self.environment = environment or {}
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = base / "server.log"
        for name in FOLDERS:
            (base / name).mkdir(parents=True, exist_ok=True)
        for name, pack in packs.items():
            (base / "custom_nodes" / name).symlink_to(pack, target_is_directory=True)
        for kind, files in (models or {}).items():
            (base / "models" / kind).mkdir(exist_ok=True)
            for file in files:
                (base / "models" / kind / file.name).symlink_to(file)

    def __enter__(self) -> Self:
        """Start the server and wait until it answers."""
        paths = ["--base-directory", str(self.base), "--database-url", "sqlite:///:memory:"]
        where = ["--listen", "127.0.0.1", "--port", str(self.port), "--disable-auto-launch", "--disable-api-nodes"]
        quiet = {"PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "2"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(python_of(self.installed)), "main.py", "--cpu", *where, *paths, *self.flags],
                cwd=tree_of(self.installed, self.core),
                env={**os.environ, **quiet, **self.environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the server."""
        self.stop()

    def _wait(self) -> None:
        deadline = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"ComfyUI ended with status {self.process.returncode}:\n{self.tail()}")
            try:
                self.get("/system_stats")
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.2)
        raise RuntimeError(f"ComfyUI did not come up:\n{self.tail()}")

    def stop(self) -> None:
        """Ask the server to end, and end it where it does not."""
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def get(self, path: str) -> Any:
        """Return the JSON that the server has under a path."""
        with urllib.request.urlopen(self.url + path, timeout=60) as reply:
            return json.load(reply)

    def fetch(self, path: str) -> bytes:
        """Return the bytes that the server has under a path."""
        with urllib.request.urlopen(self.url + path, timeout=60) as reply:
            return reply.read()

    def post(self, path: str, body: dict) -> tuple[int, Any]:
        """Send JSON; return the status and the answer."""
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return reply.status, json.loads(reply.read() or b"null")
        except urllib.error.HTTPError as refusal:
            return refusal.code, json.loads(refusal.read() or b"null")

    def put_input(self, *files: Path) -> None:
        """Copy files into the input folder."""
        for file in files:
            shutil.copy(file, self.base / "input")

    def tail(self, lines: int = 40) -> str:
        """Return the end of the server's log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
