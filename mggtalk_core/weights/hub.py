"""Find or fetch weights of the Hugging Face hub with its own client, in its own cache."""

from __future__ import annotations

from pathlib import Path

from ..progress import OnStep
from .download import FetchError
from .patience import Work, run_patiently
from .sources import HubFile, HubRepository


def _ask_hub(source: HubFile | HubRepository, local_only: bool) -> Path:
    import huggingface_hub

    options = {"revision": source.revision, "local_files_only": local_only}
    if isinstance(source, HubFile):
        return Path(huggingface_hub.hf_hub_download(source.repository, source.path, **options))
    return Path(huggingface_hub.snapshot_download(source.repository, allow_patterns=list(source.files), **options))


def find_in_hub_cache(source: HubFile | HubRepository) -> Path | None:
    """Return what an earlier fetch left in the hub's cache, or None."""
    try:
        return _ask_hub(source, local_only=True)
    except (ImportError, OSError, ValueError):
        return None


def fetch_from_hub(source: HubFile | HubRepository, size: int, on_step: OnStep) -> Path:
    """Fetch a file or a repository and return its path in the hub's cache; raise `FetchError` where that fails."""

    def work(_: Work) -> Path:
        try:
            return _ask_hub(source, local_only=False)
        except Exception as error:  # its transports have no common base, and the next source is to be tried
            raise FetchError(str(error).split("\n")[0][:200] or type(error).__name__) from error

    return run_patiently(work, size, on_step)
