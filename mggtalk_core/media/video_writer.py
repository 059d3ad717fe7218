"""Clips out: H.264 and AAC in an MP4 file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from ..errors import InputError
from .atomic import reserve, unwritable
from .sound import Sound

ENCODERS = ("libx264", "h264_videotoolbox", "h264_mf", "libopenh264", "mpeg4")
"""In the order of preference; every build of FFmpeg has the last one."""
SOUND_RATES = (44100, 48000)
"""Rates that every player knows; other sound is resampled to the last one."""


class VideoWriter:
    """Write an MP4 frame by frame in flat memory; it appears under its name only when it is complete.

    Use it as a context manager: leaving it normally finishes the file, leaving it by any exception (Ctrl-C too) removes
    what was written. Odd sizes are padded by one pixel, repeating the edge. Sound is written in step with the frames
    and cut where the frames end.

    Raises:
        InputError: the file cannot be written, the disk is full, or a frame has another size than was announced.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        fps: float,
        width: int,
        height: int,
        sound: Sound | None = None,
        metadata: dict[str, str] | None = None,
    ) -> None:
        """Open the file; ``metadata`` takes MP4's own keys: title, artist, comment, description, copyright."""
        if not fps > 0.0:
            raise InputError(f"Cannot write {path}: {fps} frames per second; give a positive rate.")
        self.path = Path(path)
        self.width, self.height = width, height
        self.frames_written = 0
        self._rate = Fraction(fps).limit_denominator(1001)
        self._sound, self._sound_done = sound, 0
        self._temporary = reserve(path)
        try:
            with self._errors():
                self._open(metadata or {})
        except BaseException:
            self.discard()
            raise

    def write(self, frame: np.ndarray) -> None:
        """Append one frame, uint8 [height, width, 3] RGB."""
        if frame.shape != (self.height, self.width, 3) or frame.dtype != np.uint8:
            raise InputError(f"Cannot write a frame {frame.shape} {frame.dtype} to a clip {self.width}x{self.height}.")
        with self._errors():
            self._encode(frame)
            self.frames_written += 1
            self._encode_sound(float(self.frames_written / self._rate))

    def close(self) -> None:
        """Finish the file and give it its name."""
        if self.frames_written == 0:
            raise InputError(f"Cannot write {self.path}: there is no frame.")
        with self._errors():
            # Half a frame of sound may reach past the last frame: frames = floor(seconds x fps + 0.5).
            self._encode_sound(float((self.frames_written + Fraction(1, 2)) / self._rate))
            for stream in self._container.streams:
                self._container.mux(stream.encode(None))
            self._container.close()
            os.replace(self._temporary, self.path)

    def discard(self) -> None:
        """Remove what was written."""
        container = getattr(self, "_container", None)
        if container is not None:
            with contextlib.suppress(OSError, ValueError):
                container.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the file, or remove it if there was an exception."""
        try:
            if kind is None:
                self.close()
        finally:
            self.discard()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # FFmpeg's errors of the system (disk full, no rights) are OSErrors too
            raise unwritable(self.path, error) from error

    def _open(self, metadata: dict[str, str]) -> None:
        import av

        # faststart moves the index to the front, so that the clip plays while it still loads.
        self._container = av.open(os.fspath(self._temporary), "w", format="mp4", options={"movflags": "+faststart"})
        self._container.metadata.update(metadata)
        encoder = next(name for name in ENCODERS if name in av.codecs_available)
        options = {"crf": "17", "preset": "veryfast"} if encoder == "libx264" else {}
        self._video = self._container.add_stream(encoder, rate=self._rate, options=options)
        self._video.width, self._video.height = self.width + self.width % 2, self.height + self.height % 2
        self._video.pix_fmt = "yuv420p"
        context = self._video.codec_context
        context.color_primaries, context.color_trc = 1, 1  # BT.709, see `_encode`
        context.colorspace, context.color_range = 1, 1
        if self._sound is not None:
            rate = self._sound.rate if self._sound.rate in SOUND_RATES else SOUND_RATES[-1]
            layout = "mono" if self._sound.samples.shape[0] == 1 else "stereo"
            self._audio = self._container.add_stream("aac", rate=rate, layout=layout)
            self._audio.bit_rate = 128_000

    def _encode(self, frame: np.ndarray) -> None:
        import av

        if self.width % 2 or self.height % 2:
            frame = np.pad(frame, ((0, self.height % 2), (0, self.width % 2), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        picture.pts, picture.time_base = self.frames_written, 1 / self._rate
        self._container.mux(self._video.encode(picture))

    def _encode_sound(self, until: float) -> None:
        """Encode the samples before the time ``until`` in seconds: no more is in flight than one frame's worth."""
        import av

        if self._sound is None:
            return
        samples, rate = self._sound.samples, self._sound.rate
        end = min(samples.shape[1], round(until * rate))
        if end <= self._sound_done:
            return
        piece = _as_mono_or_stereo(samples[:, self._sound_done : end].numpy())
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono" if len(piece) == 1 else "stereo")
        frame.sample_rate, frame.pts, frame.time_base = rate, self._sound_done, Fraction(1, rate)
        self._container.mux(self._audio.encode(frame))
        self._sound_done = end


def _as_mono_or_stereo(samples: np.ndarray) -> np.ndarray:
    """Reduce [channels, time] to one or two channels; front left and right take half of centre and surround."""
    channels = samples.shape[0]
    if channels > 2:
        # FFmpeg's order: left, right, centre, low frequency, then pairs of left and right.
        left, right = samples[4::2], samples[5::2]
        centre = samples[2:3]
        pairs = ((samples[0:1], centre, left), (samples[1:2], centre, right))
        samples = np.stack([np.concatenate(group).sum(axis=0) / np.sqrt(2.0) for group in pairs])
    return np.ascontiguousarray(np.clip(samples, -1.0, 1.0), dtype=np.float32)
