"""Gaussians with what the networks add to the analytic form (paper 3.2); untrained networks add nothing."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from ..geometry.voxel import voxel_filter
from ..head.camera import Camera
from ..motion.deform_net import DeformNet, Displacement, places_on_head
from ..motion.motion import Motion
from ..parallel import one_thread
from ..portrait.portrait import Portrait
from .avatar import Avatar
from .densify import CHILD_SHRINK
from .frame import frame_gaussians
from .gaussians import Gaussians
from .networks.cells import Cells
from .networks.config import Switches
from .networks.model import DrivenHead, GaussianNetworks, HeadImage, Offsets, taken
from .networks.offsets import apply_offsets, bounded, with_odds
from .predict import AnalyticSequence

REACH, SPARE = 5.0, 6.0
"""A Gaussian shows within this many of its standard deviations, and of pixels, which leaves it room to learn."""
_PARAMETERS = ("means", "quats", "scales", "opacities", "sh", "labels")


@dataclass(frozen=True)
class LearnedSequence(AnalyticSequence):
    """An `AnalyticSequence` with learned offsets; what does not depend on the frame is computed once."""

    networks: GaussianNetworks | None
    """None: the analytic Gaussians, on points that the deformation moves."""
    deform: DeformNet | None
    image: HeadImage
    cells: Cells | None
    features: Float[Tensor, "1 f h w"] | None
    """Identity encoding ``F``."""
    displacement: Displacement | None

    def to(self, device: torch.device | str) -> LearnedSequence:
        """Return the same sequence on ``device``, where its frames are then computed; the sound stays where it is."""
        networks, deform = (copy.deepcopy(part).to(device) if part else None for part in (self.networks, self.deform))
        motion = replace(self.motion.to(device), sound=self.motion.sound)
        return _prepared(self.avatar.to(device), motion, self.image.to(device), networks, deform)

    def frame(self, index: int, view: Camera | None = None) -> Gaussians:
        """Return the canonical Gaussians of one frame, as ``view`` will see them; for every side when None."""
        pose = self.camera(index)
        return self.avatar.neck.twisted(self._driven(index, view or pose, every_side=view is None), pose)

    def _driven(self, index: int, camera: Camera, *, every_side: bool) -> Gaussians:
        beta, gaze = self.motion.beta[index], self.motion.gaze[index]
        if self.networks is None:
            return driven_gaussians(self.avatar, beta, gaze, camera, self.displacement, every_side)
        switches = self.networks.config.switches
        head = driven_head(self.avatar, self.cells, beta, gaze, camera, self.displacement, switches, every_side)
        return dense_in_place(head, self.networks.offsets(self.features, head))


@one_thread()
def with_networks(
    sequence: AnalyticSequence,
    portrait: Portrait,
    networks: GaussianNetworks | None = None,
    deform: DeformNet | None = None,
) -> LearnedSequence:
    """Return the sequence with learned offsets.

    Args:
        sequence: the analytic Gaussians.
        portrait: gives the head image ``I_s^h``.
        networks: offsets of the Gaussians' parameters; None leaves them as they are.
        deform: displacement of the points beyond the head model; None leaves them as they are.
    """
    return _prepared(sequence.avatar, sequence.motion, HeadImage(portrait.crop, portrait.matte), networks, deform)


@torch.no_grad()
def _prepared(
    avatar: Avatar, motion: Motion, image: HeadImage, networks: GaussianNetworks | None, deform: DeformNet | None
) -> LearnedSequence:
    cells = None if networks is None else Cells.of(avatar.points, networks.config.cell)
    features = None if networks is None else networks.encode(image)
    return LearnedSequence(avatar, motion, networks, deform, image, cells, features, displacement_of(avatar, deform))


def displacement_of(avatar: Avatar, deform: DeformNet | None) -> Displacement | None:
    """Return how far the vertices of an avatar's head model move beyond it, by expression."""
    return None if deform is None else deform.on(avatar.binding.rest, places_on_head(avatar.binding.model))


def driven_gaussians(
    avatar: Avatar,
    beta: Float[Tensor, "52"],
    gaze: Float[Tensor, "4"],
    camera: Camera,
    displacement: Displacement | None = None,
    every_side: bool = False,
) -> Gaussians:
    """Return the analytic Gaussians of one expression on a head model that moves as it has learned (eq. 9)."""
    if displacement is None:
        return frame_gaussians(avatar, beta, gaze, camera, every_side=every_side)
    fit = avatar.points.fit
    more = displacement(beta.to(fit.beta_s), fit.beta_s)
    # What the model misses is one more offset of its vertices: points, discs and apertures all follow it.
    moved = replace(fit, offsets=fit.offsets + more)
    return frame_gaussians(avatar, beta, gaze, camera, fit=moved, every_side=every_side)


def driven_head(
    avatar: Avatar,
    cells: Cells,
    beta: Float[Tensor, "52"],
    gaze: Float[Tensor, "4"],
    camera: Camera,
    displacement: Displacement | None,
    switches: Switches,
    every_side: bool = False,
) -> DrivenHead:
    """Return what the networks look at in one frame; for the arguments see `frame_gaussians`."""
    analytic = driven_gaussians(avatar, beta, gaze, camera, displacement, every_side)
    if switches.symmetry_in == "sgp":
        analytic = mirrored_after_driving(avatar, analytic, switches.voxel_filter)
    beta_s = avatar.points.fit.beta_s
    return DrivenHead(avatar, cells, analytic, torch.cat((beta.to(beta_s), beta_s)))


@torch.no_grad()
def drawn_in(head: DrivenHead, camera: Camera, window: tuple[int, int, int, int]) -> DrivenHead:
    """Return the head with those points alone that a window x0, y0, x1, y1 of the camera's picture may show."""
    count = len(head.avatar.points.positions)
    x, y, depth = camera.project(head.analytic.means[:count]).unbind(-1)
    reach = SPARE + REACH * head.analytic.scales[:count].amax(dim=-1) * camera.focal / depth
    x0, y0, x1, y1 = window
    shown = (x > x0 - reach) & (x < x1 + reach) & (y > y0 - reach) & (y < y1 + reach)
    return replace(head, rows=torch.nonzero(shown).squeeze(-1))


def mirrored_after_driving(avatar: Avatar, gaussians: Gaussians, filtered: bool) -> Gaussians:
    """Return Gaussians whose mirrored half is the mirror image of the driven visible half (paper 4.4.3).

    What `voxel_filter` drops in this frame has no opacity.
    """
    first, last, count = avatar.points.visible_count, avatar.seen_count, len(avatar.points.positions)
    means, opacities = gaussians.means.clone(), gaussians.opacities.clone()
    twin = avatar.points.mirror_of.long()
    means[first:last] = avatar.mirror.reflect_points(means[twin])
    means[count + first : count + last] = avatar.mirror.reflect_points(means[count + twin])
    if filtered:
        keep = voxel_filter(means[:first].detach(), means[first:last].detach())
        opacities[first:last] *= keep
        opacities[count + first : count + last] *= keep
    return replace(gaussians, means=means, opacities=opacities)


def coarse(head: DrivenHead, offsets: Offsets) -> Gaussians:
    """Return ``G``: visible, mirrored and interior Gaussians before densification, closing the gaps on their own."""
    parents = apply_offsets(taken(head.analytic, head.parents), offsets.parents)
    alone = replace(parents, scales=parents.scales / CHILD_SHRINK)
    return _joined(alone, taken(head.analytic, head.interior))


def dense(head: DrivenHead, offsets: Offsets) -> Gaussians:
    """Return ``G_den`` (eq. 6): parents, interior and children; ``G`` where there is no densification."""
    if offsets.children is None:
        return coarse(head, offsets)
    start, more = taken(head.analytic, head.children), offsets.children
    parents = apply_offsets(taken(head.analytic, head.parents), offsets.parents)
    children = replace(
        parents,
        means=start.means + more.places * start.scales.amax(dim=-1, keepdim=True),
        opacities=with_odds(start.opacities, more.odds),
        sh=start.sh + more.colours.unflatten(-1, (4, 3)),
        labels=start.labels,
    )
    return _joined(parents, taken(head.analytic, head.interior), children)


@torch.no_grad()
def dense_in_place(head: DrivenHead, offsets: Offsets) -> Gaussians:
    """Return what `dense` returns, written over ``head.analytic``: half the time, and nothing to differentiate."""
    if offsets.children is None:
        return coarse(head, offsets)
    count, seen = len(head.avatar.points.positions), head.avatar.seen_count
    parents, children = slice(0, seen), slice(count, None)
    made, more, (scale, turn, colour, odds) = head.analytic, offsets.children, offsets.parents
    made.means[children].addcmul_(more.places, made.scales[parents].amax(dim=-1, keepdim=True))
    made.scales[parents].mul_(bounded(scale))
    made.quats[parents].copy_(normalize(turn.add_(made.quats[parents]), dim=-1))
    for name in ("scales", "quats"):
        getattr(made, name)[children].copy_(getattr(made, name)[parents])
    for rows, shift, factor in ((parents, colour, odds), (children, more.colours, more.odds)):
        made.sh[rows].add_(shift.unflatten(-1, (4, 3)))
        made.opacities[rows].copy_(with_odds(made.opacities[rows], factor))
    return made


def _joined(*parts: Gaussians) -> Gaussians:
    return Gaussians(**{name: torch.cat([getattr(part, name) for part in parts]) for name in _PARAMETERS})
