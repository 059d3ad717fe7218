"""The whole paper on one page: the stages in order, nothing hidden.

``reconstruct`` turns a portrait into an `Head`; ``drive`` sets it in motion; ``frames`` renders it. Every stage is one
call into its folder, and every ComfyUI node is one of these calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from .clock import StageClock
from .gaussians.calibrate import RenderFunction
from .gaussians.gaussians import Gaussians
from .gaussians.predict import AnalyticSequence, predict_gaussians
from .gaussians.shipped import with_shipped_networks
from .geometry.network_options import NetworkOptions
from .geometry.points import HeadPoints
from .geometry.reconstruct import reconstruct_surface
from .geometry.refine import refined_fit
from .geometry.surface import Surface
from .geometry.symmetry import symmetric_geometry
from .head.camera import Camera
from .head.fit import fit_head
from .head.head_fit import HeadFit
from .head.model import HeadModel, load_head_model
from .motion.deform import Binding, bind_points
from .motion.driven import DrivenPoints
from .motion.motion import Motion
from .motion.retarget import retarget
from .motion.still import still_motion
from .parallel import ordered_map
from .portrait.load import load_portrait
from .portrait.portrait import Portrait
from .progress import OnStep, ignore_steps
from .render.finish import Finisher
from .render.rasterize import check_backend, render
from .render.rendering import Rendering

BUILD_STEPS = 5


@dataclass(frozen=True)
class Settings:
    """What the user can choose about the head and its picture."""

    face: int | None = None
    """Which face of the picture, counted from the largest; None takes the largest."""
    refine: bool = True
    """Correct the fitted head's depth by what was learned about it (eq. 2); `learned` turns this off as well."""
    provider: str = "mesh"
    networks: NetworkOptions = NetworkOptions()
    """How the providers that are networks run, and where their weights are."""
    backend: str = "auto"
    torso: str = "follow"
    """``follow``: neck and shoulders go along with the head, as they do in clips; ``hold``: they stay still."""
    reference: str = "first"
    strength: float = 1.0
    yaw: float = 0.0
    """Extra turn of the head to the subject's left, degrees."""
    pitch: float = 0.0
    """Extra turn of the head upwards, degrees."""
    learned: bool = True
    """False leaves every network of this project's own out: the analytic stages alone."""

    @property
    def refines(self) -> bool:
        """Whether heads are refined, the portrait's and a driving clip's alike."""
        return self.refine and self.learned


@dataclass(frozen=True)
class Head:
    """A reconstructed head, ready to be driven."""

    portrait: Portrait
    model: HeadModel
    fit: HeadFit
    surface: Surface
    points: HeadPoints
    binding: Binding
    still: AnalyticSequence
    """The head at the source pose and expression: one frame, calibrated against the picture."""


@dataclass(frozen=True)
class Frame:
    """One finished frame."""

    image: Float[Tensor, "3 512 512"]
    """The crop: head over torso-background."""
    rendering: Rendering
    """The head alone, premultiplied."""


def reconstruct(
    image: Float[Tensor, "3 height width"],
    settings: Settings | None = None,
    *,
    clock: StageClock | None = None,
    on_step: OnStep = ignore_steps,
) -> Head:
    """Build the Gaussian head of a portrait (paper 3.1 and the frame-independent part of 3.2).

    Args:
        image: The picture, sRGB in 0..1.
        settings: Provider of depth and normals, face index, rasteriser.
        clock: Collects seconds per stage.
        on_step: Progress; raising from it aborts.

    Raises:
        InputError: no usable face, or a provider or rasteriser that cannot run here.
    """
    settings, clock = settings or Settings(), clock or StageClock()
    check_backend(settings.backend)
    with clock("portrait"):
        portrait = load_portrait(image, face=settings.face, on_step=_during(on_step, 0))
    on_step(1, BUILD_STEPS)
    return build_head(portrait, settings, clock=clock, on_step=on_step)


def build_head(
    portrait: Portrait,
    settings: Settings | None = None,
    *,
    clock: StageClock | None = None,
    on_step: OnStep = ignore_steps,
) -> Head:
    """Build the Gaussian head of a portrait that is loaded already; see `reconstruct`."""
    settings, clock = settings or Settings(), clock or StageClock()
    model = load_head_model()
    with clock("head"):
        fit = fitted_head(portrait, model, refine=settings.refines)
    on_step(2, BUILD_STEPS)
    with clock("surface"):
        surface = reconstruct_surface(
            portrait, fit, model, provider=settings.provider, networks=settings.networks, on_step=_during(on_step, 2)
        )
    on_step(3, BUILD_STEPS)
    with clock("symmetry"):
        points = symmetric_geometry(surface, model)
        binding = bind_points(points, model)
    on_step(4, BUILD_STEPS)
    with clock("gaussians"):
        driven = DrivenPoints(points, binding, still_motion(fit, model))
        still = predict(portrait, driven, settings, on_step=_during(on_step, 4))
    on_step(5, BUILD_STEPS)
    return Head(portrait, model, fit, surface, points, binding, still)


def fitted_head(portrait: Portrait, model: HeadModel, *, refine: bool = True) -> HeadFit:
    """Fit the head model to a portrait and, if wanted, correct its depth (eq. 2)."""
    fit = fit_head(model, portrait.landmarks, portrait.blendshapes, Camera.for_crop(512))
    return refined_fit(fit, model, portrait.landmarks, portrait.crop) if refine else fit


def surface_of(
    portrait: Portrait,
    provider: str = "mesh",
    *,
    depth: Float[Tensor, "512 512"] | None = None,
    normals: Float[Tensor, "3 512 512"] | None = None,
    detect_signs: bool = False,
    networks: NetworkOptions | None = None,
    prior_weight: float = 1.0,
    refine: bool = True,
    on_step: OnStep = ignore_steps,
) -> Surface:
    """Fit the head model to a portrait, refine it, and reconstruct the surface that is seen (eq. 1 and 2).

    ``refine``: as in `Settings`; for the rest see `reconstruct_surface`.
    """
    model = load_head_model()
    fit = fitted_head(portrait, model, refine=refine)
    return reconstruct_surface(
        portrait, fit, model, provider=provider, depth=depth, normals=normals, detect_signs=detect_signs,
        networks=networks, prior_weight=prior_weight, on_step=on_step,
    )  # fmt: skip


def driven_points(points: HeadPoints, motion: Motion, settings: Settings | None = None) -> DrivenPoints:
    """Retarget a driving motion onto the head of a point cloud and bind the points to it (paper D.2)."""
    model = load_head_model()
    return DrivenPoints(points, bind_points(points, model), retargeted(motion, points.fit, model, settings))


def predict(
    portrait: Portrait, driven: DrivenPoints, settings: Settings | None = None, *, on_step: OnStep = ignore_steps
) -> AnalyticSequence:
    """Turn driven points into Gaussians that meet the picture at the source pose (paper 3.2)."""
    settings = settings or Settings()
    sequence = predict_gaussians(portrait, driven, _renderer(settings.backend, on_step))
    return with_shipped_networks(sequence, portrait) if settings.learned else sequence


def drive(head: Head, motion: Motion, settings: Settings | None = None) -> AnalyticSequence:
    """Retarget a driving motion onto the head (paper D.2) and return its Gaussians, frame by frame on demand."""
    return replace(head.still, motion=retargeted(motion, head.fit, head.model, settings))


def retargeted(motion: Motion, fit: HeadFit, model: HeadModel, settings: Settings | None = None) -> Motion:
    """Return a driving motion in the portrait's terms, as the settings ask for."""
    settings = settings or Settings()
    return retarget(
        motion,
        fit,
        model,
        reference=settings.reference,
        strength=settings.strength,
        yaw=settings.yaw,
        pitch=settings.pitch,
    )


def frames(
    head: Head,
    sequence: AnalyticSequence,
    settings: Settings | None = None,
    *,
    clock: StageClock | None = None,
    workers: int | None = None,
) -> Iterator[Frame]:
    """Render a sequence: Gaussians, splatting, inpainting over the torso-background layer (paper D.5), in order."""
    settings, clock = settings or Settings(), clock or StageClock()
    finisher = Finisher(head.portrait, sequence, torso=settings.torso, learned=settings.learned)

    def finish(index: int) -> Frame:
        with clock("deform and gaussians"):
            camera = sequence.camera(index)
            gaussians = sequence.frame(index, camera)
        with clock("splat"):
            rendering = render(gaussians, camera, backend=settings.backend)
        with clock("inpaint"):
            image = finisher(rendering, index)
        return Frame(image, rendering)

    return ordered_map(finish, range(len(sequence)), workers)


def renderings(
    sequence: AnalyticSequence,
    indices: Sequence[int],
    cameras: Callable[[int], Camera] | None = None,
    settings: Settings | None = None,
    *,
    workers: int | None = None,
) -> Iterator[Rendering]:
    """Splat the given frames of a sequence, in order, as their own cameras see them or other ones (by frame)."""
    settings = settings or Settings()
    view = cameras or sequence.camera

    def splat(index: int) -> Rendering:
        camera = view(index)
        return render(sequence.frame(index, camera), camera, backend=settings.backend)

    return ordered_map(splat, indices, workers)


def _during(on_step: OnStep, stages: int) -> OnStep:
    """Report the steps inside a stage as the ``stages`` done before it: so Cancel comes through, at any time."""

    def step(done: int, total: int) -> None:
        on_step(stages, BUILD_STEPS)

    return step


def _renderer(backend: str, on_step: OnStep) -> RenderFunction:
    def draw(gaussians: Gaussians, camera: Camera, background: Float[Tensor, "3"]) -> tuple[Tensor, ...]:
        on_step(0, 1)
        with torch.no_grad():
            rendering = render(gaussians, camera, background, backend=backend)
        return rendering.rgb, rendering.alpha, rendering.depth

    return draw
