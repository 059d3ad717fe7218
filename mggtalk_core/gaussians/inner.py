"""Colour of what the picture hides: teeth, gums, tongue, mouth socket and the covered part of the eyeballs."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from ..head.model import HeadModel
from ..head.parts import MOUTH, Part

BASE_COLOURS: dict[Part, tuple[float, float, float]] = {
    Part.MOUTH_SOCKET: (0.45, 0.20, 0.20),
    Part.GUMS: (0.80, 0.50, 0.50),
    Part.TEETH: (0.95, 0.91, 0.84),
    Part.TONGUE: (0.78, 0.60, 0.62),
    Part.EYE_SOCKET: (0.55, 0.36, 0.32),
}
"""Albedo under white light; tinted and scaled by the light on the face."""
EXTINCTION = (1.2, 2.0, 2.2)
"""How fast the light falls behind the lips, red, green and blue, per unit of 10 cm: what flesh reflects is red.

It and the colours of the tongue follow filmed open mouths: medians over 62 clips by depth behind the lips.
"""
HIDDEN_TEETH = 0.8
"""Brightness of teeth that the picture hides over that of those in a smile: lips shade them, and often cover them."""
CAVITY = (0.40, 0.15, 0.14)
"""What is left of red, green and blue on skin that is seen from inside the mouth."""
INSIDE_LIPS = (0.75, 0.48, 0.45)
"""The same on the inner side of a lip: backing behind what is seen between the lips."""
FULL_COLOUR = 0.25
"""Saturation of the face from which the mouth has its full colour: statues and grey pictures have grey mouths."""
PROFILE_BINS = 24
PROFILE_STEP = 0.045
"""Radians per bin of the eyeball's colour profile around the line of sight: about a fifth of the iris."""
IRIS_ANGLE = 0.5
"""Angular radius of the iris seen from the eyeball's centre, radians."""


def inner_colours(
    model: HeadModel,
    rest: Float[Tensor, "vertices 3"],
    light: Float[Tensor, "3"],
    teeth: Float[Tensor, "3"] | None = None,
) -> Float[Tensor, "vertices 3"]:
    """Return vertex colours of mouth and eye sockets under the light that falls on the face.

    Args:
        model: The head model.
        rest: Its vertices at the source expression, canonical.
        light: Bright skin colour of the face; its tint and brightness stand for the light.
        teeth: Colour of the front teeth in that light, where the picture shows them.
    """
    brightness = light.mean()
    tint = (light / brightness.clamp(min=1e-3)) ** 0.5
    colours = torch.zeros_like(rest)
    for part, albedo in BASE_COLOURS.items():
        rows = model.parts == part
        lit = flesh(albedo, light) * tint * brightness * 1.25
        if part == Part.TEETH:
            lit = HIDDEN_TEETH * (lit if teeth is None else teeth)
        shade = _cavity_shade(rest[rows], rest[model.inner_lip], light) if part in MOUTH else 1.0
        colours[rows] = lit * shade
    return colours.clamp(0.0, 1.0)


def flesh(values: tuple[float, float, float], light: Float[Tensor, "3"]) -> Float[Tensor, "3"]:
    """Return red, green and blue of something in the mouth, less different where a face in this ``light`` is grey."""
    colourful = ((light.amax() - light.amin()) / light.amax().clamp(min=1e-3) / FULL_COLOUR).clamp(max=1.0)
    full = light.new_tensor(values)
    return torch.lerp(full.mean(), full, colourful)


def _cavity_shade(
    points: Float[Tensor, "k 3"], lips: Float[Tensor, "m 3"], light: Float[Tensor, "3"]
) -> Float[Tensor, "k 3"]:
    """Return how much light of each colour reaches points that lie behind the lips."""
    behind = (lips[:, 2].amax() - points[:, 2]).clamp(min=0.0)
    return torch.exp(-behind[:, None] * flesh(EXTINCTION, light))


def eyeball_angle(
    points: Float[Tensor, "k 3"], center: Float[Tensor, "3"], gaze: Float[Tensor, "2"]
) -> Float[Tensor, "k"]:
    """Return the angle between points on an eyeball and its line of sight (yaw, pitch), radians."""
    yaw, pitch = gaze
    axis = torch.stack((yaw.sin() * pitch.cos(), pitch.sin(), yaw.cos() * pitch.cos()))
    return torch.arccos((normalize(points - center, dim=-1) @ axis).clamp(-1.0, 1.0))


def eyeball_profile(
    angle: Float[Tensor, "k"], colour: Float[Tensor, "k 3"], light: Float[Tensor, "3"]
) -> Float[Tensor, "bins 3"]:
    """Return the eyeball's colour by angle from the line of sight: medians of the picture, else a guess."""
    bins = (angle / PROFILE_STEP).long()
    centers = (torch.arange(PROFILE_BINS, device=angle.device) + 0.5) * PROFILE_STEP
    brightness = light.mean()
    iris = brightness * angle.new_tensor((0.28, 0.20, 0.15))
    sclera = _sclera(angle, colour, light)
    default = torch.where((centers < IRIS_ANGLE)[:, None], iris, sclera)
    default = torch.where((centers < 0.4 * IRIS_ANGLE)[:, None], 0.2 * iris, default)
    rows = []
    for index in range(PROFILE_BINS):
        seen = colour[bins == index]
        trusted = len(seen) > 3 and bool(centers[index] < 1.3 * IRIS_ANGLE)
        rows.append(seen.median(dim=0).values if trusted else default[index])
    return torch.stack(rows)


def _sclera(angle: Float[Tensor, "k"], colour: Float[Tensor, "k 3"], light: Float[Tensor, "3"]) -> Float[Tensor, "3"]:
    """Return the colour of the white of the eye: the brighter part of what is seen beyond the iris."""
    white = colour[angle > 1.2 * IRIS_ANGLE]
    if len(white) < 8:
        return (light.mean() * light.new_tensor((0.98, 0.94, 0.92))).clamp(0.0, 1.0)
    return torch.quantile(white, 0.6, dim=0)


def profile_colours(profile: Float[Tensor, "bins 3"], angle: Float[Tensor, "k"]) -> Float[Tensor, "k 3"]:
    """Read the profile at each angle, linearly between bins."""
    position = (angle / PROFILE_STEP - 0.5).clamp(0.0, PROFILE_BINS - 1.001)
    lower: Int[Tensor, "k"] = position.long()
    t = (position - lower)[:, None]
    return profile[lower] * (1.0 - t) + profile[lower + 1] * t


def part_of(model: HeadModel, triangle: Int[Tensor, "n"]) -> Int[Tensor, "n"]:
    """Return the part of the head model each point lies on, -1 off the mesh."""
    part = model.parts[model.triangles[triangle.clamp(min=0).long(), 0]].long()
    return torch.where(triangle >= 0, part, torch.full_like(part, -1))


def is_mouth(part: Int[Tensor, "n"]) -> Bool[Tensor, "n"]:
    """Tell which parts lie behind the lips."""
    return torch.isin(part, part.new_tensor([int(each) for each in MOUTH]))
