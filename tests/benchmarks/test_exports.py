"""The benchmark of exports: every format is compared with Keras on images."""

from pathlib import Path

import pytest

from benchmarks.exports import print_parity
from cnnjobs.config import IndexConfig
from cnnjobs.config.export import FORMATS
from cnnjobs.data.index import index
from tests.support import report_runs
from tests.support.bundles import write_bundle


def test_every_format_is_compared_with_keras(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tf2onnx", reason="needs the extra onnx")
    write_bundle(tmp_path / "bundle", "digits")
    for label in ("0", "1"):
        report_runs.draw(tmp_path / "images" / label, [f"{number}.png" for number in range(10)])
    images, table = str(tmp_path / "images"), str(tmp_path / "m.parquet")
    index(IndexConfig(sources=(images,), output=table, split=False))
    print_parity(str(tmp_path / "bundle"), table)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(", 20 images")
    rows = [line.split() for line in lines[2:]]
    assert [row[0] for row in rows] == list(FORMATS)
    assert all(float(row[1]) < 1e-5 for row in rows)
