"""Pinhole cameras in the OpenCV convention."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from ..record import Record

FOCAL_PER_PIXEL = 1400.0 / 512.0
"""Default focal length in pixels, per pixel of image width."""


@dataclass(frozen=True)
class Camera(Record):
    """A pinhole camera: x right, y down, z forward; pixel centres at +0.5."""

    world_to_camera: Float[Tensor, "4 4"]
    """Rigid transform from canonical head space (1 unit = 10 cm) to camera space."""
    focal: float
    """Focal length in pixels, the same for x and y."""
    width: int
    height: int

    @classmethod
    def for_crop(cls, size: int = 512, world_to_camera: Float[Tensor, "4 4"] | None = None) -> Camera:
        """Return the default camera of a square crop of ``size`` pixels, principal point at its centre."""
        pose = torch.eye(4) if world_to_camera is None else world_to_camera
        return cls(pose, FOCAL_PER_PIXEL * size, size, size)

    @property
    def center(self) -> tuple[float, float]:
        """Principal point (x, y) in pixels: the middle of the picture."""
        return self.width / 2.0, self.height / 2.0

    @property
    def rotation(self) -> Float[Tensor, "3 3"]:
        """Rotation part of the pose."""
        return self.world_to_camera[:3, :3]

    @property
    def translation(self) -> Float[Tensor, "3"]:
        """Translation part of the pose, in units of 10 cm."""
        return self.world_to_camera[:3, 3]

    @property
    def place(self) -> Float[Tensor, "3"]:
        """Where the camera stands, in canonical space."""
        return -self.rotation.T @ self.translation

    def sight(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Return the directions, of length 1, in which canonical ``points`` see the camera."""
        return normalize(self.place.to(points) - points, dim=-1)

    def turned_from(self, other: Camera) -> Float[Tensor, ""]:
        """Return the angle, in radians, between the directions from which this camera and another see the origin."""
        cosine = torch.cosine_similarity(self.place, other.place.to(self.place), dim=0)
        return cosine.clamp(-1.0, 1.0).acos()

    def posed(self, rotation: Float[Tensor, "3 3"], translation: Float[Tensor, "3"]) -> Camera:
        """Return this camera with another world-to-camera pose."""
        pose = torch.eye(4, dtype=rotation.dtype, device=rotation.device)
        pose[:3, :3], pose[:3, 3] = rotation, translation
        return replace(self, world_to_camera=pose)

    def resized(self, width: int, height: int) -> Camera:
        """Return the same view on another pixel grid; the focal length follows the width."""
        return replace(self, focal=self.focal * width / self.width, width=width, height=height)

    def to_camera(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Move canonical points into camera space."""
        return points @ self.rotation.T.to(points) + self.translation.to(points)

    def project(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Project canonical points: pixel x, pixel y, camera depth z."""
        x, y, z = self.to_camera(points).unbind(-1)
        cx, cy = self.center
        return torch.stack((self.focal * x / z + cx, self.focal * y / z + cy, z), dim=-1)

    def unproject(self, pixels: Float[Tensor, "n 2"], depth: Float[Tensor, "n"]) -> Float[Tensor, "n 3"]:
        """Lift pixels at camera depth ``depth`` back to canonical space."""
        offset = pixels - pixels.new_tensor(self.center)
        points = torch.cat((offset * (depth / self.focal)[:, None], depth[:, None]), dim=-1)
        return (points - self.translation.to(points)) @ self.rotation.to(points)
