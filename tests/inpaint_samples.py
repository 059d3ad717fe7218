"""Pairs whose truth is known: the head model, striped, drawn in two states, the render a little off."""

from dataclasses import dataclass

import torch

from mggtalk_core.head.camera import Camera
from mggtalk_core.motion.rotations import camera_rotation
from mggtalk_core.render.inpaint.guide import FLOW, DrivenHead, HeadGuide, grid_map
from mggtalk_core.render.inpaint.networks import Networks, build
from mggtalk_core.render.inpaint.patches import Patch, Place, alignment, cut, cut_source
from mggtalk_core.render.inpaint.refine import Refiner
from mggtalk_core.render.inpaint.unet import InpaintConfig, look_up
from mggtalk_core.training.pairs import Pair
from tests.head_samples import ModelHead, expression, model_head

SMALL = InpaintConfig(pictures=10, guides=12, widths=(8, 8, 16), fine=4)
SMALL_PATCH = InpaintConfig(pictures=6, guides=15, stem=2, widths=(8, 8, 16), fine=4, fine_stem=1, reach=12.0)


@dataclass(frozen=True)
class Scene:
    """A head, its guide, and one driven state."""

    head: ModelHead
    guide: HeadGuide
    beta: torch.Tensor
    gaze: torch.Tensor
    camera: Camera

    @property
    def driven(self) -> DrivenHead:
        return self.guide.driven(self.beta, self.gaze, self.camera)


def scene(yaw=12.0, source_yaw=0.0, **shapes) -> Scene:
    head = model_head(source_yaw)
    fit = head.points.fit
    rotation = camera_rotation(*torch.tensor([yaw, 2.0, 3.0])).float()
    camera = fit.camera.posed(rotation, fit.camera.translation + torch.tensor([0.05, -0.02, 0.1]))
    return Scene(head, HeadGuide(head.model, fit), expression(**shapes), torch.tensor([0.1, 0.0, 0.1, 0.0]), camera)


def patch_of(place: Place, guide: HeadGuide, head: DrivenHead, picture, stem=2) -> Patch:
    """A place of a frame whose source looks the same."""
    source = cut_source(place, guide, picture, stem)
    return cut(place, guide, head, alignment(place, guide, head), picture, source)


def full_maps(scene: Scene, size=512):
    same = grid_map(size / 512)
    return scene.guide.maps(scene.driven, (size, size), same, same, torch.zeros(3), 1.0)


def pair_of(scene: Scene, shift=2, name="clip") -> Pair:
    """The render is the truth moved to the right by ``shift`` pixels."""
    maps, portrait = full_maps(scene), scene.head.portrait
    flow = maps[FLOW] * 32.0
    shown = look_up(portrait.crop[None], flow[None], torch.zeros(1, 2))[0]
    cover = maps[:1]
    truth = shown * cover + portrait.background * (1 - cover)
    render = torch.cat((shown * cover, cover)).roll(shift, dims=-1)
    landmarks = scene.driven.landmarks

    def as_bytes(image):
        return (image * 255 + 0.5).to(torch.uint8)

    return Pair(
        source=as_bytes(portrait.crop * portrait.matte + portrait.background * (1 - portrait.matte)),
        background=as_bytes(portrait.background),
        source_matte=as_bytes(portrait.matte),
        labels=portrait.labels[None],
        layer=as_bytes(portrait.background),
        source_landmarks=portrait.landmarks,
        fit=scene.guide.fit,
        coarse=scene.guide.fit,
        render=as_bytes(render),
        truth=as_bytes(truth),
        matte=as_bytes(cover),
        inside=torch.full((1, 512, 512), 255, dtype=torch.uint8),
        landmarks=landmarks,
        beta=scene.beta,
        gaze=scene.gaze,
        rotation=scene.camera.rotation,
        translation=scene.camera.translation,
        identity=name,
        clip=f"{name}.mp4",
    )


class Pairs(list):
    """Pairs in memory, as a `PairSet` shows them."""

    @property
    def by_identity(self):
        return {
            name: [i for i, pair in enumerate(self) if pair.identity == name]
            for name in sorted({p.identity for p in self})
        }

    @property
    def by_clip(self):
        return self.by_identity

    @property
    def turns(self):
        return [
            float(pair.fit.camera.posed(pair.rotation, pair.translation).turned_from(pair.fit.camera)) for pair in self
        ]


def pictures(seed=0, size=512):
    return torch.rand(3, size, size, generator=torch.Generator().manual_seed(seed))


def awake(network, seed=0):
    """The network as if it had learned something: its last layers are not zero."""
    generator = torch.Generator().manual_seed(seed)
    for layer in (network.unet.flow, network.unet.fine_out):
        layer.weight.data = 0.05 * torch.randn(layer.weight.shape, generator=generator)
        layer.bias.data = 0.05 * torch.randn(layer.bias.shape, generator=generator)
    return network


def small_networks(seed=None):
    torch.manual_seed(1)
    parts = build("whole", SMALL), build("eyes", SMALL_PATCH), build("mouth", SMALL_PATCH)
    return Networks(*(part if seed is None else awake(part, seed) for part in parts))


def refiner_of(turned, networks, **more):
    return Refiner(networks, turned.head.portrait.crop, turned.guide.fit, turned.head.model, **more)


def frame_of(turned, pair):
    composite = (pair.render[:3] / 255.0 + (1 - pair.render[3:] / 255.0) * pair.layer / 255.0).clamp(0, 1)
    return composite, pair.render[3:] / 255.0, pair.layer / 255.0, turned.beta, turned.gaze, turned.camera
