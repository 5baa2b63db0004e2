"""A training that was killed leaves the bits of one that was not: every cell of the table."""

from pathlib import Path

import pytest

from tests.training import killed


@pytest.mark.slow
@pytest.mark.parametrize("precision", killed.PRECISIONS)
@pytest.mark.parametrize("schedule", killed.SCHEDULES)
@pytest.mark.parametrize("callbacks", killed.CALLBACKS)
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
