"""Find a weight file on this machine, or fetch it from the first source that gives the right bytes."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import WeightsError
from ..progress import OnStep, ignore_steps
from .download import FetchError, download
from .hub import fetch_from_hub, find_in_hub_cache
from .ledger import LEDGER, Weight, find_weight
from .lock import locked
from .packages import sha256_of, take_member
from .policy import Downloads, cache_folder, current_policy, model_folders
from .sources import Address, HubFile, HubRepository, PackageMember, Source

_log = logging.getLogger(__name__)

_FILES = Path(__file__).parent / "files"
_checked: dict[tuple[str, int, int], str] = {}
_used: dict[str, Weight] = {}


@dataclass(frozen=True)
class WeightStatus:
    """A row of the ledger and where it was found."""

    weight: Weight
    path: Path | None
    """None where it would have to be fetched."""


def _checksum(path: Path) -> str:
    state = path.stat()
    key = (str(path), state.st_mtime_ns, state.st_size)
    if key not in _checked:
        _checked[key] = sha256_of(path)
    return _checked[key]


def _is_right(path: Path, weight: Weight) -> bool:
    if weight.sha256 is None:
        return not missing_parts(path, weight)
    return path.is_file() and path.stat().st_size == weight.size and _checksum(path) == weight.sha256


def missing_parts(path: Path, weight: Weight) -> list[str]:
    """Return what a folder of weights should hold and does not; empty for a row that is a single file."""
    return [part for part in weight.parts if not any(path.glob(part))]


def _find_bundled(weight: Weight) -> Path:
    path = _FILES / weight.name
    if not path.is_file():
        raise WeightsError(f"{weight.name} is part of this package but is not there: install the package again")
    return path


def _why_not(path: Path, weight: Weight) -> str:
    if missing := missing_parts(path, weight):
        return f"it has no {', no '.join(missing)}"
    return "it is not the file that is known (its checksum differs)"


def _find(weight: Weight) -> Path | None:
    if weight.bundled:
        return _find_bundled(weight)
    for folder in (*model_folders(), cache_folder()):
        path = folder / weight.name
        if path.exists():
            if _is_right(path, weight):
                return path
            _log.warning("%s is not used: %s", path, _why_not(path, weight))
    hub = (source for source in weight.sources if isinstance(source, (HubFile, HubRepository)))
    found = (find_in_hub_cache(source) for source in hub)
    return next((path for path in found if path is not None and _is_right(path, weight)), None)


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _target_folder(weight: Weight) -> Path:
    """Return where to put a fetched file: never over one that the user put there."""
    for folder in model_folders():
        if not (folder / weight.name).exists() and _writable(folder):
            return folder
    return cache_folder()


def _keep(part: Path, path: Path, weight: Weight) -> Path:
    if part.stat().st_size != weight.size or sha256_of(part) != weight.sha256:
        part.unlink()
        raise FetchError("what came is not the file that is known (its checksum differs)")
    os.replace(part, path)
    return path


def _fetch_address(source: Address, path: Path, weight: Weight, on_step: OnStep) -> Path:
    part = path.with_name(path.name + ".part")
    resumed = part.exists()
    try:
        download(source.url, part, weight.size or 0, on_step)
        return _keep(part, path, weight)
    except FetchError:
        if not resumed or part.exists():
            raise
    # What an earlier run left behind may have been the bad half: once more from the start.
    download(source.url, part, weight.size or 0, on_step)
    return _keep(part, path, weight)


def _fetch_member(source: PackageMember, path: Path, weight: Weight, on_step: OnStep) -> Path:
    scratch = path.with_name(path.name + ".fetch")
    shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
    scratch.mkdir()
    try:
        take_member(source, scratch, scratch / path.name, weight.size or 0, on_step)
        return _keep(scratch / path.name, path, weight)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _fetch_hub(source: HubFile | HubRepository, weight: Weight, on_step: OnStep) -> Path:
    path = fetch_from_hub(source, weight.size or 0, on_step)
    if not _is_right(path, weight):
        raise FetchError(f"what came is not usable: {_why_not(path, weight)}")
    return path


def _fetch_source(source: Source, path: Path, weight: Weight, on_step: OnStep) -> Path:
    if isinstance(source, Address):
        return _fetch_address(source, path, weight, on_step)
    if isinstance(source, PackageMember):
        return _fetch_member(source, path, weight, on_step)
    return _fetch_hub(source, weight, on_step)


def _allowed(source: Source, downloads: Downloads) -> bool:
    return downloads >= (Downloads.ALL if isinstance(source, PackageMember) else Downloads.PUBLIC)


def _missing(weight: Weight, reasons: Iterable[str]) -> WeightsError:
    why = "; ".join(dict.fromkeys(reasons)) or "fetching is switched off"
    folders = " or ".join(str(folder) for folder in (*model_folders(), cache_folder()))
    made = "made by 'python -m mggtalk_core weights fetch' from " if _is_converted(weight) else ""
    where = ", or ".join(dict.fromkeys(str(source) for source in weight.sources))
    terms = f" ({(weight.size or 0) / 1e9:.1f} GB; licence {weight.licence})" if weight.parts else ""
    text = (
        f"{weight.name} is missing and was not fetched ({why}): "
        f"put it into {folders}; it is {made or 'at '}{where}{terms}"
    )
    return WeightsError(" ".join(text.split()))


def _is_converted(weight: Weight) -> bool:
    return any(isinstance(source, PackageMember) and source.pickled_sha256 for source in weight.sources)


def _fetch(weight: Weight, on_step: OnStep) -> Path:
    sources = [source for source in weight.sources if _allowed(source, current_policy().downloads)]
    if not sources:
        raise _missing(weight, ())
    folder = _target_folder(weight)
    path, reasons = folder / weight.name, []
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / f".{weight.name}.lock", lambda: on_step(0, weight.size or 0)):
        if (found := _find(weight)) is not None:  # another process was faster
            return found
        for source in sources:
            _log.info("fetching %s: %s", weight.name, source)
            try:
                return _fetch_source(source, path, weight, on_step)
            except FetchError as error:
                _log.info("%s: %s", source, error)
                reasons.append(str(error))
    raise _missing(weight, reasons)


def _locate(name: str, on_step: OnStep) -> Path:
    weight = find_weight(name)
    if (found := _find(weight)) is not None:
        return found
    try:
        return _fetch(weight, on_step)
    except OSError as error:
        room = f"{(weight.size or 0) / 1e6:.0f} MB"
        reason = error.strerror or error
        raise WeightsError(
            f"cannot keep {name} ({reason}): make {room} of room in {_target_folder(weight)}, or set MGGTALK_CACHE"
        ) from error


def check_licence(name: str) -> None:
    """Raise `WeightsError` if the policy is commercial-safe and the row ``name`` does not allow that."""
    weight = find_weight(name)
    if current_policy().commercial_safe and not weight.commercial_ok:
        raise WeightsError(
            f"{name} is refused because commercial-safe is on (licence: {weight.licence}; trained on "
            f"{weight.trained_on}): choose a way without it, or turn commercial-safe off"
        )


def resolve(name: str, *, on_step: OnStep = ignore_steps) -> Path:
    """Return the path of the weights called ``name``, fetching them if need be, and note that they were used.

    Looks into the user's model folders, the cache folder, then the row's sources in order; the checksum is enforced.
    ``on_step`` counts bytes. Raises `WeightsError`, one line that says what to do.
    """
    check_licence(name)
    path = _locate(name, on_step)
    _used[name] = find_weight(name)
    return path


def resolve_at(name: str, place: str, *, on_step: OnStep = ignore_steps) -> Path:
    """Return the folder of the weights called ``name`` that the user keeps somewhere else than `resolve` looks.

    Args:
        name: a row of the ledger that is a folder; its licence counts for the copy too.
        place: that folder, the folder it lies in, or the id of a hub repository (``owner/name``) that holds it.
        on_step: bytes fetched from the hub, where the policy allows that.

    Raises:
        WeightsError: one line: nothing of the kind is there, or something of it is missing.

    """
    check_licence(name)
    weight, folder = find_weight(name), Path(place).expanduser()
    if folder.is_dir():
        path = folder / name if (folder / name).is_dir() else folder
    elif re.fullmatch(r"[\w.-]+/[\w.-]+", place):
        kept = tuple(replace(source, repository=place, revision="main") for source in weight.sources[-1:])
        other = replace(weight, name=place.replace("/", "--"), sources=kept)
        path = find_in_hub_cache(kept[0]) or _fetch(other, on_step)
    else:
        raise WeightsError(f"there is no folder {place!r}, and it is no hub id (owner/name): where is {name}?")
    if missing := missing_parts(path, weight):
        raise WeightsError(f"{path} does not hold {name}: it has no {', no '.join(missing)}")
    _used[name] = weight
    return path


def used_weights() -> tuple[Weight, ...]:
    """Return the rows that this process has used, in the order of first use, for reports."""
    return tuple(_used.values())


def list_weights() -> list[WeightStatus]:
    """Return every row of the ledger with the path it was found at, fetching nothing."""
    return [WeightStatus(weight, _find(weight)) for weight in LEDGER]


def fetch(names: Iterable[str] = (), *, on_file: Callable[[str], OnStep] = lambda name: ignore_steps) -> list[Path]:
    """Fetch the named weights, or all that every run needs, and return their paths.

    ``on_file`` is called with each name and returns the ``on_step`` that follows its bytes.
    """
    wanted = list(names) or [weight.name for weight in LEDGER if not weight.optional and not weight.bundled]
    return [_locate(name, on_file(name)) for name in wanted]
