"""Which frames of a sequence a node works on."""

from __future__ import annotations

from comfy_api.latest import io

from ..mggtalk_core.errors import InputError
from .sockets import advanced


def range_inputs(count: int, cost: str) -> list[io.Input]:
    """Return the inputs that choose frames; ``count`` is the default and ``cost`` what a frame takes."""
    return [
        io.Int.Input(
            "start",
            default=0,
            min=0,
            max=1_000_000,
            tooltip="The first frame, counted from 0. One after the end stops the node.",
        ),
        io.Int.Input(
            "count",
            default=count,
            min=0,
            max=1_000_000,
            tooltip=f"How many frames at most; 0 takes all. {cost}",
        ),
        advanced(
            io.Int.Input(
                "step",
                default=1,
                min=1,
                max=1000,
                tooltip="Takes only every Nth frame: 2 halves the work and the frame rate.",
            )
        ),
    ]


def frame_range(length: int, start: int, count: int, step: int) -> range:
    """Return the chosen frames of a sequence of ``length``.

    Raises:
        InputError: the first of them lies after the end.
    """
    if start >= length:
        raise InputError(f"There is no frame {start}: the motion has {length}, counted from 0.")
    chosen = range(start, length, step)
    return chosen[:count] if count else chosen
