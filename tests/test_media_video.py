"""Clips come in whole, upright and counted exactly; they go out complete or not at all."""

import os
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from mggtalk_core.errors import InputError
from mggtalk_core.media.audio import read_sound
from mggtalk_core.media.sound import Sound
from mggtalk_core.media.video import VideoReader, VideoWriter


def picture(index: int = 0, height: int = 96, width: int = 128) -> np.ndarray:
    """Smooth colours that differ at every corner and move with the index."""
    y, x = np.mgrid[0:height, 0:width]
    red = 255 * ((x + 4 * index) % width) / width
    return np.stack((red, 255 * y / height, np.full_like(red, 40 + index)), axis=-1).astype(np.uint8)


def tone(seconds: float, rate: int = 44100, channels: int = 1) -> Sound:
    time = torch.arange(round(seconds * rate)) / rate
    return Sound(0.3 * torch.sin(2 * torch.pi * 440 * time).expand(channels, -1).contiguous(), rate)


def write_clip(path, frames=10, fps=25.0, sound=None, height=96, width=128, **options):
    with VideoWriter(path, fps, width, height, sound, **options) as writer:
        for index in range(frames):
            writer.write(picture(index, height, width))


def encode_raw(path, frames, times, rotation=0, container_format=None, time_base=Fraction(1, 1000)):
    """Write frames at given times with PyAV itself: what the writer never produces."""
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = time_base
        if rotation:
            stream.set_display_rotation(rotation)
        for frame, time in zip(frames, times, strict=True):
            image = av.VideoFrame.from_ndarray(frame, format="rgb24")
            image.pts, image.time_base = round(time / time_base), time_base
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))


def test_frames_come_back(tmp_path):
    path = tmp_path / "Zoë spricht 顔.mp4"
    write_clip(path, frames=12, fps=30000 / 1001)
    reader = VideoReader(path)
    frames = list(reader)
    assert (reader.frame_count, len(frames), reader.width, reader.height) == (12, 12, 128, 96)
    assert reader.fps == pytest.approx(30000 / 1001, rel=1e-9)
    assert not reader.has_sound
    for index, frame in enumerate(frames):
        # H.264 at crf 17 with halved colour resolution: a few levels at most, and no shift of colours.
        assert np.abs(frame.astype(int) - picture(index)).mean() < 3.0
    truth = np.mean([picture(index) for index in range(12)], axis=(0, 1, 2))
    assert np.abs(np.mean(frames, axis=(0, 1, 2)) - truth).max() < 1.5


def test_reader_can_be_read_twice_and_given_up_early(tmp_path):
    write_clip(tmp_path / "a.mp4")
    reader = VideoReader(tmp_path / "a.mp4")
    first = next(iter(reader))
    assert np.array_equal(first, next(iter(reader)))
    assert len(list(reader)) == 10


@pytest.mark.parametrize("size", [(95, 127), (96, 127), (95, 128)])
def test_odd_sizes_are_padded_by_repeating_the_edge(tmp_path, size):
    height, width = size
    write_clip(tmp_path / "a.mp4", frames=2, height=height, width=width)
    frame = next(iter(VideoReader(tmp_path / "a.mp4"))).astype(int)
    assert frame.shape == (96, 128, 3)
    wanted = np.pad(picture(0, height, width), ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    assert np.abs(frame[-1] - wanted[-1]).mean() < 6.0
    assert np.abs(frame[:, -1] - wanted[:, -1]).mean() < 6.0


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotation_of_phones_is_honoured(tmp_path, rotation):
    upright = picture()
    stored = np.ascontiguousarray(np.rot90(upright, -rotation // 90))
    encode_raw(tmp_path / "a.mp4", [stored] * 3, [0, 0.04, 0.08], rotation=rotation)
    reader = VideoReader(tmp_path / "a.mp4")
    assert (reader.width, reader.height) == (128, 96)
    assert np.abs(next(iter(reader)).astype(int) - upright).mean() < 4.0


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_variable_rate_keeps_every_frame_once(tmp_path, name):
    times = [0.0, 0.04, 0.08, 0.30, 0.34, 0.70, 0.72, 0.74, 1.0]
    encode_raw(tmp_path / name, [picture(index) for index in range(9)], times)
    reader = VideoReader(tmp_path / name)
    assert reader.frame_count == len(list(reader)) == 9
    assert reader.fps == pytest.approx(8.0, rel=0.15)  # eight intervals in a second


def test_other_containers_and_codecs(tmp_path):
    for name, codec in (("a.webm", "libvpx"), ("a.avi", "mpeg4"), ("a.gif", "gif"), ("a.ts", "mpeg2video")):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream(codec, rate=25)
            stream.width, stream.height = 128, 96
            stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
            for index in range(7):
                image = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
                container.mux(stream.encode(image.reformat(format=stream.pix_fmt)))
            container.mux(stream.encode(None))
        reader = VideoReader(tmp_path / name)
        assert reader.frame_count == len(list(reader)) == 7, name
        assert reader.fps == pytest.approx(25.0), name


def test_truncated_clip_gives_what_is_left_or_says_so(tmp_path):
    write_clip(tmp_path / "a.mp4", frames=40)
    content = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) * 2 // 3])  # the index is at the front: faststart
    reader = VideoReader(tmp_path / "cut.mp4")
    assert 1 <= reader.frame_count < 40
    assert len(list(reader)) == reader.frame_count


def test_damaged_middle_keeps_the_count(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (20, 96, 128, 3), dtype=np.uint8)
    encode_raw(tmp_path / "a.mp4", list(noise), [index / 25 for index in range(20)])
    content = bytearray((tmp_path / "a.mp4").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 3000] = bytes(3000)
    (tmp_path / "a.mp4").write_bytes(content)
    assert len(list(VideoReader(tmp_path / "a.mp4"))) == 20


@pytest.mark.parametrize("content", [b"", b"no clip at all", bytes(5000), None])
def test_what_is_no_clip_is_refused(tmp_path, content):
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        VideoReader(path)
    assert "\n" not in str(caught.value)


def test_sound_alone_is_no_clip(tmp_path):
    with av.open(str(tmp_path / "a.m4a"), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="no pictures"):
        VideoReader(tmp_path / "a.m4a")


@pytest.mark.parametrize(("rate", "channels"), [(44100, 1), (48000, 2), (8000, 1), (16000, 1), (96000, 6)])
def test_sound_is_muxed_in_step(tmp_path, rate, channels):
    """A click at one second is heard at one second, whatever the rate."""
    samples = torch.zeros(channels, 2 * rate)
    samples[:, rate : rate + rate // 50] = 0.5
    write_clip(tmp_path / "a.mp4", frames=50, sound=Sound(samples, rate))
    heard = read_sound(tmp_path / "a.mp4")
    assert heard.rate in (44100, 48000)
    assert heard.samples.shape[0] == min(channels, 2)
    assert heard.seconds == pytest.approx(2.0, abs=0.03)  # AAC works in blocks of 1024 samples
    onset = int((heard.samples[0].abs() > 0.1).nonzero()[0]) / heard.rate
    assert onset == pytest.approx(1.0, abs=0.003)


def test_long_sound_is_cut_at_the_last_frame_and_short_sound_ends_early(tmp_path):
    for seconds, heard in ((3.0, 0.42), (0.2, 0.2), (0.0, 0.0)):
        write_clip(tmp_path / "a.mp4", frames=10, sound=tone(seconds))
        assert VideoReader(tmp_path / "a.mp4").frame_count == 10
        if seconds:
            assert read_sound(tmp_path / "a.mp4").seconds == pytest.approx(heard, abs=0.05)


def test_file_starts_with_its_index_and_carries_its_comment(tmp_path):
    write_clip(tmp_path / "a.mp4", metadata={"comment": "made of one portrait", "title": "Zoë"})
    content = (tmp_path / "a.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.metadata["comment"] == "made of one portrait"
        assert container.metadata["title"] == "Zoë"
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")


def test_same_frames_same_bytes(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        write_clip(tmp_path / name, sound=tone(0.4))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize("problem", [ValueError, KeyboardInterrupt])
def test_exception_leaves_nothing_behind_and_old_file_alone(tmp_path, problem):
    (tmp_path / "a.mp4").write_bytes(b"older work")
    with pytest.raises(problem), VideoWriter(tmp_path / "a.mp4", 25, 128, 96, tone(1.0)) as writer:
        writer.write(picture())
        raise problem
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"older work"


@pytest.mark.parametrize("case", ["missing folder", "folder", "size", "type", "no frame", "rate"])
def test_what_cannot_be_written_is_refused(tmp_path, case):
    target = {"missing folder": tmp_path / "missing" / "a.mp4", "folder": tmp_path}.get(case, tmp_path / "a.mp4")
    frame = {"size": picture(0, 50, 50), "type": picture().astype(np.float32)}.get(case, picture())
    with pytest.raises(InputError) as caught, VideoWriter(target, 0 if case == "rate" else 25, 128, 96) as writer:
        if case != "no frame":
            writer.write(frame)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="needs limits on file size")
def test_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    program = f"""
import resource, signal
import numpy as np
from mggtalk_core.errors import InputError
from mggtalk_core.media.video import VideoWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
noise = np.random.default_rng(0)
try:
    with VideoWriter({str(tmp_path / "a.mp4")!r}, 25, 256, 256) as writer:
        for _ in range(60):
            writer.write(noise.integers(0, 255, (256, 256, 3), dtype=np.uint8))
except InputError as error:
    print("refused:", error)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.startswith("refused: Cannot write")
    assert result.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
