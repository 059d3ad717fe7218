"""The archive that the registry would publish: it loads by itself, all of it is meant, and nothing is missing."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from mggtalk_core.weights.ledger import LEDGER
from tests.comfy.archive import published_files, unpack
from tests.comfy.fixtures import REPO

TOP = {
    "__init__.py", "nodes", "mggtalk_core", "web", "locales", "workflows", "docs", "pyproject.toml", "requirements.txt",
    "README.md", "CHANGELOG.md", "LICENSE", "NOTICE",
}  # fmt: skip
PRIVATE = re.compile(
    rb"/root/|/home/\w|[A-Z]:\\Users\\|PRIVATE KEY|api[_-]?key\s*=|@\w+\.(com|org|net)\b", re.IGNORECASE
)
NODES = json.loads((REPO / "tests" / "comfy" / "nodes.json").read_text(encoding="utf-8"))
TOTAL_MB, FILE_MB = 20, 6
"""The head model takes 5 MB, trained networks 7 MB, of 12 that they may; pictures of the help most of the rest."""

LOADING = """
import json, sys
from pathlib import Path
from tests import comfy_double
folder = Path(sys.argv[1])
comfy_double.REPO = folder
sys.modules.update(comfy_double.modules(folder.parent / "comfy"))
pack, nodes = comfy_double.load_pack("pack_x_of_the_archive")
files = [module.__file__ for name, module in sys.modules.items() if name.startswith("pack_x_of_the_archive")]
strays = [file for file in files if file and not Path(file).is_relative_to(folder)]
print(json.dumps([sorted(nodes), strays, "mggtalk_core" in sys.modules, pack.WEB_DIRECTORY]))
"""


@pytest.fixture(scope="module")
def names():
    if not (REPO / ".git").exists():
        pytest.skip("this is no git checkout: what would be published is not known")
    return published_files(REPO)


def test_the_pack_loads_from_the_archive_alone(names, tmp_path):
    folder = unpack(REPO, tmp_path / "Some other name")
    command = [sys.executable, "-c", LOADING, str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPO)
    assert result.returncode == 0, result.stderr[-1000:]
    nodes, strays, core, web = json.loads(result.stdout)
    assert nodes == sorted(NODES)
    assert not strays and not core, "modules come from the checkout"
    assert (folder / web).is_dir()


def test_nothing_needless_is_in_it(names):
    assert {name.split("/")[0] for name in names} == TOP
    sizes = {name: (REPO / name).stat().st_size / 2**20 for name in names}
    assert sum(sizes.values()) < TOTAL_MB
    assert max(sizes.values()) < FILE_MB
    kinds = {Path(name).suffix for name in names if "/" in name}
    assert kinds <= {".py", ".txt", ".csv", ".safetensors", ".json", ".md", ".jpg", ".js", ".mp4", ".ogg"}


def test_nothing_private_is_in_it(names):
    for name in names:
        if Path(name).suffix in (".py", ".md", ".json", ".js", ".toml", ".txt", ".csv", ""):
            assert not PRIVATE.search((REPO / name).read_bytes()), name
        if name.endswith(".jpg"):
            with Image.open(REPO / name) as picture:
                assert not picture.getexif(), f"{name} says how it was taken"


def test_help_words_and_examples_are_in_it(names):
    inside = set(names)
    assert {f"web/docs/{node}.md" for node in NODES} <= inside
    assert {f"locales/{language}/nodeDefs.json" for language in ("en", "zh")} <= inside
    examples = {path.stem for path in (REPO / "workflows").glob("*.json")}
    assert examples and {f"workflows/{name}{end}" for name in examples for end in (".json", ".jpg")} <= inside
    for page in (name for name in names if name.endswith(".md")):
        text = (REPO / page).read_text(encoding="utf-8")
        for target in re.findall(r"!\[[^\]]*\]\(([^)#]+)\)", text):
            assert "://" in target or (Path(page).parent / target).as_posix() in inside, f"{page} shows {target}"
    wanted = set(re.findall(r'"(mggtalk_[\w.]+)"', (REPO / "web" / "js" / "samples.js").read_text(encoding="utf-8")))
    assert wanted and {f"web/samples/{name}" for name in wanted} <= inside


def test_our_own_weights_and_licences_are_in_it(names):
    own = {weight.name for weight in LEDGER if not weight.sources}
    assert own and {f"mggtalk_core/weights/files/{name}" for name in own} <= set(names)
    assert {"LICENSE", "NOTICE"} <= set(names)
    content = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))
    assert content["tool"]["comfy"]["includes"] == []
    assert content["tool"]["setuptools"]["dynamic"]["dependencies"] == {"file": ["requirements.txt"]}
