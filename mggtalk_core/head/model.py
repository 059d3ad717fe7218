"""`HeadModel`: a linear head of identity modes, the 52 blendshapes and eyeballs that turn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ..record import Record
from .model_file import read_model_file
from .parts import Part

MODEL_FILE = Path(__file__).parent.parent / "weights" / "files" / "head_model.safetensors"


@dataclass(frozen=True)
class HeadModel(Record):
    """Vertices are ``mean + identity_basis . identity + expression_basis . beta``, then the eyeballs turn.

    Canonical space: +x the subject's left, +y up, +z out of the face, 1 unit = 10 cm, origin midway between the
    eyeballs' centres.
    """

    mean: Float[Tensor, "v 3"]
    identity_basis: Float[Tensor, "k v 3"]
    """One standard deviation of each identity mode; the modes are orthogonal on the face."""
    expression_basis: Float[Tensor, "52 v 3"]
    """Displacements of the blendshapes, in the order of `BLENDSHAPES`; eyeballs are moved by the gaze alone."""
    triangles: Int[Tensor, "f 3"]
    """Corners run counterclockwise seen from outside."""
    parts: UInt8[Tensor, "v"]
    """`Part` of every vertex."""
    eye_mean: Float[Tensor, "2 3"]
    """Centres of the left and the right eyeball of the mean head."""
    eye_basis: Float[Tensor, "k 2 3"]
    """How identity moves those centres; their midpoint stays at the origin."""
    landmark_vertices: Int[Tensor, "478 3"]
    """The triangle's corners that each face mesh landmark lies between."""
    landmark_weights: Float[Tensor, "478 3"]
    """Barycentric weights of those corners."""
    mirror: Int[Tensor, "v"]
    """The vertex on the other side; the mean head is symmetric."""
    inner_lip: Int[Tensor, "lip"]
    """Closed contour along the line where the lips meet, from the subject's right corner over the upper lip."""
    eyelid_left: Int[Tensor, "lid"]
    """Closed contour along the lid margins, from the outer corner over the upper lid."""
    eyelid_right: Int[Tensor, "lid"]

    @property
    def modes(self) -> int:
        """Number of identity modes."""
        return self.identity_basis.shape[0]

    def eye_centers(self, identity: Float[Tensor, "k"]) -> Float[Tensor, "2 3"]:
        """Return the centres of the left and the right eyeball."""
        return self.eye_mean + torch.einsum("k,kec->ec", identity, self.eye_basis)

    def neutral(self, identity: Float[Tensor, "k"]) -> Float[Tensor, "v 3"]:
        """Return the head of one person at rest, looking straight ahead."""
        return self.mean + (identity @ self.identity_basis.flatten(1)).view_as(self.mean)

    def vertices(
        self, identity: Float[Tensor, "k"], beta: Float[Tensor, "52"], gaze: Float[Tensor, "4"]
    ) -> Float[Tensor, "v 3"]:
        """Return the head of one person with expression ``beta`` and ``gaze``.

        ``gaze``: left yaw, left pitch, right yaw, right pitch in radians; +yaw to the subject's left, +pitch up.
        """
        return self.expressed(self.neutral(identity), identity, beta, gaze)

    def expressed(
        self,
        neutral: Float[Tensor, "v 3"],
        identity: Float[Tensor, "k"],
        beta: Float[Tensor, "52"],
        gaze: Float[Tensor, "4"],
    ) -> Float[Tensor, "v 3"]:
        """Return `vertices` of a head whose `neutral` form is known: two thirds of the time."""
        vertices = neutral + (beta @ self.expression_basis.flatten(1)).view_as(self.mean)
        centers, turns = self.eye_centers(identity), gaze_rotations(gaze)
        for part, center, turn in zip((Part.EYE_LEFT, Part.EYE_RIGHT), centers, turns, strict=True):
            eye = self.parts == part
            vertices[eye] = (vertices[eye] - center) @ turn.T + center
        return vertices

    def mean_places(self, triangle: Int[Tensor, "n"], barycentric: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Return where on the mean head points lie by their triangle; 0 off the mesh (-1, with weights of 0)."""
        return (self.mean[self.triangles[triangle.clamp(min=0).long()]] * barycentric[..., None]).sum(dim=1)

    def landmarks(self, vertices: Float[Tensor, "v 3"]) -> Float[Tensor, "478 3"]:
        """Return where the 478 face mesh landmarks lie on a head in any space."""
        return (vertices[self.landmark_vertices] * self.landmark_weights[..., None]).sum(dim=1)


def gaze_rotations(gaze: Float[Tensor, "4"]) -> Float[Tensor, "2 3 3"]:
    """Return the rotation of the left and the right eyeball: pitch about x first, then yaw about y."""
    yaw, pitch = gaze.view(2, 2).unbind(dim=1)
    zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)
    turn = torch.stack((yaw.cos(), zero, yaw.sin(), zero, one, zero, -yaw.sin(), zero, yaw.cos()), dim=1)
    nod = torch.stack((one, zero, zero, zero, pitch.cos(), pitch.sin(), zero, -pitch.sin(), pitch.cos()), dim=1)
    return turn.view(2, 3, 3) @ nod.view(2, 3, 3)


@cache
def load_head_model() -> HeadModel:
    """Return the head model that comes with the package; read once per process.

    Raises WeightsError if the file is missing or damaged.
    """
    return HeadModel(**read_model_file(MODEL_FILE))
