"""Fetching over HTTP: whole, resumed, cut short, corrupt, cancelled, killed, and by two processes at once."""

import hashlib
import http.server
import itertools
import os
import random
import subprocess
import sys
import threading
import time

import pytest

from mggtalk_core.errors import WeightsError
from mggtalk_core.weights import ledger, resolver
from mggtalk_core.weights.ledger import Weight
from mggtalk_core.weights.sources import Address

SIZE = 400_000
CONTENT = random.Random(1).randbytes(SIZE)
NAME = "model é 模.bin"


class Server(http.server.ThreadingHTTPServer):
    """Serves ``content`` in the way that ``fault`` names, and remembers the ranges asked for."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.fault, self.ranges, self.pause = CONTENT, "", [], 0.0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/model.bin"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.ranges.append(asked)
        start = int(asked[6:-1]) if asked and server.fault != "no ranges" else 0
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.fault == "cut short":
            body = body[: SIZE // 3]
        try:
            for piece in range(0, len(body), 40_000):
                self.wfile.write(body[piece : piece + 40_000])
                time.sleep(server.pause)
        except OSError:  # the client went away
            pass


@pytest.fixture
def server():
    server = Server()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache of ä 模"
    monkeypatch.setenv("MGGTALK_CACHE", str(folder))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name in ("MGGTALK_MODELS", "MGGTALK_DOWNLOADS"):
        monkeypatch.delenv(name, raising=False)
    return folder


def row(*sources):
    return Weight(
        name=NAME,
        purpose="a test",
        licence="CC0",
        trained_on="nothing",
        commercial_ok=True,
        sources=sources,
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size=SIZE,
    )


@pytest.fixture
def weight(server, cache, monkeypatch):
    weight = row(Address(server.url))
    monkeypatch.setattr(ledger, "LEDGER", (weight,))
    return weight


def leftovers(cache):
    return sorted(path.name for path in cache.iterdir() if not path.name.endswith(".lock"))


def test_fetched_once_then_found(server, weight, cache):
    steps = []
    path = resolver.resolve(NAME, on_step=lambda done, total: steps.append((done, total)))
    assert path == cache / NAME and path.read_bytes() == CONTENT
    assert steps[-1] == (SIZE, SIZE) and all(a <= b for a, b in itertools.pairwise(steps))
    assert resolver.resolve(NAME) == path
    assert server.ranges == [None]
    assert leftovers(cache) == [NAME]


def test_partial_file_is_resumed(server, weight, cache):
    cache.mkdir()
    (cache / f"{NAME}.part").write_bytes(CONTENT[:123_456])
    assert resolver.resolve(NAME).read_bytes() == CONTENT
    assert server.ranges == ["bytes=123456-"]


@pytest.mark.parametrize("part", [b"\0" * 1000, b"\0" * SIZE, b"\0" * (SIZE + 5)], ids=["short", "full", "too long"])
def test_wrong_partial_file_is_discarded(server, weight, cache, part):
    cache.mkdir()
    (cache / f"{NAME}.part").write_bytes(part)
    assert resolver.resolve(NAME).read_bytes() == CONTENT
    assert server.ranges[-1] is None
    assert leftovers(cache) == [NAME]


def test_complete_partial_file_needs_no_connection(server, weight, cache):
    cache.mkdir()
    (cache / f"{NAME}.part").write_bytes(CONTENT)
    assert resolver.resolve(NAME).read_bytes() == CONTENT
    assert server.ranges == []


def test_server_without_ranges_starts_over(server, weight, cache):
    server.fault = "no ranges"
    cache.mkdir()
    (cache / f"{NAME}.part").write_bytes(CONTENT[:1000])
    assert resolver.resolve(NAME).read_bytes() == CONTENT


def test_connection_that_ends_early_is_taken_up_again(server, weight):
    server.fault = "cut short"
    assert resolver.resolve(NAME).read_bytes() == CONTENT
    assert server.ranges[0] is None and all(asked.startswith("bytes=") for asked in server.ranges[1:])


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"\0", CONTENT + b"more"], ids=["other bytes", "too long"])
def test_corrupt_file_is_never_kept(server, weight, cache, content):
    server.content = content
    with pytest.raises(WeightsError, match="checksum differs") as caught:
        resolver.resolve(NAME)
    assert "\n" not in str(caught.value)
    assert leftovers(cache) == []


def test_corrupt_source_gives_way_to_the_next(server, weight, monkeypatch):
    bad = Server()
    bad.content = b"\0" * SIZE
    threading.Thread(target=bad.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    monkeypatch.setattr(ledger, "LEDGER", (row(Address(bad.url), Address(server.url)),))
    assert resolver.resolve(NAME).read_bytes() == CONTENT
    assert len(bad.ranges) == 1
    bad.shutdown()
    bad.server_close()


def test_corrupt_file_in_the_cache_is_replaced(server, weight, cache):
    cache.mkdir()
    (cache / NAME).write_bytes(b"\0" * SIZE)
    assert resolver.resolve(NAME).read_bytes() == CONTENT


def test_offline_message_says_what_where_and_whence(cache, monkeypatch):
    closed = Server()
    closed.server_close()
    monkeypatch.setattr(ledger, "LEDGER", (row(Address(closed.url)),))
    with pytest.raises(WeightsError) as caught:
        resolver.resolve(NAME)
    text = str(caught.value)
    assert NAME in text and str(cache) in text and closed.url in text and "\n" not in text


def test_steps_are_frequent_and_cancel_keeps_the_part(server, weight, cache):
    server.pause = 0.15
    times = []

    def cancel(done, total):
        times.append(time.monotonic())
        if done > SIZE // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resolver.resolve(NAME, on_step=cancel)
    assert max(b - a for a, b in itertools.pairwise(times)) < 0.5
    kept = (cache / f"{NAME}.part").stat().st_size
    assert SIZE // 2 < kept < SIZE and not (cache / NAME).exists()
    server.pause = 0.0
    assert resolver.resolve(NAME).read_bytes() == CONTENT
    assert server.ranges[1] == f"bytes={kept}-"


PROGRAM = """
import sys
from mggtalk_core.weights import ledger, resolver
name, url, sha256, size = sys.argv[1:]
ledger.LEDGER = (ledger.Weight(name, "", "", "", True, (ledger.Address(url),), sha256, int(size)),)
sys.stdout.write(str(resolver.resolve(name)))
"""


def start_process(server, weight, repo):
    command = [sys.executable, "-c", PROGRAM, NAME, server.url, weight.sha256, str(SIZE)]
    environment = os.environ | {"PYTHONPATH": str(repo), "PYTHONIOENCODING": "utf-8"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)


def test_two_processes_fetch_once(server, weight, cache, repo):
    server.pause = 0.05
    processes = [start_process(server, weight, repo) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0].decode() for process in processes]
    assert outputs == [str(cache / NAME)] * 2
    assert server.ranges == [None]
    assert (cache / NAME).read_bytes() == CONTENT and leftovers(cache) == [NAME]


def test_killed_in_the_middle_leaves_nothing_wrong(server, weight, cache, repo):
    server.pause = 0.2
    process = start_process(server, weight, repo)
    part = cache / f"{NAME}.part"
    end = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size) and time.monotonic() < end:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert not (cache / NAME).exists() and 0 < part.stat().st_size < SIZE
    server.pause = 0.0
    assert resolver.resolve(NAME).read_bytes() == CONTENT
    assert server.ranges[1].startswith("bytes=") and leftovers(cache) == [NAME]
