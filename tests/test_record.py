"""The frozen records and the clock."""

import dataclasses
import threading
import time
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from mggtalk_core.clock import StageClock, peak_memory_mb
from mggtalk_core.record import Record


@dataclass(frozen=True)
class Inner(Record):
    values: Tensor


@dataclass(frozen=True)
class Outer(Record):
    name: str
    count: int
    tensor: Tensor
    inner: Inner
    many: tuple[Inner, ...]
    rows: tuple[Tensor, ...]
    nothing: Inner | None = None


def outer():
    inner = Inner(torch.arange(3.0))
    return Outer("name", 7, torch.ones(2, 2), inner, (inner, inner), (torch.zeros(4),))


def test_to_moves_every_tensor_however_deep():
    moved = outer().to("meta")
    tensors = [moved.tensor, moved.inner.values, *(record.values for record in moved.many), *moved.rows]
    assert all(tensor.device.type == "meta" for tensor in tensors)
    assert (moved.name, moved.count, moved.nothing) == ("name", 7, None)
    assert [tensor.shape for tensor in tensors] == [(2, 2), (3,), (3,), (3,), (4,)]


def test_to_the_same_device_keeps_the_values_and_the_original():
    record = outer()
    same = record.to("cpu")
    assert torch.equal(same.inner.values, record.inner.values) and same is not record
    assert record.to("meta") is not record and record.tensor.device.type == "cpu"


def test_records_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        outer().count = 8


def test_clock_adds_up_per_stage_and_counts_failures_too():
    clock = StageClock()
    for _ in range(2):
        with clock("splat"):
            time.sleep(0.01)
    with pytest.raises(ValueError, match="late"), clock("encode"):
        time.sleep(0.01)
        raise ValueError("too late")
    assert set(clock.seconds) == {"splat", "encode"}
    assert 0.02 <= clock.seconds["splat"] < 2.0
    assert 0.01 <= clock.seconds["encode"] < 2.0


def test_clock_loses_nothing_between_threads():
    clock = StageClock()

    def work():
        for _ in range(50):
            with clock("stage"):
                time.sleep(0.001)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.seconds["stage"] >= 4 * 50 * 0.001


def test_peak_memory_is_in_megabytes_and_never_falls():
    before = peak_memory_mb()
    # An interpreter with torch takes more than 50 MB; a terabyte would mean a wrong unit.
    assert 50.0 < before < 2.0**20
    block = torch.ones(64 * 2**18)  # 64 MB, every page touched
    after = peak_memory_mb()
    del block
    assert peak_memory_mb() >= after >= before
    assert after > 64.0
