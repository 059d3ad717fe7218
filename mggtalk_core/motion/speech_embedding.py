"""Google's speech embedding: what the trunk of the mouth net is, fetched like all weights that are not ours."""

from __future__ import annotations

from functools import cache

import torch

from ..errors import WeightsError
from ..weights.resolver import resolve
from .speech_trunk import SpeechTrunk

EMBEDDING = "speech_embedding.tflite"


@cache
def load_embedding() -> SpeechTrunk:
    """Return a trunk with the embedding's convolutions; its bands, which depend on our spectrum, are left at zero.

    It is looked for and read once per process.

    Raises:
        WeightsError: the embedding is not at hand and cannot be fetched, or is another one.
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
    return trunk.eval().requires_grad_(False)
