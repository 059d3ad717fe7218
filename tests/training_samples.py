"""Clips, tracks and pairs that are known exactly."""

from pathlib import Path

import numpy as np
import torch

from mggtalk_core.head.camera import Camera
from mggtalk_core.head.head_fit import HeadFit
from mggtalk_core.head.landmark_model import LandmarkModel
from mggtalk_core.head.model import load_head_model
from mggtalk_core.media.sound import Sound
from mggtalk_core.media.video_writer import VideoWriter
from mggtalk_core.motion.rotations import camera_rotation
from mggtalk_core.portrait.blendshapes import BLENDSHAPE_INDEX
from mggtalk_core.training.shards import ShardInfo, ShardSource, ShardTarget, write_shard
from mggtalk_core.training.tracks import ClipTrack


def track_of(yaw: torch.Tensor, fps: float = 25.0, scale: float = 1.0, **shapes: torch.Tensor) -> ClipTrack:
    """Return the track of the mean head, turned by ``yaw`` [T] degrees and with some blendshapes [T].

    ``scale``: pixels of the crop per pixel of the clip.
    """
    frames = len(yaw)
    beta = torch.zeros(frames, 52)
    for name, curve in shapes.items():
        beta[:, BLENDSHAPE_INDEX[name]] = curve
    rotation = camera_rotation(yaw, torch.zeros(frames), torch.zeros(frames)).float()
    translation = torch.tensor([0.0, 0.1, 11.0]).expand(frames, 3).clone()
    model, camera = LandmarkModel.of(load_head_model()), Camera.for_crop()
    landmarks = [
        camera.posed(rotation[t], translation[t]).project(
            torch.from_numpy(
                model.points(np.zeros(len(model.identity_basis)), beta[t].double().numpy(), np.zeros(4))
            ).float()
        )
        for t in range(frames)
    ]
    transform = torch.tensor([[scale, 0.0, 0.0], [0.0, scale, 0.0]])
    return ClipTrack(
        landmarks=torch.stack(landmarks), blendshapes=beta, beta=beta, gaze=torch.zeros(frames, 4), rotation=rotation,
        translation=translation, residual=torch.zeros(frames), identity=torch.zeros(50),
        seen=torch.ones(frames, dtype=torch.bool), crop_transform=transform, fps=fps,
    )  # fmt: skip


def moving_clip(
    path: Path, picture: torch.Tensor, shifts: list[tuple[int, int]], size: int = 420, sound: Sound | None = None
) -> Path:
    """Write a clip of a window of ``size`` pixels over a picture, which moves by ``shifts`` (x, y) from its middle."""
    pixels = (picture.permute(1, 2, 0).numpy() * 255.0 + 0.5).astype(np.uint8)
    with VideoWriter(path, 25.0, size, size, sound) as writer:
        for x, y in shifts:
            top, left = y, (pixels.shape[1] - size) // 2 + x
            writer.write(np.ascontiguousarray(pixels[top : top + size, left : left + size]))
    return path


def soft_picture(channels: int, seed: int) -> torch.Tensor:
    """Return a smooth random picture, uint8 [channels,512,512]."""
    coarse = torch.rand(1, channels, 12, 12, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, size=(512, 512), mode="bicubic")[0]
    return (fine.clamp(0.0, 1.0) * 255.0).to(torch.uint8)


def random_source(seed: int = 0) -> ShardSource:
    """Return a source of random pictures and numbers."""
    random = torch.Generator().manual_seed(seed)
    pose = torch.eye(4) + 0.1 * torch.rand(4, 4, generator=random)
    fit = HeadFit(
        torch.rand(50, generator=random), torch.rand(52, generator=random), torch.rand(4, generator=random),
        Camera.for_crop(512, pose), torch.rand(11400, 3, generator=random), 1.0 / 3.0,
    )  # fmt: skip
    return ShardSource(
        soft_picture(3, seed), soft_picture(3, seed + 1), soft_picture(1, seed + 3), soft_picture(1, seed + 4) // 43,
        soft_picture(1, seed + 2),
        torch.rand(478, 3, generator=random), fit, torch.rand(11400, 3, generator=random),
    )  # fmt: skip


def random_target(frame: int) -> ShardTarget:
    """Return a target of random pictures and numbers."""
    random = torch.Generator().manual_seed(1000 + frame)
    shapes = {"landmarks": (478, 3), "beta": (52,), "gaze": (4,), "rotation": (3, 3), "translation": (3,)}
    return ShardTarget(
        frame, soft_picture(4, frame), soft_picture(3, frame + 1), soft_picture(1, frame + 2),
        **{name: torch.rand(shape, generator=random) for name, shape in shapes.items()},
    )  # fmt: skip


def random_shard(folder: Path, name: str, identity: str, targets: int = 2, clip: str = "") -> Path:
    """Write a shard of random pairs."""
    path = folder / f"{name}.safetensors"
    info = ShardInfo(clip or name, identity, 7, "B")
    write_shard(path, info, random_source(targets), [random_target(3 * frame) for frame in range(targets)])
    return path
