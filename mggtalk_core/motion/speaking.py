"""A face that speaks, put together: the mouth from the sound, the rest from what lives in it."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from ..media.sound import Sound
from ..portrait.blendshapes import BLENDSHAPE_INDEX
from .headmotion import Liveliness
from .motion import Motion
from .rig import EYE_DISTANCE, LID_ANGLE, neutral_state, pose_about_neck


def speaking_motion(
    mouth: Float[np.ndarray, "T 52"], life: Liveliness, fps: float, *, look: float = 0.0, sound: Sound | None = None
) -> Motion:
    """Return the motion of a mouth and of the head around it; the lids follow the eyes up and down."""
    rest, beta = neutral_state(), mouth + life.expression()
    rotation, swing = pose_about_neck(torch.from_numpy(life.head))
    for side in ("Left", "Right"):
        beta[:, BLENDSHAPE_INDEX[f"eyeLookUp{side}"]] += np.clip(life.gaze[:, 1] / LID_ANGLE, 0.0, 1.0)
        beta[:, BLENDSHAPE_INDEX[f"eyeLookDown{side}"]] += np.clip(-life.gaze[:, 1] / LID_ANGLE, 0.0, 1.0)
    gaze = torch.deg2rad(torch.from_numpy(np.tile(life.gaze, (1, 2))))
    return Motion(
        beta=torch.from_numpy(beta).float(),
        gaze=gaze.float(),
        rotation=rotation.float(),
        translation=(rest.translation + swing).float(),
        fps=fps,
        rest=rest,
        eye_distance=EYE_DISTANCE,
        kind="audio",
        sound=sound,
        start=rest,
        speech=1.0,
        look=look,
    )
