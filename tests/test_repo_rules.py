"""Rules of the house that a linter does not know."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
CORE = REPO / "mggtalk_core"
MODULES = sorted(CORE.rglob("*.py"))

FLOW = ["portrait", "head", "geometry", "motion", "gaussians", "render"]
"""Data flows from left to right; a folder imports only folders to its left."""
SERVANTS = {"media", "weights"}
"""Folders that every stage may import, and that import no stage."""
OVERSEERS = ["studio", "pipeline", "animate", "evaluation", "training", "cli", "__main__"]
"""Folders and modules that see every stage, and of each other those to their left."""
HEAVY = {"torch", "scipy", "cv2", "av", "numba", "librosa", "ai_edge_litert", "gsplat", "diffusers", "huggingface_hub"}


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path):
    return path.relative_to(REPO).as_posix()


def home(path):
    """Folder, or root module, of the core that a file belongs to."""
    return path.relative_to(CORE).parts[0].removesuffix(".py")


def imported(path):
    """Folders and root modules of the core that a file imports, with line numbers."""
    package = path.relative_to(CORE).parent.parts
    for node in ast.walk(tree(path)):
        if not (isinstance(node, ast.ImportFrom) and node.level):
            continue
        base = package[: len(package) - (node.level - 1)]
        target = (*base, *(node.module or "").split(".")) if node.module else base
        if target:
            yield target[0], node.lineno
        else:
            yield from ((alias.name, node.lineno) for alias in node.names)


def may_import(importer, target):
    if importer == target:
        return True
    if importer in OVERSEERS:
        return target not in OVERSEERS[OVERSEERS.index(importer) :]
    if importer in FLOW:
        left = FLOW[: FLOW.index(importer)]
        return target in left or target in SERVANTS or target not in {*FLOW, *OVERSEERS}
    # Servants and the modules at the root know only the modules at the root, and servants each other.
    return target not in {*FLOW, *OVERSEERS} and (importer in SERVANTS or target not in SERVANTS)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_follow_the_flow_of_data(path):
    wrong = [f"line {line}: {target}" for target, line in imported(path) if not may_import(home(path), target)]
    assert not wrong, f"{name_of(path)} imports from its right: {wrong}"


def test_the_flow_is_what_it_says():
    assert may_import("geometry", "head") and may_import("render", "media") and may_import("head", "errors")
    assert (
        not may_import("head", "geometry") and not may_import("media", "head") and not may_import("motion", "pipeline")
    )
    assert not may_import("errors", "weights") and may_import("evaluation", "pipeline")
    assert may_import("training", "evaluation") and not may_import("evaluation", "training")
    source = [target for target, _ in imported(CORE / "head" / "head_fit.py")]
    assert set(source) >= {"record", "head"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_core_imports_itself_relatively(path):
    for node in ast.walk(tree(path)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        assert not [name for name in names if name.split(".")[0] in {"mggtalk_core", "comfy", "comfy_api"}]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_command_line_prints(path):
    if path.name == "__main__.py":
        return
    calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    lines = [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
    assert not lines, f"{name_of(path)} prints on lines {lines}"


def source_files():
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, check=False).stdout.decode()
    paths = [REPO / name for name in listing.split("\0") if name]
    return [path for path in paths if path.is_file()] or [*MODULES, *REPO.glob("*.*"), *REPO.glob("tests/*.py")]


def test_no_path_of_one_machine():
    folders = "work|home|root|tmp|opt|Users|mnt|var/tmp"
    pattern = re.compile(rf"(?<![\w.:/$}}~)-])/(?:{folders})/[\w.]|\b[A-Z]:\\\\?\w")
    found = []
    for path in source_files():
        data = path.read_bytes()
        if path == Path(__file__) or b"\0" in data:  # pictures, sounds and weights
            continue
        lines = data.decode("utf-8").splitlines()
        found += [f"{name_of(path)}:{number}" for number, line in enumerate(lines, 1) if pattern.search(line)]
    assert not found


def functions():
    for path in MODULES:
        for node in ast.walk(tree(path)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                first = body[0].lineno if body else node.lineno
                yield f"{name_of(path)}:{node.name}", (node.end_lineno or first) - first + 1


def test_functions_and_files_are_short():
    lengths = dict(functions())
    assert not {name: lines for name, lines in lengths.items() if lines > 60}
    assert sum(lines <= 25 for lines in lengths.values()) >= 0.9 * len(lengths)
    files = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert not {name: lines for name, lines in files.items() if lines >= 300}


def loaded_by(*statements):
    """Names of the modules that a fresh interpreter has loaded after some statements."""
    program = "\n".join(("import sys", *statements, "sys.stdout.write(' '.join(sys.modules))"))
    command = [sys.executable, "-c", program]
    return set(subprocess.run(command, cwd=REPO, capture_output=True, check=True, text=True).stdout.split())


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("mggtalk_core", set()),
        ("mggtalk_core.weights.resolver", set()),
        ("mggtalk_core.__main__", {"torch"}),
        ("mggtalk_core.pipeline", {"torch"}),
    ],
)
def test_importing_pulls_nothing_heavy(module, allowed):
    if not (REPO / f"{module.replace('.', '/')}.py").exists() and module != "mggtalk_core":
        pytest.skip(f"there is no {module}")
    loaded = loaded_by(f"import {module}")
    assert module in loaded
    assert not {name.split(".")[0] for name in loaded} & (HEAVY - allowed)


def test_the_core_loads_under_another_name():
    modules = {"other.core.weights.resolver", "other.core.gaussians.sequence"}
    loaded = loaded_by(
        "import importlib, importlib.util, types",
        "sys.modules['other'] = types.ModuleType('other')",
        "spec = importlib.util.spec_from_file_location('other.core', 'mggtalk_core/__init__.py')",
        "core = sys.modules['other.core'] = importlib.util.module_from_spec(spec)",
        "spec.loader.exec_module(core)",
        *(f"importlib.import_module('{name}')" for name in modules),
    )
    assert modules <= loaded
    assert not [name for name in loaded if name.split(".")[0] == "mggtalk_core"]


def test_requirements_leave_torch_and_numpy_free():
    lines = (REPO / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    assert {"torch", "numpy"} <= set(names)
    assert len(set(names)) == len(names)


DISTRIBUTIONS = {"cv2": "opencv-python", "PIL": "pillow", "ai_edge_litert": "ai-edge-litert"}
UNDECLARED = {
    "numba": "librosa needs it",
    "llvmlite": "numba is built on it",
    "threadpoolctl": "librosa needs it, through scikit-learn",
    "certifi": "taken where present",
    "pocketsphinx": "taken where present",
    "warp": "taken where present, on request",
    "transformers": "GeoWizard and Marigold name the pip command where it is missing",
    "accelerate": "taken where present",
    "skimage": "the demo's picture: make demo installs it",
}


def third_party_imports():
    for path in MODULES:
        for node in ast.walk(tree(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            yield from ((name.split(".")[0], path) for name in names)


def test_what_the_core_imports_is_required():
    lines = (REPO / "requirements.txt").read_text(encoding="utf-8").splitlines()
    known = set(sys.stdlib_module_names) | {"__future__"} | set(UNDECLARED) | {line.strip() for line in lines}
    missing = {
        f"{name_of(path)}: {name}"
        for name, path in third_party_imports()
        if not {name, DISTRIBUTIONS.get(name, name.replace("_", "-"))} & known
    }
    assert not missing
