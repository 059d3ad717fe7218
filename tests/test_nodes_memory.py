"""Ten minutes of speech through Talking Video take the memory of ten seconds."""

import os
import subprocess
import sys

import pytest

from tests.comfy.fixtures import REPO


def peak_mb(seconds):
    command = [sys.executable, "-m", "tests.comfy.long_clip", str(seconds)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPO).stdout)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif("MGGTALK_LONG" not in os.environ, reason="takes minutes: make test-all runs it")
def test_memory_does_not_grow_with_the_length():
    assert peak_mb(600) < 1.1 * peak_mb(10) + 50.0
