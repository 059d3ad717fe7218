"""Lips that meet at rest and lids that meet when they blink, for every identity.

In the source, identity opens lips and lids a little and blinking leaves a slit. Here opening belongs to the
expressions alone: that makes "closed" exact, which is what lip sync and blinks are judged by.
"""

from __future__ import annotations

import numpy as np

from ..head.parts import Part
from ..portrait.blendshapes import BLENDSHAPE_INDEX
from .head_model_landmarks import moves_with_jaw

LIP_REACH, LID_REACH = 0.16, 0.11
"""How far from the margin a correction fades to nothing, in units of 10 cm."""
EYEBALL_CLEARANCE = 0.006
_UP, _UP_AND_OUT = np.array([0.0, 1.0, 0.0]), np.array([0.0, 1.0, 1.0])


class Margin:
    """The two halves of a closed contour, and the skin around that follows each of them."""

    def __init__(
        self, mean: np.ndarray, loop: np.ndarray, movable: np.ndarray, lower: np.ndarray, reach: float
    ) -> None:
        """Take the contour ``loop``, and which vertices may be moved and belong to the lower half (both [V])."""
        far = int(abs(mean[loop, 0] - mean[loop[0], 0]).argmax())
        self.upper, self.lower = loop[: far + 1], np.append(loop[far:], loop[0])[::-1]
        self.share = [_arc_share(mean[half]) for half in (self.upper, self.lower)]
        self.sides = []
        for half, inside in ((self.upper, ~lower), (self.lower, lower)):
            skin = np.flatnonzero(movable & inside)
            skin = np.union1d(skin, half)
            distance = np.linalg.norm(mean[skin][:, None] - mean[half][None], axis=-1)
            fade = np.clip(1.0 - distance.min(axis=1) / reach, 0.0, 1.0)
            self.sides.append((skin, distance.argmin(axis=1), fade * fade * (3.0 - 2.0 * fade)))

    def gaps(self, field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return upper minus lower of ``field`` [V, 3], at the vertices of the upper and of the lower half."""
        values = [field[self.upper], field[self.lower]]
        below = _interpolate(self.share[0], self.share[1], values[1])
        above = _interpolate(self.share[1], self.share[0], values[0])
        return values[0] - below, above - values[1]

    def close(self, field: np.ndarray, gaps: tuple[np.ndarray, np.ndarray], parts: tuple[float, float]) -> np.ndarray:
        """Return ``field`` with ``gaps`` taken away, by ``parts`` from the upper and from the lower half."""
        closed = field.copy()
        for (skin, nearest, fade), gap, part, sign in zip(self.sides, gaps, parts, (-1.0, 1.0), strict=True):
            closed[skin] += sign * part * gap[nearest] * fade[:, None]
        return closed


def _arc_share(line: np.ndarray) -> np.ndarray:
    length = np.append(0.0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1)))
    return length / length[-1]


def _interpolate(at: np.ndarray, share: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(at, share, column) for column in values.T], axis=1)


def tie_margins(fields: dict[str, np.ndarray]) -> None:
    """Close the lips of the mean and of every identity mode, and the lids when eyeBlink is 1, in place."""
    lips = _lip_margin(fields)
    for field in (fields["mean"], *fields["identity_basis"]):
        field[:] = lips.close(field, tuple(gap * _UP_AND_OUT for gap in lips.gaps(field)), (0.5, 0.5))
    fields["mean"] = (fields["mean"] + fields["mean"][fields["mirror"]] * [-1, 1, 1]) / 2
    for side, eye in (("Left", 0), ("Right", 1)):
        lids = _lid_margin(fields, side)
        for mode in fields["identity_basis"]:
            mode[:] = lids.close(mode, tuple(gap * _UP for gap in lids.gaps(mode)), (0.5, 0.5))
        blink = fields["expression_basis"][BLENDSHAPE_INDEX[f"eyeBlink{side}"]]
        _clear_eyeball(fields, lids, blink, eye)
        blink[:] = lids.close(blink, lids.gaps(fields["mean"] + blink), (0.7, 0.3))


def _lip_margin(fields: dict[str, np.ndarray]) -> Margin:
    movable = np.isin(fields["parts"], (Part.FACE, Part.MOUTH_SOCKET))
    return Margin(fields["mean"], fields["inner_lip"], movable, moves_with_jaw(fields), LIP_REACH)


def _lid_margin(fields: dict[str, np.ndarray], side: str) -> Margin:
    mean, loop = fields["mean"], fields[f"eyelid_{side.lower()}"]
    movable = np.isin(fields["parts"], (Part.FACE, Part.EYE_SOCKET))
    far = int(abs(mean[loop, 0] - mean[loop[0], 0]).argmax())
    upper, lower = mean[loop[: far + 1]], mean[np.append(loop[far:], loop[0])]
    distance = [np.linalg.norm(mean[:, None] - half[None], axis=-1).min(axis=1) for half in (upper, lower)]
    return Margin(mean, loop, movable, distance[1] < distance[0], LID_REACH)


def _clear_eyeball(fields: dict[str, np.ndarray], lids: Margin, blink: np.ndarray, eye: int) -> None:
    """Push what would sink into the eyeball with the lids shut out of it."""
    part = (Part.EYE_LEFT, Part.EYE_RIGHT)[eye]
    center = fields["eye_mean"][eye]
    ball = fields["mean"][fields["parts"] == part] - center
    radius = np.linalg.norm(ball, axis=1)
    skin = np.unique(np.concatenate([side[0][side[2] > 0] for side in lids.sides]))
    skin = skin[fields["parts"][skin] == Part.FACE]
    arm = fields["mean"][skin] + blink[skin] - center
    distance = np.linalg.norm(arm, axis=1)
    direction = arm / distance[:, None]
    nearest = np.argsort(-(direction @ (ball / radius[:, None]).T), axis=1)[:, :4]
    wanted = radius[nearest].max(axis=1) + EYEBALL_CLEARANCE
    front = direction[:, 2] > 0.3
    blink[skin] += (np.maximum(wanted - distance, 0.0) * front)[:, None] * direction
