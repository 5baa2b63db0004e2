"""docs/scaling.md shows what its command prints."""

import sys

from benchmarks import scale
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "scaling.md"


def test_the_table_of_the_page_is_the_one_that_is_reckoned(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["scale", "--model"])
    scale.main()
    assert capsys.readouterr().out in PAGE.read_text(encoding="utf-8")


def test_listed_rows_are_those_of_a_manifest_and_every_name_is_there_once():
    rows = scale.listed(1000)
    assert rows.schema == scale.schema.MANIFEST
    assert len(set(rows["path"].to_pylist())) == 1000
