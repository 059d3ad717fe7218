"""From the splatted head to the finished crop: inpainting over the torso-background layer (paper D.5)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ..gaussians.predict import AnalyticSequence
from ..portrait.portrait import Portrait
from .composite import Compositor
from .inpaint.refine import finished, refiner_for
from .rendering import Rendering


class Finisher:
    """Finishes the frames of one portrait; may be called from several threads at once."""

    def __init__(
        self, portrait: Portrait, sequence: AnalyticSequence | None, *, torso: str = "hold", learned: bool = True
    ) -> None:
        """Prepare what is the same in every frame.

        Args:
            portrait: Gives what is behind the head.
            sequence: What the frames show. Without it nothing is known of their pose and expression, so the learned
                inpainter stays out.
            torso: See `Compositor`.
            learned: Whether the learned inpainter mends rim, neck, eyes and mouth.

        Raises:
            InputError: an unknown ``torso``, or one that needs the sequence.
            WeightsError: the inpainter's weights are damaged.
        """
        fit = None if sequence is None else sequence.avatar.points.fit
        self._sequence = sequence
        self._compositor = Compositor(portrait, None if fit is None else fit.camera, torso=torso)
        self._refiner = None
        if sequence is not None and learned:
            avatar = sequence.avatar
            self._refiner = refiner_for(portrait, fit, avatar.binding.model, avatar.colours.device)

    def __call__(self, rendering: Rendering, index: int) -> Float[Tensor, "3 512 512"]:
        """Return the finished crop of frame ``index``; ``rendering`` is the head alone, over nothing.

        Beyond the end of the sequence its last frame goes on.
        """
        if self._sequence is None:
            return self._compositor(rendering, None)
        index = min(index, len(self._sequence) - 1)
        motion, camera = self._sequence.motion, self._sequence.camera(index)
        layers = self._compositor.layers(rendering, camera)
        return finished(layers, self._refiner, motion.beta[index], motion.gaze[index], camera)
