"""The benchmark of engines: each scores every size of batch, and its cost is measured."""

import pytest

from benchmarks import engines


@pytest.mark.slow
def test_every_engine_has_a_cost_for_every_size_of_batch(
    capsys: pytest.CaptureFixture[str],
) -> None:
    engines.print_costs("digits", threads=1, sizes=(1, 8))

    title, header, *rows = capsys.readouterr().out.splitlines()
    assert title.startswith("digits, 1 threads")
    assert header.split() == ["batch", "openvino", "keras", "xla"]
    assert [row.split()[0] for row in rows] == ["1", "8"]
    assert all(float(cost) > 0 for row in rows for cost in row.split()[1:])
