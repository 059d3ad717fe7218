"""Load networks of diffusers and transformers, put them on a device, and say in one line what is wrong."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import InputError, WeightsError
from ..placement import place, unplace
from .network_options import NetworkOptions

_log = logging.getLogger(__name__)


def needs_package(package: str, provider: str) -> None:
    """Raise `InputError` if a package that a provider runs on is not installed."""
    if find_spec(package) is None:
        raise InputError(
            f"Provider {provider!r} needs the Python package {package}: run 'pip install {package}', or use 'mesh'."
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' own progress bars off the terminal while something is loaded."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    shown = [library for library in (of_diffusers, of_transformers) if library.is_progress_bar_enabled()]
    for library in shown:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in shown:
            library.enable_progress_bar()


def load_part(kind: Any, folder: Path, part: str) -> Any:
    """Load a network or a scheduler from its subfolder, in fp32 and for inference.

    Nothing is fetched, and safetensors alone are read. A network that lacks weights is refused rather than filled up
    with random ones, which is what the libraries would do.

    Raises:
        WeightsError: one line that names the part.

    """
    from safetensors import SafetensorError

    is_network = issubclass(kind, nn.Module)
    options = {"use_safetensors": True, "output_loading_info": True} if is_network else {}
    try:
        with quiet():
            loaded = kind.from_pretrained(str(folder / part), local_files_only=True, **options)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:160]
        raise WeightsError(f"{folder / part} cannot be loaded ({reason}): fetch the weights again") from error
    if not is_network:
        return loaded
    network, report = loaded
    if missing := sorted(map(str, report["missing_keys"])):
        raise WeightsError(f"{folder / part} lacks {len(missing)} weights, {missing[0]} among them: fetch it again")
    return network.requires_grad_(False).eval()


def spread_over(network: nn.Module, options: NetworkOptions) -> None:
    """Give a network its precision and its place: on the device, or on the CPU if it is to be offloaded."""
    device = options.torch_device()
    nn.Module.to(network, options.dtype())  # diffusers' own way warns about every conversion
    if device.type == "cpu" or options.offload == "model":
        return
    if options.offload == "none":
        place(network, device)
    elif find_spec("accelerate") is not None:
        from accelerate import cpu_offload

        cpu_offload(network, execution_device=device)
    else:
        _log.warning("Layers cannot be offloaded without the package accelerate: whole networks are.")


@contextmanager
def on_device(network: nn.Module, options: NetworkOptions) -> Iterator[None]:
    """Have a network on the device while the block runs, if it is offloaded as a whole."""
    sequential = options.offload == "sequential" and find_spec("accelerate") is not None
    device = options.torch_device()
    if device.type == "cpu" or options.offload == "none" or sequential:
        yield
        return
    place(network, device)
    try:
        yield
    finally:
        unplace(network)
