"""What a job reports about itself while it runs."""

import time

import pyarrow as pa
import pytest

from cnnjobs import schema
from cnnjobs.inference.run_stats import Tally


def table(rows: int, working_seconds: float) -> pa.Table:
    """The scored rows of a block."""
    values = {
        "path": [f"{row}.png" for row in range(rows)],
        "prediction": ["opacity"] * rows,
        "probability": [0.9] * rows,
        "model": ["covid"] * rows,
        "run_id": ["run"] * rows,
        **{each.name: pa.array([0] * rows).cast(each.type) for each in schema.MEASURES},
        "working_seconds": [working_seconds] * rows,
    }
    result = pa.unify_schemas([schema.predictions(2), schema.MEASURES])
    nothing = [None] * rows
    return pa.table({name: values.get(name, nothing) for name in result.names}, schema=result)


def test_the_steady_rate_counts_from_the_start_of_the_first_block() -> None:
    tally = Tally(200, done_before=0)
    time.sleep(0.05)

    tally.add(table(100, working_seconds=10.0))

    assert tally.steady_rate == pytest.approx(10.0)
    assert tally.facts()["seconds_left"] == 10
    assert tally.seconds_to_first is not None
    assert tally.seconds_to_first >= 0.05


def test_a_first_table_that_arrives_late_does_not_inflate_the_rate() -> None:
    tally = Tally(200, done_before=0)

    tally.add(table(10, working_seconds=1.0))
    tally.add(table(90, working_seconds=10.0))

    assert tally.steady_rate == pytest.approx(10.0, rel=0.01)


def test_the_steady_rate_does_not_change_while_no_rows_arrive() -> None:
    tally = Tally(100, done_before=0)
    tally.add(table(50, working_seconds=5.0))
    rate = tally.steady_rate
    time.sleep(0.01)

    assert tally.steady_rate == rate


def test_no_rate_is_reported_before_the_first_rows() -> None:
    facts = Tally(100, done_before=20).facts()

    assert facts["images_per_second"] is None
    assert facts["seconds_left"] is None
    assert facts["done"] == 20
