"""Whether two pictures show the same person, as a face recogniser sees it (SFace, Zhong et al. 2021)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import WeightsError
from ..portrait.warp import similarity
from ..weights.resolver import resolve
from .clips import to_frame
from .metrics import Image

_WEIGHTS = "face_recognition_sface_2021dec_int8bq.onnx"
_INPUT = "data"
SIZE = 112
"""Edge of the aligned face in pixels."""
POINTS = ((33, 133), (263, 362), (1,), (61,), (291,))
"""Landmarks whose means are the right eye, the left eye, the tip of the nose, the right and the left mouth corner."""
PLACES = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
"""Where the network wants those five points, in pixels of the aligned face."""


class Identity:
    """The recogniser."""

    def __init__(self, path: Path | None = None) -> None:
        """Read the network; ``path`` is that of the ledger's row when None.

        Raises:
            WeightsError: the network is not there and cannot be fetched, or the installed OpenCV cannot read it.
        """
        import cv2

        try:
            self._network = cv2.dnn.readNetFromONNX(str(path or resolve(_WEIGHTS)))
        except cv2.error as error:
            raise WeightsError(f"OpenCV {cv2.__version__} cannot read {_WEIGHTS}: install a newer one") from error

    def embedding(self, image: Image, landmarks: Float[Tensor, "478 d"]) -> Float[Tensor, "128"]:
        """Return the direction that stands for the person, of length 1; landmarks are in the picture's pixels."""
        # The graph names its weights as inputs too: the picture's input has to be named.
        self._network.setInput(np.ascontiguousarray(aligned(image, landmarks).transpose(2, 0, 1)[None]), _INPUT)
        feature = torch.from_numpy(self._network.forward().copy()).flatten()
        return feature / feature.norm()


def aligned(image: Image, landmarks: Float[Tensor, "478 d"]) -> Float[np.ndarray, "112 112 3"]:
    """Return the face turned, shifted and scaled to the places that the network knows, RGB in 0..255."""
    import cv2

    points = np.stack([landmarks[list(chosen), :2].double().mean(dim=0).numpy() for chosen in POINTS])
    # Pixel centres lie at +0.5 here and at whole numbers in OpenCV and in the network's places.
    matrix = similarity(points - 0.5, np.array(PLACES))
    return cv2.warpAffine(to_frame(image), matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR).astype(np.float32)
