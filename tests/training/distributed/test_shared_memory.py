"""Sums through shared memory; test_workers.py runs them in real workers."""

import sys
from pathlib import Path

import numpy as np
import pytest

from cnnjobs.training.distributed.shared_memory import SharedMemory, create, num_elements, opened

if sys.platform != "linux":
    pytest.skip("memory is shared on Linux", allow_module_level=True)

SHAPES = [(2, 3), (5,)]


def test_every_worker_gets_the_sum_of_all_workers_in_every_step() -> None:
    shape = (2, 3, num_elements(SHAPES))
    name = create(shape)
    mapped = [opened(name, shape) for _ in range(3)]
    Path(name).unlink()
    workers = [
        SharedMemory(slots, SHAPES, rank) for rank, slots in enumerate(mapped) if slots is not None
    ]
    random = np.random.default_rng(0)
    for _ in range(3):
        inputs = [
            [random.integers(0, 99, shape).astype(np.float32) for shape in SHAPES] for _ in workers
        ]
        for worker, tensors in zip(workers, inputs, strict=True):
            worker.put(*tensors)
        for worker in workers:
            for index, total in enumerate(worker.totals(np.float32(0))):
                np.testing.assert_array_equal(total, sum(tensors[index] for tensors in inputs))


def test_memory_that_does_not_fit_is_not_reserved() -> None:
    before = list(Path("/dev/shm").glob("cnnjobs-*"))

    assert create((1 << 40,)) == ""
    assert list(Path("/dev/shm").glob("cnnjobs-*")) == before


@pytest.mark.parametrize("name", ["", "/dev/shm/cnnjobs-of-another-container"])
def test_memory_that_this_worker_cannot_see_is_none(name: str) -> None:
    assert opened(name, (1,)) is None
