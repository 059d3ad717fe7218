"""Neck and long hair twist when the head turns far: above they go with the head, below with the torso.

The layer that shows the torso does not turn. Left to turn with the head, the far side of a neck would stand out beside
it like a sail, and hair would end in a step where the layer takes over. As long as a head turns little the shoulders
mostly turn with it: filmed frames up to 16 degrees from their source are met about as well by hair and necks that keep
their shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..geometry.points import HeadPoints
from ..geometry.silhouette import in_view
from ..head.camera import Camera
from ..motion.torso import follow_weight, torso_shift
from ..portrait.portrait import Portrait
from ..record import Record
from ..smoothstep import smoothstep
from .gaussians import Gaussians
from .levels import below_hair_level, below_jaw, is_hair

TURNS, STAYS = 0.1, 0.7
"""Distance below the jaw's plane down to which all turns with the head, and from which nothing does."""
HANGS = 0.35
"""Hair comes to rest over so many face heights above the level at which the torso's layer begins to show it too.

Filmed heads that turn farther than 16 degrees are met worse by 0.6, where hair beside the jaw leaves a gap.
"""
NEAR, FAR = math.radians(9.0), math.radians(25.0)
"""Turns of the head from the source's view over which the torso stays behind."""


@dataclass(frozen=True)
class Neck(Record):
    """The Gaussians of the neck, and of hair that hangs as low."""

    rows: Int[Tensor, "k"]
    """Points, then their children, among all Gaussians."""
    share: Float[Tensor, "k"]
    """Part of the head's turn that each of them does not take, 0..1, once the torso stays behind."""
    follows: Float[Tensor, "k"]
    """How much of the torso's motion each of them then takes, see `follow_weight`."""
    source: Camera

    def twisted(self, gaussians: Gaussians, pose: Camera) -> Gaussians:
        """Return the Gaussians of one frame with the neck twisted; ``pose`` is the camera that carries the head's pose.

        They are moved, not turned: skin and hair look much the same from all around. The source's pose changes nothing.
        """
        behind = float(smoothstep(pose.turned_from(self.source), NEAR, FAR))
        if behind == 0.0:
            return gaussians
        means = gaussians.means[self.rows]
        moved = behind * self.share[:, None] * (self._at_rest(means, pose) - means)
        return replace(gaussians, means=gaussians.means.index_add(0, self.rows, moved))

    def _at_rest(self, means: Float[Tensor, "k 3"], pose: Camera) -> Float[Tensor, "k 3"]:
        """Return where ``pose`` sees the means as the torso's layer shows them, at the source's depth."""
        pixels = self.source.project(means)
        shift = means.new_tensor(torso_shift(self.source, pose))
        return pose.unproject(pixels[:, :2] + self.follows[:, None] * shift, pixels[:, 2])


def neck_of(portrait: Portrait, points: HeadPoints) -> Neck:
    """Find what twists: skin below the jaw, seen, mirrored or the head model's, and long hair, seen or mirrored."""
    seen = points.visible_count + points.mirrored_count
    skin = smoothstep(below_jaw(points.positions), TURNS, STAYS)
    hair = smoothstep(below_hair_level(portrait, points), -HANGS, 0.0)
    share = torch.where(is_hair(portrait, points), hair, skin)
    rows = torch.nonzero(share > 0.0).squeeze(-1)
    parents = rows[rows < seen]
    return Neck(
        rows=torch.cat((rows, parents + len(share))),
        share=torch.cat((share[rows], share[parents])),
        follows=_follows(portrait, points)[torch.cat((rows, parents))],
        source=points.fit.camera,
    )


def _follows(portrait: Portrait, points: HeadPoints) -> Float[Tensor, "n"]:
    """Return the torso's weight where the source shows each point."""
    weight = torch.from_numpy(follow_weight(portrait.labels, points.fit.camera)).to(points.positions)
    view = in_view(points.positions, points.fit.camera)
    return weight[view.row, view.column]
