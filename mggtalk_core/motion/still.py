"""The motion of a head that does not move."""

from __future__ import annotations

from ..head.head_fit import HeadFit
from ..head.model import HeadModel
from .motion import Motion, Rest


def still_motion(fit: HeadFit, model: HeadModel, fps: float = 25.0) -> Motion:
    """Return one frame of the fitted head exactly as it is in the picture."""
    left, right = model.eye_centers(fit.identity)
    rotation, translation = fit.camera.rotation, fit.camera.translation
    return Motion(
        beta=fit.beta_s[None],
        gaze=fit.gaze[None],
        rotation=rotation[None],
        translation=translation[None],
        fps=fps,
        rest=Rest(fit.beta_s, fit.gaze, rotation, translation),
        eye_distance=float((left - right).norm()),
        kind="still",
    )
