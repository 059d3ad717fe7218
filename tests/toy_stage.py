"""A training of a second: a convolution learns to blur random pictures."""

from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset

from mggtalk_core.training.loop import train
from mggtalk_core.training.stage import LoopOptions

KERNEL = torch.full((3, 1, 3, 3), 1 / 9)


class Pictures(Dataset):
    def __len__(self):
        return 2**40

    def __getitem__(self, number):
        picture = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(number))
        return {"picture": picture, "truth": nn.functional.conv2d(picture, KERNEL, padding=1, groups=3)}


class ToyStage:
    """A `Stage`."""

    def __init__(self):
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))
        self.critic = nn.Conv2d(3, 1, 3)

    def examples(self):
        return Pictures()

    def made(self, network, batch):
        return network(batch["picture"])

    def losses(self, made, batch, critic, step):
        return {"difference": (made - batch["truth"]).square().mean(), "adversarial": -0.01 * critic(made).mean()}

    def critic_loss(self, made, batch, critic, step):
        return critic(made).mean() - critic(batch["truth"]).mean() if step >= 2 else None

    def judge(self, network):
        with torch.no_grad():
            return {"mean": float(network(torch.ones(1, 3, 8, 8)).mean())}, torch.rand(3, 8, 8)

    def write(self, network, path, step):
        from accelerate.state import PartialState

        torch.save(
            {"weights": network.state_dict(), "step": step, "processes": PartialState().num_processes},
            path.with_suffix(".pt"),
        )


def run(folder: Path) -> None:
    """Train in this process, which is one of several."""
    train(ToyStage(), LoopOptions(folder, steps=5, batch=2))
