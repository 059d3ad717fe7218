"""Google's speech embedding as the mouth net's trunk: its weights, and its bands in terms of ours."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from ..errors import WeightsError
from ..motion.mel import PRE_EMPHASIS, mel_filters
from ..motion.speech_features import SAMPLE_RATE
from ..motion.speech_trunk import TRUNK_BANDS, SpeechTrunk
from ..weights.resolver import resolve

EMBEDDING = "speech_embedding.tflite"
LOWEST, HIGHEST = 60.0, 3800.0
"""Hz: edges of the embedding's lowest and highest band."""


def load_trunk() -> SpeechTrunk:
    """Return the trunk with the embedding's weights.

    Raises:
        WeightsError: the embedding is not at hand, or is another one.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=resolve(EMBEDDING).read_bytes(), num_threads=1)
    interpreter.allocate_tensors()
    trunk, last = SpeechTrunk(), "model/conv2d_19/"
    details = [row for row in interpreter.get_tensor_details() if not row["name"].startswith(last)]
    kernels = {row["name"]: row["index"] for row in details if len(row["shape"]) == 4}
    biases = sorted(row["index"] for row in details if len(row["shape"]) == 1)
    try:
        for place, convolution in enumerate(trunk.convolutions):
            kernel = interpreter.get_tensor(kernels[f"model/conv2d{f'_{place}' * (place > 0)}/Conv2D"])
            convolution.weight.data.copy_(torch.from_numpy(kernel.transpose(0, 3, 1, 2)))
            convolution.bias.data.copy_(torch.from_numpy(interpreter.get_tensor(biases[place])))
    except (KeyError, IndexError, RuntimeError) as error:
        raise WeightsError(f"{EMBEDDING} is not the speech embedding; remove it and fetch it again.") from error
    trunk.bands.copy_(torch.from_numpy(trunk_bands()))
    return trunk.eval().requires_grad_(False)


def trunk_bands() -> Float[np.ndarray, "32 80"]:
    """Return what each of the embedding's bands takes from the powers in ours, whose pre-emphasis is undone.

    The embedding's are librosa's default filters; ours are narrower, and the best sum of them is within a few percent.
    """
    from librosa.filters import mel as librosa_mel
    from scipy.optimize import nnls

    ours = mel_filters()
    fft = 2 * (ours.shape[1] - 1)
    wanted = librosa_mel(sr=SAMPLE_RATE, n_fft=fft, n_mels=TRUNK_BANDS, fmin=LOWEST, fmax=HIGHEST)
    angle = np.pi * np.arange(ours.shape[1]) / (ours.shape[1] - 1)
    emphasis = np.abs(1.0 - PRE_EMPHASIS * np.exp(-1j * angle)) ** 2
    return np.stack([nnls((ours * emphasis).T, row)[0] for row in wanted]).astype(np.float32)
