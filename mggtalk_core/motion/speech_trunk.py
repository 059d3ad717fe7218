"""Sounds of speech as a network of much more speech hears them: the lower half of Whisper's smallest encoder.

It was trained to write down what is said; half-way up it still tells how it sounds. It is not trained further.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .mel import BANDS, SCALE

WIDTH, HEADS, LAYERS = 384, 6, 2
"""Of the encoder; of its four layers the lower two. The third adds nothing, without the second much is lost."""
POSITIONS = 1500
"""Tokens of 20 ms that it has places for."""
HEARD = 96
"""Numbers a step: where most of what it says of speech varies."""
TRUNK_PAST, TRUNK_AHEAD = 25, 7
"""Steps of 40 ms that are listened to before the first and after the last step of a window."""
_TOKENS = 2
"""A step. The last layer is asked for the first of them only: the other says nothing new."""
_QUIETEST = -7.55
"""Natural logarithm of the power in the encoder's bands, 13 below the voice, below which it hears nothing."""
_VOICE = -7.45
"""What turns it into that of ordinary recordings of samples in -1..1 (median of tracked clips)."""


class Layer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); only the tokens that are asked for come out."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(WIDTH)
        self.attention_in = nn.Linear(WIDTH, 3 * WIDTH)
        self.attention_out = nn.Linear(WIDTH, WIDTH)
        self.mlp_norm = nn.LayerNorm(WIDTH)
        self.mlp_in = nn.Linear(WIDTH, 4 * WIDTH)
        self.mlp_out = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Float[Tensor, "batch tokens width"], asked: slice) -> Float[Tensor, "batch asked width"]:
        """Return the tokens ``asked`` for; each listens to all that are given."""
        normed = self.attention_norm(x)
        weight, bias = self.attention_in.weight, self.attention_in.bias
        query = F.linear(normed[:, asked], weight[:WIDTH], bias[:WIDTH])
        key, value = F.linear(normed, weight[WIDTH:], bias[WIDTH:]).chunk(2, dim=2)
        said = F.scaled_dot_product_attention(*(_by_head(part) for part in (query, key, value)))
        x = x[:, asked] + self.attention_out(said.transpose(1, 2).flatten(2))
        return x + self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(x))))


class SpeechTrunk(nn.Module):
    """Two convolutions and two layers of attention over a window of sound, of at most 30 s with its surroundings."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.ModuleList((nn.Conv1d(BANDS, WIDTH, 3, padding=1), nn.Conv1d(WIDTH, WIDTH, 3, 2, padding=1)))
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.register_buffer("places", torch.zeros(POSITIONS, WIDTH))
        """What tells a token where in the window it is."""
        self.register_buffer("bands", torch.zeros(BANDS, BANDS))
        """What a band of the encoder takes from each band of `log_mel`, see `trunk_bands`."""
        self.kept = nn.Linear(WIDTH, HEARD)
        """What is kept of a token, see `main_directions`."""

    @torch.no_grad()
    def forward(self, mel: Float[Tensor, "batch 80 mels"]) -> Float[Tensor, "batch heard steps"]:
        """Return what is heard in mels / 4 - `TRUNK_PAST` - `TRUNK_AHEAD` steps of a normalised spectrum."""
        return self.kept(self.tokens(mel)).transpose(1, 2)

    @torch.no_grad()
    def tokens(self, mel: Float[Tensor, "batch 80 mels"]) -> Float[Tensor, "batch steps width"]:
        """Return the encoder's tokens at the steps that come out."""
        power = torch.einsum("ij,bjt->bit", self.bands, torch.exp(SCALE * mel))
        x = ((torch.log(power + math.exp(_QUIETEST)) + _VOICE) / math.log(10.0) + 4.0) / 4.0  # as it was trained
        for convolution in self.stem:
            x = F.gelu(convolution(x))
        x = x.transpose(1, 2)
        x = x + self.places[: x.shape[1]]
        for layer in self.layers[:-1]:
            x = layer(x, slice(None))
        return self.layers[-1](x, slice(_TOKENS * TRUNK_PAST, x.shape[1] - _TOKENS * TRUNK_AHEAD, _TOKENS))


def _by_head(x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch heads tokens part"]:
    return x.unflatten(2, (HEADS, -1)).transpose(1, 2)
