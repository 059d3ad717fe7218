"""How pale the mouth's network may make the inside of a mouth whose teeth the source shows.

Behind lips that are shut in the source the teeth are generic, and may come out anywhere. A smile shows its own: they
are in the frame already. Opened wide it is unlike all that the network has learned from, and the network paints a pale
mixture of teeth and tongue over both. There gums, tongue and what lies behind them may turn brighter only as far as
they turn redder, or little more. Where the mouth is opened less, as in speech, the network is right to draw teeth that
the head model has out of place.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ...smoothstep import smoothstep
from .guide import CHANNELS, SOURCE_CHANNELS

PALER = 0.05
"""How much paler the inside may turn: by so much brightness while its redness (red over the mean of green and blue)
stays the same."""
REDNESS = 4.0
"""How much more brightness goes with one of redness."""
SHOWN = (0.005, 0.01)
"""Share of the patch that teeth take in the source from which the bound holds at all, and in full."""
WIDE = (0.02, 0.04)
"""Share of the patch that the inside takes from which the mouth counts as opened wide at all, and in full."""
WINDOW = 3
"""Cells of the guide along an edge of the window that everything is averaged over."""
_PALE = np.array([1.0 / 3.0 - REDNESS, 1.0 / 3.0 + REDNESS / 2.0, 1.0 / 3.0 + REDNESS / 2.0], np.float32)
_SOCKET, _SOFT = CHANNELS.index("socket"), CHANNELS.index("soft")
_SOURCE_TEETH = len(CHANNELS) + SOURCE_CHANNELS.index(CHANNELS.index("teeth"))


def kept_dark(delta: Float[np.ndarray, "h w 3"], guide: Float[Tensor, "15 h2 w2"]) -> Float[np.ndarray, "h w 3"]:
    """Return the change of a mouth's patch, made smaller where it would turn the inside pale; ``guide``: `Patch`'s."""
    import cv2

    inside = (guide[_SOCKET] + guide[_SOFT]).clamp(max=1.0).numpy()
    shown, wide = (np.float64(each) for each in (guide[_SOURCE_TEETH].mean(), inside.mean()))
    strength = float(smoothstep(shown, *SHOWN) * smoothstep(wide, *WIDE))
    if strength == 0.0:
        return delta
    window = (WINDOW, WINDOW)
    inside = strength * (2.0 * cv2.blur(inside, window) - 1.0).clip(min=0.0)  # off the rim: the fit may err by a pixel
    paler = cv2.transform(cv2.resize(delta, inside.shape[::-1], interpolation=cv2.INTER_AREA), _PALE[None])
    held = inside * (1.0 - np.minimum(1.0, PALER / np.maximum(cv2.blur(paler, window), 1e-6)))
    if held.max() == 0.0:
        return delta
    share = cv2.resize(1.0 - held, delta.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return delta * cv2.merge([share] * 3)  # several times as fast as to broadcast
