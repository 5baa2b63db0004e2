"""The rows of each batch."""

import numpy as np
import pytest

from cnnjobs.training.distributed.sharding import Share, epoch_order, num_steps, shares


def shares_of_all(
    num_rows: int, global_batch_size: int, num_workers: int, epoch: int = 0
) -> list[list[Share]]:
    """Return the shares of an epoch, one list per worker."""
    order = epoch_order(num_rows, seed=3, epoch=epoch)
    return [
        list(shares(order, global_batch_size=global_batch_size, rank=rank, num_workers=num_workers))
        for rank in range(num_workers)
    ]


def real_rows(share: Share) -> list[int]:
    return [int(row) for row in share.rows[: share.num_real]]


def test_an_epoch_has_every_row_once() -> None:
    assert sorted(epoch_order(37, seed=3, epoch=0)) == list(range(37))


def test_the_order_depends_on_seed_and_epoch_only() -> None:
    order = epoch_order(37, seed=3, epoch=1)
    assert np.array_equal(order, epoch_order(37, seed=3, epoch=1))
    assert not np.array_equal(order, epoch_order(37, seed=3, epoch=2))
    assert not np.array_equal(order, epoch_order(37, seed=4, epoch=1))


GRID = [
    (num_rows, global_batch_size, num_workers)
    for num_rows in (1, 2, 7, 8, 9, 37)
    for global_batch_size in (1, 3, 8, 64)
    for num_workers in (1, 2, 3, 8)
]


@pytest.mark.parametrize(("num_rows", "global_batch_size", "num_workers"), GRID)
def test_every_row_is_real_in_one_share_of_one_worker(
    num_rows: int, global_batch_size: int, num_workers: int
) -> None:
    dealt = shares_of_all(num_rows, global_batch_size, num_workers)
    rows = [row for own in dealt for share in own for row in real_rows(share)]
    assert sorted(rows) == list(range(num_rows))


@pytest.mark.parametrize(("num_rows", "global_batch_size", "num_workers"), GRID)
def test_all_workers_take_the_same_steps_of_the_same_length(
    num_rows: int, global_batch_size: int, num_workers: int
) -> None:
    dealt = shares_of_all(num_rows, global_batch_size, num_workers)
    assert {len(own) for own in dealt} == {num_steps(num_rows, global_batch_size)}
    lengths = {len(share.rows) for own in dealt for share in own}
    assert lengths == {-(-min(global_batch_size, num_rows) // num_workers)}


@pytest.mark.parametrize(("num_rows", "global_batch_size", "num_workers"), GRID)
def test_a_global_batch_has_the_same_rows_for_any_number_of_workers(
    num_rows: int, global_batch_size: int, num_workers: int
) -> None:
    (alone,) = shares_of_all(num_rows, global_batch_size, 1)
    dealt = shares_of_all(num_rows, global_batch_size, num_workers)
    for whole, parts in zip(alone, zip(*dealt, strict=True), strict=True):
        rows = [row for part in parts for row in real_rows(part)]
        assert sorted(rows) == sorted(real_rows(whole))
        assert {part.num_global for part in parts} == {whole.num_real}


def test_a_batch_larger_than_the_data_set_is_not_padded_to_its_size() -> None:
    ((share,),) = shares_of_all(num_rows=40, global_batch_size=4096, num_workers=1)
    assert len(share.rows) == share.num_real == share.num_global == 40
    dealt = shares_of_all(num_rows=40, global_batch_size=4096, num_workers=3)
    assert [(len(own[0].rows), own[0].num_real) for own in dealt] == [(14, 14), (14, 13), (14, 13)]


def test_a_worker_without_a_row_gets_padding_of_real_rows() -> None:
    dealt = shares_of_all(num_rows=9, global_batch_size=8, num_workers=3)
    last = [own[-1] for own in dealt]
    assert [share.num_real for share in last] == [1, 0, 0]
    assert set(last[2].rows) == set(real_rows(last[0]))


def test_an_epoch_without_rows_has_no_steps() -> None:
    assert shares_of_all(num_rows=0, global_batch_size=8, num_workers=2) == [[], []]
