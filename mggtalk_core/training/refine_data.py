"""Rendered heads as the geometry refinement sees them: landmarks, fit and picture, and how wrong its depth is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from ..errors import InputError
from ..evaluation.known_shapes import Similarity
from ..head.camera import Camera
from ..head.fit import fit_head
from ..head.head_fit import HeadFit
from ..head.model import HeadModel, load_head_model
from ..head.parts import Part
from ..head.zbuffer import interpolate as spread
from ..head.zbuffer import rasterize_mesh
from ..parallel import one_thread
from ..portrait.face_frame import FaceFrame
from ..portrait.landmarker import FaceLandmarker
from ..portrait.warp import Region, apply, warp
from ..processes import in_processes
from ..progress import OnStep, ignore_steps
from ..record import Record
from ..studio.paint import FaceChart
from ..studio.rendered_heads import HeadStudio, RenderedHead, drawn_state
from ..studio.source_head import PART_RANGES, SourceHead, read_source
from .head_model_depths import mean_before, read_depths

Example = TypeVar("Example")

LAST_SEED = 999_999
"""Heads beyond are for measuring."""
FIRST_VAL = 900_000
"""Heads from here on judge a training while it runs."""
PICTURE = 128
"""Edge of the crop that is kept."""
GRID = 256
"""Edge of the pixel grid on which shapes are compared."""
SEEN = 0.02
"""A vertex is seen when it lies at most this far behind the nearest surface, units of 10 cm."""
LARGEST = 0.25
"""A difference in depth beyond this is no error of the same surface: outlines do not meet there."""
HIDDEN_WEIGHT = 0.3
"""What vertices count that the picture does not show."""
FACE_BACK = -0.7
"""Canonical z before which lies the face."""
SKIN_END = PART_RANGES[Part.SCALP][0].stop
"""Vertices of the source up to here are skin."""
LENSES = (0.55, 2.5)
"""Range of the factor on focal length and distance."""
CROPS = (2.15, 2.8)
"""Range of the crop's edge in face heights."""


@dataclass(frozen=True)
class RefineExample(Record):
    """One rendered head, fitted, and the error of its depth."""

    picture: Float[Tensor, "3 128 128"]
    """The crop; the camera's pixels are those of 512."""
    landmarks: Float[Tensor, "478 3"]
    fit: HeadFit
    depth: Float[Tensor, "v"]
    """By how much every vertex of the model should lie farther from the camera, units of 10 cm."""
    weight: Float[Tensor, "v"]
    """How surely that is known; 0 where it is not."""


@dataclass(frozen=True)
class Sitters:
    """Heads to draw, and what is needed to fit and compare them."""

    model: HeadModel
    studio: HeadStudio
    landmarker: FaceLandmarker
    twin: Int[Tensor, "v"]
    """The source's vertex at the place of every vertex of the model."""


@cache
def sitters(folder: Path) -> Sitters:
    """Return the heads of ICT-FaceKit's raw data in ``folder``; read once per process.

    Raises:
        InputError: the data are missing.
    """
    source, model = read_source(folder), load_head_model()
    return Sitters(model, HeadStudio(source, FaceChart(model)), FaceLandmarker(), twins(model, source))


def twins(model: HeadModel, source: SourceHead) -> Int[Tensor, "v"]:
    """Return the vertex of the source, among those it keeps, that every vertex of the mean head was taken from."""
    from scipy.spatial import cKDTree

    kept = np.flatnonzero(source.parts >= 0)
    fields = {name: value.cpu().numpy() for name, value in vars(model).items()}
    _, nearest = cKDTree(source.neutral[kept]).query(mean_before(fields, read_depths()))
    return torch.from_numpy(kept[nearest])


@one_thread()
def draw_example(heads: Sitters, seed: int) -> RefineExample:
    """Draw a head by chance, spoil its picture as pictures are spoilt, and fit it as the pipeline does.

    Raises:
        InputError: the landmark network does not find the face.
    """
    random = np.random.default_rng([seed, 7])
    state = drawn_state(random, yaw=None, neutral=bool(random.random() < 0.3))
    lens = float(np.exp(random.uniform(*np.log(LENSES))))
    head = heads.studio.render(state, random, lens=lens, oversample=1)
    picture = np.round(spoilt(head.image, random).permute(1, 2, 0).numpy() * 255.0).astype(np.uint8)
    faces = heads.landmarker.detect(picture, precise=True, upright=True)
    if not faces:
        raise InputError(f"Head {seed} is not recognised as a face.")
    seen = faces[0].landmarks.double().numpy()
    to_crop, scale = _crop(seen, random)
    landmarks = np.concatenate((apply(to_crop, seen[:, :2]), seen[:, 2:] * scale), axis=1)
    landmarks = torch.from_numpy(landmarks).float()
    fit = fit_head(heads.model, landmarks, faces[0].blendshapes, Camera.for_crop(512))
    depth, weight = depth_errors(heads, head, torch.from_numpy(to_crop).float(), fit)
    crop = warp(picture, to_crop, (512, 512), replicate=True)
    small = avg_pool2d(torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255.0, 512 // PICTURE)[0]
    return RefineExample(small, landmarks, fit, depth, weight)


def spoilt(image: Float[Tensor, "3 h w"], random: np.random.Generator) -> Float[Tensor, "3 h w"]:
    """Return a picture with other exposure, tint and contrast, blurred and noisy, sometimes grey."""
    gain, tint = random.uniform(0.7, 1.3), random.normal(1.0, 0.08, (3, 1, 1))
    image = (image * torch.from_numpy(gain * tint).float()).clamp(0.0, 1.0) ** float(random.uniform(0.7, 1.4))
    if random.random() < 0.15:
        image = image.mean(dim=0, keepdim=True).expand(3, -1, -1)
    if random.random() < 0.5:
        size, shrunk = image.shape[-2:], float(random.uniform(0.25, 0.9))
        small = interpolate(image[None], scale_factor=shrunk, mode="bilinear", antialias=True)
        image = interpolate(small, size=size, mode="bilinear")[0]
    grain = torch.from_numpy(random.standard_normal(tuple(image.shape))).float()
    return (image + float(random.uniform(0.0, 0.05)) * grain).clamp(0.0, 1.0)


def _crop(landmarks: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, float]:
    """Return a crop like the pipeline's, whose size and place depend on the hair: the map to it and its scale."""
    frame = FaceFrame.from_landmarks(landmarks)
    size = frame.height * random.uniform(*CROPS)
    center = frame.to_pixels(np.array([[0.0, 0.15]]) + random.normal(0.0, 0.06, (1, 2)))[0]
    return Region(center, size).to_crop(512), 512.0 / size


def depth_errors(
    heads: Sitters, head: RenderedHead, to_crop: Float[Tensor, "2 3"], fit: HeadFit
) -> tuple[Float[Tensor, "v"], Float[Tensor, "v"]]:
    """Return by how much every vertex of a fit should lie farther away, and how surely.

    Scale and rigid pose of a head cannot be told from one picture: the truth is laid onto the fitted face by the best
    similarity first. What is seen is compared pixel by pixel, what is hidden vertex by vertex; hair is left away.
    """
    model, camera = heads.model, fit.camera.resized(GRID, GRID)
    truth, true_map = _true_map(head, to_crop)
    vertices = model.vertices(fit.identity, fit.beta_s, fit.gaze) + fit.offsets
    projected = camera.project(vertices)
    nearest, triangle, barycentric = rasterize_mesh(projected, model.triangles, GRID, GRID)
    fitted_map = spread(vertices, model.triangles, triangle, barycentric)
    skin = model.parts <= int(Part.SCALP)
    both = (triangle >= 0) & skin[model.triangles[triangle.clamp(min=0), 0]] & true_map.isfinite().all(dim=0)
    face = both & (fitted_map[2] > FACE_BACK)
    laid = Similarity.between(true_map[:, face].T, fitted_map[:, face].T)
    axis = camera.rotation[2]
    error = torch.einsum("c,chw->hw", axis, laid(true_map.flatten(1).T).T.reshape_as(true_map) - fitted_map)
    column, row = (projected[:, place].floor().long() for place in (0, 1))
    inside = (column >= 0) & (column < GRID) & (row >= 0) & (row < GRID)
    column, row = column.clamp(0, GRID - 1), row.clamp(0, GRID - 1)
    seen = inside & both[row, column] & (projected[:, 2] < nearest[row, column] + SEEN) & skin
    hidden = (laid(truth[heads.twin]) - vertices) @ axis
    depth = torch.where(seen, error[row, column], hidden)
    sure = seen + HIDDEN_WEIGHT * (skin & ~seen)
    return depth.clamp(-LARGEST, LARGEST), sure * (depth.abs() < LARGEST)


def _true_map(head: RenderedHead, to_crop: Float[Tensor, "2 3"]) -> tuple[Float[Tensor, "v 3"], Float[Tensor, "3 h w"]]:
    """Return the head's own vertices, and its bald skin on the crop's pixels; NaN elsewhere."""
    own = int(head.root.max()) + 1
    truth, triangles = head.vertices[:own], head.triangles[(head.triangles < own).all(dim=1)]
    pixels = head.camera.project(truth)
    flat = (pixels[:, :2] @ to_crop[:, :2].T + to_crop[:, 2]) * (GRID / 512)
    _, triangle, barycentric = rasterize_mesh(torch.cat((flat, pixels[:, 2:]), dim=1), triangles, GRID, GRID)
    skin = (triangle >= 0) & (triangles[triangle.clamp(min=0), 0] < SKIN_END)
    return truth, spread(truth, triangles, triangle, barycentric).masked_fill(~skin, torch.nan)


def write_example(path: Path, example: RefineExample) -> None:
    """Write an example as one small file."""
    fit = example.fit
    tensors = {
        "picture": (example.picture * 255.0 + 0.5).to(torch.uint8),
        "landmarks": example.landmarks,
        "depth": example.depth.half(),
        "weight": example.weight.half(),
        "identity": fit.identity,
        "beta_s": fit.beta_s,
        "gaze": fit.gaze,
        "pose": fit.camera.world_to_camera,
        "offsets": fit.offsets.half(),
        "residual": torch.tensor(fit.residual),
    }
    part = path.with_suffix(".part")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part)
    part.replace(path)


def read_example(path: Path) -> RefineExample:
    """Read an example; raise `InputError` if the file is damaged."""
    try:
        tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
        fit = HeadFit(
            identity=tensors["identity"], beta_s=tensors["beta_s"], gaze=tensors["gaze"],
            camera=Camera.for_crop(512, tensors["pose"]), offsets=tensors["offsets"],
            residual=float(tensors["residual"]),
        )  # fmt: skip
        picture = tensors["picture"] / 255.0
        return RefineExample(picture, tensors["landmarks"], fit, tensors["depth"], tensors["weight"])
    except Exception as problem:  # safetensors raises its own kinds of errors for damaged files
        raise InputError(f"{path} cannot be read ({problem}): delete it and prepare again.") from problem


@dataclass(frozen=True)
class _Drawing(Generic[Example]):
    """Draws the head of a seed into a file; sent to processes."""

    data: Path
    place: Callable[[int], Path]
    draw: Callable[[Sitters, int], Example]
    write: Callable[[Path, Example], None]

    def __call__(self, seed: int, on_step: OnStep) -> bool:
        path = self.place(seed)
        if not path.is_file():
            on_step(0, 1)
            try:
                self.write(path, self.draw(sitters(self.data), seed))
            except InputError:
                return False
        return True


def draw_files(
    data: Path,
    place: Callable[[int], Path],
    draw: Callable[[Sitters, int], Example],
    write: Callable[[Path, Example], None],
    seeds: range,
    jobs: int,
    on_step: OnStep,
) -> int:
    """Draw an example of every seed that has no file yet; return how many seeds have one then.

    ``place`` gives the file of a seed. A seed whose example cannot be drawn is passed over.

    Raises:
        InputError: the raw data of ICT-FaceKit are not in the folder ``data``.
    """
    if not (data / "ict_facekit.npz").is_file():
        raise InputError(f"{data / 'ict_facekit.npz'} is missing: give the folder that holds it.")
    place(seeds[0]).parent.mkdir(parents=True, exist_ok=True)
    done = drawn = 0
    work = in_processes(_Drawing(data, place, draw, write), seeds, jobs, lambda: on_step(done, len(seeds)))
    for _, there in work:
        done, drawn = done + 1, drawn + there
        on_step(done, len(seeds))
    return drawn


def example_path(folder: Path, seed: int) -> Path:
    """Return where the head of a seed is kept."""
    return folder / f"head_{seed:06d}.safetensors"


def prepare_heads(
    data: Path, folder: Path, count: int, *, first: int = 0, jobs: int = 1, on_step: OnStep = ignore_steps
) -> int:
    """Draw the heads of ``count`` seeds that are not in ``folder`` yet; return how many there are.

    Raises:
        InputError: the raw data are missing, or the seeds are among those kept for measuring.
    """
    if count < 1 or first + count - 1 > LAST_SEED:
        raise InputError(f"Draw at least 1 head, with seeds up to {LAST_SEED}: the others are for measuring.")
    place = partial(example_path, folder)
    return draw_files(data, place, draw_example, write_example, range(first, first + count), jobs, on_step)
