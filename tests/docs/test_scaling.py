"""docs/scaling.md shows what its command prints."""

from typer.testing import CliRunner

from benchmarks import scale
from benchmarks.__main__ import app
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "scaling.md"


def test_the_page_shows_the_table_that_its_command_prints():
    done = CliRunner().invoke(app, ["scale", "--estimate"])
    assert done.exit_code == 0
    assert done.output in PAGE.read_text(encoding="utf-8")


def test_listed_rows_have_the_schema_of_a_manifest_and_unique_names():
    rows = list(scale.listed(1000))
    assert [each.schema for each in rows] == [scale.schema.MANIFEST]
    assert rows[0]["path"].to_pylist() == sorted(set(rows[0]["path"].to_pylist()))
