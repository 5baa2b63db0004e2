"""The demo, end to end through the command line."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cnnjobs.cli import main


@pytest.mark.slow
def test_the_demo_leaves_every_result_where_it_says(
    ray_session: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "demo"

    with pytest.raises(SystemExit) as ended:
        main(["demo", "-o", str(output), "--num-images", "20", "--epochs", "1", "--json"])

    printed = capsys.readouterr()
    assert ended.value.code == 0, printed.err
    summary = json.loads(printed.out)
    # the lines on progress of a command without a terminal begin with the time
    lines = [line for line in printed.err.splitlines() if not line.startswith("20")]
    assert [line[:4] for line in lines] == [
        "1/5 ",
        "2/5 ",
        "3/5 ",
        "4/5 ",
        "5/5 ",
    ]
    assert (output / "_SUCCESS").exists()
    assert Path(summary["index"]["manifest"]).exists()
    assert Path(summary["train"]["bundle"], "model.keras").exists()
    assert summary["predict"]["indexed"] == 25
    assert sum(summary["predict"]["failed"].values()) == 5
    rows = pq.read_table(Path(summary["predict"]["output"], "predictions"))
    assert rows.num_rows == 25
    assert set(rows["label"].to_pylist()) == {"normal", "opacity"}


def test_the_demo_does_not_overwrite_a_folder_without_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(SystemExit) as ended:
        main(["demo", "-o", str(tmp_path), "--overwrite"])

    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path} is not empty and is not a run; choose another directory.\n"
    )
    assert (tmp_path / "thesis.txt").exists()
