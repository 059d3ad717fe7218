"""Examples for the Gaussian stage: pairs as pictures to learn from, and as heads that the networks look at."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from ..gaussians.gaussians import Gaussians
from ..gaussians.learned import displacement_of, drawn_in, driven_head
from ..gaussians.networks.config import GaussianConfig
from ..gaussians.networks.model import DrivenHead, HeadImage
from ..head.camera import Camera
from ..motion.deform_net import DeformNet
from ..parallel import one_thread
from ..render.rasterize import render
from ..render.rendering import Rendering
from .head_losses import at_size
from .inpaint_data import pixel_weight
from .pairs import Pair, PairSet
from .sitters import BuildAvatar, Sitters
from .stage import Batch

RUN = 6
"""Neighbouring examples that share a source: to build an avatar takes as long as some steps."""
Window = tuple[int, int, int, int]
"""Part of a picture: x0, y0, x1, y1."""
PAIRS_KEPT = 4
"""Decoded pairs that are kept: a step asks for its own several times."""


class GaussianExamples(Dataset[Batch]):
    """An endless row of examples: the n-th depends on the seed and n alone.

    People are drawn evenly, then one of their sources, then targets of it.
    """

    def __init__(self, pairs: PairSet, seed: int, size: int, window: int | None = None) -> None:
        self._pairs, self._seed, self._size, self._window = pairs, seed, size, min(window or size, size)
        self._people = _sources_by_person(pairs)

    def __len__(self) -> int:
        """Return a length that no training reaches."""
        return 2**40

    def __getitem__(self, number: int) -> Batch:
        """Return the n-th example."""
        choice, random = (np.random.default_rng((self._seed, k, n)) for k, n in ((0, number // RUN), (1, number)))
        person = self._people[choice.integers(len(self._people))]
        source = person[choice.integers(len(person))]
        index = int(source[random.integers(len(source))])
        backdrop = torch.from_numpy(random.uniform(0.0, 1.0, 3)).float()
        example = windowed(example_of(self._pairs[index], self._size), self._window, random)
        return example | {"index": torch.tensor(index), "backdrop": backdrop}


def _sources_by_person(pairs: PairSet) -> list[list[range]]:
    """Return the pairs of every source of every person."""
    ends = np.cumsum([len(shard) for shard in pairs.shards]).tolist()
    sources = [range(end - len(shard), end) for end, shard in zip(ends, pairs.shards, strict=True)]
    people = [set(indices) for indices in pairs.by_identity.values()]
    return [[source for source in sources if source[0] in person] for person in people]


def example_of(pair: Pair, size: int) -> Batch:
    """Return the true head image ``I_GT^h`` of a pair, its matte and the weight of every pixel, ``size`` pixels wide.

    The head image is premultiplied: what lies behind the head is put in later.
    """
    matte = pair.matte.float() / 255.0
    maps = {"truth": pair.truth.float() / 255.0 * matte, "matte": matte, "weight": pixel_weight(pair)}
    return {name: at_size(value[None], size)[0] for name, value in maps.items()}


def windowed(example: Batch, edge: int, random: np.random.Generator) -> Batch:
    """Return a window of an example around a pixel of the head that is drawn by its weight, and its ``corner`` x, y."""
    size = example["truth"].shape[-1]
    share = (example["weight"] * example["matte"])[0].double().flatten().numpy()
    if edge == size or not share.any():
        x = y = (size - edge) // 2
    else:
        place = int(np.searchsorted(share.cumsum(), random.random() * share.sum()))
        y, x = (min(max(middle - edge // 2, 0), size - edge) for middle in divmod(min(place, size * size - 1), size))
    part = {name: value[:, y : y + edge, x : x + edge] for name, value in example.items()}
    return part | {"corner": torch.tensor([x, y])}


class Scenes:
    """Pairs as the networks see them: avatars driven to their targets, and cameras on them."""

    def __init__(
        self, pairs: PairSet, config: GaussianConfig, size: int, deform: DeformNet | None, build: BuildAvatar | None
    ) -> None:
        self.pairs, self._switches, self._size, self._deform = pairs, config.switches, size, deform
        self._sitters = Sitters(pairs, config, build=build)
        self.pair = lru_cache(PAIRS_KEPT)(pairs.__getitem__)

    @torch.no_grad()
    def head(self, index: int, device: torch.device) -> tuple[DrivenHead, HeadImage]:
        """Return the driven head of a pair, and its source's head image."""
        pair, sitter = self.pair(index), self._sitters.of_pair(index)
        # In half precision the points themselves would move by millimetres.
        with one_thread(), torch.autocast(device.type, enabled=False):
            head = driven_head(
                sitter.avatar, sitter.cells, pair.beta, pair.gaze, self.camera(index),
                displacement_of(sitter.avatar, self._deform), self._switches,
            )  # fmt: skip
        return head.to(device), sitter.image.to(device)

    def part(self, head: DrivenHead, index: int, window: Window) -> DrivenHead:
        """Return the driven head with the points alone that a window of the picture shows."""
        return drawn_in(head, self.camera(index), window)

    def draw(self, gaussians: Gaussians, index: int, backdrop: Float[Tensor, "3"] | None = None) -> Rendering:
        """Render Gaussians from the target's viewpoint (D.5)."""
        # Not antialiased, at no size: analytic Gaussians are so small that they count on the rasteriser's low pass.
        return render(gaussians, self.camera(index), backdrop)

    def camera(self, index: int) -> Camera:
        """Return the camera of a pair's target."""
        pair = self.pair(index)
        return pair.fit.camera.posed(pair.rotation, pair.translation).resized(self._size, self._size)
