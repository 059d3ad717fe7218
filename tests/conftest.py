"""Fixtures that every test may use."""

from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repo() -> Path:
    """Root of the repository."""
    return REPO


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of test material beside the repository; the test is skipped, visibly, where there is none."""
    folder = REPO.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs the test material in ../shared/data")
    return folder


def pytest_addoption(parser: pytest.Parser) -> None:
    """Tests that need a connection run only when asked for."""
    parser.addoption("--network", action="store_true", help="run the tests that ask the package registries")
