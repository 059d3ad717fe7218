"""Frames spread over threads: order, errors, bounded memory, and nothing left behind."""

import threading
import time

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from mggtalk_core.parallel import ordered_map, worker_count


def frame_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("frame")]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_order_whatever_their_time(workers):
    def slow_first(item):
        time.sleep(0.02 if item % 3 == 0 else 0.0)
        return item * item

    assert list(ordered_map(slow_first, range(12), workers)) == [n * n for n in range(12)]
    assert list(ordered_map(slow_first, [], workers)) == []


def test_two_workers_really_work_at_once():
    meeting = threading.Barrier(2, timeout=5.0)
    assert len(list(ordered_map(lambda _: meeting.wait(), range(2), 2))) == 2


@pytest.mark.parametrize("workers", [1, 3])
def test_an_exception_is_raised_in_its_turn(workers):
    def fails_at_four(item):
        if item == 4:
            raise ValueError("four")
        return item

    results = ordered_map(fails_at_four, range(100), workers)
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="four"):
        next(results)
    assert list(results) == []
    assert not frame_threads()


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_little_is_computed_ahead(workers):
    asked, taken = [], 0

    def items():
        for item in range(40):
            asked.append(item)
            yield item

    for _ in ordered_map(lambda item: item, items(), workers):
        taken += 1
        assert len(asked) - taken <= workers
    assert taken == 40


def test_closing_stops_the_work():
    done = []

    def work(item):
        time.sleep(0.005)
        done.append(item)
        return item

    results = ordered_map(work, range(1000), 2)
    assert next(results) == 0
    results.close()
    assert not frame_threads()
    finished = len(done)
    assert finished <= 4
    time.sleep(0.05)
    assert len(done) == finished


def test_an_error_of_the_items_ends_the_threads():
    def items():
        yield 1
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        list(ordered_map(lambda item: item, items(), 2))
    assert not frame_threads()


def threads_of_a_newcomer():
    """Threads that PyTorch gives to a thread that starts now."""
    seen = []
    newcomer = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    newcomer.start()
    newcomer.join()
    return seen[0]


def test_workers_infer_on_one_thread_each_and_leave_the_process_as_it_was():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        seen = list(ordered_map(lambda _: (torch.is_inference_mode_enabled(), torch.get_num_threads()), range(4), 2))
        assert seen == [(True, 1)] * 4
        assert torch.get_num_threads() == threads_of_a_newcomer() == 3
        assert not torch.is_inference_mode_enabled()
    finally:
        torch.set_num_threads(before)


def test_blas_runs_one_thread_while_frames_are_made():
    def threads():
        return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}

    np.linalg.solve(np.eye(2), np.ones(2))  # BLAS is loaded
    before = threads()
    assert list(ordered_map(lambda _: threads(), range(3), 2)) == [{1}] * 3
    assert threads() == before


def test_the_number_of_workers_does_not_change_the_results():
    def work(seed):
        generator = torch.Generator().manual_seed(seed)
        matrix = torch.rand(60, 60, generator=generator)
        return torch.linalg.inv(matrix) @ matrix.sin()

    one, four = (list(ordered_map(work, range(6), workers)) for workers in (1, 4))
    assert all(torch.equal(a, b) for a, b in zip(one, four, strict=True))


def test_worker_count_is_bounded():
    assert 1 <= worker_count() <= 8
