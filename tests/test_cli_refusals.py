"""Bad input from the shell's side: one line that says what to do, exit status 2, nothing left half-written."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.cli_samples import assert_refused, call, write_portrait, write_take, write_tone


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A good portrait and tone beside files that cannot be used."""
    place = tmp_path_factory.mktemp("inputs")
    write_portrait(place / "a.png")
    write_tone(place / "a.wav")
    whole = (place / "a.png").read_bytes()
    (place / "half.png").write_bytes(whole[: len(whole) // 2])
    for name in ("text.png", "text.wav", "text.mp4", "text.csv", "text.json"):
        (place / name).write_text("not what the name says\n" * 50)
    for name in ("empty.png", "empty.wav", "empty.mp4", "empty.csv"):
        (place / name).write_bytes(b"")
    Image.new("RGB", (1, 1)).save(place / "one.png")
    Image.new("RGB", (300, 300), (90, 120, 90)).save(place / "flat.png")
    write_take(place / "jawless.csv", without=("jawOpen", "mouthClose"))
    (place / "folder.mp4").mkdir()
    return place


@pytest.fixture
def animate(capfd, inputs, tmp_path):
    """Run ``animate`` on the good files, with other options instead or in addition; nothing may be left behind."""

    def run(*options, portrait="a.png", driver=("--audio", "a.wav"), output=None):
        before = {path: path.stat().st_mtime_ns for path in inputs.rglob("*")}
        drivers = [part if part.startswith("-") else inputs / part for part in driver]
        target = tmp_path / "o.mp4" if output is None else output
        done = call(capfd, "animate", "--portrait", inputs / portrait, *drivers, "-o", target, *options)
        assert list(tmp_path.iterdir()) == []
        assert {path: path.stat().st_mtime_ns for path in inputs.rglob("*")} == before
        return done

    return run


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("text.png", "not a picture"),
        ("empty.png", "not a picture"),
        ("half.png", "truncated"),
        ("one.png", "only 1x1 pixels"),
        ("missing.png", "check the path"),
        ("x" * 300, "check the path"),
        ("folder.mp4", "check the path"),
        ("a.wav", "not a picture"),
        ("flat.png", "No face found"),
    ],
)
def test_portraits(animate, name, words):
    assert_refused(animate(portrait=name), words)


@pytest.mark.parametrize(
    ("option", "name", "words"),
    [
        ("--audio", "text.wav", "not readable sound"),
        ("--audio", "empty.wav", "not readable sound"),
        ("--audio", "missing.wav", "check the path"),
        ("--audio", "a.png", "has no sound"),
        ("--video", "text.mp4", "not a clip"),
        ("--video", "empty.mp4", "not a clip"),
        ("--video", "a.wav", "has no pictures"),
        ("--video", "missing.mp4", "check the path"),
        ("--video", "flat.png", "No face was found in any frame"),
        ("--motion", "jawless.csv", "jawOpen, mouthClose"),
        ("--motion", "empty.csv", "lacks the columns"),
        ("--motion", "text.csv", "lacks the columns"),
        ("--motion", "text.json", "not a motion file"),
        ("--motion", "missing.json", "check the path"),
    ],
)
def test_drivers(animate, option, name, words):
    assert_refused(animate(driver=(option, name)), words)


def test_no_driver_and_two_of_a_kind(animate):
    assert_refused(animate(driver=()), "Nothing drives the portrait")
    assert_refused(animate(driver=("--video", "text.mp4", "--motion", "text.csv")), "leave out one")


@pytest.mark.parametrize("value", ["nan", "inf", "-1e30", "word"])
@pytest.mark.parametrize("option", ["fps", "strength", "yaw", "pitch"])
def test_numbers(animate, option, value):
    assert_refused(animate(f"--{option}={value}"), f"--{option}")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--fps=0", "between 1 and 240"),
        ("--size=63", "between 64 and 4096"),
        ("--size=1e3", "--size"),
        ("--max-frames=0", "at least 1"),
        ("--face=-1", "at least 0"),
        ("--seed=-1", "--seed"),
        ("--provider=magic", "--provider"),
        ("--unknown", "--unknown"),
    ],
)
def test_options(animate, option, words):
    assert_refused(animate(option), words)


def test_a_face_that_is_not_there(animate):
    assert_refused(animate("--face", 3), "face")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("geowizard", ("lemonaddie/Geowizard", "5.0 GB", "licence unknown")),
        ("marigold", ("prs-eth/marigold-depth-v1-1", "2.6 GB", "licence CreativeML Open RAIL++-M")),
    ],
)
def test_providers_whose_weights_are_not_there(animate, monkeypatch, tmp_path_factory, name, words):
    monkeypatch.setenv("MGGTALK_DOWNLOADS", "none")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path_factory.mktemp("hub")))
    assert_refused(animate("--provider", name), name, *words)


def test_commercial_safe_refuses_the_papers_provider(animate):
    assert_refused(animate("--provider", "geowizard", "--commercial-safe"), "geowizard", "commercial-safe", "unknown")


def test_unknown_rasteriser(animate):
    assert_refused(animate("--backend", "magic"), "magic", "numba")


def test_outputs_are_refused_before_the_work(animate, inputs, tmp_path, monkeypatch):
    monkeypatch.setattr("mggtalk_core.cli.animate.animate", lambda *_: pytest.fail("the work was begun"))
    missing = tmp_path / "missing" / "o.mp4"
    assert_refused(animate(output=missing), str(missing.parent), "create it first")
    assert_refused(animate(output=inputs / "folder.mp4"), "is a folder")
    assert_refused(animate(output=tmp_path / "o.avi"), "must end in .mp4")
    assert_refused(animate(output=inputs / f"{'x' * 300}.mp4"), "too long")
    assert_refused(animate(driver=("--video", "text.mp4"), output=inputs / "text.mp4"), "use another name")
    assert_refused(animate("--report", tmp_path / "missing" / "r.json"), "create it first")
    assert_refused(animate("--report", tmp_path / "o.mp4"), "use another name")


def test_without_a_connection_the_line_says_which_file_goes_where(animate, tmp_path_factory, monkeypatch):
    empty = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("MGGTALK_CACHE", str(empty))
    monkeypatch.setenv("MGGTALK_DOWNLOADS", "none")
    assert_refused(animate(), "face_landmarker.task", str(empty), "https://")
    monkeypatch.setenv("MGGTALK_DOWNLOADS", "perhaps")
    assert_refused(animate(), "MGGTALK_DOWNLOADS", "none, public or all")


def test_the_other_commands(capfd, inputs, tmp_path):
    out = tmp_path / "a.ply"
    assert_refused(call(capfd, "reconstruct", "--portrait", inputs / "flat.png", "-o", out), "No face found")
    assert_refused(call(capfd, "reconstruct", "--portrait", inputs / "a.png", "-o", tmp_path / "a.obj"), ".ply")
    assert_refused(call(capfd, "benchmark", "pipeline", "--frames", 0), "--frames 0")
    assert_refused(call(capfd, "evaluate", "self"), "name at least one")
    refused = call(capfd, "evaluate", "portraits", "--portraits", inputs / "flat.png", inputs / "text.png")
    assert_refused(refused, "None of the 2", "No face found")
    assert_refused(call(capfd, "weights", "fetch", "missing.bin"), "missing.bin")
    assert_refused(call(capfd, "train", "head", "--data", inputs, "-o", tmp_path / "m.safetensors"))
    assert_refused(call(capfd), "--help")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_has_had_enough_is_no_error():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "mggtalk_core", "weights", "list"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=100, check=False)
    os.close(write)
    assert "Traceback" not in done.stderr and done.stderr == ""
    assert done.returncode == 141


def test_a_small_face_is_measured(animate, inputs):
    canvas = np.full((300, 300, 3), 120, np.uint8)
    small = Image.open(inputs / "a.png").resize((100, 100))
    canvas[100:200, 100:200] = np.asarray(small)
    Image.fromarray(canvas).save(inputs / "small.png")
    assert_refused(animate(portrait="small.png"), "at least 32")
