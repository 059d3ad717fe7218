"""Queue prompts on a server and say what became of them."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import websocket

from .server import Server

ENDS = {"execution_success", "execution_error", "execution_interrupted"}


@dataclass
class Run:
    """What happened to one prompt."""

    prompt_id: str | None = None
    status: str = ""
    """``success``, ``error``, ``interrupted``, or ``rejected`` before it ran."""
    executed: list[str] = field(default_factory=list)
    """Nodes in the order in which they began to execute."""
    cached: list[str] = field(default_factory=list)
    progress: dict[str, tuple[float, float]] = field(default_factory=dict)
    """The last ``(value, max)`` of each node."""
    node_errors: dict[str, Any] = field(default_factory=dict)
    """Why nodes were rejected."""
    error_node: str | None = None
    error: str = ""
    """Message of the exception, or of the refusal."""
    began: float = 0.0
    seconds: float = 0.0
    """From the queueing to the end."""
    seconds_to_stop: float | None = None
    """From the interruption to the end."""
    outputs: dict[str, Any] = field(default_factory=dict)
    """What nodes show, by node."""

    def files(self, node: str | None = None) -> list[dict[str, str]]:
        """Return the files that nodes show, as the server names them."""
        shown = [items for key, output in self.outputs.items() if node in (None, key) for items in output.values()]
        flat = [entry for items in shown if isinstance(items, list) for entry in items]
        return [entry for entry in flat if isinstance(entry, dict) and "filename" in entry]

    def refusals(self) -> str:
        """Return the messages on rejected nodes in one string."""
        errors = [error for node in self.node_errors.values() for error in node["errors"]]
        return " | ".join(f"{error['message']}: {error['details']}" for error in errors)


class Client:
    """One listener of a server, as a browser tab would be."""

    def __init__(self, server: Server, timeout: float = 300.0) -> None:
        """Connect; ``timeout`` is the longest that one prompt may take, in seconds."""
        self.server, self.timeout, self.name = server, timeout, uuid.uuid4().hex
        self.socket = websocket.create_connection(f"{server.url.replace('http', 'ws')}/ws?clientId={self.name}")

    def close(self) -> None:
        """Disconnect."""
        self.socket.close()

    def queue(self, prompt: dict[str, Any]) -> Run:
        """Queue a prompt without waiting for it."""
        began = time.monotonic()
        status, answer = self.server.post("/prompt", {"prompt": prompt, "client_id": self.name})
        if status != 200:
            refusal = (answer.get("error") or {}).get("message", "")
            return Run(status="rejected", error=refusal, node_errors=answer.get("node_errors", {}))
        return Run(prompt_id=answer["prompt_id"], began=began, node_errors=answer.get("node_errors", {}))

    def run(self, prompt: dict[str, Any], *, interrupt: Callable[[Run], bool] | None = None) -> Run:
        """Queue a prompt and wait for its end; interrupt it once ``interrupt`` says so."""
        run = self.queue(prompt)
        return run if run.status == "rejected" else self.finish(run, interrupt=interrupt)

    def finish(self, run: Run, *, interrupt: Callable[[Run], bool] | None = None) -> Run:
        """Wait for the end of a prompt that was queued."""
        sent = None
        self.socket.settimeout(0.05)
        while not run.status:
            if time.monotonic() - run.began > self.timeout:
                raise TimeoutError(f"the prompt did not end in {self.timeout:.0f} s:\n{self.server.tail()}")
            if interrupt is not None and sent is None and interrupt(run):
                sent = time.monotonic()
                self.server.post("/interrupt", {})
            try:
                message = self.socket.recv()
            except websocket.WebSocketTimeoutException:
                continue
            if isinstance(message, str):
                self._note(run, json.loads(message))
        run.seconds = time.monotonic() - run.began
        run.seconds_to_stop = None if sent is None else time.monotonic() - sent
        run.outputs = self._history(run)
        return run

    def _note(self, run: Run, message: dict[str, Any]) -> None:
        kind, data = message["type"], message.get("data") or {}
        if data.get("prompt_id", run.prompt_id) != run.prompt_id:
            return
        if kind == "executing" and data.get("node"):
            run.executed.append(data["node"])
        elif kind == "execution_cached":
            run.cached = data["nodes"]
        elif kind == "progress" and data.get("node"):
            run.progress[data["node"]] = (data["value"], data["max"])
        elif kind in ENDS:
            run.status = kind.removeprefix("execution_")
            run.error_node, run.error = data.get("node_id"), data.get("exception_message", "")

    def _history(self, run: Run) -> dict[str, Any]:
        for _ in range(50):  # it is written just after the last message
            entry = self.server.get(f"/history/{run.prompt_id}").get(run.prompt_id)
            if entry:
                return entry["outputs"]
            time.sleep(0.05)
        raise RuntimeError("the server has no history of the prompt")

    def file(self, shown: dict[str, str]) -> bytes:
        """Return the bytes of a file that a node shows."""
        wanted = {key: shown[key] for key in ("filename", "subfolder", "type") if key in shown}
        return self.server.fetch("/view?" + urlencode(wanted))

    def path(self, shown: dict[str, str]) -> Path:
        """Return where a file that a node shows lies."""
        return self.server.base / shown["type"] / shown.get("subfolder", "") / shown["filename"]
