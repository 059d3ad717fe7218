"""``animate`` from the shell's side: what it writes, what it says, and that stopping it leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time

import av
import numpy as np
import pytest
from PIL import Image

from mggtalk_core.media.video import VideoReader
from mggtalk_core.media.video_writer import VideoWriter
from mggtalk_core.pipeline import Head
from tests.cli_samples import assert_refused, call, write_portrait, write_take, write_tone

WIDTH, HEIGHT = 511, 389
"""Both odd: the clip is one larger."""
FRAMES = 10
"""max(1, floor(0.4 s x 25 + 0.5))."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder whose name has spaces and letters beyond ASCII, with a portrait, a tone and a take."""
    place = tmp_path_factory.mktemp("cli") / "Ordner mit ä, 日本 und ’"
    place.mkdir()
    write_portrait(place / "bild é 1.png", WIDTH, HEIGHT)
    write_tone(place / "ton ñ.wav")
    write_take(place / "take.csv")
    return place


@pytest.fixture(scope="module")
def built(folder):
    """The command run once, in a process of its own, on the odd-sized portrait."""
    command = [sys.executable, "-m", "mggtalk_core", "animate", "--commercial-safe", "--no-learned"]
    command += ["--portrait", folder / "bild é 1.png", "--audio", folder / "ton ñ.wav"]
    command += ["-o", folder / "spricht 日.mp4", "--report", folder / "bericht ü.json"]
    return subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)


@pytest.fixture
def one_head(monkeypatch, astronaut_head: Head):
    """Spare the reconstruction: every portrait is the astronaut."""
    monkeypatch.setattr("mggtalk_core.animate.reconstruct", lambda *_, **__: astronaut_head)


@pytest.fixture
def files(tmp_path):
    """A folder of its own for what goes in, and one for what comes out."""
    (tmp_path / "out").mkdir()
    portrait, tone = write_portrait(tmp_path / "a.png"), write_tone(tmp_path / "a.wav")
    return ["animate", "--portrait", portrait, "--audio", tone], tmp_path / "out"


def test_a_whole_run_says_two_lines_and_nothing_else(folder, built):
    assert built.returncode == 0, built.stderr
    assert built.stderr == ""
    first, last = built.stdout.splitlines()
    assert first.startswith(f"{FRAMES} frames at 25 per second")
    assert last == str(folder / "spricht 日.mp4")
    assert not [name for name in os.listdir(folder) if name.startswith(".")]


def test_the_clip_has_every_frame_even_sizes_and_its_sound(folder, built):
    with VideoReader(folder / "spricht 日.mp4") as clip:
        assert (clip.frame_count, clip.fps, clip.has_sound) == (FRAMES, 25.0, True)
        assert (clip.width, clip.height) == (WIDTH + 1, HEIGHT + 1)


def test_the_clip_is_the_picture_where_the_head_is_not(folder, built):
    source = np.asarray(Image.open(folder / "bild é 1.png").convert("L")).astype(float)
    with VideoReader(folder / "spricht 日.mp4") as clip:
        frame = np.asarray(Image.fromarray(list(clip)[-1]).convert("L")).astype(float)
    below = np.s_[330 : HEIGHT - 1, : WIDTH - 1]
    error = np.abs(frame[below] - source[below]).mean()
    shifted = [np.abs(frame[below] - np.roll(source, by, axis)[below]).mean() for axis in (0, 1) for by in (-1, 1)]
    # What H.264 takes away, and nothing more: half a pixel off would be as far from one shift as from none.
    assert error < 2.0 and error < 0.5 * min(shifted)


def test_the_report_and_the_clip_name_the_weights(folder, built):
    report = json.loads((folder / "bericht ü.json").read_text(encoding="utf-8"))
    assert (report["frames"], report["fps"], report["held_frames"]) == (FRAMES, 25.0, [])
    assert {"motion", "portrait", "head", "surface", "symmetry", "gaussians", "splat", "encode"} <= set(
        report["seconds"]
    )
    assert all(seconds >= 0.0 for seconds in report["seconds"].values())
    assert report["backend"] in ("gsplat", "numba", "reference") and 100.0 < report["peak_memory_mb"] < 8000.0
    with av.open(str(folder / "spricht 日.mp4")) as clip:
        comment = clip.metadata["comment"]
    assert report["weights"]
    for row in report["weights"]:
        assert row["licence"] and f"{row['name']} ({row['licence']})" in comment


def test_crop_size_and_largest_number_of_frames(capfd, files, one_head):
    command, out = files
    done = call(capfd, *command, "-o", out / "a.mp4", "--framing", "crop", "--size", 97, "--max-frames", 2)
    assert (done.status, done.lines) == (0, [])
    with VideoReader(out / "a.mp4") as clip:
        assert (clip.frame_count, clip.width, clip.height) == (2, 98, 98)


def test_frames_without_a_face_are_held_and_reported(capfd, files, one_head, astronaut_head):
    command, out = files
    face = (astronaut_head.portrait.crop.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    with VideoWriter(out / "clip.mp4", 25.0, 512, 512) as writer:
        for index in range(4):
            writer.write(np.full_like(face, 90) if index in (1, 3) else face)
    command = [*command[:3], "--video", out / "clip.mp4", "--framing", "crop", "--size", 96]
    done = call(capfd, *command, "-o", out / "a.mp4", "--report", out / "a.json")
    assert (done.status, done.lines) == (0, [])
    report = json.loads((out / "a.json").read_text())
    assert (report["frames"], report["held_frames"]) == (4, [1, 3])


def test_a_take_moves_the_head(capfd, folder, files, one_head):
    command, out = files
    command = [*command[:3], "--motion", folder / "take.csv", "--framing", "crop"]
    assert call(capfd, *command, "-o", out / "a.mp4").status == 0
    with VideoReader(out / "a.mp4") as clip:
        shown = [frame.astype(float) for frame in clip]
    mouth = np.s_[256:448, 160:352]
    assert len(shown) == 4
    assert np.abs(shown[-1][mouth] - shown[0][mouth]).mean() > 3.0


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_between_frames_leaves_nothing(capfd, monkeypatch, files, one_head, name):
    command, out = files
    write = VideoWriter.write

    def struck(writer, frame):
        write(writer, frame)
        os.kill(os.getpid(), getattr(signal, name))
        time.sleep(5.0)  # the signal comes as soon as the interpreter runs on

    monkeypatch.setattr(VideoWriter, "write", struck)
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    stopped = call(capfd, *command, "-o", out / "a.mp4", "--report", out / "a.json")
    assert stopped.status == 130
    assert stopped.lines[0].startswith("mggtalk: stopped") and len(stopped.lines) == 1
    assert list(out.iterdir()) == []
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers


def test_a_stopped_run_leaves_the_earlier_clip(capfd, monkeypatch, files, one_head):
    command, out = files
    (out / "a.mp4").write_bytes(b"an earlier clip")

    def full(writer, frame):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(VideoWriter, "_encode", full)
    assert_refused(call(capfd, *command, "-o", out / "a.mp4"), "No space left on device", "check free space")
    assert [path.name for path in out.iterdir()] == ["a.mp4"]
    assert (out / "a.mp4").read_bytes() == b"an earlier clip"
