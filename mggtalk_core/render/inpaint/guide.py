"""What the head model knows of a driven frame: which part each pixel shows, and where the source shows it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...head.camera import Camera
from ...head.head_fit import HeadFit
from ...head.landmark_model import IRISES
from ...head.model import HeadModel
from ...head.parts import Part
from ...head.zbuffer import rasterize_mesh
from ...record import Record
from ..pinholes import push_pull

CHANNELS = (
    "covered",
    "rest x",
    "rest y",
    "rest z",
    "flow x",
    "flow y",
    "seen",
    "face",
    "eye",
    "socket",
    "soft",
    "teeth",
)
"""Of a guide. ``rest``: where on the mean head the point lies; ``flow``: from the driven frame to the source;
``seen``: whether the source shows the point; then parts, ``eye`` being 1 on the eyeball and 2 on its iris, ``socket``
the mouth's and the eyes' inside, ``soft`` gums and tongue."""
FLOW = slice(4, 6)
MIRRORED = (1, 4)
"""Channels whose sign changes in a mirror."""
FLOW_SCALE = 1.0 / 32.0
"""A flow of 32 pixels is 1 in the guide."""
SOURCE_CHANNELS = (8, 9, 11)
"""Channels that tell what the source itself shows: eye, socket, teeth."""

_DEPTH_TOLERANCE = 0.04
"""A vertex is seen when nothing lies more than this before it (units of 10 cm)."""
_THROAT, _SHOULDERS = -1.25, -1.75
"""Heights on the mean head (units of 10 cm) between which the flow dies out downwards."""
_PARTS = ((Part.FACE,), (Part.EYE_LEFT, Part.EYE_RIGHT), (Part.MOUTH_SOCKET, Part.EYE_SOCKET), (Part.GUMS, Part.TONGUE),
          (Part.TEETH,))  # fmt: skip


@dataclass(frozen=True)
class DrivenHead(Record):
    """The fitted head model in one state."""

    vertices: Float[Tensor, "v 3"]
    """Crop pixels x, y and camera depth."""
    landmarks: Float[Tensor, "478 3"]
    """The same of the face mesh landmarks."""
    camera: Camera


class HeadGuide:
    """Draws the head model of one portrait in any state, beside its state in the source."""

    def __init__(self, model: HeadModel, fit: HeadFit) -> None:
        """Prepare what does not change from frame to frame."""
        self.model, self.fit, self._neutral = model, fit, model.neutral(fit.identity)
        self.source = self.driven(fit.beta_s, fit.gaze, fit.camera)
        parts = model.parts.long()
        kinds = [torch.isin(parts, torch.tensor([int(part) for part in kind])) for kind in _PARTS]
        self._eyeballs = kinds[1].float()[:, None]
        kinds[1] = kinds[1] * (1.0 + _iris(model))
        seen = _seen(self.source.vertices, model, fit.camera.width)
        self.mean_landmarks = model.landmarks(model.mean)
        """Canonical, of the mean head at rest: [478, 3]."""
        self.rest_landmarks = model.landmarks(self._neutral + fit.offsets)
        """Canonical, of this person at rest: [478, 3]."""
        self._fixed = torch.stack((seen, *(kind.float() for kind in kinds)), dim=1)  # [V, 6]

    def driven(self, beta: Float[Tensor, "52"], gaze: Float[Tensor, "4"], camera: Camera) -> DrivenHead:
        """Return the head in the given expression, gaze and pose."""
        beta, gaze = beta.to(self._neutral), gaze.to(self._neutral)
        vertices = self.model.expressed(self._neutral, self.fit.identity, beta, gaze)
        projected = camera.project(vertices + self.fit.offsets)
        return DrivenHead(projected, self.model.landmarks(projected), camera)

    def maps(
        self,
        head: DrivenHead,
        size: tuple[int, int],
        to_grid: Float[Tensor, "2 3"],
        source_to_grid: Float[Tensor, "2 3"],
        origin: Float[Tensor, "3"],
        extent: float,
        *,
        sunken: float = 0.0,
    ) -> Float[Tensor, "12 height width"]:
        """Return the guide (see `CHANNELS`) on a grid of ``size`` (height, width).

        The affine maps lead from crop pixels of the driven frame and of the source to pixels of the grid; the flow is
        measured there. ``origin`` and ``extent`` give the point and length of ``rest``'s 0 and 1; an extent below
        zero mirrors x. Eyeballs are drawn ``sunken`` units farther from the camera: the cornea of the model bulges
        through shut lids.
        """
        place, depth = _mapped(to_grid, head.vertices), head.vertices[:, 2:]
        depth = depth + sunken * self._eyeballs
        flow = (_mapped(source_to_grid, self.source.vertices) - place) * FLOW_SCALE
        scale = torch.tensor([1.0 / extent, 1.0 / abs(extent), 1.0 / abs(extent)])
        rest = (self.model.mean - origin) * scale
        values = torch.cat((torch.ones_like(depth), rest, flow, self._fixed), dim=1)
        return draw(torch.cat((place, depth), dim=1), values, self.model.triangles, size)


def draw(
    vertices: Float[Tensor, "v 3"], values: Float[Tensor, "v c"], triangles: Int[Tensor, "f 3"], size: tuple[int, int]
) -> Float[Tensor, "c height width"]:
    """Return the values of a mesh's vertices drawn on a grid of ``size`` (height, width), zero where it is not.

    The same as `rasterize_mesh` and `interpolate`, without the triangles that lie beside or between the pixels.
    """
    from .kernels import may_cover, spread_values

    corners, indices = vertices.float().contiguous().numpy(), triangles.contiguous().numpy()
    kept = np.empty_like(indices)
    kept = kept[: may_cover(corners, indices, size[1], size[0], kept)]
    _, triangle, weights = rasterize_mesh(vertices, torch.from_numpy(kept), size[1], size[0])
    maps = np.empty((values.shape[1], *size), np.float32)
    spread_values(values.float().contiguous().numpy(), kept, triangle.numpy(), weights.numpy(), maps)
    return torch.from_numpy(maps)


def _iris(model: HeadModel) -> Float[Tensor, "v"]:
    """Return 1 for vertices inside an iris, 0 outside, with a soft rim."""
    landmarks, iris = model.landmarks(model.mean), torch.zeros(len(model.mean))
    for ring in IRISES:
        center, rim = landmarks[ring][0], landmarks[ring][1:]
        radius = (rim - center).norm(dim=1).mean()
        distance = (model.mean - center).norm(dim=1)
        iris = torch.maximum(iris, ((1.4 - distance / radius) / 0.8).clamp(0.0, 1.0))
    return iris


def grid_map(scale: float) -> Float[Tensor, "2 3"]:
    """Return the affine map onto a grid that is ``scale`` times as fine."""
    return torch.tensor([[scale, 0.0, 0.0], [0.0, scale, 0.0]])


def whole_guide(guide: HeadGuide, head: DrivenHead, alpha: Float[Tensor, "1 512 512"], stem: int) -> Tensor:
    """Return the guide of the whole crop at 1/``stem``: float [12, 512/stem, 512/stem].

    Its flow covers the hair as well: it is spread from the mesh over all that the head covers (``alpha``) and dies out
    beyond, so that the source, looked up there, is a picture without tears.
    """
    size = alpha.shape[-1] // stem
    scaled = grid_map(1.0 / stem)
    maps = guide.maps(head, (size, size), scaled, scaled, torch.zeros(3), 1.0)
    # The model's shoulders turn with its head; real ones stay with the layer.
    held = ((maps[2] - _SHOULDERS) / (_THROAT - _SHOULDERS)).clamp(0.0, 1.0)
    maps[FLOW] *= held * stem / FLOW_SCALE  # in pixels of the crop
    maps[FLOW] = _spread(maps[FLOW], maps[0], alpha)
    return maps


def _spread(
    flow: Float[Tensor, "2 h w"], covered: Float[Tensor, "h w"], alpha: Float[Tensor, "1 height width"]
) -> Float[Tensor, "2 h w"]:
    import cv2

    height, width = covered.shape
    cover = covered.numpy()
    head = cv2.resize(alpha[0].float().cpu().numpy(), (width, height), interpolation=cv2.INTER_AREA)
    reach = cv2.dilate(np.maximum(head, cover), np.ones((5, 5), np.uint8))
    fade = cv2.blur(reach, (9, 9), borderType=cv2.BORDER_REPLICATE)
    picture = np.stack((*flow.numpy(), np.zeros_like(cover), cover), axis=-1)
    spread = push_pull(np.ascontiguousarray(picture), 6)[..., :2] * fade[..., None]
    return torch.from_numpy(np.ascontiguousarray(spread.transpose(2, 0, 1)))


def _mapped(matrix: Float[Tensor, "2 3"], points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 2"]:
    return points[:, :2] @ matrix[:, :2].T.to(points) + matrix[:, 2].to(points)


def _seen(vertices: Float[Tensor, "v 3"], model: HeadModel, size: int) -> Float[Tensor, "v"]:
    """Return 1 for vertices that the source shows, 0 for those that lie behind others or outside the picture."""
    depth, _, _ = rasterize_mesh(vertices, model.triangles, size, size)
    place = vertices[:, :2].floor().long()
    inside = ((place >= 0) & (place < size)).all(dim=1)
    column, row = place.clamp(0, size - 1).unbind(dim=1)
    front = depth[row, column]
    return (inside & ((front == 0.0) | (vertices[:, 2] <= front + _DEPTH_TOLERANCE))).float()
