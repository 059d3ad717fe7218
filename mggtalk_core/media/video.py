"""Clips in, frame by frame."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from ..errors import InputError
from .video_writer import VideoWriter

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = ["VideoReader", "VideoWriter"]

USUAL_FPS = 25.0
"""Rate of a clip that does not tell its own."""


@dataclass(frozen=True)
class _Scan:
    """What one pass over the packets of a clip tells, without decoding."""

    frames: int
    seconds: float
    """From the first picture to the last."""


class VideoReader:
    """A clip, read as a stream of upright RGB frames; it can be iterated any number of times.

    The number of frames is the clip's own count, also where the rate varies: frames are neither dropped nor doubled to
    reach a constant rate, and `fps` is the average. A frame that is damaged repeats the one before.

    Raises:
        InputError: no such file, not a clip, no video stream, or no frame that can be decoded.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the clip and read its first frame."""
        self.path = Path(path)
        if not os.path.isfile(self.path):
            raise InputError(f"No clip at {path}; check the path.")
        with self._open() as container:
            stream = _picture_stream(container)
            if stream is None:
                raise InputError(f"{path} has no pictures; give a video file.")
            self.has_sound = bool(container.streams.audio)
            self._stated_fps = float(stream.average_rate or stream.guessed_rate or USUAL_FPS)
            first = next(_decoded(container, stream), None)
        if first is None:
            raise InputError(f"{path} holds no frame that can be decoded; save or download it again.")
        self.height, self.width = _upright(first).shape[:2]

    @property
    def frame_count(self) -> int:
        """Exact number of frames that iterating yields."""
        return self._scan.frames

    @property
    def fps(self) -> float:
        """Frames per second; the average where the rate varies."""
        scan = self._scan
        if scan.frames < 2 or scan.seconds <= 0.0:
            return self._stated_fps
        measured = (scan.frames - 1) / scan.seconds
        # The stated rate is exact for a constant rate (30000/1001); a clip of varying rate often states a wrong one.
        return self._stated_fps if abs(measured / self._stated_fps - 1.0) < 0.01 else measured

    def __len__(self) -> int:
        """Return `frame_count`."""
        return self.frame_count

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield every frame as uint8 [height, width, 3]."""
        count, image = 0, None
        with self._open() as container:
            stream = _picture_stream(container)
            stream.thread_type = "AUTO"
            for frame in _decoded(container, stream):
                if count == self.frame_count:
                    return
                image = _resized(_upright(frame), self.width, self.height)
                count += 1
                yield image
        if image is None:
            raise InputError(f"{self.path} holds no frame that can be decoded; save or download it again.")
        for _ in range(self.frame_count - count):
            yield image.copy()

    def __enter__(self) -> Self:
        """Return the reader itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: the file is only open while it is iterated."""

    @cached_property
    def _scan(self) -> _Scan:
        """Count the packets that hold a visible frame, which is much faster than decoding them."""
        times, frames = [], 0
        with self._open() as container:
            stream = _picture_stream(container)
            for packet in container.demux(stream):
                if packet.size and not packet.is_discard:
                    frames += 1
                    times.append(packet.pts)
            known = [time for time in times if time is not None]
            seconds = float((max(known) - min(known)) * stream.time_base) if len(known) == frames > 0 else 0.0
        return _Scan(frames, seconds)

    @contextlib.contextmanager
    def _open(self) -> Iterator[InputContainer]:
        import av

        try:
            with av.open(os.fspath(self.path)) as container:
                yield container
        except (av.FFmpegError, UnicodeError) as error:
            raise InputError(f"{self.path} is not a clip that can be read, or is damaged; give an MP4 file.") from error


def _picture_stream(container: InputContainer) -> VideoStream | None:
    """Return the first video stream of a known codec that is not the cover of a sound file."""
    from av.stream import Disposition

    for stream in container.streams.video:
        if stream.codec_context is not None and not stream.disposition & Disposition.attached_pic:
            return stream
    return None


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Yield frames in order of display; a packet that cannot be decoded is skipped."""
    import av

    for packet in container.demux(stream):
        with contextlib.suppress(av.InvalidDataError):
            yield from packet.decode()


def _upright(frame: VideoFrame) -> np.ndarray:
    """Convert to RGB [height, width, 3] and undo the camera's rotation (the display matrix)."""
    pixels = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90.0) % 4  # counterclockwise quarter turns, as np.rot90 counts them
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _resized(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Bring a frame to the size of the first one: streams may change size halfway."""
    if pixels.shape[:2] == (height, width):
        return pixels
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))
