"""Where networks lie while they run: a program that shares one GPU among many has its say here."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

Placer = Callable[[nn.Module, torch.device], None]
"""Brings a network to a device, and takes it from there when others need the memory."""


class _Host:
    placer: Placer | None = None


def set_placer(placer: Placer | None) -> None:
    """Let ``placer`` bring networks to their devices from here on, in every thread; None takes that back."""
    _Host.placer = placer


def place(network: nn.Module, device: torch.device) -> None:
    """Bring a network to the device that it is about to run on."""
    if _Host.placer is None:
        network.to(device)
    else:
        _Host.placer(network, device)


def unplace(network: nn.Module) -> None:
    """Give the device's memory back, unless whoever placed the network takes care of that."""
    if _Host.placer is None:
        network.to(torch.device("cpu"))
