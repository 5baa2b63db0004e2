"""A training that was killed leaves the bits of one that was not: every cell of the table."""

import itertools
from pathlib import Path

import pytest

from tests.training import killed

#: CI runs one in seven, among which are each of the callbacks, schedules and precisions.
CELLS = [
    pytest.param(*cell, marks=[] if number % 7 == 0 else [pytest.mark.table])
    for number, cell in enumerate(
        itertools.product(killed.PRECISIONS, killed.SCHEDULES, killed.CALLBACKS)
    )
]


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "schedule", "callbacks"), CELLS)
def test_a_training_killed_in_any_way_ends_as_one_that_was_not(
    tmp_path: Path, callbacks: str, schedule: str, precision: str
) -> None:
    data = killed.write_data(tmp_path)
    found = dict(killed.differing(data, tmp_path, callbacks, schedule, precision))
    assert found == dict.fromkeys(killed.KILLS, False)


def test_a_difference_is_found(tmp_path: Path) -> None:
    data = killed.write_data(tmp_path)
    one, other = (
        killed.left(killed.config_of(data, tmp_path / str(seed), seed=seed, epochs=1), ())
        for seed in (0, 1)
    )
    assert one != other
