"""Runs of frames with their sound that are known exactly, and a listener whose opinion can be told by hand."""

from dataclasses import replace
from types import SimpleNamespace

import torch
from torch import nn

from mggtalk_core.training.pairs import Pair, SpokenRun
from mggtalk_core.training.prepare_runs import AROUND, COLUMNS, PER_FRAME
from tests.inpaint_samples import Pairs


class Levels(nn.Module):
    """Lies each piece of picture where the levels of its five faces say, and sound where its first coefficient does."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def lips(self, pictures):
        return self.scale * pictures.mean(dim=(1, 3, 4))

    def sound(self, coefficients):
        return self.scale * coefficients[:, 0, 0, ::PER_FRAME]


class SpokenPairs(Pairs):
    """Pairs and runs in memory, as a `PairSet` shows them; one run to a shard."""

    def __init__(self, pairs: list[Pair], spoken: list[SpokenRun]):
        super().__init__(pairs)
        self._spoken = spoken
        first = [run.pairs[0] for run in spoken]
        self.shards = [SimpleNamespace(info=SimpleNamespace(clip=pair.clip, identity=pair.identity)) for pair in first]
        self.runs = [(number, 0) for number in range(len(spoken))]

    def run(self, number: int, run: int) -> SpokenRun:
        return self._spoken[number]


def sounding(curve: torch.Tensor) -> torch.Tensor:
    """Sound around a run whose first coefficient has one level [101 + 4] for each frame."""
    return curve.repeat_interleave(PER_FRAME)[:COLUMNS].expand(13, COLUMNS).clone()


def levels_run(pair: Pair, curve: torch.Tensor, late: int = 0) -> SpokenRun:
    """A run of five grey frames as bright as the curve [105] says, whose sound says it ``late`` frames later."""
    levels = curve[AROUND + late : AROUND + late + 5]
    frames = [replace(pair, truth=torch.full_like(pair.truth, int(level))) for level in levels]
    return SpokenRun(tuple(frames), sounding(curve), torch.tensor([[256.0, 256.0, 100.0]]).expand(5, 3))
