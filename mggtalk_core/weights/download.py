"""Fetch a public address into a partial file, and go on where an earlier run stopped."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from pathlib import Path

from ..progress import OnStep
from .patience import Work, run_patiently

_TIMEOUT = 20.0
"""Seconds without a byte after which a connection is given up."""
_CHUNK = 1 << 16


class FetchError(Exception):
    """A source that did not give the file: the next one is tried."""


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    try:
        import certifi  # Python for macOS comes without certificates of its own
    except ImportError:
        return context
    context.load_verify_locations(certifi.where())
    return context


def _open(url: str, start: int) -> http.client.HTTPResponse:
    # Without "identity" a server may compress, and byte ranges would mean something else.
    headers = {"Accept-Encoding": "identity", "User-Agent": "mggtalk"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)
    return urllib.request.urlopen(request, timeout=_TIMEOUT, context=_tls() if url.startswith("https:") else None)


def _continues(response: http.client.HTTPResponse, start: int) -> bool:
    span = response.headers.get("Content-Range", "")
    return response.status == 206 and span.startswith(f"bytes {start}-")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _receive(url: str, part: Path, work: Work) -> None:
    start = _size(part)
    try:
        response = _open(url, start)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        part.unlink()  # longer than the file at this address: begin again
        start, response = 0, _open(url, 0)
    if work.stopped:  # another process may hold the lock by now: do not touch the file
        response.close()
        return
    with response, part.open("ab" if _continues(response, start) else "wb") as file:
        work.done = file.tell()
        while (chunk := response.read(_CHUNK)) and not work.stopped and work.done <= work.total:
            file.write(chunk)
            work.done += len(chunk)


def _receive_all(url: str, part: Path, work: Work) -> None:
    reason: object = "the connection ended early"
    before = -1
    while before < _size(part) < work.total and not work.stopped:  # as long as it gets on
        before = _size(part)
        try:
            _receive(url, part, work)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", None) or error
    if not work.stopped and _size(part) < work.total:
        raise FetchError(str(reason))


def download(url: str, part: Path, size: int, on_step: OnStep) -> None:
    """Bring ``part`` to ``size`` bytes from ``url``, resuming it with a byte range where the server can.

    Raises `FetchError` if the file did not come whole; what came stays in ``part`` for the next time. What the bytes
    are is for the caller to check.
    """
    run_patiently(lambda work: _receive_all(url, part, work), size, on_step)
