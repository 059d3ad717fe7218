"""Cross-domain attention: the tokens of depth and of normals see each other (GeoWizard 3.2)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class CrossDomainAttention:
    """Attention processor for diffusers: self-attention whose keys and values are those of both tasks.

    The first half of the batch is depth, the second half normals, in the same order.
    """

    def __call__(
        self, attn: nn.Module, hidden_states: Float[Tensor, "2b n c"], *_: Any, **__: Any
    ) -> Float[Tensor, "2b n c"]:
        """Attend; ``attn`` owns the projections."""
        query = _heads(attn.to_q(hidden_states), attn.heads)
        key = _heads(_of_both(attn.to_k(hidden_states)), attn.heads)
        value = _heads(_of_both(attn.to_v(hidden_states)), attn.heads)
        seen = scaled_dot_product_attention(query, key, value)  # [2b, heads, n, c / heads]
        return attn.to_out[0](seen.transpose(1, 2).flatten(2))


def _heads(tokens: Float[Tensor, "b n c"], heads: int) -> Float[Tensor, "b heads n d"]:
    return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)


def _of_both(tokens: Float[Tensor, "2b n c"]) -> Float[Tensor, "2b 2n c"]:
    return torch.cat(tokens.chunk(2), dim=1).repeat(2, 1, 1)


def couple_tasks(unet: nn.Module) -> None:
    """Give every self-attention of a diffusers UNet the cross-domain processor; cross attention stays as it is."""
    processors = unet.attn_processors
    joint = {name: CrossDomainAttention() for name in processors if name.endswith("attn1.processor")}
    unet.set_attn_processor(processors | joint)
