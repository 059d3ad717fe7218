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
from torch.nn.functional import adaptive_avg_pool2d

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
SHADE = (0.4, 0.65)
"""Brightness over the median of the patch below which teeth lie in the shade, and from which they do not."""
WINDOW = 3
"""Cells of the guide along an edge of the window that everything is averaged over."""
_PALE = np.array([1.0 / 3.0 - REDNESS, 1.0 / 3.0 + REDNESS / 2.0, 1.0 / 3.0 + REDNESS / 2.0], np.float32)
_SOCKET, _SOFT, _TEETH = (CHANNELS.index(name) for name in ("socket", "soft", "teeth"))
_SOURCE_TEETH = len(CHANNELS) + SOURCE_CHANNELS.index(CHANNELS.index("teeth"))


def kept_dark(
    delta: Float[np.ndarray, "h w 3"], guide: Float[Tensor, "15 h2 w2"], composite: Float[Tensor, "3 h w"]
) -> Float[np.ndarray, "h w 3"]:
    """Return the change of a mouth's patch, made smaller where it would turn the inside pale; see `Patch`."""
    import cv2

    shown = smoothstep(np.float64(guide[_SOURCE_TEETH].mean()), *SHOWN)
    if shown == 0.0:
        return delta
    inside = (guide[_SOCKET] + guide[_SOFT] + guide[_TEETH] * _in_shadow(composite, guide)).clamp(max=1.0).numpy()
    strength = float(shown * smoothstep(np.float64(inside.mean()), *WIDE))
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


def _in_shadow(composite: Float[Tensor, "3 h w"], guide: Float[Tensor, "15 h2 w2"]) -> Float[Tensor, "h2 w2"]:
    """Return 1 where the frame is so dark beside the face that teeth lie in the shade there, 0 where it is not."""
    brightness = adaptive_avg_pool2d(composite[None], guide.shape[-2:])[0].mean(dim=0)
    return 1.0 - smoothstep(brightness / brightness.median().clamp(min=1e-3), *SHADE)
