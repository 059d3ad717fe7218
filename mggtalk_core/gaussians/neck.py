"""The neck, which twists when the head turns far: at the jaw it goes with the head, at the collar with the torso.

The layer that shows the torso does not turn. Left to turn with the head, the far side of a neck would stand out beside
it like a sail. As long as a head turns little the shoulders mostly turn with it: filmed frames up to 20 degrees from
their source are met as well or better by a neck that keeps its shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..geometry.points import HeadPoints
from ..head.camera import Camera
from ..portrait.parsing import Label
from ..portrait.portrait import Portrait
from ..record import Record
from ..smoothstep import smoothstep
from .gaussians import Gaussians

PIVOT = (0.0, -1.5, -0.8)
"""What the neck turns about: its own axis, canonical, units of 10 cm."""
CHIN, JAW_SLOPE = (-1.15, 0.26), 0.517
"""Height and depth of the chin's underside, canonical, and how far the jaw's plane rises from there to the back."""
TURNS, STAYS = 0.1, 0.7
"""Distance below the jaw's plane down to which all turns with the head, and from which nothing does."""
NEAR, FAR = math.radians(12.0), math.radians(32.0)
"""Turns of the head from the source's view over which the torso stays behind."""
_STRANDS = (int(Label.HAIR), int(Label.OTHER))
"""What hangs down beside a neck and is none."""


@dataclass(frozen=True)
class Neck(Record):
    """The Gaussians of the neck."""

    rows: Int[Tensor, "k"]
    """Points, then their children, among all Gaussians."""
    share: Float[Tensor, "k"]
    """Part of the head's turn that each of them does not take, 0..1, once the torso stays behind."""
    source: Camera

    def twisted(self, gaussians: Gaussians, pose: Camera) -> Gaussians:
        """Return the Gaussians of one frame with the neck twisted; ``pose`` is the camera that carries the head's pose.

        They are moved, not turned: the skin of a neck is much the same all around. The source's pose changes nothing.
        """
        behind = float(smoothstep(pose.turned_from(self.source), NEAR, FAR))
        if behind == 0.0:
            return gaussians
        means = gaussians.means
        # As seen by the pose's camera, what does not turn stands as the source's camera sees it.
        back = (pose.rotation.T @ self.source.rotation).to(means) - torch.eye(3).to(means)
        arms = means[self.rows] - means.new_tensor(PIVOT)
        return replace(gaussians, means=means.index_add(0, self.rows, behind * self.share[:, None] * (arms @ back.T)))


def below_jaw(places: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
    """Return how far canonical places lie below the jaw's plane, units of 10 cm."""
    _, height, depth = places.unbind(-1)
    return CHIN[0] + JAW_SLOPE * (CHIN[1] - depth) - height


def neck_of(portrait: Portrait, points: HeadPoints) -> Neck:
    """Find what belongs to the neck: skin below the jaw, seen, mirrored or the head model's; but not hair."""
    count, seen = points.visible_count, points.visible_count + points.mirrored_count
    share = smoothstep(below_jaw(points.positions), TURNS, STAYS)
    column, row = points.pixel.long().unbind(-1)
    skin = ~torch.isin(portrait.labels[row, column].long(), torch.tensor(_STRANDS).to(row))
    share[:count] *= skin
    share[count:seen] *= skin[points.mirror_of.long()]
    rows = torch.nonzero(share > 0.0).squeeze(-1)
    parents = rows[rows < seen]
    return Neck(
        rows=torch.cat((rows, parents + len(share))),
        share=torch.cat((share[rows], share[parents])),
        source=points.fit.camera,
    )
