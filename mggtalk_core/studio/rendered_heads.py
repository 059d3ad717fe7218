"""Pictures of heads whose true shape is known: ICT-FaceKit, painted, lit and given hair.

They are drawn from the full-resolution source, its hundred identity modes and all expressions, so the reduced head
model of the package, fitted to such a picture, has something to miss.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..geometry.interior import vertex_normals
from ..head.camera import Camera
from ..head.hairline import above_hairline, on_ears
from ..head.model import gaze_rotations
from ..head.parts import Part
from ..head.zbuffer import interpolate, rasterize_mesh
from ..motion.rotations import camera_rotation
from ..portrait.blendshapes import BLENDSHAPES
from .paint import FaceChart, Paint, albedo
from .source_head import SourceHead

SIZE = 640
DISTANCE = 9.6
"""Camera distance in units of 10 cm: the head fills two thirds of the picture's height."""
OVERSAMPLE = 2
MOUTH_SHAPES = ("jawOpen", "mouthFunnel", "mouthPucker", "mouthSmile", "mouthFrown", "mouthStretch", "mouthLowerDown")
UPPER_SHAPES = (
    "eyeBlink",
    "eyeSquint",
    "eyeWide",
    "browDown",
    "browInnerUp",
    "browOuterUp",
    "cheekSquint",
    "noseSneer",
)
_EYES = (Part.EYE_LEFT, Part.EYE_RIGHT)
SPREAD = 0.8
"""Standard deviation of the identity's coefficients, in those of the source."""


@dataclass(frozen=True)
class HeadState:
    """What a rendered head looks like, apart from its colours."""

    identity: Float[Tensor, "100"]
    beta: Float[Tensor, "52"]
    gaze: Float[Tensor, "4"]
    rotation: Float[Tensor, "3 3"]
    """Canonical to camera axes."""
    hairline: float
    """Shift of the hairline upwards, units of 10 cm."""
    hair: float
    """Thickness of the hair; 0 is bald."""


@dataclass(frozen=True)
class RenderedHead:
    """A picture and the shape behind it; camera axes and pixels are the picture's own."""

    image: Float[Tensor, "3 640 640"]
    camera: Camera
    vertices: Float[Tensor, "v 3"]
    """Canonical, with the shell of hair behind the head's own vertices."""
    triangles: Int[Tensor, "f 3"]
    root: Int[Tensor, "v"]
    """The head's own vertex that each vertex belongs to: itself, or the one that a vertex of the hair grows from."""
    state: HeadState


class HeadStudio:
    """Draws heads from ICT-FaceKit; the same seed gives the same picture."""

    def __init__(self, source: SourceHead, chart: FaceChart) -> None:
        """Keep the source's arrays as tensors; ``chart`` says where lips and brows are."""
        self._chart = chart
        self._neutral = torch.from_numpy(source.neutral).float()
        self._identity = torch.from_numpy(source.identity).float()
        self._expression = torch.from_numpy(source.expression).float()
        self._triangles = torch.from_numpy(source.triangles)
        self._parts = torch.from_numpy(source.parts)
        self._eyes = torch.from_numpy(source.eye_centers).float()

    def draw(self, seed: int, *, yaw: float | None = None, neutral: bool = False) -> RenderedHead:
        """Return a head drawn by chance.

        Args:
            seed: of everything.
            yaw: degrees to the subject's left; drawn too when None.
            neutral: at rest instead of with an expression.
        """
        random = np.random.default_rng(seed)
        state = drawn_state(random, yaw=yaw, neutral=neutral)
        return self.render(state, random)

    def render(
        self, state: HeadState, random: np.random.Generator, *, lens: float = 1.0, oversample: int = OVERSAMPLE
    ) -> RenderedHead:
        """Return the picture of a head.

        Args:
            state: what is drawn.
            random: gives colours, light and background.
            lens: factor on focal length and distance, so that the head keeps its size: below 1 a near wide angle.
            oversample: pixels drawn per pixel of the picture, along each axis.
        """
        vertices, triangles, root = self.mesh(state)
        pose = torch.eye(4)
        pose[:3, :3] = state.rotation
        pose[:3, 3] = torch.tensor([random.normal(0.0, 0.05), random.normal(0.0, 0.05), lens * DISTANCE])
        camera = Camera.for_crop(SIZE, pose)
        camera = replace(camera, focal=lens * camera.focal)
        image = self._picture(vertices, triangles, root, camera, random, oversample)
        return RenderedHead(image, camera, vertices, triangles, root, state)

    def mesh(self, state: HeadState) -> tuple[Float[Tensor, "v 3"], Int[Tensor, "f 3"], Int[Tensor, "v"]]:
        """Return vertices and triangles in canonical space, and the head's own vertex that each belongs to.

        The head's own vertices belong to themselves; those of the hair, behind them, to the place they grow from.
        """
        vertices = self._neutral + torch.einsum("k,kvc->vc", state.identity, self._identity)
        for index, (part, turn) in enumerate(zip(_EYES, gaze_rotations(state.gaze), strict=True)):
            eye = self._parts == int(part)
            moved = vertices[eye] - self._neutral[eye]
            center = self._eyes[index] + moved.mean(dim=0)
            vertices[eye] = (vertices[eye] - center) @ turn.T + center
        vertices = vertices + torch.einsum("k,kvc->vc", state.beta, self._expression)
        own = torch.arange(len(vertices))
        if state.hair == 0.0:
            return vertices, self._triangles, own
        grown = self._hair_field(state)
        normals = vertex_normals(vertices, self._triangles)
        rows = torch.nonzero(grown > 0.0).squeeze(-1)
        index = torch.full_like(own, -1)
        index[rows] = torch.arange(len(rows)) + len(vertices)
        triangles = index[self._triangles[(grown[self._triangles] > 0.0).all(dim=1)]]
        shell = vertices[rows] + normals[rows] * grown[rows, None]
        return torch.cat((vertices, shell)), torch.cat((self._triangles, triangles)), torch.cat((own, rows))

    def at_rest(self, root: Int[Tensor, "v"]) -> Float[Tensor, "v 3"]:
        """Return where vertices, or those that a `RenderedHead`'s belong to, are on the mean head."""
        return self._neutral[root]

    def is_skin(self, root: Int[Tensor, "v"]) -> Bool[Tensor, "v"]:
        """Tell the face's own vertices, in a `RenderedHead`'s order, from hair, eyes and the inside of the mouth."""
        own = torch.arange(len(root), device=root.device) < len(self._neutral)
        return own & (self._parts[root] == int(Part.FACE))

    def _hair_field(self, state: HeadState) -> Float[Tensor, "v"]:
        """Return the thickness of the hair over every vertex, growing with the distance from the hairline."""
        x, y, z = self._neutral.unbind(-1)
        over = above_hairline(self._neutral) - state.hairline
        skin = (self._parts == int(Part.SCALP)) | (self._parts == int(Part.FACE))
        waves = 1.0 + 0.2 * torch.sin(7.0 * x + 3.0 * z) * torch.sin(6.0 * y)
        return state.hair * (over / 0.35).clamp(0.0, 1.0).sqrt() * waves * (skin & ~on_ears(self._neutral))

    def _picture(
        self, vertices: Tensor, triangles: Tensor, root: Tensor, camera: Camera, random: np.random.Generator,
        oversample: int,
    ) -> Float[Tensor, "3 640 640"]:  # fmt: skip
        fine = camera.resized(SIZE * oversample, SIZE * oversample)
        _, triangle, barycentric = rasterize_mesh(fine.project(vertices), triangles, fine.width, fine.height)
        is_hair = torch.arange(len(root)) >= len(self._neutral)
        rest = interpolate(self._neutral[root], triangles, triangle, barycentric)
        normals = interpolate(vertex_normals(vertices, triangles) @ fine.rotation.T, triangles, triangle, barycentric)
        hair = interpolate(is_hair.float()[:, None], triangles, triangle, barycentric)[0]
        part = self._parts[root[triangles[triangle.clamp(min=0), 0]]]
        paint = Paint.drawn(random)
        colour = albedo(paint, self._chart, rest, part, hair, self._eyes)
        lit = colour * _light(normals, random)
        covered = triangle >= 0
        picture = torch.where(covered, lit, _backdrop(random, fine.height))
        return avg_pool2d(picture[None], oversample)[0].clamp(0.0, 1.0) ** (1.0 / 2.2)


def drawn_state(random: np.random.Generator, *, yaw: float | None, neutral: bool) -> HeadState:
    """Draw shape, expression, gaze, pose and hair."""
    beta = np.zeros(len(BLENDSHAPES))
    if not neutral:
        for names, most in ((MOUTH_SHAPES, 3), (UPPER_SHAPES, 2)):
            for stem in random.choice(names, size=random.integers(1, most + 1), replace=False):
                amount = random.uniform(0.1, 0.8)
                for index, name in enumerate(BLENDSHAPES):
                    if name.startswith(stem) and name.removeprefix(stem) in ("", "Left", "Right"):
                        beta[index] = np.clip(amount * random.uniform(0.8, 1.2), 0.0, 1.0)
    angles = np.array([random.normal(0.0, 18.0) if yaw is None else yaw, random.normal(0.0, 6.0), random.normal(0, 4)])
    gaze = np.tile(np.deg2rad(random.normal(0.0, 5.0, 2)), 2)
    return HeadState(
        identity=torch.from_numpy(SPREAD * random.standard_normal(100)).float(),
        beta=torch.from_numpy(beta).float(),
        gaze=torch.from_numpy(gaze).float(),
        rotation=camera_rotation(*torch.from_numpy(angles)).float(),
        hairline=float(random.normal(0.0, 0.06)),
        hair=float(random.choice([0.0, 0.08, 0.15, 0.25, 0.35])),
    )


def _light(normals: Float[Tensor, "3 height width"], random: np.random.Generator) -> Float[Tensor, "1 height width"]:
    """Return a key light from above and the side, a weak one opposite, and the light of the room."""
    side, height = random.uniform(-0.8, 0.8), random.uniform(0.1, 0.8)
    normals = normals / normals.norm(dim=0, keepdim=True).clamp(min=1e-6)
    total = torch.full_like(normals[:1], 0.35)
    for x, share in ((side, 0.75), (-side, 0.2)):
        towards = normals.new_tensor([x, -height, -1.0])
        towards = towards / towards.norm()
        total = total + share * torch.einsum("c,chw->hw", towards, normals).clamp(min=0.0)
    return total


def _backdrop(random: np.random.Generator, size: int) -> Float[Tensor, "3 size size"]:
    """Return a plain wall, a little lighter at one end."""
    ends = torch.from_numpy(random.uniform(0.05, 0.7, (2, 3, 1, 1))).float()
    return torch.lerp(ends[0], 0.5 * (ends[0] + ends[1]), torch.linspace(0.0, 1.0, size)[:, None].expand(3, size, size))
