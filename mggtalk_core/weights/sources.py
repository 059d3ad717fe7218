"""Where weight files can be had: public addresses, the hub, and packages of the registries."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Address:
    """A file at a public address."""

    url: str

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True)
class HubFile:
    """A file in a repository of the Hugging Face hub."""

    repository: str
    path: str
    revision: str = "main"

    def __str__(self) -> str:
        return f"{self.path} of the hub repository {self.repository}"


@dataclass(frozen=True)
class HubRepository:
    """A whole repository of the Hugging Face hub in the layout of diffusers; only safetensors and text are taken."""

    repository: str
    revision: str = "main"
    files: tuple[str, ...] = ("*.safetensors", "*.json", "*.txt", "*.model")
    """Which of its files are taken: never pickles, which could run code, and no weights twice."""

    def __str__(self) -> str:
        return f"the hub repository {self.repository}"


@dataclass(frozen=True)
class PackageMember:
    """A file inside a package of the Python (``pip``) or JavaScript (``npm``) registry."""

    client: str
    """``pip`` or ``npm``."""
    package: str
    version: str
    archive_sha256: str
    """Of the wheel, sdist or tarball: checked before anything inside it is looked at."""
    member: str
    pickled_sha256: str | None = None
    """Where the member is a pickle of arrays, its checksum; it is read once and kept as safetensors."""

    def __str__(self) -> str:
        at = "==" if self.client == "pip" else "@"
        return f"{self.member} in the {self.client} package {self.package}{at}{self.version}"


Source = Address | HubFile | HubRepository | PackageMember
