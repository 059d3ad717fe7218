"""The parts of the head model."""

from __future__ import annotations

from enum import IntEnum


class Part(IntEnum):
    """Which part of the head a vertex belongs to."""

    FACE = 0
    SCALP = 1
    """Skin of the rest of the head, the ears and the neck."""
    MOUTH_SOCKET = 2
    EYE_SOCKET = 3
    GUMS = 4
    TEETH = 5
    TONGUE = 6
    EYE_LEFT = 7
    EYE_RIGHT = 8


MOUTH = (Part.MOUTH_SOCKET, Part.GUMS, Part.TEETH, Part.TONGUE)
"""What lies behind the lips."""
RIGID_PIECES = ((Part.TEETH, Part.GUMS), (Part.EYE_LEFT,), (Part.EYE_RIGHT,))
"""Parts that a correction of the head's shape moves as one piece."""
