"""Sound in, and its conversion."""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import InputError
from .polyphase import FILTER_PERIODS, polyphase
from .sound import Sound

if TYPE_CHECKING:
    from av import AudioFrame
    from av.container import InputContainer

LARGEST_TRUSTED = 2**26
"""Samples up to which a file's own word on its length is believed (23 minutes of stereo); beyond, the buffer grows."""
RATES = range(1000, 768_001)
"""Samples per second that sound has; anything else is a damaged header."""
LARGEST_SHIFT = 10.0
"""Seconds up to which sound that starts before or after the picture is shifted into its place."""
CHUNK_SECONDS = 10.0
"""Sound is resampled in pieces of this length, so that long sound needs no second copy."""


def read_sound(path: str | os.PathLike[str]) -> Sound:
    """Read the first sound stream of a sound or video file, at its own rate and with its own channels.

    Samples that are not finite become 0, with a warning that counts them.

    Raises:
        InputError: no such file, not a media file, no sound stream, or no sample that can be decoded.
    """
    import av

    if not os.path.isfile(path):
        raise InputError(f"No sound at {path}; check the path.")
    try:
        with av.open(os.fspath(path)) as container:
            _check_stream(container, path)
            sound, broken = _decode(container)
    except (av.FFmpegError, UnicodeError) as error:
        raise InputError(f"{path} is not readable sound, or is damaged; give a WAV, MP3 or FLAC file.") from error
    if sound.samples.shape[1] == 0:
        raise InputError(f"{path} holds no samples; give a sound of at least a few milliseconds.")
    if broken:
        warnings.warn(f"{path}: {broken} samples were not finite and are set to 0", stacklevel=2)
    return sound


def to_mono(sound: Sound) -> Sound:
    """Return the mean of all channels as one channel."""
    if sound.samples.shape[0] == 1:
        return sound
    return Sound(sound.samples.mean(dim=0, keepdim=True), sound.rate)


def resample(sound: Sound, rate: int) -> Sound:
    """Return the sound at ``rate`` samples per second: round(seconds x rate) samples, band-limited, no delay."""
    if sound.rate == rate:
        return sound
    channels, count = sound.samples.shape
    wanted = max(1, round(count * rate / sound.rate))
    output = torch.zeros(channels, wanted)
    for channel in range(channels):
        _resample_channel(sound.samples[channel].numpy(), sound.rate, output[channel].numpy(), rate)
    return Sound(output, rate)


def _resample_channel(samples: np.ndarray, rate: int, output: np.ndarray, output_rate: int) -> None:
    """Fill ``output`` piece by piece; pieces begin on whole periods of both rates, so their seams do not show."""
    common = math.gcd(rate, output_rate)
    up, down = output_rate // common, rate // common
    reach = FILTER_PERIODS * max(up, down)
    margin = down * math.ceil(reach / (up * down) + 1)
    step = down * math.ceil(CHUNK_SECONDS * rate / down)
    for start in range(0, len(samples), step):
        first = max(0, start - margin)
        piece = polyphase(samples[first : start + step + margin], up, down)
        piece = piece[(start - first) // down * up :]
        place = slice(start // down * up, min(len(output), (start + step) // down * up))
        output[place] = piece[: place.stop - place.start]


def _check_stream(container: InputContainer, path: str | os.PathLike[str]) -> None:
    """Refuse a file without sound, with sound of an unknown codec, or with a header that cannot be true."""
    if not container.streams.audio:
        raise InputError(f"{path} has no sound; give a file with a sound track.")
    context = container.streams.audio[0].codec_context
    if context is None:
        raise InputError(f"{path} holds sound of an unknown kind; convert it to WAV, MP3 or FLAC.")
    if context.sample_rate not in RATES:
        raise InputError(f"{path} claims {context.sample_rate} samples a second, so it is damaged; save it again.")


def _decode(container: InputContainer) -> tuple[Sound, int]:
    """Return the sound and the number of its samples that were not finite.

    All is written into one growing buffer: a list of pieces joined at the end would need the memory twice.
    """
    expected = (container.duration or 0) / 1_000_000 + 1.0
    late = _seconds_behind_picture(container)
    buffer, start, end, rate, broken = torch.zeros(1, 0), 0, 0, 1, 0
    for rate, piece in _pieces(container):
        if end == 0:
            start, end = max(0, -round(late * rate)), max(0, round(late * rate))  # begins with silence if late
            room = min(int(expected * rate), LARGEST_TRUSTED // piece.shape[0])
            buffer = torch.zeros(piece.shape[0], end + room + piece.shape[1])
        if end + piece.shape[1] > buffer.shape[1]:
            buffer = torch.cat((buffer[:, :end], torch.zeros(buffer.shape[0], end + piece.shape[1])), dim=1)
        finite = np.isfinite(piece)
        broken += finite.size - np.count_nonzero(finite)
        buffer[:, end : end + piece.shape[1]] = torch.from_numpy(np.where(finite, piece, np.float32(0.0)))
        end += piece.shape[1]
    return Sound(buffer[:, min(start, end) : end], rate), broken


def _seconds_behind_picture(container: InputContainer) -> float:
    """Return how much later than the first picture the first sample of a video file is heard."""
    video = next((stream for stream in container.streams.video if stream.start_time is not None), None)
    audio = container.streams.audio[0]
    if video is None or audio.start_time is None:
        return 0.0
    late = float(audio.start_time * audio.time_base - video.start_time * video.time_base)
    # Streams that are further apart than this were not recorded together: their clocks are.
    return late if abs(late) < LARGEST_SHIFT else 0.0


def _pieces(container: InputContainer) -> Iterator[tuple[int, np.ndarray]]:
    """Yield rate and float samples [channels, time]; rate and channels stay those of the first frame throughout."""
    import av

    converter = layout = None
    rate = 1
    for frame in _frames(container):
        if layout is None:
            rate, layout = frame.sample_rate, frame.layout
        kind = (frame.sample_rate, frame.layout.name, frame.format.name)
        if converter is None or converter[0] != kind:  # some recordings change format halfway
            converter = kind, av.AudioResampler(format="fltp", layout=layout, rate=rate)
        for converted in converter[1].resample(frame):
            yield rate, converted.to_ndarray()
    if converter is not None:
        for converted in converter[1].resample(None):
            yield rate, converted.to_ndarray()


def _frames(container: InputContainer) -> Iterator[AudioFrame]:
    """Yield decoded frames; a damaged packet is skipped, as players do."""
    import av

    for packet in container.demux(audio=0):
        with contextlib.suppress(av.InvalidDataError):
            yield from packet.decode()
