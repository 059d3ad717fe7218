"""The clips with sound of a list, and how far their sound is out of step."""

from __future__ import annotations

import os
from pathlib import Path

from .manifest import read_manifest, select


def clips_with_sound(path: str | os.PathLike[str], split: str | None) -> tuple[list[Path], dict[str, float]]:
    """Return the real clips of one person with sound, and by file name the seconds by which known sounds come late.

    Columns: ``has_audio`` (yes), ``av_sync`` (ok: in step; offset: ``av_lag_frames`` is right; anything else: not
    known), ``av_lag_frames`` (negative: the sound comes later than the lips), ``fps``.

    Raises:
        InputError: the list cannot be read, or it holds no such clip.
    """
    items = {Path(item["path"]).name: item for item in read_manifest(path)}
    clips = [clip for clip in select(path, "clip", split=split) if items[clip.name].get("has_audio") == "yes"]
    offsets = {}
    for clip in clips:
        item = items[clip.name]
        if item.get("av_sync") == "ok":
            offsets[clip.name] = 0.0
        elif item.get("av_sync") == "offset":
            offsets[clip.name] = -float(item["av_lag_frames"]) / float(item["fps"])
    return clips, offsets
