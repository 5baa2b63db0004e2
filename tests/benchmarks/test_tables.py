"""The benchmark of tables: every named layout is written and indexed; speeds are not asserted."""

import re
from pathlib import Path

import pytest

from benchmarks import tables
from cnnjobs.config.layouts import LAYOUTS


def test_every_layout_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    tables.print_layouts(40)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("CPUs, 40 rows")
    measured = [re.fullmatch(r"(\w+) +\d+\.\d +\d+", line) for line in lines[2:]]
    assert [match and match[1] for match in measured] == list(LAYOUTS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_table_has_the_rows_that_were_asked_for(layout: str, tmp_path: Path) -> None:
    names = tables.WRITERS[layout](tmp_path, round(100 / tables.ROWS_PER_PATIENT[layout]))
    images = [path for path in (tmp_path / "images").rglob("*") if path.is_file()]
    assert 95 <= len(images) <= 105
    assert all((tmp_path / name).is_file() for name in names)
